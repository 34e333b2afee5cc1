"""TensorFlow Lite models as data: the operators of their one graph, with the constants they read.

A model is a FlatBuffer (``schema.fbs`` of TensorFlow Lite, identifier ``TFL3``): tables whose
fields are found through a list of offsets. Of it are read: the operators in the order of execution,
each with its kind and its constant inputs. Weights stored in float16 behind ``DEQUANTIZE`` come out
as float32; integers stay. Every offset is checked against the file's length.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.convert.refusal import Refusal

IDENTIFIER = b"TFL3"

KINDS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    22: "RESHAPE",
    34: "PAD",
    39: "TRANSPOSE",
    40: "MEAN",
    54: "PRELU",
}
"""Built-in operators by their codes; others are named by the code."""

TYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4"), 4: np.dtype("<i8")}

MOST = 100_000
"""Entries of a list, more than any of these models has."""


@dataclass(frozen=True)
class Operator:
    """One operator of the graph.

    Attributes:
        kind: its name in the schema.
        constants: the inputs that are stored in the file, in order.
    """

    kind: str
    constants: tuple[np.ndarray, ...]


def read_tflite(data: bytes) -> list[Operator]:
    """The operators of a model of one graph, less ``DEQUANTIZE``.

    Args:
        data: the file's contents.

    Raises:
        Refusal: if it is no such file, an offset leaves it, or it holds a type that is not read.
    """
    if data[4:8] != IDENTIFIER:
        raise Refusal("is no TensorFlow Lite model")
    model = _Table(data, _uint(data, 0))
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise Refusal(f"a TensorFlow Lite model of {len(graphs)} graphs, expected one")
    (graph,) = graphs
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    reader = _Constants(graph.tables(0), model.tables(4))
    found = []
    for operator in graph.tables(3):
        index = operator.number(0, "I")
        if index >= len(codes):
            raise Refusal(f"an operator of kind {index}, where the model names {len(codes)}")
        kind = KINDS.get(codes[index], f"operator {codes[index]}")
        constants = [reader.read(key) for key in operator.numbers(1) if key >= 0]
        if kind == "DEQUANTIZE":
            for output, value in zip(operator.numbers(2), constants, strict=False):
                if value is not None:
                    reader.values[output] = value
            continue
        found.append(Operator(kind, tuple(c for c in constants if c is not None)))
    return found


class _Constants:
    """The stored tensors of a graph, by their numbers."""

    def __init__(self, tensors: "list[_Table]", buffers: "list[_Table]"):
        self.tensors, self.buffers = tensors, buffers
        self.values: dict[int, np.ndarray] = {}

    def read(self, key: int) -> np.ndarray | None:
        """The tensor; None for one that is computed."""
        if key in self.values:
            return self.values[key]
        if key >= len(self.tensors):
            raise Refusal(f"an operator reads tensor {key} of {len(self.tensors)}")
        tensor = self.tensors[key]
        buffer = tensor.number(2, "I")
        if buffer >= len(self.buffers):
            raise Refusal(f"tensor {key} is in buffer {buffer} of {len(self.buffers)}")
        raw = self.buffers[buffer].bytes(0)
        if not raw:
            return None
        kind = tensor.number(1, "b")
        if kind not in TYPES:
            raise Refusal(f"tensor {key} is of type {kind}, expected one of {sorted(TYPES)}")
        shape, dtype = tensor.numbers(0), TYPES[kind]
        if min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != len(raw):
            raise Refusal(f"tensor {key} has shape {shape} and {len(raw)} bytes")
        value = np.frombuffer(raw, dtype).reshape(shape)
        self.values[key] = value.astype(np.float32) if dtype.kind == "f" else value
        return self.values[key]


class _Table:
    """A table of a FlatBuffer: fields by their numbers, absent ones at their defaults."""

    def __init__(self, data: bytes, place: int):
        self.data, self.place = data, place
        vtable = place - _unpacked(data, place, "i")
        size = _unpacked(data, vtable, "H")
        count = max(0, size - 4) // 2
        self.fields = [_unpacked(data, vtable + 4 + 2 * i, "H") for i in range(count)]

    def number(self, field: int, code: str) -> int:
        """A number stored in the table; 0 where it is absent."""
        place = self._at(field)
        return 0 if place is None else _unpacked(self.data, place, code)

    def numbers(self, field: int) -> list[int]:
        """A list of 32-bit integers."""
        start, count = self._list(field)
        raw = _cut(self.data, start, 4 * count)
        return list(struct.unpack(f"<{count}i", raw))

    def bytes(self, field: int) -> bytes:
        """A list of bytes."""
        start, count = self._list(field, most=len(self.data))
        return _cut(self.data, start, count)

    def tables(self, field: int) -> "list[_Table]":
        """A list of tables."""
        start, count = self._list(field)
        places = [start + 4 * i for i in range(count)]
        return [_Table(self.data, place + _uint(self.data, place)) for place in places]

    def _at(self, field: int) -> int | None:
        offset = self.fields[field] if field < len(self.fields) else 0
        return self.place + offset if offset else None

    def _list(self, field: int, *, most: int = MOST) -> tuple[int, int]:
        """Where a list begins and how many entries it has."""
        place = self._at(field)
        if place is None:
            return 0, 0
        place += _uint(self.data, place)
        count = _uint(self.data, place)
        if count > most:
            raise Refusal(f"a list of {count} entries in a TensorFlow Lite model")
        return place + 4, count


def _uint(data: bytes, place: int) -> int:
    return _unpacked(data, place, "I")


def _unpacked(data: bytes, place: int, code: str) -> Any:
    return struct.unpack(f"<{code}", _cut(data, place, struct.calcsize(f"<{code}")))[0]


def _cut(data: bytes, start: int, size: int) -> bytes:
    if start < 0 or start + size > len(data):
        raise Refusal(f"truncated file: bytes {start} to {start + size} of {len(data)}")
    return data[start : start + size]
