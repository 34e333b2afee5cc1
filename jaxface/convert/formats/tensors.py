"""Rebuild PyTorch tensors and NumPy arrays from what their pickles say, without PyTorch.

A PyTorch pickle describes a tensor as a view (offset, shape and strides, in elements) of a flat
storage; a NumPy pickle holds an array's type, shape and bytes.  Both become lazy records with an
``array()`` method, because a file may give the bytes after the description.  ``TABLE`` is the
complete list of names that a supported checkpoint may mention.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxface.convert.formats.budget import spend
from jaxface.convert.formats.pickle_machine import Name, Record, keys
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal

# PyTorch's storage classes and their element types, little-endian as every file is in practice.
STORAGE_TYPES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}

NUMPY_KINDS = "fiub"


@dataclass(eq=False)
class Storage:
    """A flat buffer of elements; ``data`` is filled when the file's reader reaches it."""

    dtype: np.dtype
    size: int
    data: bytes | None = field(default=None, repr=False)

    def elements(self) -> np.ndarray:
        """[size], read only.

        Raises:
            Refusal: if the file ended before the bytes, or gave too few of them.
        """
        if self.data is None or len(self.data) < self.size * self.dtype.itemsize:
            got = 0 if self.data is None else len(self.data)
            raise Refusal(
                f"truncated file: a tensor storage of {self.size} x {self.dtype} needs "
                f"{self.size * self.dtype.itemsize} bytes, got {got}"
            )
        return np.frombuffer(self.data, self.dtype, self.size)


class ArrayRecord:
    """What a file describes as an array, of whichever package."""

    def array(self) -> np.ndarray:
        """The array, in C order and native byte order."""
        raise NotImplementedError


@dataclass(eq=False, repr=False)
class Tensor(ArrayRecord):
    """A strided view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def set_state(self, state: Any) -> None:
        """Attributes hung on a tensor are not part of its value."""

    def array(self) -> np.ndarray:
        """The tensor's elements, copied into C order.

        Raises:
            Refusal: if the view leaves its storage.
        """
        if len(self.shape) != len(self.strides) or min((*self.shape, *self.strides, 0)) < 0:
            raise Refusal(f"a tensor of shape {self.shape} has strides {self.strides}")
        elements = self.storage.elements()
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        count = math.prod(self.shape)
        if self.offset < 0 or count > elements.size or (count and last >= elements.size):
            raise Refusal(
                f"a tensor of shape {self.shape} at offset {self.offset} leaves its storage of "
                f"{elements.size} elements"
            )
        spend(count * elements.itemsize)
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :],
            self.shape,
            tuple(s * elements.itemsize for s in self.strides),
            writeable=False,
        )
        return np.array(view, order="C")


@dataclass(eq=False, repr=False)
class NumpyType:
    """A ``numpy.dtype`` as pickled: a code such as ``f4``, then a state with the byte order."""

    dtype: np.dtype

    def set_state(self, state: Any) -> None:
        """Take the byte order; structured and sub-array types are refused."""
        order, *rest = state[1:5]
        if any(part is not None for part in rest):
            raise Refusal("a structured NumPy type is not one that a checkpoint needs")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


@dataclass(eq=False, repr=False)
class NumpyArray(ArrayRecord):
    """A ``numpy.ndarray`` as pickled: created empty, then given type, shape and bytes.

    Elements may be objects only where the table rebuilds their type (``numpy_files.py``).
    """

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """Take (version, shape, type, is Fortran order, bytes or a list of objects)."""
        _, shape, kind, fortran, data = state
        dtype = _numpy_type(kind)
        if dtype == np.dtype(object):
            flat = np.empty(len(data), object)
            flat[:] = data
        else:
            flat = np.frombuffer(_raw_bytes(data), dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")

    def array(self) -> np.ndarray:
        """The array, in C order and native byte order.

        Raises:
            Refusal: if the file gives no contents for it, or they are objects.
        """
        if self.value is None:
            raise Refusal("truncated file: a NumPy array without its contents")
        if self.value.dtype == np.dtype(object):
            raise Refusal("an array of objects where numbers are expected")
        return np.asarray(self.value, self.value.dtype.newbyteorder("="), order="C")


def as_array(value: Any, *, where: str) -> np.ndarray:
    """The array that a record describes.

    Args:
        where: the value's name in the file, for the error.

    Raises:
        Refusal: if the value is neither a tensor nor another array of numbers.
    """
    if isinstance(value, ArrayRecord):
        return value.array()
    if isinstance(value, bool | int | float):
        return np.asarray(value, np.float32)
    raise Refusal(f"{where}: expected a tensor, got a {type(value).__name__}")


def storage_dtype(kind: Any) -> np.dtype:
    """The element type of a PyTorch storage class.

    Raises:
        Refusal: for a class that is not in ``STORAGE_TYPES``.
    """
    path = kind.path if isinstance(kind, Name) else shown(kind)
    if path not in STORAGE_TYPES:
        raise Refusal(
            f"tensors of {one_line(path)} are not supported, only {', '.join(STORAGE_TYPES)}"
        )
    return STORAGE_TYPES[path]


def _rebuild_tensor(
    storage: Any, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise TypeError(f"a tensor's storage is a {type(storage).__name__}")
    return Tensor(storage, int(offset), _integers(shape), _integers(strides))


def _integers(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor of a subclass, with attributes of its own: the tensor that it is.

    Raises:
        Refusal: if it is rebuilt by anything but the functions of tensors.
    """
    path = getattr(function, "path", None)
    if path not in TENSOR_FUNCTIONS or not isinstance(arguments, tuple):
        raise Refusal(f"a tensor that {one_line(str(path))} rebuilds is not one that is read")
    return TENSOR_FUNCTIONS[path](*arguments)


def _numpy_type(kind: Any) -> np.dtype:
    if not isinstance(kind, NumpyType):
        raise TypeError(f"a NumPy type is a {type(kind).__name__}")
    return kind.dtype


def _rebuild_numpy_type(code: Any, *_: Any) -> NumpyType:
    if isinstance(code, bytes):
        code = code.decode("ascii")
    dtype = np.dtype(code) if isinstance(code, str) else np.dtype(object)
    if dtype.kind not in NUMPY_KINDS or dtype.names is not None or dtype.shape:
        raise Refusal(f"NumPy arrays of type {shown(code)} are not ones that a checkpoint needs")
    return NumpyType(dtype)


def _rebuild_numpy_array(*_: Any) -> NumpyArray:
    return NumpyArray()


def _rebuild_numpy_buffer(data: Any, kind: Any, shape: Any, order: str) -> NumpyArray:
    flat = np.frombuffer(_raw_bytes(data), _numpy_type(kind))
    return NumpyArray(flat.reshape(shape, order="F" if order == "F" else "C"))


def _rebuild_numpy_scalar(kind: Any, data: Any) -> int | float | bool:
    return np.frombuffer(_raw_bytes(data), _numpy_type(kind), 1)[0].item()


def _raw_bytes(data: Any) -> bytes:
    if isinstance(data, str):
        return data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"array contents are a {type(data).__name__}")
    return bytes(data)


def _encode(text: str, encoding: str) -> bytes:
    # How Python 3 writes bytes into a protocol 2 pickle.
    if encoding not in ("latin1", "latin-1"):
        raise Refusal(f"text encoded as {shown(encoding)} is not one that a checkpoint needs")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    # How Python 3 writes b"" into a protocol 2 pickle: a call of bytes without arguments.
    return b""


def _dict(items: Any = ()) -> dict[Any, Any]:
    pairs = [*items.items()] if isinstance(items, dict) else [(name, each) for name, each in items]
    return dict(zip(keys(name for name, _ in pairs), (each for _, each in pairs), strict=True))


def _set(items: Any = ()) -> set[Any]:
    return set(keys(items))


def _numpy_names(
    functions: dict[str, Callable[..., Any]],
) -> dict[str, Callable[..., Any] | None]:
    # NumPy 2 renamed numpy.core to numpy._core; files carry either.
    return {
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in functions.items()
    }


TENSOR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
"""What rebuilds tensors."""

TABLE: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": _dict,
    "builtins.bytes": _empty_bytes,
    "builtins.set": _set,
    "_codecs.encode": _encode,
    "argparse.Namespace": None,
    "torch.device": None,
    "torch.Size": tuple,
    **TENSOR_FUNCTIONS,
    "torch._tensor._rebuild_from_type": _rebuild_from_type,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    **{path: None for path in STORAGE_TYPES},
    "numpy.ndarray": None,
    "numpy.dtype": _rebuild_numpy_type,
    **_numpy_names(
        {
            "multiarray._reconstruct": _rebuild_numpy_array,
            "multiarray.scalar": _rebuild_numpy_scalar,
            "numeric._frombuffer": _rebuild_numpy_buffer,
        }
    ),
}


def namespace(record: Any) -> dict[str, Any]:
    """The attributes of an ``argparse.Namespace``; empty for anything else."""
    return record.state if isinstance(record, Record) else {}
