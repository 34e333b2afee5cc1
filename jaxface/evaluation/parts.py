"""Parts of a long evaluation, stored as they are finished."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.runtime.files import atomic_writer


class Parts:
    """Finished parts of an evaluation, each a file of arrays: what is there is not done again."""

    def __init__(self, folder: Path):
        self.folder = folder

    def get(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The part of that name, made and stored where it is not there yet."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            arrays = {key: np.asarray(value) for key, value in make().items()}
            with atomic_writer(path) as file:
                np.savez(file, allow_pickle=False, **arrays)
        with np.load(path) as stored:
            return dict(stored)
