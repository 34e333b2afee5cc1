"""Parts of a long evaluation, stored as they are finished, so that a stopped one can go on."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.runtime.arrays import read_arrays
from jaxface.runtime.files import atomic_writer


class Parts:
    """Finished parts of an evaluation, each a file of arrays.

    A part is known by its name alone: what decides its numbers must not change between calls, which
    `jaxface.evaluation.outputs.Workspace.claim` insists on.

    Args:
      folder: holds ``<name>.npz`` of each part; made with the first one.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def missing(self, names: Iterable[str]) -> int:
        """How many of these parts are not stored."""
        return sum(not self._path(name).is_file() for name in names)

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The part of that name, made and stored where it is not there yet.

        Args:
          name: such as ``portraits-00020``.
          make: gives the part's arrays by name; called only for a part that is not stored.

        Returns:
          The arrays as NumPy's, read back from the file either way.
        """
        path = self._path(name)
        if not path.is_file():
            arrays = {key: np.asarray(value) for key, value in make().items()}
            with atomic_writer(path) as file:
                np.savez(file, allow_pickle=False, **arrays)
        return read_arrays(path)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
