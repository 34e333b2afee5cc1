"""What a job is to read: files, folders, globs and data sets become items with stable ids.

An item's id is the name of its results and the seed of its random key. It is made of the last
parts of the item's path: a file's folder and name (``photos/anna.jpg``), a folder's name and the
path below it (``photos/2024/anna.jpg``), a data set's name, split and index
(``synthetic_portraits/64/2.0.0/test/00000012``). So it depends neither on the other inputs nor on
their order, on the working folder or on where a collection is mounted. Only where two different
items would get the same id (``/a/photos/x.jpg`` and ``/b/photos/x.jpg``) both take further parts
from the left until they differ.
"""

import functools
import glob
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxface.errors import UsageError
from jaxface.images import IMAGE_SUFFIXES, LoadedImage, read_image
from jaxface.jobs.records import is_record_folder, open_records


@dataclass(frozen=True)
class Item:
    """One input.

    Attributes:
      id: unique within the job; a relative path with "/" between its parts.
      path: where it comes from, as the user named it.
      load: reads it; raises `jaxface.images.ImageError` if it is no usable image. It pickles, so
        that worker processes can read.
    """

    id: str
    path: str
    load: Callable[[], LoadedImage]


@dataclass(frozen=True)
class Inputs:
    """The items in a stable order, and remarks on what was passed over, one line each."""

    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A candidate: its full path in parts, how many of them its id takes, and how to read it."""

    parts: tuple[str, ...]
    depth: int
    path: str
    load: Callable[[], LoadedImage]


def find_inputs(
    arguments: Sequence[str], *, split: str | None = None, outside: Path | None = None
) -> Inputs:
    """Resolves what the user named.

    A folder is searched with all its subfolders for files whose suffix is in `IMAGE_SUFFIXES`;
    hidden files and folders are passed over, and so is `outside`. A file that is named, or matched
    by a glob (``**`` reaches into subfolders), is taken whatever its suffix. A folder that holds a
    TFDS data set or array_record files is read record by record. An input named twice counts once.

    Args:
      arguments: paths and globs.
      split: the data set's split; required where it has several.
      outside: a folder whose files are never inputs: the job's own output.

    Raises:
      UsageError: an argument that names nothing, a folder without images, no arguments.
    """
    if not arguments:
        raise UsageError("no inputs given; name files, folders, globs or a data set's folder")
    found: list[_Found] = []
    remarks: list[str] = []
    for argument in arguments:
        for path in _matches(argument):
            if not path.is_dir():
                found.append(_file(path, str(path), depth=2))
            elif is_record_folder(path):
                found += _records(path, split)
            else:
                found += _folder(path, outside, remarks)
    return Inputs(tuple(_with_ids(found)), tuple(remarks))


def _matches(argument: str) -> list[Path]:
    """The existing paths that an argument names, sorted."""
    path = Path(argument)
    if path.exists():
        return [path]
    if glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise UsageError(f"{argument!r} matches no file")
        return [Path(match) for match in matches]
    raise UsageError(f"{argument!r}: no such file or folder")


def _file(path: Path, shown: str, depth: int) -> _Found:
    parts = Path(os.path.abspath(path)).parts[1:]
    return _Found(parts, min(depth, len(parts)), shown, functools.partial(read_image, path))


def _records(folder: Path, split: str | None) -> Iterable[_Found]:
    base = Path(os.path.abspath(folder)).parts[1:]
    for record in open_records(folder, split):
        parts = (*base, *record.parts)
        depth = min(len(parts), record.name_depth + len(record.parts))
        yield _Found(parts, depth, "/".join([str(folder), *record.parts]), record.load)


def _folder(folder: Path, outside: Path | None, remarks: list[str]) -> list[_Found]:
    root_depth = len(Path(os.path.abspath(folder)).parts) - 1
    outside = outside.resolve() if outside is not None else None
    if outside == folder.resolve():
        raise UsageError(f"{folder}: is the output folder too; name another with --out")
    images: list[_Found] = []
    others: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (Path(parent) / name).resolve() != outside
        )
        if not folders and not files and Path(parent) != folder:
            remarks.append(f"{parent}: an empty folder")
        for name in sorted(files):
            path = Path(parent) / name
            if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                depth = len(Path(os.path.abspath(path)).parts) - max(root_depth, 1)
                images.append(_file(path, str(path), depth))
            elif not name.startswith("."):
                others.append(name)
    if not images:
        what = f"only files of other kinds, such as {others[0]}" if others else "it is empty"
        raise UsageError(f"{folder}: no images in this folder, {what}")
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        remarks.append(f"{folder}: passed over {len(others)} files that are no images: {shown}")
    return images


def _with_ids(found: Sequence[_Found]) -> list[Item]:
    """Items in the order found, ids lengthened where different items would share one."""
    firsts: dict[tuple[str, ...], _Found] = {}
    for candidate in found:
        firsts.setdefault(candidate.parts, candidate)
    unique = list(firsts.values())
    depths = [candidate.depth for candidate in unique]
    while True:
        same: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, candidate in enumerate(unique):
            same[candidate.parts[-depths[index] :]].append(index)
        clashes = [index for group in same.values() if len(group) > 1 for index in group]
        if not clashes:
            break
        for index in clashes:
            depths[index] = min(depths[index] + 1, len(unique[index].parts))
    return [
        Item(_text("/".join(candidate.parts[-depth:])), _text(candidate.path), candidate.load)
        for candidate, depth in zip(unique, depths, strict=True)
    ]


def _text(name: str) -> str:
    """A file name as valid Unicode: bytes that are none are shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
