"""NumPy's file formats, read as data: ``.npy``, one array, and ``.npz``, a zip file of them.

An array of objects holds a pickle, which the pickle interpreter reads.  Only here may an array's
elements be objects: ``np.save`` of a dictionary, which people load by ``np.load(file)[()]``, is an
array of no dimensions with the dictionary as its element, and comes out as the dictionary.
"""

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from jaxface.convert.formats.budget import spend
from jaxface.convert.formats.pickle_machine import Table, read_pickle
from jaxface.convert.formats.tensors import NUMPY_KINDS, NumpyArray, NumpyType
from jaxface.convert.formats.words import one_line
from jaxface.convert.refusal import Refusal

MAGIC = b"\x93NUMPY"
HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(stream: BinaryIO, table: Table) -> Any:
    """The array of a ``.npy`` file as a record, or the object that stands alone in it.

    Raises:
        Refusal: for a damaged file, a structured type, and several objects.
    """
    try:
        shape, fortran, dtype = HEADER_READERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, KeyError, EOFError, OSError) as error:
        raise Refusal("damaged .npy file: its header cannot be read") from error
    if dtype == np.dtype(object):
        return _alone(read_pickle(stream, _with_objects(table)), shape)
    if dtype.kind not in NUMPY_KINDS or dtype.names is not None or dtype.shape:
        raise Refusal(
            f"a .npy file of type {one_line(str(dtype))} is not one that a checkpoint needs"
        )
    data, count = stream.read(), math.prod(shape)
    if len(data) < count * dtype.itemsize:
        raise Refusal(
            f"truncated .npy file: an array of {count} x {dtype} needs "
            f"{count * dtype.itemsize} bytes, got {len(data)}"
        )
    flat = np.frombuffer(data, dtype, count)
    return NumpyArray(flat.reshape(shape, order="F" if fortran else "C"))


def is_npz(stream: BinaryIO) -> bool:
    """Whether a zip file is NumPy's: all its members are arrays."""
    try:
        with zipfile.ZipFile(stream) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(stream: BinaryIO, table: Table) -> dict[str, Any]:
    """The members of a ``.npz`` file, by name without the ending.

    Raises:
        Refusal: for a damaged archive or member.
    """
    members = {}
    try:
        with zipfile.ZipFile(stream) as archive:
            for name in archive.namelist():
                try:
                    spend(archive.getinfo(name).file_size)
                    members[name[: -len(".npy")]] = read_npy(io.BytesIO(archive.read(name)), table)
                except Refusal as refusal:
                    raise Refusal(f"{one_line(name)}: {refusal}") from refusal
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Refusal(f"truncated or damaged zip file ({one_line(error)})") from error
    return members


def _alone(value: Any, shape: tuple[int, ...]) -> Any:
    objects = value.value if isinstance(value, NumpyArray) else None
    if objects is None or objects.dtype != np.dtype(object) or objects.shape != shape:
        raise Refusal("damaged .npy file: its pickle is not the array that its header announces")
    if shape != ():
        raise Refusal(f"an array of objects of shape {shape} is not one that a checkpoint needs")
    return objects.item()


def _with_objects(table: Table) -> dict[str, Callable[..., Any] | None]:
    numbers = table["numpy.dtype"]
    if numbers is None:
        raise TypeError("the table must rebuild NumPy's types")

    def kind(code: Any, *arguments: Any) -> NumpyType:
        if code in ("O", "O8", b"O", b"O8"):
            return NumpyType(np.dtype(object))
        return numbers(code, *arguments)

    return {**table, "numpy.dtype": kind}
