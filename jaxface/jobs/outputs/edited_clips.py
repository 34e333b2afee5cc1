"""Clips in which only the faces changed, of edits of their frames; written when a job is finished.

::

    DIR/clips/<id>.mp4        every frame of what was inverted, with the clip's times and sound
    DIR/clips/<id>.mp4.json   what it was made from, notes, how many frames were edited, and how
                              much the faces flicker before and after
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.jobs.inputs.clips import ClipReading, clip_digest
from jaxface.jobs.outputs.flicker import flicker
from jaxface.jobs.outputs.names import file_name
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import OK, versions
from jaxface.media.alignment import CropTransform
from jaxface.media.following.pasting import FramePasting
from jaxface.media.images import LoadedImage, from_uint8, read_image, to_square, to_uint8
from jaxface.media.marks import Kind
from jaxface.media.video.errors import UnreadableVideoError, VideoError
from jaxface.media.video.folders import common_base
from jaxface.media.video.frames import DEFAULT_RATE, Clip, ClipInfo, Frame
from jaxface.media.video.rewriting import rewrite_clip
from jaxface.media.video.sound import Sound
from jaxface.media.video.writing import FORMATS, Encoding
from jaxface.runtime.files import write_json
from jaxface.runtime.progress import frames_done, working
from jaxface.runtime.stopping import Stopped

CLIPS = "clips"
PNG = "png"
CONTAINERS = (*(suffix[1:] for suffix in FORMATS), PNG)
"""What clips are written as; `PNG` is a folder of images with their times."""


@dataclasses.dataclass(frozen=True)
class ClipWriting:
    """How edited clips are written.

    Attributes:
      container: one of `CONTAINERS`; None: the source's, for those that are not written MP4, and
        folders for folders.
      sound: whether the source's sound goes with it.
      rate: frames a second, chosen by their times; None: the source's times.
      encoding: of frames.
      pasting: how faces are put back.
      driver: the clip that moved the faces, and the time of it at which it begins; its sound goes
        with portraits that were no clip.
      driver_sound: whether it goes with clips too, in place of their own.
    """

    container: str | None = None
    sound: bool = True
    rate: Fraction | None = None
    encoding: Encoding = dataclasses.field(default_factory=Encoding)
    pasting: FramePasting = dataclasses.field(default_factory=FramePasting)
    driver: tuple[str, Fraction] | None = None
    driver_sound: bool = False

    def __post_init__(self):
        if self.container not in (None, *CONTAINERS):
            raise ValueError(
                f"ClipWriting: container must be one of {', '.join(CONTAINERS)}; got "
                f"{self.container!r}."
            )
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"ClipWriting: rate must be more than 0, got {self.rate}.")

    def suffix(self, source: str) -> str:
        """Of the file that is written for a clip; empty for a folder."""
        container = self.container
        if container is None:
            known = Path(source).suffix.lower()
            container = known[1:] if known in FORMATS else "mp4"
            container = PNG if os.path.isdir(source) else container
        return "" if container == PNG else f".{container}"

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        rate = None if self.rate is None else str(self.rate)
        driver = None if self.driver is None else [clip_digest(self.driver[0]), str(self.driver[1])]
        return dataclasses.asdict(self) | {"rate": rate, "driver": driver}


@dataclasses.dataclass(frozen=True)
class WrittenClip:
    """A clip that was written, now or by an earlier run.

    Attributes:
      path: of the file, or of the folder of PNGs.
      frames: in it.
      edited: of the source's frames, how many have an edited face.
      notes: of reading and writing, one short sentence each.
    """

    path: Path
    frames: int
    edited: int
    notes: tuple[str, ...]


def check_sources(paths: Iterable[str]) -> None:
    """Insists that clips are there, before their frames are edited.

    Raises:
      UnreadableVideoError: one is not.
    """
    for path in sorted(set(paths)):
        if not os.path.exists(path):
            raise UnreadableVideoError(
                f"{path}: is not there any more; the edited faces belong into this clip"
            )


def write_clips(
    rows: Sequence[Mapping[str, Any]],
    results: ResultsFolder,
    how: ClipWriting,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[WrittenClip]:
    """The clips of a finished job, in the order of their first rows; those that are there stay.

    Args:
      rows: of edits; those without a frame, and those that are not ok, are passed over.
      results: where the edits are, and where the clips go.
      how: they are written.
      stop: asked before each frame; what is written by then is kept for the next run.

    Raises:
      VideoError: a clip cannot be read or written, or is another one by now.
      UsageError: an earlier run with other settings has left a part of the same clip.
      Stopped: `stop` said so.
    """
    clips: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["status"] == OK and row.get("frame") is not None:
            clips[row["frame"]["clip"]].append(row)
    return [_write(clip, found, results, how, stop) for clip, found in clips.items()]


def _write(
    clip: str,
    rows: Sequence[Mapping[str, Any]],
    results: ResultsFolder,
    how: ClipWriting,
    stop: Callable[[], bool],
) -> WrittenClip:
    source, still = rows[0]["source"], rows[0]["frame"].get("still")
    reading = ClipReading.from_json(rows[0]["frame"].get("reading", {}))
    rows = sorted(rows, key=lambda row: row["frame"]["index"])
    key = _key(source, rows, results, how)
    suffix = how.suffix("still.mp4" if still else source)
    stem = clip[: -len(suffix)] if suffix and clip.lower().endswith(suffix) else clip
    path = results.folder / CLIPS / file_name(stem, suffix)
    told = path.with_name(path.name + ".json")
    with contextlib.suppress(FileNotFoundError):
        known = json.loads(told.read_text())
        if known["key"] == key and path.exists():
            return WrittenClip(path, known["frames"], known["edited"], tuple(known["notes"]))
        told.unlink()
    edits: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        edits[row["frame"]["index"]].append(row)
    change = _Change(source, edits, results.folder, how.pasting, stop)
    seen: set[int] = set()
    kind: Kind = "synthetic" if rows[0].get("transform") is None else "composite"
    # Where a clip ends early the inversion has failed already; its good frames are given back.
    reading = dataclasses.replace(reading, allow_truncated=True)
    with (
        working(f"{path}: writing") as line,
        contextlib.nullcontext(_still(rows)) if still else reading.open(source) as opened,
    ):
        start = time.monotonic()

        def frames() -> Iterator[Frame]:
            for frame in opened:
                seen.add(frame.index)
                if line.due or len(seen) % 100 == 0:
                    seconds = time.monotonic() - start
                    done = frames_done(len(seen), seconds, opened.info.share)
                    line.doing(f"{path}: writing, {done}")
                yield frame

        written = rewrite_clip(
            Clip(opened.info, frames()),
            path,
            change,
            span=reading.span,
            size=change.size,
            rate=how.rate,
            sound=_sound(rows, how),
            encoding=dataclasses.replace(how.encoding, kind=kind),
            resume=key,
            pngs=not suffix,
            sources=[source, *(() if how.driver is None else how.driver[:1])],
        )
    notes = list(written.notes)
    if left := len(edits.keys() - seen):
        notes.append(f"{left} edited frames are not in the clip any more")
    document = {
        "key": key,
        "frames": written.frames,
        "edited": len(edits) - left,
        "notes": notes,
        "flicker": flicker(rows, results.folder),
        "clip": clip,
        "source": source,
        "settings": rows[0]["settings"],
        "versions": versions(),
    }
    write_json(told, document)
    return WrittenClip(path, written.frames, len(edits) - left, tuple(notes))


def _sound(
    rows: Sequence[Mapping[str, Any]], how: ClipWriting
) -> str | Callable[[Fraction], Sound] | None:
    """The clip's own sound, or the driver's."""
    still, source = rows[0]["frame"].get("still"), rows[0]["source"]
    if not how.sound:
        return None
    if how.driver is not None and (still or how.driver_sound):
        path, start = how.driver
        first, last = (Fraction(rows[place]["frame"]["time"]) for place in (0, -1))
        # The last frame is shown as long as the mean one.
        shown = (last - first) / (len(rows) - 1) if len(rows) > 1 else Fraction(1, 25)

        def made(origin: Fraction) -> Sound:
            end = start + last - first + shown
            at = start - (first - origin)
            return Sound(path, origin=at, end=end, cut=at > 0)

        return None if os.path.isdir(path) else made
    return None if still or os.path.isdir(source) else source


def _still(rows: Sequence[Mapping[str, Any]]) -> Clip:
    """A portrait's photograph again and again, at the times of what drives it."""
    times = [Fraction(row["frame"]["time"]) for row in rows]
    pixels = np.zeros((1, 1, 3), np.uint8)  # of an aligned portrait nothing else is shown
    if rows[0]["transform"] is not None:
        pixels = np.asarray(to_uint8(read_image(rows[0]["source"]).pixels))
    rate = (len(times) - 1) / times[-1] if len(times) > 1 else DEFAULT_RATE
    info = ClipInfo(pixels.shape[1], pixels.shape[0], rate, common_base(times, rate), times[0])
    frames = (
        Frame(row["frame"]["index"], time, pixels) for row, time in zip(rows, times, strict=True)
    )
    return Clip(info, frames)


class _Change:
    """Frames with their edited faces; see `jaxface.media.video.rewriting.Change`.

    Attributes:
      size: (width, height) of what is written, where it is not the clip's.
    """

    def __init__(
        self,
        source: str,
        edits: Mapping[int, Sequence[Mapping[str, Any]]],
        folder: Path,
        pasting: FramePasting,
        stop: Callable[[], bool],
    ):
        self._source, self._edits, self._folder = source, edits, folder
        self._pasting, self._stop = pasting, stop
        self.size: tuple[int, int] | None = None
        some = next(iter(edits.values()))[0]
        if some["transform"] is None:  # frames are portraits
            height, width = self._read(some, "edited").shape[:2]
            self.size = (width, height)

    def __call__(self, place: int, frame: Frame) -> np.ndarray:
        if self._stop():
            raise Stopped("stopped", {})
        pixels, rows = frame.pixels, self._edits.get(frame.index, ())
        if self.size is not None:
            if rows:
                return np.asarray(to_uint8(self._read(rows[0], "edited")))
            image = LoadedImage(np.asarray(from_uint8(pixels)), ())
            return np.asarray(to_uint8(to_square(image, self.size[0]).pixels))
        for row in rows:
            transform = CropTransform.from_json(row["transform"])
            if transform.source != (pixels.shape[1], pixels.shape[0]):
                raise VideoError(
                    f"{self._source}: {pixels.shape[1]}x{pixels.shape[0]} px; its faces were cut "
                    f"from a clip of {transform.source[0]}x{transform.source[1]} px"
                )
            # What an earlier edit changed is to stay changed.
            before = None if row.get("edited_before") else self._read(row, "unedited")
            edited = self._read(row, "edited")
            pixels = self._pasting(pixels, edited, transform, unedited=before)
        return pixels

    def _read(self, row: Mapping[str, Any], kind: str) -> np.ndarray:
        return np.asarray(read_image(self._folder / row[kind]).pixels)


def _key(
    source: str, rows: Sequence[Mapping[str, Any]], results: ResultsFolder, how: ClipWriting
) -> dict[str, Any]:
    """What decides the clip."""
    edits = hashlib.sha256()
    for row in rows:
        edits.update(json.dumps([row["id"], row["transform"]]).encode())
        edits.update((results.folder / row["latents"]).read_bytes())
    still = rows[0]["frame"].get("still") and rows[0]["transform"] is None
    document = {
        "clip": None if still else clip_digest(source),
        "edits": edits.hexdigest(),
        "job": results.settings,
        "writing": how.to_json(),
    }
    return json.loads(json.dumps(document))
