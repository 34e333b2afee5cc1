"""MATLAB's ``.mat`` files (versions 5 to 7) as data: structs, cells, text and numbers.

A file is a header of 128 bytes, then elements: a type, a length, and the contents, padded to eight
bytes.  A variable is an element of type *matrix*, itself a row of elements (flags, dimensions,
name, contents), or a *compressed* element with such a one inside (MathWorks, "MAT-File Format").
SciPy's reader is not used: a damaged file can crash it.  What comes out:

==================  =============================================================================
struct              dict; a list of them if it is an array of structs
cell array          list, in MATLAB's order of elements (columns first)
text                str; a list of them, a row each, if it has several rows
array of numbers    :class:`NumpyArray`, of MATLAB's shape: at least two dimensions
sparse array        :class:`SparseArray`, whose numbers are not read
==================  =============================================================================

Functions, objects and complex arrays are refused: no supported checkpoint has any.  Sparse arrays
stand beside what is converted (in the Basel Face Model), and are refused where one is asked for.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.convert.formats.budget import remaining, spend
from jaxface.convert.formats.tensors import ArrayRecord, NumpyArray
from jaxface.convert.formats.words import one_line
from jaxface.convert.refusal import Refusal

# How the text at the head of a file begins.
SIGNATURE = b"MATLAB "

HEADER_SIZE = 128
MATRIX, COMPRESSED = 14, 15
# Storage types of elements, little-endian.
STORED = {
    **{1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"},
    **{12: "<i8", 13: "<u8", 16: "u1", 17: "<u2", 18: "<u4"},
}
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
# Classes of arrays. Numbers may be stored in a smaller type than their class's.
CELL, STRUCT, TEXT, SPARSE = 1, 2, 4, 5
NUMBERS = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"},
    **{14: "i8", 15: "u8"},
}
OTHERS = {3: "object", 16: "function", 17: "object"}
IS_COMPLEX = 0x08
# Networks nest structs in cells in structs a few times.
DEEPEST = 32

Elements = Iterator[tuple[int, memoryview]]


@dataclass(frozen=True)
class SparseArray(ArrayRecord):
    """A sparse array's place in the file."""

    name: str

    def array(self) -> np.ndarray:
        """Never returns.

        Raises:
            Refusal: always: no network is made of one.
        """
        raise Refusal(f"{one_line(self.name)}: a MATLAB sparse array is not one that is read")


def read_mat(data: bytes) -> dict[str, Any]:
    """The file's variables by name.

    Raises:
        Refusal: for a damaged file, another version or byte order, and contents of another kind.
    """
    if data.startswith(b"MATLAB 7.3"):
        raise Refusal("a MATLAB 7.3 file (HDF5); load it in MATLAB and save it again with -v7")
    if data[126:128] != b"IM":
        raise Refusal("a MATLAB file that is not little-endian, or damaged")
    variables = {}
    try:
        for kind, contents in _elements(memoryview(data)[HEADER_SIZE:]):
            if kind == COMPRESSED:
                ((kind, contents),) = _elements(memoryview(_decompressed(contents)))
            if kind != MATRIX:
                raise ValueError(f"a variable of type {kind}")
            name, value = _matrix(contents, "", 0)
            if name:  # what has none belongs to functions and objects, which are refused
                variables[name] = value
    except (
        IndexError,
        OverflowError,
        StopIteration,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise Refusal(f"truncated or damaged MATLAB file ({one_line(error)})") from error
    return variables


def _decompressed(data: memoryview) -> bytes:
    """A compressed element's contents, no more of them than the budget allows."""
    unpacker = zlib.decompressobj()
    contents = unpacker.decompress(data, remaining() + 1)
    spend(len(contents))
    if not unpacker.eof:
        raise ValueError("a compressed element without an end")
    return contents


def _elements(data: memoryview) -> Elements:
    """(type, contents) one after the other; a generator's errors reach whoever asks for more."""
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from("<II", data, position)
        start = position + 8
        if kind >> 16:  # the short form: length and contents within the eight bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
            position += 8
        else:
            # Compressed elements are not padded, and the last one's padding may be missing.
            position = start + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes where {len(data) - start} are left")
        yield kind, data[start : start + size]


def _matrix(data: memoryview, where: str, depth: int) -> tuple[str, Any]:
    """(name, value) of a matrix element's contents."""
    if not data:
        return "", NumpyArray(np.zeros((0, 0)))
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    elements = _elements(data)
    flags = int(_numbers(*next(elements))[0])
    shape = tuple(int(length) for length in _numbers(*next(elements)))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    name = bytes(next(elements)[1]).decode("latin-1")
    where = where or name
    array_class, count = flags & 0xFF, math.prod(shape)
    if array_class == SPARSE:
        return name, SparseArray(where)
    if count > len(data):  # every item takes a byte at least; a struct without fields takes none
        raise ValueError(f"{count} items in {len(data)} bytes")
    if array_class in OTHERS or (flags >> 8) & IS_COMPLEX:
        what = OTHERS.get(array_class, "complex array")
        raise Refusal(f"{one_line(where)}: a MATLAB {what} is not one that a network needs")
    if array_class == CELL:
        return name, [_nested(elements, where, depth) for _ in range(count)]
    if array_class == STRUCT:
        return name, _structs(elements, count, where, depth)
    if array_class == TEXT:
        return name, _text(*next(elements), shape)
    values = _numbers(*next(elements)).astype(NUMBERS[_known(array_class)], copy=False)
    return name, NumpyArray(values.reshape(shape, order="F"))


def _known(array_class: int) -> int:
    if array_class not in NUMBERS:
        raise ValueError(f"an array of class {array_class}")
    return array_class


def _nested(elements: Elements, where: str, depth: int) -> Any:
    kind, contents = next(elements)
    if kind != MATRIX:
        raise ValueError(f"an element of type {kind} inside {one_line(where)}")
    return _matrix(contents, where, depth + 1)[1]


def _structs(elements: Elements, count: int, where: str, depth: int) -> Any:
    length = int(_numbers(*next(elements))[0])
    text = bytes(next(elements)[1])
    if length < 1 or len(text) % length:
        raise ValueError(f"{len(text)} bytes of field names of {length}")
    parts = [text[start : start + length] for start in range(0, len(text), length)]
    fields = [part.partition(b"\0")[0].decode("latin-1") for part in parts]
    structs = [
        {field: _nested(elements, f"{where}.{field}", depth) for field in fields}
        for _ in range(count)
    ]
    return structs[0] if count == 1 else structs


def _text(kind: int, data: memoryview, shape: tuple[int, ...]) -> Any:
    if kind not in ENCODINGS:
        raise ValueError(f"text of type {kind}")
    letters = bytes(data).decode(ENCODINGS[kind])
    rows, columns = shape[0], math.prod(shape[1:])
    if not letters:
        return ""
    if len(letters) != rows * columns:
        raise ValueError(f"text of {len(letters)} letters in shape {shape}")
    lines = [letters[row::rows] for row in range(rows)]
    return "".join(lines) if rows < 2 else lines


def _numbers(kind: int, data: memoryview) -> np.ndarray:
    if kind not in STORED:
        raise ValueError(f"numbers of type {kind}")
    return np.frombuffer(data, STORED[kind])
