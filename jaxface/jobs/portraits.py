"""What becomes of an input before it is embedded: its central square, or its faces, aligned.

Both happen ahead of the device, so that an accelerator does not wait for them. Squares are read by
Grain's threads (decoding lets other threads run). Faces are looked for in worker processes: an
input goes to the next free worker, which reads it, finds the faces and returns the finished crops.
Where a network on the device places the points (`jaxface.faces.in_two_steps`), the worker returns
what the network is to see, this process runs it, and a worker reads the input again and cuts the
faces out; meanwhile the workers look at the inputs that follow.
Results come back in the order of the inputs whatever the workers' order was, and each carries its
input, so a name can never go to another picture.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from jaxface.align import CropTransform, crop_face, ffhq_transform, padded_margins
from jaxface.errors import JaxfaceError, UsageError
from jaxface.faces import (
    FindFaces,
    NoFaceError,
    describe_detector,
    detector_versions,
    find_landmarks,
    in_order,
    in_two_steps,
)
from jaxface.images import ImageError, LoadedImage, from_uint8, to_square, to_uint8
from jaxface.jobs.inputs import Item

FEW = 4  # inputs below which starting processes takes longer than the work


@dataclass(frozen=True)
class Face:
    """Which face of its picture a portrait is, and where it was cut out.

    Attributes:
      number: its place from left to right, from 1.
      of: how many faces were found.
      transform: the crop's.
    """

    number: int
    of: int
    transform: CropTransform


@dataclass(frozen=True)
class Portrait:
    """A square picture to be embedded.

    Attributes:
      id: of its result: the input's own, with #1, #2, ... where several faces of it are wanted.
      item: the input that it comes from.
      image: [size, size, 3], with the notes of how it came about.
      face: None where the input was not aligned.
    """

    id: str
    item: Item
    image: LoadedImage
    face: Face | None = None


Load = Callable[[], LoadedImage]

Prepared = tuple[Item, list[Portrait] | ImageError]
"""An input and its portraits, at least one, or the reason why it has none."""


@dataclass(frozen=True)
class Alignment:
    """How faces are found and cut out.

    Attributes:
      find_faces: the detector; see `jaxface.faces`.
      faces: "all", one portrait for each face, or "largest", the one whose crop is largest.
      workers: processes that look for faces; 0 for none beside this one, and None for one a core
        where there is work for them. No influence on results.
    """

    find_faces: FindFaces
    faces: Literal["all", "largest"] = "all"
    workers: int | None = None

    def __post_init__(self):
        if self.faces not in ("all", "largest"):
            raise ValueError(f"Alignment: faces must be 'all' or 'largest', got {self.faces!r}.")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"Alignment: workers must be >= 0, got {self.workers}.")

    def description(self) -> dict[str, Any]:
        """Everything that decides the crops, JSON-like."""
        return {"crop": "ffhq", "faces": self.faces, "detector": describe_detector(self.find_faces)}

    def versions(self) -> dict[str, str]:
        """Versions of what finds the faces."""
        return detector_versions(self.find_faces)


@contextlib.contextmanager
def prepared(
    items: Sequence[Item], size: int, alignment: Alignment | None, *, ahead: int
) -> Iterator[Iterable[Prepared]]:
    """The portraits of each item, in the items' order.

    A context manager, because processes may have to be ended.

    Args:
      items: with distinct ids.
      size: pixels a side of the portraits.
      alignment: None for the central square.
      ahead: items that may be prepared beyond the one that is asked for.

    Raises:
      UsageError: an item goes by the name that a face of another one would get.
      JaxfaceError: while iterating, a worker process was killed.
    """
    if alignment is None:
        with contextlib.closing(_read_ahead(items, size, ahead)) as squares:
            yield squares
        return
    refuse_face_names([item.id for item in items])
    aligner = _Aligner(alignment.find_faces, alignment.faces)
    workers = alignment.workers
    if workers is None:
        workers = min(_cores(), len(items)) if len(items) >= FEW else 0
    if workers == 0:
        yield ((item, _portraits(item, aligner.align(item.load, size))) for item in items)
        return
    with _Workers(workers, aligner) as pool:
        if in_two_steps(alignment.find_faces):
            results = _in_two_steps(pool, items, size, ahead=workers + ahead)
        else:
            results = pool.map("align", items, size, ahead=workers + ahead)
        yield ((item, _portraits(item, found)) for item, found in results)


def refuse_face_names(ids: Sequence[str]) -> None:
    """`photo.jpg#1` is the name of a face of `photo.jpg`, and so of no input beside it."""
    known = set(ids)
    for item_id in ids:
        stem, mark, number = item_id.rpartition("#")
        if mark and number.isdecimal() and stem in known:
            raise UsageError(
                f"{item_id}: faces of {stem} would go by this name; rename the file, or give the "
                "two different --out"
            )


def shown_target(item: Item, row: dict[str, Any], size: int) -> np.ndarray | None:
    """The picture that a finished row was made from, cut out again; None if it cannot be read."""
    try:
        image = item.load()
    except ImageError:
        return None
    if row.get("transform") is None:
        return to_square(image, size).pixels
    transform = CropTransform.from_json(row["transform"])
    height, width = image.pixels.shape[:2]
    return crop_face(image.pixels, transform) if (width, height) == transform.source else None


def _read_ahead(items: Sequence[Item], size: int, ahead: int) -> Generator[Prepared, None, None]:
    """Central squares, read by threads; closing the generator ends the reading."""
    if not items:
        return
    import grain  # takes a second, which calls that end with a message need not wait for

    squares = grain.MapDataset.source(items).map(lambda item: (item, _central(item, size)))
    threads = min(_cores(), ahead, 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    with contextlib.closing(iter(squares.to_iter_dataset(options))) as reading:
        yield from reading


def _central(item: Item, size: int) -> list[Portrait] | ImageError:
    try:
        return [Portrait(item.id, item, to_square(item.load(), size))]
    except ImageError as error:
        return error


@dataclass(frozen=True)
class _Crop:
    """What a worker returns of a face: the crop as 8 bits, as a file of FFHQ's would hold it."""

    face: Face
    pixels: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Aligner:
    """What workers do; see `Alignment` for the attributes."""

    find_faces: Any
    faces: str

    def align(self, load: Load, size: int) -> list[_Crop] | ImageError:
        """Reads a picture and cuts its faces out, from left to right."""
        try:
            image = load()
            landmarks = find_landmarks(image.pixels, self.find_faces)
        except ImageError as error:
            return error
        return self._crops(image, landmarks, size)

    def look(self, load: Load, size: int) -> Any | ImageError:
        """The first of two steps: what the second wants of a picture."""
        del size  # of the crops, which come later
        try:
            return self.find_faces.look(load().pixels)
        except ImageError as error:
            return error

    def place(self, seen: Any) -> np.ndarray | ImageError:
        """The second, in the process that has the device: the landmarks, from left to right."""
        try:
            return in_order(self.find_faces.place(seen), self.find_faces)
        except ImageError as error:
            return error

    def cut(self, load: Load, size: int, landmarks: np.ndarray) -> list[_Crop] | ImageError:
        """Reads a picture again and cuts its faces out."""
        try:
            return self._crops(load(), landmarks, size)
        except ImageError as error:
            return error

    def _crops(
        self, image: LoadedImage, landmarks: np.ndarray, size: int
    ) -> list[_Crop] | ImageError:
        try:
            return _crops(image, landmarks, size, self.faces)
        except ValueError as error:  # of points that a detector should not have returned
            return NoFaceError(f"what was found is no face: {error}")


def _crops(image: LoadedImage, landmarks: np.ndarray, size: int, faces: str) -> list[_Crop]:
    height, width = image.pixels.shape[:2]
    found = [
        Face(number, len(landmarks), ffhq_transform(points, size=size, source=(width, height)))
        for number, points in enumerate(landmarks, start=1)
    ]
    notes = image.notes
    if faces == "largest" and len(found) > 1:
        notes = (*notes, f"the largest of {len(found)} faces")
        found = [max(found, key=lambda face: face.transform.side)]
    return [
        _Crop(
            face,
            np.asarray(to_uint8(crop_face(image.pixels, face.transform))),
            (*notes, *_crop_notes(face.transform)),
        )
        for face in found
    ]


def _crop_notes(transform: CropTransform) -> list[str]:
    notes = []
    if transform.side < transform.size:
        notes.append(f"enlarged from {transform.side:.0f} to {transform.size} px")
    corners = transform.corners
    if (corners < -0.5).any() or (corners > np.array(transform.source) - 0.5).any():
        notes.append("continued by reflection beyond the picture's edge")
    elif padded_margins(transform) is not None:
        notes.append("blurred at the picture's edge")
    return notes


def _portraits(item: Item, found: list[_Crop] | ImageError) -> list[Portrait] | ImageError:
    if isinstance(found, ImageError):
        return found
    return [
        Portrait(
            item.id if len(found) == 1 else f"{item.id}#{crop.face.number}",
            item,
            LoadedImage(np.asarray(from_uint8(crop.pixels)), crop.notes),
            crop.face,
        )
        for crop in found
    ]


class _Workers:
    """Processes that align; a context manager."""

    def __init__(self, number: int, aligner: _Aligner):
        self.number, self.aligner = number, aligner
        self._pool = ProcessPoolExecutor(
            number,
            # Forking a process that has threads, as JAX's has, can deadlock.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(aligner,),
        )

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, step: str, items: Sequence[Item], size: int, *, ahead: int
    ) -> Iterator[tuple[Item, Any]]:
        """What a step returns, in the order of `items`; `ahead` of them are under way at a time."""
        rest = iter(items)
        waiting: deque[tuple[Item, Future]] = deque()
        while True:
            for item in islice(rest, ahead - len(waiting)):
                waiting.append((item, self.submit(step, item.load, size)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, self.result(future)

    def submit(self, step: str, *arguments: Any) -> Future:
        """Gives a step of the `_Aligner` to the next free worker."""
        with _interrupts_held(), _one_error():  # processes that start here never see Ctrl-C
            return self._pool.submit(_work, step, *arguments)

    def result(self, future: Future) -> Any:
        """What the step returned."""
        with _one_error():
            return future.result()


def _in_two_steps(
    pool: _Workers, items: Sequence[Item], size: int, *, ahead: int
) -> Iterator[tuple[Item, list[_Crop] | ImageError]]:
    """As `_Workers.map` of ``align``, with the device's step here.

    Of each worker one more picture is under way, which is being cut up.
    """
    cutting: deque[tuple[Item, Future | ImageError]] = deque()

    def first() -> tuple[Item, list[_Crop] | ImageError]:
        item, found = cutting.popleft()
        return item, found if isinstance(found, ImageError) else pool.result(found)

    for item, seen in pool.map("look", items, size, ahead=ahead):
        found = seen if isinstance(seen, ImageError) else pool.aligner.place(seen)
        if not isinstance(found, ImageError):
            found = pool.submit("cut", item.load, size, found)
        cutting.append((item, found))
        if len(cutting) > pool.number:
            yield first()
    while cutting:
        yield first()


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise JaxfaceError(
            "a process that looks for faces was killed, perhaps for want of memory; what is "
            "finished is kept, and the same command with fewer --workers goes on from there"
        ) from error


_worker_aligner: _Aligner | None = None


def _start_worker(aligner: _Aligner) -> None:
    """Sets a worker process up; its detector arrives once, not with every picture."""
    global _worker_aligner
    _worker_aligner = aligner
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(step: str, *arguments: Any) -> Any:
    if _worker_aligner is None:
        raise RuntimeError("a worker process was not set up")
    return getattr(_worker_aligner, step)(*arguments)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds SIGINT back; what is started meanwhile never gets it, this process gets it after."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
