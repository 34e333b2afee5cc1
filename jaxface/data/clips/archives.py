"""Zip archives that clips lie in; a damaged one is told by name."""

import contextlib
import functools
import pathlib
import zipfile
import zlib
from collections.abc import Iterator

from jaxface.data.clips.listing import LayoutError


def members_of(path: pathlib.Path) -> list[str]:
    """The names of an archive's members.

    Raises:
      LayoutError: it is damaged, or cannot be read.
    """
    with _told(path), zipfile.ZipFile(path) as archive:
        return archive.namelist()


def read_member(path: pathlib.Path, member: str) -> bytes:
    """The bytes of one.

    Raises:
      LayoutError: there is none of that name, or it or the archive is damaged.
    """
    with _told(path):
        return _opened(path).read(member)


@functools.lru_cache(maxsize=4)
def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@contextlib.contextmanager
def _told(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        EOFError,
        KeyError,
        NotImplementedError,
        RuntimeError,  # it is encrypted
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise LayoutError(f"{path}: no archive that can be read: {error}") from error
