"""The 68 landmarks of the new head and its vertices' places on the procedural one.

Where the procedural head paints blush, beard, folds and so on in its material coordinates, the new
head's vertices get material coordinates by a thin-plate warp between both heads' landmarks.
"""

import numpy as np
from scipy.interpolate import RBFInterpolator

from jaxface.morphable import annotation
from jaxface.morphable.head import MOUTH_Y
from tools.embedded_head.mesh import Mesh
from tools.embedded_head.source import Array

# iBUG index to vertex of the base mesh: the middle of the face, and both lids of the left eye.
_MIDDLE = {
    27: 132,
    28: 135,
    29: 201,
    30: 5054,
    33: 317,
    51: 455,
    57: 492,
    62: 474,
    66: 493,
    8: 5296,
}
_INNER_LIPS = {63: 7213, 65: 7236}
# iBUG index to (x, y) in head units, on the person's left.
_LEFT = {
    22: (0.120, 0.300),
    23: (0.220, 0.342),
    24: (0.330, 0.352),
    25: (0.430, 0.325),
    26: (0.525, 0.268),
    34: (0.095, -0.378),
    35: (0.180, -0.352),
    42: (0.162, 0.065),
    43: (0.279, 0.122),
    44: (0.393, 0.123),
    45: (0.447, 0.088),
    46: (0.363, 0.045),
    47: (0.285, 0.046),
    52: (0.055, -0.532),
    53: (0.145, -0.557),
    54: (0.236, -0.632),
    55: (0.150, -0.722),
    56: (0.070, -0.757),
    64: (0.222, -0.628),
}
_EYES = range(36, 48)
# Heights of the contour from the ear to beside the chin, and azimuths about the neck's axis.
_CONTOUR = ((0.05, 1.45), (-0.16, 1.42), (-0.36, 1.38), (-0.56, 1.32), (-0.74, 1.20))
_JAW = ((-0.88, 0.95), (-0.98, 0.66), (-1.05, 0.33))


def nearest(points: Array, allowed: Array, wanted: Array) -> int:
    """Index of the allowed point nearest to a place, in as many coordinates as it has."""
    distance = ((points[:, : len(wanted)] - wanted) ** 2).sum(axis=1)
    return int(np.where(allowed, distance, np.inf).argmin())


def find_landmarks(mesh: Mesh, normals: Array, hidden: Array) -> Array:
    """Vertices of the landmarks in iBUG order, [68]; pairs are mirror images.

    `hidden` [V] is above 0.3 at ears and in the mouth, where the contour does not run.
    """
    body = np.arange(len(mesh.vertices)) < mesh.parts["body"].stop
    outside = body & (normals[:, 2] > 0.0) & (mesh.vertices[:, 2] > 0.5)
    lids = body & (mesh.vertices[:, 2] > 0.75)
    place = {int(source): index for index, source in enumerate(mesh.source)}
    found = {index: place[source] for index, source in (_MIDDLE | _INNER_LIPS).items()}
    for index, wanted in _LEFT.items():
        allowed = lids if index in _EYES else outside
        found[index] = nearest(mesh.vertices, allowed, np.array(wanted))
    x, y, z = mesh.vertices.T
    round_neck = np.stack([np.arctan2(x, z - 0.05), y], axis=1)
    face = body & (hidden < 0.3) & (normals[:, 2] > -0.2) & (z > 0.05)
    for step, (height, azimuth) in enumerate(_CONTOUR + _JAW):
        found[16 - step] = nearest(round_neck, face, np.array([azimuth, height]))
    for left, right in annotation._MIRRORED.items():
        found[left] = int(mesh.mirror[found[right]])
    return np.array([found[index] for index in range(annotation.NUM_LANDMARKS)])


def material_coordinates(mesh: Mesh, landmarks: Array) -> Array:
    """Material (x, y) of the procedural head at every vertex, [V, 2]."""
    half = annotation._half_positions()
    old = {index: place for index, place in half.items() if index not in (60, 61, 67)}
    old |= {annotation._MIRRORED[index]: (-x, y) for index, (x, y) in old.items()}
    old |= {i: (0.0, y) for i, y in annotation._MIDDLE.items() if i not in (62, 66)}
    old |= {8: (0.0, -1.035)}
    new = mesh.vertices[landmarks][:, :2]
    pairs = [(new[index], place) for index, place in old.items()]
    # The line between the lips, and a frame around the face so that the warp ends there.
    pairs.append((0.5 * (new[62] + new[66]), (0.0, MOUTH_Y)))
    for x, y in ((0.0, 0.75), (0.45, 0.70), (0.75, 0.30), (0.75, -0.30), (0.55, -0.80), (0.0, 1.1)):
        pairs += [(np.array([side * x, y]), (side * x, y)) for side in (-1.0, 1.0)[x == 0.0 :]]
    here, there = (np.array(points) for points in zip(*pairs, strict=True))
    warp = RBFInterpolator(here, there, kernel="thin_plate_spline", smoothing=1e-4)
    x, y = warp(mesh.vertices[:, :2]).T
    mirrored = warp(mesh.vertices[:, :2] * (-1.0, 1.0)).T
    return np.stack([0.5 * (x - mirrored[0]), 0.5 * (y + mirrored[1])], axis=1)
