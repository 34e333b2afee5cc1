"""Safetensors files as sources: arrays by name, in any of the format's types.

Eight bytes give the length of a JSON header, which maps names to a type, a shape and the two ends
of the array's bytes after the header.
"""

import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxface.convert.formats.budget import spend
from jaxface.convert.formats.tensors import NumpyArray
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal

TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2"},
    **{"I8": "i1", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "?"},
}
BFLOAT16 = np.dtype(jnp.bfloat16)


def is_safetensors(data: bytes) -> bool:
    """Whether a file begins like one: the length of a header that fits, and its first brace."""
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= len(data) - 8


def read_safetensors(data: bytes) -> dict[str, Any]:
    """The arrays by name.

    Raises:
        Refusal: for a damaged file, and one that jaxface has written.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise Refusal(f"a safetensors file whose header is no JSON ({one_line(error)})") from error
    if not isinstance(header, dict):
        raise Refusal("a safetensors file whose header is no JSON object")
    metadata = header.pop("__metadata__", None)
    if isinstance(metadata, dict) and "network" in metadata and "format_version" in metadata:
        raise Refusal("converted already: its header names a network of jaxface")
    body = memoryview(data)[8 + size :]
    return {name: _array(name, told, body) for name, told in header.items()}


def _array(name: str, told: Any, body: memoryview) -> NumpyArray:
    where = one_line(name)
    if not isinstance(told, dict) or not {"dtype", "shape", "data_offsets"} <= told.keys():
        raise Refusal(f"{where}: the header does not say its type, shape and place")
    kind, shape, ends = told["dtype"], told["shape"], told["data_offsets"]
    if kind != "BF16" and kind not in TYPES:
        raise Refusal(f"{where}: arrays of type {shown(kind)} are not read")
    dtype = BFLOAT16 if kind == "BF16" else np.dtype(TYPES[kind])
    numbers = [*shape, *ends] if isinstance(shape, list) and isinstance(ends, list) else [None]
    if any(type(n) is not int or not 0 <= n < 2**62 for n in numbers) or len(ends) != 2:
        raise Refusal(f"{where}: its shape {shown(shape)} or place {shown(ends)} is none")
    start, end = ends
    if end > len(body) or end - start != math.prod(shape) * dtype.itemsize:
        raise Refusal(
            f"truncated or damaged file: {where} {shown(shape)} is said to be at {start} to {end} "
            f"of {len(body)} bytes"
        )
    spend(end - start)
    return NumpyArray(np.frombuffer(body[start:end], dtype).reshape(shape))
