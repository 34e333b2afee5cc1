"""Clips as inputs: which arguments are clips, how they are read, and their frames one by one.

A frame is an `Item` whose `load` is a `FrameSource`. Frames of one clip are read in their order by
one decoder (`FrameReader`); only where a single frame is asked for is the clip opened for it.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import matching_paths
from jaxface.jobs.storage import is_remote
from jaxface.media.alignment import CropTransform
from jaxface.media.image_errors import UnreadableImageError
from jaxface.media.images import LoadedImage, from_uint8
from jaxface.media.video.errors import VideoError
from jaxface.media.video.folders import SUFFIXES, TIMES
from jaxface.media.video.frames import Clip, Frame, Span
from jaxface.media.video.reading import open_clip
from jaxface.runtime.files import sha256

CLIP_SUFFIXES = frozenset({
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".mxf", ".ogv", ".webm", ".wmv",
})  # fmt: skip
"""Files that count as clips by their names; others, GIFs and folders too, where it is said."""


@dataclasses.dataclass(frozen=True)
class ClipReading:
    """Which frames of a clip are read, and how.

    Attributes:
      fps: frames a second of folders of images; files have their own times.
      start, end: seconds after the first frame; the frame at `end` is left out.
      every: reads each n-th frame of that part.
      deinterlace: see `jaxface.media.video.reading.open_clip`.
      allow_truncated: see there.
    """

    fps: Fraction | None = None
    start: Fraction = Fraction(0)
    end: Fraction | None = None
    every: int = 1
    deinterlace: bool = False
    allow_truncated: bool = False

    @property
    def span(self) -> Span:
        """The part that is read."""
        return Span(start=self.start, end=self.end, every=self.every)

    def open(self, path: str) -> contextlib.AbstractContextManager[Clip]:
        """See `jaxface.media.video.reading.open_clip`."""
        return open_clip(
            path,
            fps=self.fps if os.path.isdir(path) else None,
            span=self.span,
            allow_truncated=self.allow_truncated,
            deinterlace=self.deinterlace,
        )

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON holds it; `from_json` reads it back."""
        return {
            field.name: str(value) if isinstance(value, Fraction) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ClipReading":
        """Reads what `to_json` wrote."""
        fields: Any = {k: Fraction(v) if isinstance(v, str) else v for k, v in document.items()}
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class FrameFace:
    """A face of a frame.

    Attributes:
      track: its number in the clip.
      transform: where it is cut out.
      status: "ok", or "interpolated" where the face was not seen in this frame.
    """

    track: int
    transform: CropTransform
    status: str


@dataclasses.dataclass(frozen=True)
class FrameSource:
    """Reads one frame of a clip; an item's `load`.

    Attributes:
      path: of the clip.
      reading: of the clip.
      index: of the frame, in the whole clip.
      faces: those that are meant, from left to right; None where frames are aligned portraits.
      reason: why there are none.
    """

    path: str
    reading: ClipReading
    index: int
    faces: tuple[FrameFace, ...] | None = None
    reason: str | None = None

    def __call__(self) -> LoadedImage:
        """The frame.

        Raises:
          UnreadableImageError: it cannot be read any more.
        """
        try:
            with FrameReader() as reader:
                return LoadedImage(np.asarray(from_uint8(reader.read(self).pixels)), ())
        except VideoError as error:
            raise UnreadableImageError(str(error)) from error


@dataclasses.dataclass(frozen=True)
class UnusableClip:
    """Stands where the frames of a clip would be; an item's `load`.

    Attributes:
      status, reason: of its row.
    """

    status: str
    reason: str

    def __call__(self) -> LoadedImage:
        """There is nothing to read.

        Raises:
          UnreadableImageError: always.
        """
        raise UnreadableImageError(self.reason)


class FrameReader:
    """Reads frames of clips; those of one clip in their order cost one pass. A context manager."""

    def __init__(self):
        self._stack = contextlib.ExitStack()
        self._clip: tuple[str, ClipReading] | None = None
        self._frames: Iterator[Frame] = iter(())
        self._last: Frame | None = None

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the clip that is open."""
        self._stack.close()

    def read(self, source: FrameSource) -> Frame:
        """A frame.

        Raises:
          VideoError: the clip cannot be read, or has no such frame.
        """
        clip, last = (source.path, source.reading), self._last
        if clip != self._clip or (last is not None and last.index > source.index):
            self._stack.close()
            self._clip, self._last = None, None
            self._frames = iter(self._stack.enter_context(source.reading.open(source.path)))
            self._clip = clip
        if self._last is not None and self._last.index == source.index:
            return self._last
        for frame in self._frames:
            self._last = frame
            if frame.index == source.index:
                return frame
            if frame.index > source.index:
                break
        raise VideoError(f"{source.path}: has no frame {source.index} any more")


def frame_source(row: Mapping[str, Any]) -> FrameSource:
    """What reads the whole frame that a row of an edit was made from."""
    frame = row["frame"]
    reading = ClipReading.from_json(frame.get("reading", {}))
    return FrameSource(row["source"], reading, frame["index"])


def part_clips(arguments: Sequence[str], *, all_clips: bool) -> tuple[list[str], list[str]]:
    """Arguments that are clips, globs resolved, and the others as they are.

    Args:
      arguments: paths and globs.
      all_clips: every one is a clip, whatever its suffix, folders of images too.

    Raises:
      UsageError: one that is to be a clip names nothing, or is on an object store.
    """
    clips, others = [], []
    for argument in arguments:
        if not all_clips and Path(argument).suffix.lower() not in CLIP_SUFFIXES:
            others.append(argument)
            continue
        if is_remote(argument):
            raise UsageError(f"{argument}: clips are read from local files; copy it")
        clips += [os.fspath(path) for path in matching_paths(argument)]
    return list(dict.fromkeys(clips)), others


def clip_digest(path: str) -> str:
    """SHA-256 of a clip: of its file, or of the names and contents of a folder's images.

    Raises:
      OSError: it cannot be read.
    """
    if not os.path.isdir(path):
        return sha256(path)
    digest = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if file.name == TIMES or (file.suffix.lower() in SUFFIXES and file.name[0] != "."):
            digest.update(f"{file.name}\0{sha256(file)}\n".encode())
    return digest.hexdigest()
