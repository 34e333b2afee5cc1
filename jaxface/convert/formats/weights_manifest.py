"""TensorFlow.js weight manifests: a JSON file that describes arrays, and files with their bytes.

The manifest is a list of groups.  A group has ``paths``, files beside the manifest whose bytes in a
row are the group's, and ``weights``, whose arrays lie in them one after the other: ``name``,
``shape``, ``dtype`` (``float32``, little-endian) and, where it is stored in fewer bits,
``quantization`` with an integer ``dtype``, a ``scale`` and a ``min``: a number q stands for
q * scale + min, in double precision.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.convert.formats.budget import spend
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal
from jaxface.runtime.files import read_regular

QUANTISED = {"uint8": np.dtype("<u1"), "uint16": np.dtype("<u2")}
PLAIN = np.dtype("<f4")


class WeightMap(dict[str, np.ndarray]):
    """Arrays by name, float32."""


def read_manifest(data: bytes, folder: Path) -> tuple[WeightMap, list[bytes]]:
    """The arrays that a manifest describes, and the contents of its files.

    Args:
        data: the manifest.
        folder: where its files lie.

    Raises:
        Refusal: if it is no manifest, a file is missing, a description is not one that a network
            needs, or the bytes are too few or too many.
    """
    try:
        groups = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"starts as JSON, but is not ({one_line(str(error))})") from error
    if not isinstance(groups, list) or not groups:
        raise Refusal("a JSON file, but not a TensorFlow.js weight manifest (a list of groups)")
    arrays, files, named = WeightMap(), [], set()
    for group in groups:
        if not isinstance(group, dict) or not {"weights", "paths"} <= group.keys():
            raise Refusal("a group of the weight manifest lacks weights or paths")
        if not isinstance(group["weights"], list) or not isinstance(group["paths"], list):
            raise Refusal("weights and paths of a weight manifest must be lists")
        for path in (path for path in group["paths"] if isinstance(path, str)):
            if path in named:
                raise Refusal(f"the weight manifest names {shown(path)} twice")
            named.add(path)
        contents = [_file(folder, path) for path in group["paths"]]
        files += contents
        _read_group(group["weights"], b"".join(contents), arrays)
    return arrays, files


def _file(folder: Path, path: Any) -> bytes:
    # A name alone, so that a manifest cannot point out of its folder.
    if not isinstance(path, str) or path in ("", ".", "..") or "/" in path or "\\" in path:
        raise Refusal(f"the weight manifest names {shown(path)}, expected a file beside it")
    try:
        return read_regular(folder / path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refusal(f"the manifest's {one_line(path)} cannot be read: {reason}") from error


def _read_group(weights: list[Any], data: bytes, into: WeightMap) -> None:
    offset = 0
    for weight in weights:
        name, shape, stored, scale, least = _described(weight)
        if name in into:
            raise Refusal(f"the weight manifest describes {name} twice")
        end = offset + math.prod(shape) * stored.itemsize
        if end > len(data):
            raise Refusal(f"truncated file: {name} {list(shape)} ends at byte {end} of {len(data)}")
        spend(4 * math.prod(shape))
        array = np.frombuffer(data[offset:end], stored).reshape(shape)
        if scale is not None:
            array = array.astype(np.float64) * scale + least
        into[name] = array.astype(np.float32)
        offset = end
    if offset != len(data):
        raise Refusal(f"the weights end at byte {offset}, but their files have {len(data)}")


def _described(weight: Any) -> tuple[str, tuple[int, ...], np.dtype, float | None, float]:
    """Name, shape, stored type, scale and minimum."""
    if not isinstance(weight, dict) or not isinstance(weight.get("name"), str):
        raise Refusal("a weight of the manifest has no name")
    name, shape = one_line(weight["name"]), weight.get("shape")
    unknown = sorted(map(str, weight.keys() - {"name", "shape", "dtype", "quantization"}))
    if unknown:
        raise Refusal(f"{name}: the manifest's {one_line(', '.join(unknown))} is not known")
    if not isinstance(shape, list) or any(type(n) is not int or n < 1 for n in shape):
        raise Refusal(f"{name}: its shape is {shown(shape)}")
    if weight.get("dtype") != "float32":
        raise Refusal(f"{name} is of type {shown(weight.get('dtype'))}, expected float32")
    if "quantization" not in weight:
        return name, tuple(shape), PLAIN, None, 0.0
    quantised = weight["quantization"]
    if not isinstance(quantised, dict) or quantised.keys() != {"dtype", "scale", "min"}:
        raise Refusal(f"{name}: its quantization is not a type, a scale and a min")
    if quantised["dtype"] not in QUANTISED:
        kind = shown(quantised["dtype"])
        raise Refusal(f"{name} is stored as {kind}, expected one of {', '.join(QUANTISED)}")
    numbers = [quantised["scale"], quantised["min"]]
    # Of float32's range, so that no product overflows; JSON has integers of any length.
    if any(type(x) not in (int, float) or not abs(x) < 1e30 for x in numbers) or numbers[0] <= 0:
        raise Refusal(f"{name}: its scale and min are {shown(numbers)}")
    return name, tuple(shape), QUANTISED[quantised["dtype"]], float(numbers[0]), float(numbers[1])
