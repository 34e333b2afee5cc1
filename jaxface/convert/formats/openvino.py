"""OpenVINO's intermediate representation (version 10) as data: a graph in XML, numbers beside it.

The XML's ``layers`` have an id, a type and a name; a ``Const`` says where its numbers lie in the
``.bin`` file. ``edges`` say which layer reads which, by ports. Nothing else of it is read.
"""

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

import numpy as np

from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal

TYPES = {"f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "u8": "<u1"}
VERSION = "10"


@dataclass
class Node:
    """A layer of the graph.

    Attributes:
        kind: its type, such as ``Convolution``.
        name: as the exporter called it.
        reads: keys of the layers that it reads, in the order of its ports.
        readers: keys of the layers that read it.
        value: of a ``Const``.
    """

    kind: str
    name: str
    reads: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)
    value: np.ndarray | None = None


def read_ir(xml: bytes, weights: bytes) -> dict[int, Node]:
    """The layers of a graph by their ids.

    Args:
        xml: contents of the ``.xml`` file.
        weights: contents of the ``.bin`` file.

    Raises:
        Refusal: if the XML is damaged, declares entities or is of another version, or a constant
            does not fit the numbers.
    """
    if b"<!" in xml:  # declarations and entities, which no graph needs
        raise Refusal("its XML holds a declaration, which no OpenVINO graph has")
    try:
        document = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise Refusal(f"its XML is damaged ({one_line(str(error))})") from error
    if document.tag != "net" or document.get("version") != VERSION:
        found = one_line(f"{document.tag} {document.get('version')}")
        raise Refusal(f"expected an OpenVINO graph of version {VERSION}, got {found}")
    try:
        nodes = {int(layer.attrib["id"]): _node(layer, weights) for layer in document.iter("layer")}
        edges = sorted(
            tuple(int(edge.attrib[key]) for key in ("to-layer", "to-port", "from-layer"))
            for edge in document.iter("edge")
        )
        for target, _, source in edges:
            nodes[target].reads.append(source)
            nodes[source].readers.append(target)
    except (KeyError, ValueError) as error:
        raise Refusal(f"its OpenVINO graph is damaged ({shown(error)})") from error
    return nodes


def _node(layer: ElementTree.Element, weights: bytes) -> Node:
    node = Node(layer.attrib["type"], layer.attrib["name"])
    if node.kind != "Const":
        return node
    data = layer.find("data")
    if data is None:
        raise ValueError(f"constant {node.name} without data")
    kind = data.attrib["element_type"]
    if kind not in TYPES:
        raise ValueError(f"constant {node.name} of type {kind}")
    shape = [int(size) for size in data.attrib["shape"].split(",") if size.strip()]
    dtype, start, size = np.dtype(TYPES[kind]), int(data.attrib["offset"]), int(data.attrib["size"])
    if min(shape, default=1) < 1 or math.prod(shape) * dtype.itemsize != size or start < 0:
        raise ValueError(f"constant {node.name} of shape {shape} in {size} bytes")
    if start + size > len(weights):
        raise Refusal(
            f"truncated file: {one_line(node.name)} ends at byte {start + size} of {len(weights)}"
        )
    node.value = np.frombuffer(weights, dtype, size // dtype.itemsize, start).reshape(shape)
    return node
