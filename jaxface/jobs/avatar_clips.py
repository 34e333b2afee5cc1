"""An avatar in motion, as a clip and a report of its frames::

DIR/clip.mp4         the frames
DIR/frames.jsonl     a row for each: index, time, and what of it the avatar was not trained for
DIR/drive.json       what was driven, and by what
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clip_survey import ClipAlignment
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.inputs.driving import DrivingMotion, read_driving
from jaxface.jobs.inputs.portraits import Alignment
from jaxface.media.images import to_uint8
from jaxface.media.video.folders import common_base
from jaxface.media.video.frames import DEFAULT_RATE
from jaxface.media.video.sound import Sound
from jaxface.media.video.writing import Encoding, VideoWriter
from jaxface.methods.direction_matrix.faces import suite_faces
from jaxface.methods.pvp import Avatar, Edit
from jaxface.methods.pvp.avatar import sweep
from jaxface.methods.pvp.features import MatchPose
from jaxface.morphable.motion import Motion
from jaxface.runtime.files import atomic_writer, write_json
from jaxface.runtime.progress import working

BATCH = 16
"""Frames that are drawn together."""

CLIP, FRAMES, HEADER = "clip.mp4", "frames.jsonl", "drive.json"


@dataclasses.dataclass(frozen=True)
class Drive:
    """What an avatar is to do.

    Attributes:
      motion: of T frames, in the avatar's proportions.
      times: [T] seconds.
      sound: a clip and the time in it that is 0 here; None: silent.
      told: what it came from, JSON-like.
    """

    motion: Motion
    times: Sequence[Fraction]
    sound: tuple[str, Fraction] | None
    told: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Reader:
    """What `read_driving` asks of a method: the avatar's reader of faces."""

    def read(self, networks: Any, images: Any) -> Motion:
        return networks.motion(networks.read(images))


def replayed(avatar: Avatar, times: Sequence[Fraction]) -> Drive:
    """The avatar's own clip."""
    return Drive(avatar.clip, times, None, {"driver": "its own clip"})


def turned(
    avatar: Avatar,
    *,
    pitch: tuple[float, float],
    yaw: tuple[float, float],
    frames: int,
    rate: Fraction = DEFAULT_RATE,
) -> Drive:
    """Head poses from one end to the other and back, with the mean expression.

    Args:
      avatar: who turns.
      pitch, yaw: degrees at both ends; equal ones stay.
      frames: of the clip.
      rate: frames a second.
    """
    motion = avatar.posed(sweep(*pitch, frames), sweep(*yaw, frames))
    times = [Fraction(frame) / rate for frame in range(frames)]
    return Drive(motion, times, None, {"pitch": list(pitch), "yaw": list(yaw)})


def driven_by(
    avatar: Avatar,
    path: str,
    *,
    reading: ClipReading,
    alignment: Alignment | ClipAlignment | None,
    folder: str,
    match: MatchPose,
    steady: float,
) -> Drive:
    """Another clip's motion in the avatar's proportions (`Avatar.own`).

    Args:
      avatar: who moves.
      path: a clip, an image, or a file of motion; see `read_driving`.
      reading, alignment, folder: see there.
      match: what of head poses is matched.
      steady: seconds over which the motion is averaged.

    Raises:
      UsageError: it cannot be read, shows no face, or is of another basis.
    """
    faces: Any = suite_faces(avatar.suite)
    size = avatar.generator.resolution
    reader: Any = _Reader()
    found: DrivingMotion = read_driving(
        path, reader, faces, size=size, reading=reading, alignment=alignment, folder=folder
    )
    if steady:
        found = dataclasses.replace(found, driver=found.driver.smoothed(steady))
    whole = found.whole
    if len(whole) < 2 and match != "none":
        raise UsageError(f"--match-pose {match}: {path} is one frame, which has no statistics")
    clip = found.seen if len(found.seen) > 1 else None
    # One frame is in no proportion to itself: its numbers are taken as they are.
    motion = whole if clip is None else avatar.own(whole, clip=clip, pose=match)
    if clip is None and whole.basis != avatar.clip.basis:
        avatar.own(whole, clip=whole)  # which tells
    told = {"driver": path, "digest": found.digest, "match_pose": match, "missed": found.missed}
    sound = (found.driver.clip, found.driver.start) if found.driver.clip else None
    return Drive(motion, found.driver.times, sound, told)


def write_drive(
    folder: Path,
    avatar: Avatar,
    drive: Drive,
    *,
    edits: Sequence[Edit] = (),
    project: bool = False,
    sound: bool = True,
    encoding: Encoding | None = None,
) -> dict[str, Any]:
    """Draws an avatar and writes its clip and report.

    Args:
      folder: receives them.
      avatar: who is drawn.
      drive: what it does.
      edits, project: see `Avatar.latents`.
      sound: whether the driver's sound goes with it.
      encoding: of the clip.

    Returns:
      ``frames``, ``outside``: how many are beyond the trained range, ``first``: the first of these.

    Raises:
      UsageError: the suite has no such edit.
      VideoError: the clip cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outside = avatar.outside(drive.motion)
    size, count = avatar.generator.resolution, len(drive.motion)
    first = drive.times[0]
    times = [time - first for time in drive.times]
    base = common_base(times, DEFAULT_RATE) if count > 1 else 1 / DEFAULT_RATE
    rate = (count - 1) / times[-1] if count > 1 else DEFAULT_RATE
    source = None
    if sound and drive.sound is not None:
        path, start = drive.sound
        source = Sound(path, origin=start, cut=start > 0) if Path(path).is_file() else None
    with (
        working(f"{folder / CLIP}: drawing") as line,
        VideoWriter(
            folder / CLIP,
            width=size,
            height=size,
            rate=Fraction(rate).limit_denominator(1001),
            time_base=base,
            sound=source,
            encoding=encoding,
        ) as writer,
    ):
        for begin in range(0, count, BATCH):
            rows = slice(begin, min(begin + BATCH, count))
            images = avatar.drawn(drive.motion[rows], edits=edits, project=project, chunk=BATCH)
            pixels = np.asarray(to_uint8(np.clip(images, -1, 1)))
            for time, frame in zip(times[rows], pixels, strict=True):
                writer.write(time, frame)
            line.doing(f"{folder / CLIP}: drawing, {rows.stop} of {count} frames")
    with atomic_writer(folder / FRAMES) as file:
        for index, (time, row) in enumerate(zip(times, outside, strict=True)):
            told = {"index": index, "time": str(time), "outside": row}
            file.write(json.dumps(told).encode() + b"\n")
    beyond = [index for index, row in enumerate(outside) if row]
    document = {
        **drive.told,
        "frames": count,
        "edits": [list(edit) for edit in edits],
        "project": project,
        "outside": len(beyond),
    }
    write_json(folder / HEADER, document)
    found = None if not beyond else {"index": beyond[0], **outside[beyond[0]]}
    return {"frames": count, "outside": len(beyond), "first": found}
