"""Lashes and brows: strips that ride on the skin, each vertex a mix of three skin vertices."""

from dataclasses import dataclass

import numpy as np

from tools.embedded_head.source import Array

# Base mesh vertices along the front edge of the left upper lid, from the nose outwards.
UPPER_LID = (6846, 6842, 6839, 6787, 6786, 6791, 6794, 6797, 6800, 6803)
LASH_LENGTH = 0.034
BROW_COLUMNS, BROW_ROWS = 15, 5
# The left brow's middle line in head units, and its half height: x, y, half height.
_BROW = np.array(
    [
        (0.085, 0.292, 0.034),
        (0.16, 0.320, 0.043),
        (0.25, 0.343, 0.043),
        (0.35, 0.350, 0.037),
        (0.45, 0.326, 0.028),
        (0.545, 0.272, 0.014),
    ]
)
_REACH = 1.6  # of the strip, in half heights, so that thick brows fit in


@dataclass(frozen=True)
class Strip:
    """A pair of mirrored surfaces, the left one's vertices first."""

    corners: Array  # [P, 3] skin vertices
    weights: Array  # [P, 3]
    offset: Array  # [P, 3] added to the mix
    triangles: Array  # [T, 3] into the strip
    across: Array  # [P] half heights above a brow's line; 0 at a lash's root and 1 at its tip


def _grid_triangles(rows: int, columns: int) -> Array:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    b = a + columns
    return np.concatenate([np.stack([a, b, a + 1], 1), np.stack([a + 1, b, b + 1], 1)])


def _both_sides(
    corners: Array, weights: Array, offset: Array, triangles: Array, across: Array, mirror: Array
) -> Strip:
    count = len(corners)
    return Strip(
        np.concatenate([corners, mirror[corners]]),
        np.concatenate([weights, weights]),
        np.concatenate([offset, offset * (-1.0, 1.0, 1.0)]),
        np.concatenate([triangles, triangles[:, ::-1] + count]),
        np.concatenate([across, across]),
    )


def lashes(roots: Array, mirror: Array) -> Strip:
    """Two rows: the lid's edge, and tips ahead of it and upwards, longest at the outer corner."""
    along = np.linspace(0.0, 1.0, len(roots))
    length = LASH_LENGTH * (0.35 + 0.65 * np.sin(np.pi * np.clip(0.15 + 0.7 * along, 0, 1)))
    tips = np.stack([0.9 * (along - 0.35), 0.35 + 0.2 * along, 0.75 - 0.2 * along], axis=1)
    tips *= (length / np.linalg.norm(tips, axis=1))[:, None]
    corners = np.repeat(np.tile(roots, 2)[:, None], 3, axis=1)
    weights = np.tile([1.0, 0.0, 0.0], (len(corners), 1))
    offset = np.concatenate([np.zeros_like(tips) + np.array([0.0, 0.0, 0.003]), tips])
    across = np.repeat([0.0, 1.0], len(roots))
    return _both_sides(corners, weights, offset, _grid_triangles(2, len(roots)), across, mirror)


def brows(vertices: Array, triangles: Array, normals: Array, mirror: Array) -> Strip:
    """A grid along the brow's line, laid on the skin and lifted a little."""
    place = np.linspace(0.0, 1.0, BROW_COLUMNS)
    knots = np.linspace(0.0, 1.0, len(_BROW))
    x, y, half = (np.interp(place, knots, column) for column in _BROW.T)
    across = np.linspace(_REACH, -_REACH, BROW_ROWS)[:, None]
    wanted = np.stack(
        [np.broadcast_to(x, (BROW_ROWS, BROW_COLUMNS)), y + across * half], axis=-1
    ).reshape(-1, 2)
    facing = triangles[(normals[triangles][..., 2] > 0.1).all(axis=1)]
    facing = facing[(vertices[facing][..., 2] > 0.4).all(axis=1)]
    a, b, c = (vertices[facing[:, k]][:, :2] for k in range(3))

    def cross(u: Array, v: Array) -> Array:
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    corners, weights = [], []
    area = cross(b - a, c - a)
    for point in wanted:
        w = np.stack([cross(b - point, c - point), cross(c - point, a - point)], axis=1)
        w = w / area[:, None]
        w = np.column_stack([w, 1.0 - w.sum(axis=1)])
        best = int(w.min(axis=1).argmax())
        corners.append(facing[best])
        weights.append(w[best])
    corners, weights = np.array(corners), np.array(weights)
    lift = np.einsum("pk,pki->pi", weights, normals[corners])
    lift *= 0.010 / np.linalg.norm(lift, axis=1, keepdims=True)
    # The ends are rounder than the middle.
    taper = np.interp(place, [0.0, 0.12, 0.85, 1.0], [0.45, 1.0, 1.0, 0.5])
    spread = (across / taper).ravel()
    return _both_sides(
        corners, weights, lift, _grid_triangles(BROW_ROWS, BROW_COLUMNS), spread, mirror
    )
