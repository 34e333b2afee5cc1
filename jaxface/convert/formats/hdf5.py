"""HDF5 files as data: the floating-point arrays of a file with groups, as Keras writes it.

Of the format (HDF5 File Format Specification 3.0) is read what h5py writes by default: superblock
0, object headers of version 1, groups as symbol tables (a B-tree of version 1 over names in a local
heap), and data sets of IEEE floating-point numbers, little-endian, in one contiguous piece. Chunked
and compressed data sets and other types are refused where they are asked for. Offsets and lengths
have 8 bytes. Every offset is checked against the file's length, and no object is read twice.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxface.convert.formats.words import one_line
from jaxface.convert.refusal import Refusal

SIGNATURE = b"\x89HDF\r\n\x1a\n"

DATASPACE, DATATYPE, LAYOUT, FILTERS, CONTINUATION, SYMBOL_TABLE = 1, 3, 8, 11, 16, 17
CONTIGUOUS, FLOATING = 1, 1
ENTRY = 40
"""Bytes of an entry of a symbol table."""
MOST = 100_000
"""Objects of a file, and nodes of its trees."""


def read_hdf5(data: bytes) -> dict[str, np.ndarray]:
    """The floating-point data sets of a file by their paths, ``group/group/name``.

    Args:
        data: the file's contents.

    Raises:
        Refusal: if it is no such file, is damaged, or a floating-point data set is not stored in
            one piece.
    """
    if not data.startswith(SIGNATURE):
        raise Refusal("is no HDF5 file")
    version, sizes = _cut(data, 8, 1)[0], _cut(data, 13, 2)
    if version != 0 or sizes != b"\x08\x08":
        raise Refusal(f"an HDF5 file with a superblock of version {version}, expected 0")
    root = _unpack(data, 64, "Q")
    arrays: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        path, place = waiting.pop()
        if place in seen or len(seen) > MOST:
            raise Refusal(f"the HDF5 file holds {one_line(path)} twice, or too many objects")
        seen.add(place)
        messages = list(_messages(data, place))
        kinds = dict(messages)
        if SYMBOL_TABLE in kinds:
            tree, heap = struct.unpack("<QQ", _cut(kinds[SYMBOL_TABLE], 0, 16))
            names = _heap(data, heap)
            for name, child in _children(data, tree, names):
                waiting.append((f"{path}/{name}" if path else name, child))
        elif LAYOUT in kinds and _cut(kinds.get(DATATYPE, b"\0"), 0, 1)[0] & 15 == FLOATING:
            try:
                arrays[path] = _array(data, kinds)
            except Refusal as refusal:
                raise Refusal(f"{one_line(path)}: {refusal}") from refusal
    return dict(sorted(arrays.items()))


def _messages(data: bytes, place: int) -> Iterator[tuple[int, bytes]]:
    """Kind and contents of an object header's messages, those of its continuations with them."""
    version, _, count, _, size = struct.unpack("<BBHII", _cut(data, place, 12))
    if version != 1:
        raise Refusal(f"an HDF5 object header of version {version}, expected 1")
    pieces = [(place + 16, size)]
    while pieces and count > 0:
        at, rest = pieces.pop(0)
        while rest >= 8 and count > 0:
            kind, length = struct.unpack("<HH", _cut(data, at, 4))
            body = _cut(data, at + 8, length)
            if kind == CONTINUATION:
                pieces.append(struct.unpack("<QQ", _cut(body, 0, 16)))
            else:
                yield kind, body
            at, rest, count = at + 8 + length, rest - 8 - length, count - 1


def _heap(data: bytes, place: int) -> bytes:
    """The names of a group."""
    if _cut(data, place, 4) != b"HEAP":
        raise Refusal("an HDF5 group without its names")
    size, _, start = struct.unpack("<QQQ", _cut(data, place + 8, 24))
    return _cut(data, start, size)


def _children(data: bytes, tree: int, names: bytes) -> Iterator[tuple[str, int]]:
    """Name and object header of a group's members."""
    waiting, steps = [tree], 0
    while waiting:
        place, steps = waiting.pop(), steps + 1
        if steps > MOST:
            raise Refusal("an HDF5 group whose tree does not end")
        mark = _cut(data, place, 4)
        if mark == b"TREE":
            _, _, used = struct.unpack("<BBH", _cut(data, place + 4, 4))
            # Keys and children in turn, behind the addresses of the two siblings.
            waiting += [_unpack(data, place + 32 + 16 * i, "Q") for i in range(used)]
        elif mark == b"SNOD":
            for i in range(_unpack(data, place + 6, "H")):
                name, header = struct.unpack("<QQ", _cut(data, place + 8 + ENTRY * i, 16))
                end = names.find(b"\0", name)
                if end < 0:
                    raise Refusal("an HDF5 group's member without a name")
                yield names[name:end].decode("utf-8", "replace"), header
        else:
            raise Refusal("an HDF5 group whose tree is damaged")


def _array(data: bytes, kinds: dict[int, bytes]) -> np.ndarray:
    size = _unpack(kinds[DATATYPE], 4, "I")
    little = kinds[DATATYPE][1] & 0x41 == 0
    if not little or size not in (2, 4, 8):
        raise Refusal(f"floating-point numbers of {size} bytes in an order that is not read")
    if FILTERS in kinds or kinds[LAYOUT][:2] != bytes([3, CONTIGUOUS]):
        raise Refusal("is not stored in one uncompressed piece")
    shape = _shape(kinds.get(DATASPACE, b""))
    start, length = struct.unpack("<QQ", _cut(kinds[LAYOUT], 2, 16))
    if math.prod(shape) * size != length:
        raise Refusal(f"has shape {list(shape)} and {length} bytes")
    return np.frombuffer(_cut(data, start, length), f"<f{size}").reshape(shape)


def _shape(space: bytes) -> tuple[int, ...]:
    version, rank = struct.unpack("<BB", _cut(space, 0, 2))
    if version not in (1, 2) or rank > 32:
        raise Refusal(f"has a data space of version {version} and rank {rank}")
    return struct.unpack(f"<{rank}Q", _cut(space, 8 if version == 1 else 4, 8 * rank))


def _unpack(data: bytes, place: int, code: str) -> Any:
    return struct.unpack(f"<{code}", _cut(data, place, struct.calcsize(f"<{code}")))[0]


def _cut(data: bytes, start: int, size: int) -> bytes:
    if start < 0 or start + size > len(data):
        raise Refusal(f"truncated file: bytes {start} to {start + size} of {len(data)}")
    return data[start : start + size]
