"""The head of version 3, read from its file: geometry, modes, masks and landmarks.

`tools/embedded_head` derives the file from MakeHuman's CC0 assets. Axes, units and the camera are
those of the procedural head: about 9 cm, x to the image's right, y up, z to the camera.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.curves import Array

HEAD_FILE = Path(__file__).parents[1] / "assets" / "head-3.safetensors"
_FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Anatomy:
    """Everything static of the head, float64.

    Vertices lie part by part (`parts`): body, upper-teeth, lower-teeth, tongue, eye-left,
    eye-right (the first vertex of each its centre), lashes, brows. Masks lie in [0, 1].
    """

    vertices: Array  # [V, 3]
    triangles: np.ndarray  # [T, 3]
    stencil: np.ndarray  # [V, 4]
    mirror: np.ndarray  # [V]
    parts: Mapping[str, slice]
    landmarks: np.ndarray  # [68]
    identity: Array  # [80, V, 3], orthonormal over stacked coordinates
    deviation: Array  # [80]
    axes: Mapping[str, Array]  # [80] each, identity in deviations per deviation of an axis
    expression: Array  # [64, V, 3]
    masks: Mapping[str, Array]  # [V] each
    material: Array  # [V, 2], places on the procedural head
    rigid: Array  # [V], 1 what turns with the head, 0 what turns with the body
    shadow: Array  # [V, 9], see `jaxface.morphable.finish`
    brow_across: Array  # [B], half heights above a brow's line


def _flipped(field: Array, mirror: np.ndarray) -> Array:
    """A displacement field as seen in a mirror."""
    return field[..., mirror, :] * _FLIP


def _identity(arrays: dict[str, np.ndarray]) -> Array:
    mirror, half = arrays["mirror"], arrays["half"]
    stored = np.concatenate(
        [
            arrays[f"identity_{name}"] * arrays[f"identity_{name}_scale"][:, None, None]
            for name in ("coarse", "fine")
        ]
    ).astype(np.float64)
    modes = np.zeros((len(stored), len(mirror), 3))
    modes[:, mirror[half]] = stored * _FLIP * arrays["identity_parity"][:, None, None]
    modes[:, half] = stored
    # Storage in a few bits leaves modes slightly skew: the nearest orthonormal rows (Loewdin).
    flat = modes.reshape(len(modes), -1)
    sizes, axes = np.linalg.eigh(flat @ flat.T)
    return np.einsum("mk,kvi->mvi", (axes / np.sqrt(sizes)) @ axes.T, modes)


def _expression(arrays: dict[str, np.ndarray], stored: list[str], units: list[str]) -> Array:
    total = len(arrays["mirror"])
    fields, start = {}, 0
    rows = zip(stored, arrays["expression_count"], arrays["expression_scale"], strict=True)
    for name, count, scale in rows:
        field = np.zeros((total, 3))
        part = slice(start, start + count)
        field[arrays["expression_index"][part]] = arrays["expression"][part] * float(scale)
        fields[name], start = field, start + count
        if name.endswith("Left"):
            fields[name.removesuffix("Left") + "Right"] = _flipped(field, arrays["mirror"])
    fine = [name for name in stored if name.startswith("fine_")]
    return np.stack([fields[name] for name in units + fine])


@functools.cache
def anatomy() -> Anatomy:
    """The head; read on the first call (a quarter of a second), then kept.

    Raises:
        FileNotFoundError: the package's asset is missing.
        ValueError: the file names other units than `ARKIT_UNITS`.
    """
    with safe_open(HEAD_FILE, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layout = json.loads(file.metadata()["layout"])
    if tuple(layout["units"]) != ARKIT_UNITS:
        raise ValueError(f"{HEAD_FILE.name}: expected ARKit's 52 units, got {layout['units']}")
    arrays = {
        name: array.astype(np.int64) if array.dtype == np.uint16 else array
        for name, array in arrays.items()
    }
    shadow = (arrays["shadow"] * arrays["shadow_scale"][:, None]).T
    return Anatomy(
        vertices=arrays["vertices"].astype(np.float64),
        triangles=arrays["triangles"],
        stencil=arrays["stencil"],
        mirror=arrays["mirror"],
        parts={name: slice(*ends) for name, ends in layout["parts"].items()},
        landmarks=arrays["landmarks"],
        identity=_identity(arrays),
        deviation=arrays["identity_deviation"].astype(np.float64),
        axes=dict(zip(layout["axes"], arrays["identity_axes"].astype(np.float64), strict=True)),
        expression=_expression(arrays, layout["stored_units"], layout["units"]),
        masks=dict(zip(layout["masks"], arrays["masks"] / 255.0, strict=True)),
        material=arrays["material"].astype(np.float64),
        rigid=arrays["rigid"] / 255.0,
        shadow=shadow.astype(np.float64),
        brow_across=arrays["brow_across"].astype(np.float64),
    )
