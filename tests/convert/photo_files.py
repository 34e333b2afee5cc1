"""Tiny files of the kinds that the photo suite is made of, and wheels around them.

Each is written from the format's description, as the readers are, so that tests need neither the
packages nor the wheels.
"""

import hashlib
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from jaxface.convert.wheels import Member, Wheel
from jaxface.licences import Terms
from jaxface.nets import MobileGeneratorConfig

# ---- OpenVINO


class Graph:
    """Layers, edges and numbers of a graph."""

    def __init__(self):
        self.net = ElementTree.Element("net", name="graph", version="10")
        self.layers = ElementTree.SubElement(self.net, "layers")
        self.edges = ElementTree.SubElement(self.net, "edges")
        self.numbers = b""
        self.count = 0

    def layer(self, kind: str, name: str, *reads: int) -> int:
        key, self.count = self.count, self.count + 1
        ElementTree.SubElement(self.layers, "layer", id=str(key), name=name, type=kind)
        for port, source in enumerate(reads):
            ElementTree.SubElement(
                self.edges,
                "edge",
                {"from-layer": str(source), "from-port": "0", "to-layer": str(key)},
            ).set("to-port", str(port))
        return key

    def constant(self, name: str, value: np.ndarray) -> int:
        key = self.layer("Const", name)
        raw = np.asarray(value, "<f4").tobytes()
        ElementTree.SubElement(
            self.layers[-1],
            "data",
            element_type="f32",
            shape=", ".join(map(str, value.shape)),
            offset=str(len(self.numbers)),
            size=str(len(raw)),
        )
        self.numbers += raw
        return key

    def files(self) -> tuple[bytes, bytes]:
        return ElementTree.tostring(self.net), self.numbers


def generator_files(config: MobileGeneratorConfig, seed: int = 0) -> dict[str, bytes]:
    """The two graphs of a generator of random numbers, in the order and names of the originals."""
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    mapping, at = Graph(), 0
    at = mapping.layer("Parameter", "z")
    for i in range(config.mapping_layers):
        width = config.z_dim if i == 0 else config.w_dim
        at = mapping.layer(
            "MatMul", "", at, mapping.constant(f"{2 * i}", normal(config.w_dim, width))
        )
        at = mapping.layer("Add", "", at, mapping.constant(f"{2 * i + 1}", normal(config.w_dim)))

    graph = Graph()

    def style(stem: str, channels: int) -> None:
        graph.constant(f"m.{stem}.modulation.weight", normal(channels, config.w_dim))
        graph.constant(f"m.{stem}.modulation.bias", normal(1, channels))

    def finish(at: int, stem: str, channels: int, side: int) -> int:
        at = graph.layer("Add", "", at, graph.constant("1560", normal(1, 1, side, side)))
        return graph.layer(
            "Add", "", at, graph.constant(f"m.{stem}.bias", normal(1, channels, 1, 1))
        )

    first = config.channels[0]
    at = graph.layer("Multiply", "", graph.constant("m.input.input", normal(1, first, 4, 4)))
    style("conv1.conv", first)
    at = graph.layer("Convolution", "", at, graph.constant("Mul_1", normal(first, first, 3, 3)))
    at = finish(at, "conv1", first, 4)
    for i in range(config.blocks):
        before, after = config.channels[i], config.channels[i + 1]
        style(f"layers.{i}.up", before)
        for name, width in (("conv1", before // 4), ("conv2", after)):
            stem = f"layers.{i}.{name}"
            style(f"{stem}.conv", width)
            taps = graph.constant(f"m.{stem}.conv.weight_dw", normal(width, 1, 1, 3, 3))
            at = graph.layer("GroupConvolution", "", at, taps)
            at = graph.layer("Convolution", "", at, graph.constant("2", normal(after, width, 1, 1)))
            at = finish(at, stem, after, 8 << i)
    head, width = f"layers.{config.blocks - 1}.to_img", config.channels[-1]
    style(f"{head}.conv", width)
    kernel = graph.constant(f"m.{head}.conv.weight", normal(12, width, 1, 1))
    at = graph.layer("Convolution", "", at, kernel)
    graph.layer("Add", "", at, graph.constant(f"m.{head}.bias", normal(1, 12, 1, 1)))
    files = (*mapping.files(), *graph.files())
    return dict(
        zip(("mapping.xml", "mapping.bin", "synthesis.xml", "synthesis.bin"), files, strict=True)
    )


# ---- TensorFlow Lite


@dataclass(eq=False)
class Table:
    """Fields by number: an integer with its struct code, or a part."""

    fields: dict[int, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Vector:
    """Integers of 32 bits, bytes, or tables."""

    items: Sequence[Any] | bytes


def flatbuffer(root: Table) -> bytes:
    """A FlatBuffer: parts in the order in which they are met, so that offsets point forward."""
    out, waiting = bytearray(8), [(0, root)]
    out[4:8] = b"TFL3"
    while waiting:
        reference, part = waiting.pop(0)
        out.extend(bytes(-len(out) % 8))
        if isinstance(part, Table):
            place = _write_table(out, part, waiting)
        else:
            place = _write_vector(out, part, waiting)
        struct.pack_into("<I", out, reference, place - reference)
    return bytes(out)


def _write_table(out: bytearray, table: Table, waiting: list) -> int:
    count = max(table.fields, default=-1) + 1
    offsets = [4 + 4 * i if i in table.fields else 0 for i in range(count)]
    vtable = len(out)
    out.extend(struct.pack(f"<HH{count}H", 4 + 2 * count, 4 + 4 * count, *offsets))
    out.extend(bytes(-len(out) % 4))
    place = len(out)
    out.extend(struct.pack("<i", place - vtable) + bytes(4 * count))
    for i, value in table.fields.items():
        if isinstance(value, Table | Vector):
            waiting.append((place + offsets[i], value))
        else:
            struct.pack_into("<i", out, place + offsets[i], value)
    return place


def _write_vector(out: bytearray, vector: Vector, waiting: list) -> int:
    place, items = len(out), vector.items
    out.extend(struct.pack("<I", len(items)))
    if isinstance(items, bytes):
        out.extend(items)
        return place
    for item in items:
        if isinstance(item, Table):
            waiting.append((len(out), item))
        out.extend(struct.pack("<i", 0 if isinstance(item, Table) else item))
    return place


CODES = {"ADD": 0, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "DEQUANTIZE": 6}
CODES |= {"MUL": 18, "PRELU": 54}


def tflite_file(operators: Sequence[tuple[str, Sequence[np.ndarray]]]) -> bytes:
    """A model whose operators each read a computed tensor and constants, stored in float16."""
    kinds = ["DEQUANTIZE", *sorted({kind for kind, _ in operators})]
    buffers, tensors, made = [Table()], [], []

    def tensor(shape: Sequence[int], kind: int, data: bytes | None) -> int:
        buffers.append(Table({0: Vector(data)}) if data is not None else Table())
        tensors.append(Table({0: Vector(list(shape)), 1: kind, 2: len(buffers) - 1}))
        return len(tensors) - 1

    def operator(kind: str, inputs: Sequence[int], output: int) -> None:
        parts = {0: kinds.index(kind), 1: Vector(list(inputs)), 2: Vector([output])}
        made.append(Table(parts))

    at = tensor([1], 0, None)
    for kind, constants in operators:
        inputs = [at]
        for value in constants:
            stored = tensor(value.shape, 1, np.asarray(value, "<f2").tobytes())
            plain = tensor(value.shape, 0, None)
            operator("DEQUANTIZE", [stored], plain)
            inputs.append(plain)
        at = tensor([1], 0, None)
        operator(kind, inputs, at)
    codes = [Table({0: CODES[kind], 3: CODES[kind]}) for kind in kinds]
    graph = Table({0: Vector(tensors), 3: Vector(made)})
    model = {0: 3, 1: Vector(codes), 2: Vector([graph]), 4: Vector(buffers)}
    return flatbuffer(Table(model))


# ---- Protocol buffers


def message(*fields: tuple[int, int | float | bytes]) -> bytes:
    """A message of fields by number: integers, floats of 4 bytes, and bytes."""
    found = b""
    for number, value in fields:
        if isinstance(value, bytes):
            found += varint(number << 3 | 2) + varint(len(value)) + value
        elif isinstance(value, float):
            found += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            found += varint(number << 3) + varint(value)
    return found


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the last byte is below 128."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def canonical_face_file(vertices: np.ndarray, weights: Mapping[int, float]) -> bytes:
    """The canonical face of some vertices [P, 3], with texture coordinates of 0."""
    numbers = np.pad(vertices, ((0, 0), (0, 2))).ravel().tolist()
    mesh = message((1, 0), (2, 0), *((3, number) for number in numbers), (4, 0), (4, 300))
    points = [message((1, point), (2, weight)) for point, weight in weights.items()]
    return message((1, mesh), *((2, point) for point in points))


# ---- HDF5


def hdf5_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by path, in groups, as h5py writes them by default."""
    tree: dict[str, Any] = {}
    for path, value in arrays.items():
        *groups, name = path.split("/")
        at = tree
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = value
    out = bytearray(96)
    root = _write_group(out, tree)
    out[:64] = (
        b"\x89HDF\r\n\x1a\n"
        + bytes([0, 0, 0, 0, 0, 8, 8, 0])
        + struct.pack("<HHI", 4, 16, 0)
        + struct.pack("<QQQQQ", 0, 2**64 - 1, len(out), 2**64 - 1, 0)
    )
    struct.pack_into("<Q", out, 64, root)
    return bytes(out)


def _header(out: bytearray, messages: Sequence[tuple[int, bytes]]) -> int:
    body = b""
    for kind, data in messages:
        data += bytes(-len(data) % 8)
        body += struct.pack("<HHI", kind, len(data), 0) + data
    place = len(out)
    out.extend(struct.pack("<BBHIII", 1, 0, len(messages), 1, len(body), 0) + body)
    return place


def _write_group(out: bytearray, members: Mapping[str, Any]) -> int:
    names, offsets = bytearray(8), {}
    for name in sorted(members):
        offsets[name] = len(names)
        names += name.encode() + b"\0"
        names += bytes(-len(names) % 8)
    places = {name: _write_object(out, value) for name, value in members.items()}
    heap = len(out)
    out.extend(b"HEAP" + bytes(4) + struct.pack("<QQQ", len(names), 0, heap + 32) + names)
    node = len(out)
    out.extend(b"SNOD" + struct.pack("<BBH", 1, 0, len(members)))
    for name in sorted(members):
        out.extend(struct.pack("<QQII", offsets[name], places[name], 0, 0) + bytes(16))
    tree, none = len(out), 2**64 - 1
    out.extend(b"TREE" + struct.pack("<BBHQQQQQ", 0, 0, 1, none, none, 0, node, 0))
    return _header(out, [(17, struct.pack("<QQ", tree, heap))])


def _write_object(out: bytearray, value: Any) -> int:
    if isinstance(value, dict):
        return _write_group(out, value)
    raw, place = np.asarray(value, "<f4").tobytes(), len(out)
    out.extend(raw)
    space = bytes([1, value.ndim, 0, 0, 0, 0, 0, 0]) + struct.pack(f"<{value.ndim}Q", *value.shape)
    kind = bytes([0x11, 0x20, 31, 0]) + struct.pack("<I", 4) + bytes(12)
    layout = bytes([3, 1]) + struct.pack("<QQ", place, len(raw))
    return _header(out, [(1, space), (3, kind), (8, layout)])


# ---- Wheels


def write_wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> Wheel:
    """A wheel of files, and how it is known; the short name of a member is its path."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    members = {
        path: Member(path, len(data), hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    }
    return Wheel(name, version, members, Terms(f"terms of {name}", "no", f"as {name} says"))
