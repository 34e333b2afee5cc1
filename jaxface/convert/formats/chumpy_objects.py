"""chumpy's arrays and SciPy's sparse matrices out of their pickles, without either package.

Morphable models of the SMPL family are pickled with such objects inside.  A plain chumpy array
holds its numbers in ``x``; a selection holds another object ``a``, flat indices ``idxs`` and the
shape ``preferred_shape`` to give them.  A compressed sparse column matrix holds its numbers column
by column (``data``), the row of each (``indices``) and where each column begins (``indptr``).
``TABLE`` names nothing else: chumpy's computed expressions are refused.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxface.convert.formats.pickle_machine import Name
from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.formats.words import shown
from jaxface.convert.refusal import Refusal


@dataclass(eq=False)
class _Attributes(ArrayRecord):
    """An object that is made empty and then given its attributes."""

    state: dict[str, Any] = field(default_factory=dict, repr=False)

    def set_state(self, state: Any) -> None:
        """Take the attributes."""
        if not isinstance(state, dict):
            raise TypeError(f"attributes are a {type(state).__name__}")
        self.state = state

    def _array(self, name: str) -> np.ndarray:
        if name not in self.state:
            raise Refusal(f"a {type(self).__name__} lacks its {name}")
        return as_array(self.state[name], where=f"{name} of a {type(self).__name__}")

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.state.get(name)
        if not isinstance(shape, tuple | list) or not all(type(n) is int for n in shape):
            raise Refusal(f"the {name} of a {type(self).__name__} is {shown(shape)}")
        return tuple(shape)


class ChumpyArray(_Attributes):
    """``chumpy.ch.Ch``."""

    def array(self) -> np.ndarray:
        """Its numbers."""
        return self._array("x")


class ChumpySelection(_Attributes):
    """``chumpy.reordering.Select``."""

    def array(self) -> np.ndarray:
        """The selected numbers."""
        source, indices = self._array("a").ravel(), self._array("idxs").ravel()
        shape = self._shape("preferred_shape")
        _check_indices(indices, source.size, "idxs")
        return _reshaped(source[indices], shape)


class SparseColumns(_Attributes):
    """``scipy.sparse.csc_matrix``."""

    def array(self) -> np.ndarray:
        """The dense matrix; numbers stored at the same place add up, as in SciPy."""
        shape = self._shape("_shape")
        data, rows, starts = (self._array(name) for name in ("data", "indices", "indptr"))
        if len(shape) != 2 or data.ndim != 1 or rows.shape != data.shape or min(shape) < 0:
            raise Refusal(f"a sparse matrix of shape {shape} holds {data.shape} numbers")
        counts = np.diff(starts)
        whole = starts.shape == (shape[1] + 1,) and (counts >= 0).all()
        if not whole or starts[0] != 0 or starts[-1] != data.size:
            raise Refusal("a sparse matrix's indptr does not fit its numbers")
        _check_indices(rows, shape[0], "indices")
        matrix = np.zeros(shape, data.dtype)
        np.add.at(matrix, (rows, np.repeat(np.arange(shape[1]), counts)), data)
        return matrix


def _check_indices(indices: np.ndarray, count: int, name: str) -> None:
    if indices.dtype.kind not in "iu" or (indices < 0).any():
        raise Refusal(f"the {name} are not indices")
    if (indices >= count).any():
        raise Refusal(f"the {name} reach {indices.max()}, past the last of {count}")


def _reshaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise Refusal(f"{array.size} numbers do not fill a shape of {shape}") from error


CLASSES: dict[str, Callable[[], _Attributes]] = {
    "chumpy.ch.Ch": ChumpyArray,
    "chumpy.reordering.Select": ChumpySelection,
    "scipy.sparse.csc.csc_matrix": SparseColumns,
    "scipy.sparse._csc.csc_matrix": SparseColumns,
}


def _reconstructor(kind: Any, base: Any, state: Any) -> _Attributes:
    # How protocols 0 and 1 make an object of a class: base's __new__, here always object's.
    if not isinstance(kind, Name) or not isinstance(base, Name) or state is not None:
        raise TypeError("an object of an unknown kind")
    if base.path != "builtins.object" or kind.path not in CLASSES:
        raise Refusal(f"an object of {kind.path} is not one that a checkpoint needs")
    return CLASSES[kind.path]()


TABLE: dict[str, Callable[..., Any] | None] = {
    **CLASSES,
    "copyreg._reconstructor": _reconstructor,
    "builtins.object": None,
}
