"""What a clip holds, before its frames are items of a job: frames, times, tracks, squares.

A survey reads the clip once. It is kept in the job's folder, so that the same command goes on
without it::

    DIR/clips/<id>/
      report.jsonl    a row for each frame: index, pts, status, faces (track, box, quad, transform)
      clip.json       what the clip and the settings were; rate, cuts, notes, and why it ended
                      early; of each track the jitter of its squares, and the acceleration of its
                      landmarks before they were smoothed, in pixels of the clip
"""

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clips import (
    ClipReading,
    FrameFace,
    FrameSource,
    UnusableClip,
    clip_digest,
)
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.likeness import Likeness
from jaxface.jobs.inputs.portraits import Alignment, refuse_face_names
from jaxface.jobs.storage import join, read_bytes, write_bytes
from jaxface.media.alignment import CropTransform
from jaxface.media.detection import NoFaceError
from jaxface.media.following.detecting import detect_ahead
from jaxface.media.following.following import NO_FACE, OK, OTHERS, FollowedFaces, Following
from jaxface.media.following.smoothing import Smoothing, acceleration
from jaxface.media.following.tracks import Matching
from jaxface.media.upright import AnyWayUp
from jaxface.media.video.ahead import read_ahead
from jaxface.media.video.errors import DamagedVideoError, UnreadableVideoError, VideoError
from jaxface.media.video.frames import Frame
from jaxface.runtime.progress import frames_done, note, working

CLIPS, REPORT, HEADER = "clips", "report.jsonl", "clip.json"
NO_TRACK = "no_track"
"""The status of a clip in which no face can be followed."""


@dataclasses.dataclass(frozen=True)
class ClipAlignment:
    """How the faces of clips are found and followed.

    Attributes:
      found: how they are found; its `faces` is of no effect.
      who: which are meant, see `jaxface.media.following.tracks.choose`.
      told: how the user said so, JSON-like.
      matching: when faces of two frames are one.
      smoothing: of the squares.
      likeness: tells persons apart; None: by their places alone, a new track after each cut.
    """

    found: Alignment
    who: str | int | np.ndarray = "largest"
    told: str | int = "largest"
    matching: Matching = dataclasses.field(default_factory=Matching)
    smoothing: Smoothing = dataclasses.field(default_factory=Smoothing)
    likeness: Likeness | None = None

    def description(self) -> dict[str, Any]:
        """Everything that decides the crops, JSON-like."""
        described = self.found.description()
        del described["faces"]
        return described | {
            "track": self.told,
            "matching": dataclasses.asdict(self.matching),
            "smoothing": dataclasses.asdict(self.smoothing),
            "likeness": None if self.likeness is None else self.likeness.digest,
        }

    def versions(self) -> dict[str, str]:
        """Versions of what finds the faces."""
        return self.found.versions()


def frame_items(
    clips: Sequence[Item],
    reading: ClipReading,
    alignment: ClipAlignment | None,
    *,
    size: int,
    folder: str,
) -> list[Item]:
    """The frames of clips, as items of a job.

    A frame's id is the clip's and its index in the clip; frames without a face are items too. A
    clip that ends early has one more item, which says why, and one that cannot be used has only
    that.

    Args:
      clips: see `jaxface.jobs.inputs.items.find_clips`.
      reading: of all of them.
      alignment: how faces are followed; None: frames are portraits.
      size: pixels a side of the crops.
      folder: the job's, where surveys are kept.

    Raises:
      UsageError: a clip was surveyed for that folder with other settings, or was another one.
    """
    items: list[Item] = []
    for clip in clips:
        header, rows = _survey(clip, reading, alignment, size=size, folder=folder)
        items += [_item(clip, reading, row, aligned=alignment is not None) for row in rows]
        others = sum(row["status"] == NO_FACE and OTHERS in row["reason"] for row in rows)
        if others:
            told = f"{others} frames show only faces that are not followed (see --track)"
            note(f"note: {clip.path}: {told}")
        for remark in header["notes"]:
            note(f"note: {clip.path}: {remark}")
        if header["failure"] is not None:
            items.append(dataclasses.replace(clip, load=UnusableClip(*header["failure"])))
    refuse_face_names([item.id for item in items])
    return items


def _item(clip: Item, reading: ClipReading, row: dict[str, Any], *, aligned: bool) -> Item:
    faces = [
        FrameFace(face["track"], CropTransform.from_json(face["transform"]), face["status"])
        for face in row["faces"]
    ]
    faces.sort(key=lambda face: face.transform.center[0])
    seen = tuple(faces) if aligned else None
    load = FrameSource(clip.path, reading, row["index"], seen, row["reason"])
    frame: dict[str, Any] = {"clip": clip.id, "index": row["index"], "time": row["pts"]}
    if told := reading.to_json():
        frame["reading"] = told
    return Item(f"{clip.id}/{row['index']:06d}", clip.path, load, {"frame": frame})


def _survey(
    clip: Item,
    reading: ClipReading,
    alignment: ClipAlignment | None,
    *,
    size: int,
    folder: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and rows of a clip, made now or before."""
    try:
        digest = clip_digest(clip.path)
    except OSError as error:
        reason = f"{clip.path}: cannot be read: {error.strerror}"
        return {"failure": [UnreadableVideoError.status, reason], "notes": []}, []
    key = {
        "sha256": digest,
        "size": size,
        "reading": reading.to_json(),
        "alignment": None if alignment is None else alignment.description(),
    }
    place = join(folder, CLIPS, clip.id)
    try:
        header = json.loads(read_bytes(join(place, HEADER)))
        lines = read_bytes(join(place, REPORT)).splitlines()
    except FileNotFoundError:
        pass
    else:
        if header["key"] != json.loads(json.dumps(key)):
            raise UsageError(
                f"{folder}: {clip.path} was another clip when it was begun there, or was read with "
                "other settings; use another --out"
            )
        return header, [json.loads(line) for line in lines]
    header, rows = _look(clip, reading, alignment, size=size)
    header["key"] = key
    if rows:
        report = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        write_bytes(join(place, REPORT), report)
        write_bytes(join(place, HEADER), json.dumps(header, indent=1).encode() + b"\n")
    return header, rows


def _look(
    clip: Item, reading: ClipReading, alignment: ClipAlignment | None, *, size: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Reads a clip through."""
    header: dict[str, Any] = {"key": None, "failure": None, "notes": [], "cuts": [], "rate": None}
    rows: list[dict[str, Any]] = []
    following = None
    if alignment is not None:
        following = Following(size=size, matching=alignment.matching, smoothing=alignment.smoothing)
    start = time.monotonic()
    with working(f"{clip.path}: reading") as line:
        try:
            with reading.open(clip.path) as opened, read_ahead(opened) as coming:
                try:
                    for row in _frames(coming, alignment, following):
                        rows.append(row)
                        if line.due or len(rows) % 100 == 0:
                            seconds = time.monotonic() - start
                            done = frames_done(len(rows), seconds, opened.info.share)
                            line.doing(f"{clip.path}: reading, {done}")
                except DamagedVideoError as error:
                    header["failure"] = [error.status, str(error)]
                header["notes"] = list(opened.info.notes)
                header["rate"] = str(opened.info.rate)
        except VideoError as error:
            header["failure"] = [error.status, str(error)]
            return header, rows
    if following is None or alignment is None or not rows:
        return header, rows
    try:
        followed = following.finish(alignment.who)
    except NoFaceError as error:
        hint = ""
        if not (following.any_face or isinstance(alignment.found.find_faces, AnyWayUp)):
            hint = " that is upright; --any-way-up turns frames and looks again"
        header["failure"] = [NO_TRACK, f"{clip.path}: {error}{hint}"]
        return header, []
    header["cuts"] = followed.cuts
    header |= _steadiness(followed)
    for row, squares in zip(followed.rows, followed.squares, strict=True):
        for face in row["faces"]:
            face["transform"] = squares[face["track"]].to_json()
    return header, followed.rows


def _steadiness(followed: FollowedFaces) -> dict[str, dict[str, float]]:
    """Of each track by its number, how much its squares jump and how much its landmarks did."""
    cuts = [place for place, row in enumerate(followed.rows) if row["index"] in followed.cuts]
    told: dict[str, dict[str, float]] = {"jitter": {}, "acceleration": {}}
    for track in followed.tracks:
        corners = {
            place: squares[track.id].corners
            for place, squares in enumerate(followed.squares)
            if track.id in squares
        }
        landmarks = {face.frame: face.landmarks for face in track.faces}
        told["jitter"][str(track.id)] = round(acceleration(corners, cuts), 4)
        told["acceleration"][str(track.id)] = round(acceleration(landmarks, cuts), 4)
    return told


def _frames(
    opened: Iterable[Frame], alignment: ClipAlignment | None, following: Following | None
) -> Iterator[dict[str, Any]]:
    """A row for each frame, which is followed on the way."""
    if alignment is None or following is None:
        for frame in opened:
            row = {"index": frame.index, "pts": str(frame.time), "status": OK}
            yield row | {"faces": [], "reason": None}
        return
    workers = alignment.found.workers
    seen = detect_ahead(opened, alignment.found.find_faces, workers=workers or 0)
    for frame, landmarks in seen:
        embeddings = None
        if alignment.likeness is not None and len(landmarks):
            embeddings = alignment.likeness(frame.pixels, landmarks)
        following.add(frame, landmarks, embeddings=embeddings)
        yield {"index": frame.index}
