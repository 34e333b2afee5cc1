"""What becomes of an input before it is embedded: its central square, or its faces, aligned.

Both happen ahead of the device, so that an accelerator does not wait for them. Squares are read by
Grain's threads (decoding lets other threads run). Faces are looked for in worker processes: an
input goes to the next free worker, which reads it, finds the faces and returns the finished crops.
Where a network on the device places the points (`jaxface.media.detection.in_two_steps`), the worker
returns what the network is to see, this process runs it, and a worker reads the input again and
cuts the faces out; meanwhile the workers look at the inputs that follow. Results come back in the
order of the inputs whatever the workers' order was, and each carries its input, so a name can never
go to another image.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.crops import Aligner, Crop, Face
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.reading import read_items
from jaxface.jobs.inputs.workers import Workers, num_cores
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.detection import (
    FindFaces,
    describe_detector,
    detector_versions,
    in_two_steps,
)
from jaxface.media.image_errors import ImageError, of_one_image
from jaxface.media.images import LoadedImage, from_uint8, to_square

FEW = 4  # inputs below which starting processes takes longer than the work


@dataclass(frozen=True)
class Portrait:
    """A square image to be embedded.

    Attributes:
      id: of its result: the input's own, with #1, #2, ... where several faces of it are wanted.
      item: the input that it comes from.
      image: [size, size, 3], with the notes of how it came about.
      face: None where the input was not aligned.
      more: further columns of its row.
    """

    id: str
    item: Item
    image: LoadedImage
    face: Face | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """Of its row: which face of its input it is, and where it was cut out."""
        if self.face is None:
            return {"notes": list(self.image.notes)}
        return {
            "notes": list(self.image.notes),
            "face": {"number": self.face.number, "of": self.face.of},
            "transform": self.face.transform.to_json(),
            **self.more,
        }


Prepared = tuple[Item, list[Portrait] | ImageError]
"""An input and its portraits, at least one, or the reason why it has none."""


@dataclass(frozen=True)
class Alignment:
    """How faces are found and cut out.

    Attributes:
      find_faces: the detector; see `jaxface.media.detection`.
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
def prefetch_portraits(
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
        with read_items(items, lambda item: _central(item, size), ahead=ahead) as squares:
            yield squares
        return
    refuse_face_names([item.id for item in items])
    aligner = Aligner(alignment.find_faces, alignment.faces)
    workers = alignment.workers
    if workers is None:
        workers = min(num_cores(), len(items)) if len(items) >= FEW else 0
    if workers == 0:
        yield ((item, _portraits(item, aligner.align(item.load, size))) for item in items)
        return
    with Workers(workers, aligner) as pool:
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
    """The image that a finished row was made from, cut out again; None if it cannot be read."""
    try:
        image = item.load()
    except ImageError:
        return None
    if row.get("transform") is None:
        return to_square(image, size).pixels
    transform = CropTransform.from_json(row["transform"])
    height, width = image.pixels.shape[:2]
    return crop_face(image.pixels, transform) if (width, height) == transform.source else None


def _central(item: Item, size: int) -> list[Portrait] | ImageError:
    try:
        with of_one_image():
            return [Portrait(item.id, item, to_square(item.load(), size))]
    except ImageError as error:
        return error


def _portraits(item: Item, found: list[Crop] | ImageError) -> list[Portrait] | ImageError:
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


def _in_two_steps(
    pool: Workers, items: Sequence[Item], size: int, *, ahead: int
) -> Iterator[tuple[Item, list[Crop] | ImageError]]:
    """As `Workers.map` of ``align``, with the device's step here.

    Of each worker one more image is in flight, which is being cut up.
    """
    cutting: deque[tuple[Item, Future | ImageError]] = deque()

    def first() -> tuple[Item, list[Crop] | ImageError]:
        item, found = cutting.popleft()
        return item, found if isinstance(found, ImageError) else pool.result(found)

    for item, seen in pool.map("preprocess", items, size, ahead=ahead):
        found = seen if isinstance(seen, ImageError) else pool.aligner.predict(seen)
        if not isinstance(found, ImageError):
            found = pool.submit("cut", item.load, size, found)
        cutting.append((item, found))
        if len(cutting) > pool.number:
            yield first()
    while cutting:
        yield first()
