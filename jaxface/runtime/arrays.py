"""NumPy's files that this package wrote for itself, read back; a damaged one is told by name."""

import contextlib
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from jaxface.errors import UsageError, on_one_line

DAMAGES = (
    EOFError,
    KeyError,
    NotImplementedError,
    SyntaxError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `numpy.load` raises of a file that is damaged, or none of its own."""


def read_array(
    path: str | os.PathLike[str],
    *,
    mapped: bool = False,
    remove: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """The array of a ``.npy`` file.

    Args:
      path: of the file.
      mapped: into memory, to be read where it is used.
      remove: what is to be removed so that it is made anew; default: the file.

    Raises:
      UsageError: it is damaged, or cannot be read.
    """
    with _told(path, remove):
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("several arrays, expected one")
        return array


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file, by name.

    Raises:
      UsageError: it is damaged, or cannot be read.
    """
    with _told(path):
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise ValueError("one array, expected several by name")
        with stored:
            return dict(stored)


@contextlib.contextmanager
def _told(
    path: str | os.PathLike[str], remove: str | os.PathLike[str] | None = None
) -> Iterator[None]:
    try:
        yield
    except (OSError, *DAMAGES) as error:
        reason = on_one_line(getattr(error, "strerror", None) or str(error))
        it = "it" if remove is None else os.fspath(remove)
        raise UsageError(
            f"{os.fspath(path)}: damaged ({reason}); remove {it}, and it is made anew"
        ) from error
