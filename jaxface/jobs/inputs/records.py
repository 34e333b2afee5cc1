"""Images inside a data set's array_record files, read through TFDS or Grain.

Both packages are imported only when such a folder is named.
"""

import fnmatch
import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.data.tfds_folder import open_builder
from jaxface.errors import UsageError
from jaxface.media.image_errors import UnreadableImageError, UnsupportedImageError
from jaxface.media.images import LoadedImage, decode_image, from_uint8

_TFDS_MARKER = "dataset_info.json"
_RECORD_PATTERNS = ("*.array_record", "*.array_record-*-of-*", "*.arrayrecord")


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Attributes:
      parts: what names it below the data set's folder, such as ("test", "00000012").
      name_depth: how many parts of the folder's path are the data set's own name.
      load: reads the image; it pickles.
    """

    parts: tuple[str, ...]
    name_depth: int
    load: Callable[[], LoadedImage]


def is_record_folder(folder: Path) -> bool:
    """Whether the folder itself (not a subfolder) holds a TFDS data set or array_record files."""
    return (folder / _TFDS_MARKER).is_file() or bool(_record_files(folder))


def refuse_remote_records(folder: str, names: Iterable[str]) -> None:
    """array_record's reader wants local files.

    Args:
      folder: the URL, for the message.
      names: of the files below it.

    Raises:
      UsageError: the folder is a data set.
    """
    for name in names:
        if name == _TFDS_MARKER or any(fnmatch.fnmatch(name, p) for p in _RECORD_PATTERNS):
            raise UsageError(
                f"{folder}: a data set's array_record files are read from a local folder; copy it, "
                "or mount the bucket"
            )


def open_records(folder: Path, split: str | None) -> Iterator[Record]:
    """The images of a data set, in their stored order.

    A TFDS data set must be in the array_record format and have a feature ``image``. The records of
    plain array_record files must be image files' bytes (PNG, JPEG, ...).

    Args:
      folder: the data set's version folder, or a folder of array_record files.
      split: which split of a TFDS data set; None where it has only one.

    Raises:
      UsageError: no such split, several and none named, no ``image`` feature, another file format,
        or a package that is not installed.
    """
    if (folder / _TFDS_MARKER).is_file():
        return _tfds_records(folder, split)
    if split is not None:
        raise UsageError(f"--split {split}: {folder} holds plain array_record files, no splits")
    return _plain_records(folder)


def _tfds_records(folder: Path, split: str | None) -> Iterator[Record]:
    try:
        builder: Any = open_builder(folder)
    except ImportError as error:
        raise _missing(folder, "tensorflow-datasets") from error
    splits = sorted(builder.info.splits)
    if split is None and len(splits) == 1:
        split = splits[0]
    if split not in splits:
        got = "none named" if split is None else f"got {split!r}"
        raise UsageError(f"{folder}: --split must be one of {', '.join(splits)}; {got}")
    features = builder.info.features
    if "image" not in (features or ()):
        raise UsageError(f"{folder}: the data set has no feature 'image'")
    try:
        source = builder.as_data_source(split=split)
    except (NotImplementedError, ValueError) as error:
        raise UsageError(f"{folder}: needs the array_record file format: {error}") from error
    name = tuple(builder.info.full_name.split("/"))
    located = folder.resolve().parts[-len(name) :] == name
    for index in range(len(source)):
        yield Record(
            parts=(str(split), f"{index:08d}"),
            name_depth=len(name) if located else 1,
            load=functools.partial(_load_features, source, index),
        )


def _plain_records(folder: Path) -> Iterator[Record]:
    try:
        from grain.sources import ArrayRecordDataSource
    except ImportError as error:
        raise _missing(folder, "grain and array-record") from error
    for file in _record_files(folder):
        if not file.is_file():  # a pipe would be waited for
            yield Record((file.name,), 1, functools.partial(_unreadable, "no regular file"))
            continue
        try:
            source: Any = ArrayRecordDataSource([os.fspath(file)])
            count = len(source)
        except (OSError, RuntimeError, ValueError) as error:  # then the file is one input
            reason = " ".join(str(error).split()) or type(error).__name__
            yield Record((file.name,), 1, functools.partial(_unreadable, reason))
            continue
        for index in range(count):
            yield Record(
                parts=(file.name, f"{index:08d}"),
                name_depth=1,
                load=functools.partial(_load_bytes, source, index),
            )


def _unreadable(reason: str) -> LoadedImage:
    raise UnreadableImageError(f"no readable array_record file: {reason}")


def _load_features(source: Any, index: int) -> LoadedImage:
    return _from_array(source[index]["image"])


def _load_bytes(source: Any, index: int) -> LoadedImage:
    return decode_image(io.BytesIO(source[index]))


def _record_files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _RECORD_PATTERNS for file in folder.glob(pattern))


def _missing(folder: Path, packages: str) -> UsageError:
    return UsageError(f"{folder}: reading this data set needs {packages}, not installed here")


def _from_array(pixels: np.ndarray) -> LoadedImage:
    """A decoded uint8 [H, W, 1 or 3] image."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in (1, 3):
        raise UnsupportedImageError(
            f"expected a uint8 image with 1 or 3 channels, got {pixels.dtype} {pixels.shape}"
        )
    notes = ("greyscale made RGB",) if pixels.shape[-1] == 1 else ()
    return LoadedImage(from_uint8(np.broadcast_to(pixels, (*pixels.shape[:2], 3))), notes)
