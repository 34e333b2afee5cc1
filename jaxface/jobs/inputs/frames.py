"""Frames of clips as portraits, read in their order ahead of the device."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.jobs.inputs.clips import FrameReader, FrameSource, UnusableClip, frame_source
from jaxface.jobs.inputs.crops import Face
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import Portrait
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.detection import NoFaceError
from jaxface.media.images import LoadedImage, from_uint8, to_square, to_uint8
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
    ready: queue.Queue[Any] = queue.Queue(max(1, ahead))
    stopped = threading.Event()

    def put(value: Any) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(value, timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            with FrameReader() as reader:
                for item in items:
                    if not put((item, _portraits(item, size, reader))):
                        return
            put(None)
        except BaseException as error:  # noqa: BLE001 (raised again where it is read)
            put(error)

    def taken() -> Iterator[Prepared]:
        while (value := ready.get()) is not None:
            if isinstance(value, BaseException):
                raise value
            yield value

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()


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
