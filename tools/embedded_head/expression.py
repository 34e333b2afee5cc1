"""Expression: ARKit's 52 units, then twelve finer motions."""

import re
from dataclasses import dataclass

import numpy as np

from tools.embedded_head.mesh import SCALE
from tools.embedded_head.source import Array, Assets

FINE, FINE_SIZE = 12, 0.022
# The units' lids are made for eyes that turn 10 degrees up and 16 down (measured on the eyeballs of
# their own displacements); `jaxface.morphable.gaze` turns them by 18 and 22.
_LIDS_FOLLOW = {"eyeLookUp": 1.7, "eyeLookDown": 1.3}
_FINE_FOLDER = "expression/units/caucasian"


@dataclass(frozen=True)
class Units:
    """Displacements in head units; of a pair of sides only the left is kept."""

    names: list[str]  # the 52, sorted
    stored: list[str]  # symmetric ones and left ones, then fine_0 ... fine_11
    displacement: Array  # [stored, S, 3]


def other_side(name: str) -> str:
    """`eyeBlinkRight` of `eyeBlinkLeft`, and back; a symmetric unit's own name."""
    swap = {"Left": "Right", "Right": "Left"}
    return re.sub("Left$|Right$", lambda found: swap[found[0]], name)


def read_units(assets: Assets, source: Array, mirror: Array) -> Units:
    """The units at chosen vertices, `mirror` being their other sides."""
    flip = np.array([-1.0, 1.0, 1.0])
    names = assets.unit_names()
    full = {
        name: assets.unit(name)[source]
        * SCALE
        * _LIDS_FOLLOW.get(re.sub("Left$|Right$", "", name), 1.0)
        for name in names
    }
    stored, moved = [], []
    for name in names:
        other = full[other_side(name)][mirror] * flip
        if not name.endswith("Right"):
            stored.append(name)
            moved.append(0.5 * (full[name] + other))
    fine = _fine_motions(assets, source, mirror, np.stack(list(full.values())))
    return Units(names, stored + [f"fine_{i}" for i in range(FINE)], np.stack([*moved, *fine]))


def _fine_motions(assets: Assets, source: Array, mirror: Array, units: Array) -> Array:
    """What MakeHuman's own expression targets do that the units do not: [12, S, 3].

    Components of the residuals and of their mirror images, so that each is symmetric or
    antisymmetric; the largest displacement of each is FINE_SIZE head units.
    """
    names = assets.target_names(_FINE_FOLDER)
    moved = np.stack([assets.target(_FINE_FOLDER, name)[source] for name in names]) * SCALE
    moved = np.concatenate([moved, moved[:, mirror] * np.array([-1.0, 1.0, 1.0])])
    flat, basis = moved.reshape(len(moved), -1), units.reshape(len(units), -1)
    size = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    residual = flat - np.linalg.lstsq(basis.T, flat.T, rcond=None)[0].T @ basis
    _, _, motions = np.linalg.svd(residual / size, full_matrices=False)
    motions = motions[:FINE].reshape(FINE, -1, 3)
    largest = np.linalg.norm(motions, axis=2).max(axis=1)
    return motions * (FINE_SIZE / largest)[:, None, None]
