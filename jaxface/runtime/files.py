"""Files and folders that appear whole or not at all, and what tells one file from another."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden path in the same folder, for a file or folder that becomes `path` at the end.

    What the block makes there reaches the disk (fsync) and is renamed over `path` in one step: a
    file replaces one that is there, a folder takes the place of none or of an empty one. If the
    block raises, `path` is left as it was and nothing is left beside it.
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        yield temporary
        files = temporary.rglob("*") if temporary.is_dir() else [temporary]
        for file in files:
            if not file.is_dir():
                _sync(file)
        os.replace(temporary, target)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens `path` for writing bytes; the file takes its name only when the block succeeds.

    As `atomic_path`; parent folders are created.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "xb") as file:
        yield file


def write_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Writes a document that people may read, as `atomic_writer` does."""
    with atomic_writer(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")


_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.part")


def remove_leftovers(folder: str | os.PathLike[str], *, older: float = 0.0) -> None:
    """Removes what `atomic_path` and others left where they were killed: ``.<32 digits>.part``.

    Args:
      folder: searched with its subfolders.
      older: seconds since the last change; above 0 where others may be writing.
    """
    for parent, folders, files in os.walk(folder):
        for name in filter(_LEFTOVER.fullmatch, [*folders, *files]):
            path = Path(parent) / name
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime >= older:
                    shutil.rmtree(path) if name in folders else path.unlink()


@contextmanager
def open_regular(path: str | os.PathLike[str], *, pipes: bool = False) -> Iterator[BinaryIO]:
    """Opens a file to read, unless it is no regular one: a pipe or a device would wait for ever.

    Args:
      path: of the file.
      pipes: also take a pipe, such as a shell's ``<(...)``; one that nobody writes to is empty.

    Raises:
      OSError: it is none, or cannot be opened, or the path cannot be a name.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
    except ValueError as error:  # a NUL, or a surrogate alone
        raise OSError(errno.EINVAL, "the path is no name of a file") from error
    with open(number, "rb") as file:
        mode = os.fstat(number).st_mode
        if pipes and stat.S_ISFIFO(mode):
            os.set_blocking(number, True)
        elif not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"{_kind(mode)}, expected a regular file")
        yield file


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "no file")


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
