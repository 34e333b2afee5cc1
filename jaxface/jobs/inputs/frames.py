"""Frames of clips as portraits, read in their order ahead of the device."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.jobs.inputs.clips import FrameReader, FrameSource, UnusableClip, frame_source
from jaxface.jobs.inputs.crops import Face
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import Portrait
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.detection import NoFaceError
from jaxface.media.images import LoadedImage, from_uint8, to_square, to_uint8
from jaxface.media.video.ahead import read_ahead
from jaxface.media.video.errors import VideoError

Prepared = tuple[Item, Any]


def are_frames(items: Sequence[Item]) -> bool:
    """Whether a job's items are frames of clips; they all are, or none is."""
    return bool(items) and isinstance(items[0].load, (FrameSource, UnusableClip))


@contextlib.contextmanager
def prefetch_frames(
    items: Sequence[Item], size: int, *, ahead: int
) -> Iterator[Iterable[Prepared]]:
    """The portraits of each frame, in the items' order; a thread reads.

    Args:
      items: see `are_frames`.
      size: pixels a side of the portraits.
      ahead: items that may be prepared beyond the one that is asked for.
    """

    def prepared() -> Generator[Prepared]:
        with FrameReader() as reader:
            for item in items:
                yield item, _portraits(item, size, reader)

    with contextlib.closing(prepared()) as frames, read_ahead(frames, ahead=max(1, ahead)) as ready:
        yield ready


def frame_targets(
    pairs: Sequence[tuple[Item, dict[str, Any]]], size: int
) -> Iterator[np.ndarray | None]:
    """The portrait of each item's row, [size, size, 3] in [-1, 1]; None where there is none.

    Args:
      pairs: items and their rows, in the order of the frames.
      size: pixels a side.
    """
    with FrameReader() as reader:
        for item, row in pairs:
            found = _portraits(item, size, reader)
            same = [p for p in found if p.id == row["id"]] if isinstance(found, list) else []
            yield same[0].image.pixels if same else None


def frame_portrait(row: Mapping[str, Any], size: int, reader: FrameReader) -> np.ndarray | None:
    """The portrait [size, size, 3] in [-1, 1] that an edit's row was made from, if it is there."""
    try:
        frame = reader.read(frame_source(row))
    except (VideoError, OSError):
        return None
    image = np.asarray(from_uint8(frame.pixels))
    if row["transform"] is None:
        return to_square(LoadedImage(image, ()), size).pixels
    return _cut(image, CropTransform.from_json(row["transform"]))


def _portraits(item: Item, size: int, reader: FrameReader) -> list[Portrait] | Exception:
    """The portraits of a frame, or why there is none."""
    source = item.load
    if isinstance(source, UnusableClip):
        return _Unusable(source)
    assert isinstance(source, FrameSource)
    if source.faces == ():
        return NoFaceError(f"{source.reason}; the frame stays as it is")
    try:
        frame = reader.read(source)
    except VideoError as error:
        return error
    image = np.asarray(from_uint8(frame.pixels))
    if source.faces is None:
        return [Portrait(item.id, item, to_square(LoadedImage(image, ()), size))]
    count = len(source.faces)
    return [
        Portrait(
            item.id if count == 1 else f"{item.id}#{number}",
            item,
            LoadedImage(_cut(image, face.transform), ()),
            Face(number, count, face.transform),
            {"track": {"id": face.track, "status": face.status}},
        )
        for number, face in enumerate(source.faces, start=1)
    ]


def _cut(image: np.ndarray, transform: Any) -> np.ndarray:
    """A crop with the 8 bits that a file would hold."""
    return np.asarray(from_uint8(np.asarray(to_uint8(crop_face(image, transform)))))


class _Unusable(Exception):
    """Why a clip gives no frames, or no more: a `jaxface.jobs.task.Failure`."""

    def __init__(self, clip: UnusableClip):
        super().__init__(clip.reason)
        self.status = clip.status
