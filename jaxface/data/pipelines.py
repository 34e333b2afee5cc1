"""Input pipelines: an endless, shuffled, exactly resumable stream of batches, by Grain.

    source = tfds_source(path)                       # or arrays, or a folder of images
    data = batches(source, batch_size=32, seed=0, fields=("image", "factors"))
    batch = next(data)                               # {"image": uint8 [32, R, R, 3], ...}
    position = data.get_state()                      # JSON; data.set_state(position) returns to it

A source is anything with a length and random access to items, dicts of arrays of one signature.
Batch k holds the same items in the same order whatever the number of processes: each process loads
its own contiguous rows, the ones that `jaxface.training.loop.shard_batch` puts on its devices.
Images stay uint8 until they are on the device (a quarter of the transfer):
`jaxface.media.images.from_uint8` belongs into the step.
"""

import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import grain
import jax
import numpy as np

from jaxface.data.tfds_folder import open_builder
from jaxface.errors import JaxfaceError
from jaxface.media import images
from jaxface.media.image_formats import DECODED_SUFFIXES

Item = Mapping[str, Any]


class DataError(JaxfaceError):
    """A data set cannot be read, or cannot fill a batch."""


class Source(Protocol):
    """Random access to items; `source[i]` is a dict of arrays (or scalars)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


class ArraySource:
    """Arrays in memory: item i is their i-th rows.

    Raises:
      DataError: there are none, or their lengths differ.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"ArraySource: need arrays of one length, got {lengths}.")
        self._arrays = dict(arrays)
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return {name: array[index] for name, array in self._arrays.items()}


class FolderSource:
    """A folder's images, searched for in its subfolders too, in the order of their paths.

    Items: ``image`` uint8 [R, R, 3], centre-cropped to a square and resized; ``id`` int64, the
    image's place in `paths`.

    Args:
      folder: where to look; every file with one of `DECODED_SUFFIXES` counts.
      resolution: pixels per side.

    Raises:
      DataError: the folder holds no image. A file that cannot be read raises
        `images.ImageError` when its turn comes: leave none in a training folder.
    """

    def __init__(self, folder: str | os.PathLike[str], resolution: int):
        self.paths = sorted(
            path
            for path in pathlib.Path(folder).rglob("*")
            if path.suffix.lower() in DECODED_SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise DataError(f"{folder}: no images in this folder.")
        self._resolution = resolution

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        square = images.to_square(images.read_image(self.paths[index]), self._resolution)
        return {"image": images.to_uint8(square.pixels), "id": np.int64(index)}


def tfds_source(path: str | os.PathLike[str], *, split: str = "train") -> Source:
    """A TFDS data set in array_record files, by the folder that holds its `dataset_info.json`.

    Args:
      path: for example what `jaxface data` printed.
      split: a split's name or slice, such as "train[:1000]".

    Raises:
      DataError: the folder is no such data set, or has no such split.
    """
    if not (pathlib.Path(path) / "dataset_info.json").is_file():
        raise DataError(f"{path}: no TFDS data set here (dataset_info.json is missing).")
    builder: Any = open_builder(path)
    name = split.split("[")[0]
    if name not in builder.info.splits:
        raise DataError(f"{path}: no split {name!r}; there are {sorted(builder.info.splits)}.")
    return builder.as_data_source(split=split)


def array_record_source(
    paths: Sequence[str | os.PathLike[str]], decode: Callable[[bytes], Item]
) -> Source:
    """Records of array_record files without TFDS's description; `decode` turns one into an item."""
    records: Any = grain.sources.ArrayRecordDataSource([os.fspath(path) for path in paths])
    return cast(Source, grain.MapDataset.source(records).map(decode))


def batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    fields: Sequence[str] | None = None,
    transform: Callable[[Item, np.random.Generator], Item] | None = None,
    shuffle: bool = True,
    threads: int = 2,
) -> grain.DatasetIterator:
    """Endless batches; this process's rows of each.

    Args:
      source: where items come from.
      batch_size: items per batch over all processes; divisible by their number.
      seed: of the order (another one in every epoch) and of `transform`'s random numbers.
      fields: names to keep; default: all. Text cannot go to a device: leave it out.
      transform: (item, rng) -> item, for augmentation on the host. Its random numbers depend on the
        seed and the item's place in the stream.
      shuffle: whether to shuffle each epoch.
      threads: that read ahead; Pillow and array_record decode in parallel.

    Returns:
      An iterator with `get_state` and `set_state` (JSON), as `jaxface.training.loop.fit` takes it.

    Raises:
      DataError: the source is empty, the batch size does not divide, or a field is not there.
    """
    processes, process = jax.process_count(), jax.process_index()
    if len(source) == 0:
        raise DataError("batches: the source is empty.")
    if batch_size < 1 or batch_size % processes:
        raise DataError(
            f"batches: batch_size must be a positive multiple of {processes} processes, "
            f"got {batch_size}."
        )
    if fields is not None and (absent := set(fields) - set(source[0])):
        raise DataError(f"batches: no field {sorted(absent)}; there are {sorted(source[0])}.")

    stream = grain.MapDataset.source(source).seed(seed)
    if shuffle:
        stream = stream.shuffle()
    stream = stream.repeat()
    if fields is not None:
        stream = stream.map(lambda item: {name: item[name] for name in fields})
    if transform is not None:
        stream = stream.random_map(transform)
    rows = batch_size // processes

    def row(index: int) -> Any:
        batch, place = divmod(int(index), rows)
        return stream[batch * batch_size + process * rows + place]

    local = stream if processes == 1 else grain.MapDataset.range(sys.maxsize).map(row)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    return iter(local.batch(rows, drop_remainder=True).to_iter_dataset(options))


def one_pass(
    source: Source, *, batch_size: int, fields: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """Every item once, in order; the last batch holds what is left. For evaluation."""
    for batch in range(math.ceil(len(source) / batch_size)):
        indices = range(batch * batch_size, min((batch + 1) * batch_size, len(source)))
        items = [source[i] for i in indices]
        yield {name: np.stack([np.asarray(item[name]) for item in items]) for name in fields}


def mirror(item: Item, rng: np.random.Generator) -> Item:
    """A `transform`: ``image`` is mirrored in half of the cases. Other fields are left alone."""
    if rng.random() < 0.5:
        return item
    return {**item, "image": np.ascontiguousarray(item["image"][:, ::-1])}
