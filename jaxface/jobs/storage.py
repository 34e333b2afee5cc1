"""Files on this machine and on object stores (``gs://``, ``s3://``), through fsspec.

An object store needs the package that speaks to it: gcsfs (extra "gcs") or s3fs (extra "s3"). A
path without ``://`` is a local one.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import fsspec.core

from jaxface.errors import UsageError
from jaxface.runtime.files import open_regular

_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL of an object store."""
    return "://" in os.fspath(path)


def join(folder: str, *names: str) -> str:
    """The path below a folder, local or remote."""
    return "/".join([folder.rstrip("/"), *names])


def filesystem(path: str) -> tuple[Any, str]:
    """fsspec's file system of a path, and the path in its words.

    Raises:
      UsageError: no such scheme, or its package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        scheme = path.partition("://")[0]
        extra = _EXTRAS.get(scheme)
        how = f": python -m pip install 'jaxface[{extra}]'" if extra else ""
        raise UsageError(f"{path}: a package that reads {scheme}:// is missing{how}") from error
    except ValueError as error:  # of fsspec, for a scheme that it does not know
        raise UsageError(f"{path}: {error}") from error


def read_bytes(path: str) -> bytes:
    """A file's bytes.

    Raises:
      OSError: it cannot be read.
    """
    files, place = filesystem(path)
    return files.cat_file(place)


def write_bytes(path: str, data: bytes) -> None:
    """Writes a small file that appears whole, and replaces the one that was there."""
    with staged(path) as temporary:
        Path(temporary).write_bytes(data)
        publish(temporary, path, replace=True)


def write_new(path: str, data: bytes) -> bool:
    """Writes a small file that appears whole, unless there is one already; whether it did."""
    with staged(path) as temporary:
        Path(temporary).write_bytes(data)
        return publish(temporary, path)


@contextmanager
def staged(path: str) -> Iterator[str]:
    """A local name for a file that is to become `path` by `publish`; gone after the block.

    For a local path it lies hidden beside it, so that publishing is one step of the file system.
    """
    if is_remote(path):
        import tempfile

        with tempfile.TemporaryDirectory(prefix="jaxface-") as folder:
            yield os.path.join(folder, path.rsplit("/", 1)[1])
        return
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f".{uuid.uuid4().hex}.part"
    try:
        yield os.fspath(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: str, path: str, *, replace: bool = False) -> bool:
    """Gives a staged file its name, whole, unless that name is taken; whether it did.

    A local file is on the disk before it gets its name, and two processes cannot both get it. An
    object store shows an upload when it is complete; there the look at the name and the upload are
    two steps, and of two processes at once the later one's equal file stays.

    Args:
      replace: take the name from the file that has it.
    """
    if is_remote(path):
        files, place = filesystem(path)
        if not replace and files.exists(place):
            return False
        files.put_file(temporary, place)
        return True
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    if replace:
        os.replace(temporary, path)
        return True
    try:
        os.link(temporary, path)  # unlike a renaming, it fails where the name is taken
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.exists(path):
            return False
        os.replace(temporary, path)
    return True


def remove(path: str) -> None:
    """Removes a file if it is there."""
    files, place = filesystem(path)
    with suppress(FileNotFoundError):
        files.rm_file(place)


@contextmanager
def open_reading(path: str, *, pipes: bool = False) -> Iterator[BinaryIO]:
    """Opens a file to read bytes.

    Args:
      path: local, of a regular file, or remote.
      pipes: see `jaxface.runtime.files.open_regular`.

    Raises:
      UsageError: it cannot be opened.
    """
    with contextlib.ExitStack() as opened:
        try:
            if is_remote(path):
                files, place = filesystem(path)
                file = opened.enter_context(files.open(place, "rb"))
            else:
                file = opened.enter_context(open_regular(path, pipes=pipes))
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
        yield file


def from_json(data: str | bytes) -> Any:
    """The value that JSON stands for.

    Raises:
      ValueError: it is none, or nested deeper than anything is that this package writes.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def names_in(folder: str) -> list[str]:
    """The names of a folder's files, sorted; none where there is no such folder."""
    if not is_remote(folder):
        try:
            return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        except FileNotFoundError:
            return []
    files, place = filesystem(folder)
    files.invalidate_cache(place)
    try:
        return sorted(name.rsplit("/", 1)[1] for name in files.ls(place, detail=False))
    except FileNotFoundError:
        return []
