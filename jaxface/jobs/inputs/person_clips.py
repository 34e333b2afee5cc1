"""A clip of one person as an artefact that later stages read: frames, motion, what became of each.

::

    DIR/data/frames.npy            uint8 [T, R, R, 3], the crops of the frames that are used
    DIR/data/motion.safetensors    their poses and expressions, see `motion_files`
    DIR/data/landmarks.npy         float32 [T, 68, 2], in pixels of R
    DIR/data/frames.jsonl          a row for every frame of the clip: index, time, and why it is not
                                   used, or its row in the arrays and what it is for

The last file is written last: with it the artefact is whole. Frames are mapped into memory, not
read. Used are the frames of the longest shot that show the person's face; with a matte what is not
the person is black, in every stage.
"""

import collections
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clip_survey import ClipAlignment, frame_items
from jaxface.jobs.inputs.clips import ClipReading, FrameReader, FrameSource, UnusableClip
from jaxface.jobs.inputs.items import find_clips
from jaxface.jobs.inputs.motion_files import read_motion_file, write_motion
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.following.cuts import Differences, find_cuts
from jaxface.media.images import LoadedImage, from_uint8, to_square, to_uint8
from jaxface.media.video.errors import VideoError
from jaxface.media.video.frames import Frame
from jaxface.methods.pvp.personalise import LEAST, Seen, Split, see
from jaxface.runtime.arrays import read_array
from jaxface.runtime.files import atomic_path, atomic_writer
from jaxface.runtime.progress import note, working
from jaxface.suite import Suite

DATA, FRAMES, MOTION = "data", "frames.npy", "motion.safetensors"
LANDMARKS, ROWS = "landmarks.npy", "frames.jsonl"

USED, UNUSED = "ok", "unused"
CROWDED = 0.05
"""Share of a shot's frames with several faces from which the user is to say who is meant; fewer
are taken for mistakes of the detector."""


@dataclasses.dataclass(frozen=True)
class PersonClip:
    """The artefact.

    Attributes:
      images: uint8 [T, R, R, 3], mapped from the file.
      seen: motion and landmarks of the T frames.
      times: [T] seconds.
      rows: of all frames of the clip, as the file has them.
    """

    images: np.ndarray
    seen: Seen
    times: tuple[Fraction, ...]
    rows: list[dict[str, Any]]


class _Face(NamedTuple):
    """A face in a frame; None of its crop where the frame is an aligned portrait."""

    track: int
    transform: CropTransform | None
    side: float


def person_clip(
    path: str,
    suite: Suite,
    *,
    reading: ClipReading,
    alignment: ClipAlignment | None,
    chosen: bool,
    mattes: str | None,
    folder: Path,
) -> PersonClip:
    """Reads a clip, or the artefact that an earlier call has left in the folder.

    Args:
      path: of the clip.
      suite: reads faces; its generator's resolution is R.
      reading: of the clip.
      alignment: how faces are found and followed; None: frames are aligned portraits.
      chosen: whether the user has said whose face is meant.
      mattes: a clip or a folder of images of the same frames, white where the person is; or None.
      folder: of the job.

    Raises:
      UsageError: the clip shows no face, several, or too few frames; in one sentence.
    """
    data = folder / DATA
    if not (data / ROWS).is_file():
        _make(path, suite, reading, alignment, chosen=chosen, mattes=mattes, folder=folder)
    lines = (data / ROWS).read_text(encoding="utf-8").splitlines()
    motion, _ = read_motion_file(str(data / MOTION))
    rows = [json.loads(line) for line in lines]
    times = tuple(Fraction(row["time"]) for row in rows if row["status"] == USED)
    images = read_array(data / FRAMES, mapped=True, remove=data)
    landmarks = read_array(data / LANDMARKS, remove=data)
    return PersonClip(images, Seen(motion, landmarks), times, rows)


def with_parts(clip: PersonClip, split: Split) -> list[dict[str, Any]]:
    """The rows of all frames, those that are used with what they are for."""
    parts = {int(row): name for name, rows in split._asdict().items() for row in rows}
    found, place = [], 0
    for row in clip.rows:
        if row["status"] == USED:
            row = {**row, "row": place, "part": parts.get(place, "gap")}
            place += 1
        found.append(row)
    return found


def _make(
    path: str,
    suite: Suite,
    reading: ClipReading,
    alignment: ClipAlignment | None,
    *,
    chosen: bool,
    mattes: str | None,
    folder: Path,
) -> None:
    data, size = folder / DATA, suite.generator.resolution
    if mattes is not None:
        _check_mattes(path, mattes, reading)
    data.mkdir(parents=True, exist_ok=True)
    if alignment is not None and not chosen:
        alignment = dataclasses.replace(alignment, who="all", told="all")
    sources, rows = _surveyed(path, reading, alignment, size=size, folder=folder)
    faces = [_faces(source) for source in sources]
    cuts = [0, *_cuts(path, sources), len(sources)]
    shots = [range(*pair) for pair in itertools.pairwise(cuts)]
    shot = max(shots, key=lambda rows: sum(bool(faces[row]) for row in rows))
    if len(shots) > 1:
        note(
            f"note: {path}: {len(shots) - 1} cuts; the longest shot is used, frames "
            f"{sources[shot[0]].index} to {sources[shot[-1]].index} (--start and --end name others)"
        )
    track = _who(path, faces, shot, chosen=chosen)
    used: list[tuple[int, _Face]] = []
    for place, row in enumerate(rows):
        mine = [face for face in faces[place] if face.track == track]
        if place not in shot:
            row |= {"status": UNUSED, "reason": "another shot"}
        elif mine:
            used.append((place, mine[0]))
            row["status"] = USED
        else:
            reason = "another face" if faces[place] else sources[place].reason
            row |= {"status": UNUSED, "reason": reason or "no face was found"}
    if len(used) < LEAST:
        raise UsageError(
            f"{path}: {len(used)} frames with a face; an avatar needs {LEAST} at least, and some "
            "hundreds to be any good"
        )
    with atomic_path(data / FRAMES) as temporary:
        shape = (len(used), size, size, 3)
        with open(temporary, "xb") as file:
            np.lib.format.write_array_header_2_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            with (
                FrameReader() as reader,
                FrameReader() as matte_reader,
                working(f"{path}: cutting out frames") as line,
            ):
                for number, (place, face) in enumerate(used):
                    pixels = _read(reader, sources[place]).pixels
                    if mattes is not None:
                        matte = FrameSource(mattes, _by_index(reading), sources[place].index)
                        pixels = _masked(pixels, _read(matte_reader, matte).pixels, mattes)
                    file.write(np.ascontiguousarray(_crop(pixels, face, size)).tobytes())
                    line.doing(f"{path}: cutting out frames, {number + 1} of {len(used)}")
    images = read_array(data / FRAMES, mapped=True, remove=data)
    with working(f"{path}: reading faces") as line:
        seen = see(
            suite, images, progress=lambda n, of: line.doing(f"{path}: reading faces, {n} of {of}")
        )
    times = [Fraction(rows[place]["time"]) for place, _ in used]
    write_motion(data / MOTION, seen.motion, times)
    with atomic_writer(data / LANDMARKS) as file:
        np.save(file, seen.landmarks.astype(np.float32), allow_pickle=False)
    with atomic_writer(data / ROWS) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def _by_index(reading: ClipReading) -> ClipReading:
    """How mattes are read: all of them, since frames are told by their numbers, not their times."""
    return dataclasses.replace(reading, fps=Fraction(1), start=Fraction(0), end=None, every=1)


def _check_mattes(path: str, mattes: str, reading: ClipReading) -> None:
    """Insists on as many mattes as frames, before faces are looked for, which takes long.

    Raises:
      UsageError: there are fewer, or more though the clip is read to its end.
    """
    with working(f"{mattes}: counting frames"):
        try:
            frames = _count(path, reading)
        except VideoError:
            return  # the survey tells it, with what to do
        try:
            count = _count(mattes, _by_index(reading))
        except VideoError as error:
            raise UsageError(str(error)) from error
    if count < frames or (count > frames and reading.end is None):
        raise UsageError(
            f"{mattes}: has {count} frames, and {path} has {frames}; mattes are of the same frames"
        )


def _count(path: str, reading: ClipReading) -> int:
    """Frames of a clip up to the end of what is read; hardly any is kept."""
    with dataclasses.replace(reading, every=sys.maxsize).open(path) as clip:
        for _ in clip:
            pass
        return clip.info.frames


def _surveyed(
    path: str,
    reading: ClipReading,
    alignment: ClipAlignment | None,
    *,
    size: int,
    folder: Path,
) -> tuple[list[FrameSource], list[dict[str, Any]]]:
    """The sources of a clip's frames and their rows so far."""
    items = frame_items(find_clips([path]), reading, alignment, size=size, folder=str(folder))
    sources: list[FrameSource] = []
    rows = []
    for item in items:
        if isinstance(item.load, UnusableClip):
            hint = "; --allow-truncated uses its good frames" if sources else ""
            raise UsageError(f"{item.load.reason}{hint}")
        assert isinstance(item.load, FrameSource)
        sources.append(item.load)
        frame = item.columns["frame"]
        rows.append({"index": frame["index"], "time": frame["time"]})
    return sources, rows


def _faces(source: FrameSource) -> list[_Face]:
    if source.faces is None:
        return [_Face(0, None, 0.0)]
    return [_Face(face.track, face.transform, face.transform.side) for face in source.faces]


def _cuts(path: str, sources: Sequence[FrameSource]) -> list[int]:
    """Places of frames with which a new shot begins."""
    differences = Differences()
    with FrameReader() as reader, working(f"{path}: looking for cuts") as line:
        for place, source in enumerate(sources):
            frame = _read(reader, source)
            height, width = frame.pixels.shape[:2]
            if source.faces is None and height != width:
                raise UsageError(
                    f"{path}: its frames are {width}x{height}, aligned portraits are square; "
                    "--align finds the face and cuts it out"
                )
            differences.add(frame.pixels)
            line.doing(f"{path}: looking for cuts, {place + 1} of {len(sources)}")
    return find_cuts(differences.values)


def _who(path: str, faces: Sequence[list[_Face]], shot: range, *, chosen: bool) -> int:
    """The track that is meant: of all in a shot the one with the largest area over time."""
    sizes: dict[int, float] = collections.defaultdict(float)
    for place in shot:
        for face in faces[place]:
            sizes[face.track] += 1 + face.side**2
    if not sizes:
        raise UsageError(f"{path}: shows no face")
    crowded = [place for place in shot if len(faces[place]) > 1]
    if not chosen and len(crowded) > CROWDED * len(shot):
        most = max(len(faces[place]) for place in crowded)
        raise UsageError(
            f"{path}: shows {most} faces at once, in {len(crowded)} frames; say whose avatar it is "
            f"to be: --track largest, or 1 to {most} from left to right"
        )
    return max(sizes, key=lambda track: (sizes[track], -track))


def _read(reader: FrameReader, source: FrameSource) -> Frame:
    try:
        return reader.read(source)
    except VideoError as error:
        raise UsageError(str(error)) from error


def _crop(pixels: np.ndarray, face: _Face, size: int) -> np.ndarray:
    """uint8 [size, size, 3] of a frame's pixels, uint8."""
    image = np.asarray(from_uint8(pixels))
    if face.transform is None:
        image = to_square(LoadedImage(image, ()), size).pixels
    else:
        image = crop_face(image, face.transform)
    return np.asarray(to_uint8(image))


def _masked(pixels: np.ndarray, matte: np.ndarray, path: str) -> np.ndarray:
    """A frame's pixels, uint8 [H, W, 3], black where the matte, likewise, is."""
    if matte.shape != pixels.shape:
        raise UsageError(
            f"{path}: its frames are {matte.shape[1]}x{matte.shape[0]}, the clip's "
            f"{pixels.shape[1]}x{pixels.shape[0]}"
        )
    share = matte.astype(np.float32).mean(axis=2, keepdims=True) / 255.0
    return np.rint(pixels * share).astype(np.uint8)
