"""Eyeballs, lashes and brows, which the base mesh does not have in a form that renders well.

An eyeball is a polar grid around its optical axis; its first vertex is its centre, about which it
turns. Rings lie at the borders of pupil and iris, so that their edges are sharp.
"""

import numpy as np

from tools.embedded_head.source import Array

COLUMNS = 20
# Polar angle in degrees, and what the ring belongs to.
RINGS = (
    (8.5, "pupil"),
    (10.0, "iris"),
    (16.0, "iris"),
    (22.5, "iris"),
    (26.0, "limbus"),
    (28.5, "white"),
    (36.0, "white"),
    (48.0, "white"),
    (62.0, "white"),
    (80.0, "white"),
)
COUNT = 2 + COLUMNS * len(RINGS)


def eyeball(centre: Array, radius: float, side: float) -> tuple[Array, Array, list[str]]:
    """Vertices [COUNT, 3], triangles and each vertex's kind; column k mirrors the other side's."""
    angle = 2.0 * np.pi * np.arange(COLUMNS) / COLUMNS
    points, kinds = [centre, centre + np.array([0.0, 0.0, radius])], ["white", "pupil"]
    for degrees, kind in RINGS:
        polar = np.deg2rad(degrees)
        ring = np.stack(
            [
                side * np.sin(polar) * np.cos(angle),
                np.sin(polar) * np.sin(angle),
                np.full(COLUMNS, np.cos(polar)),
            ],
            axis=1,
        )
        points.append(centre + radius * ring)
        kinds += [kind] * COLUMNS
    triangles = []
    for column in range(COLUMNS):
        after = (column + 1) % COLUMNS
        triangles.append((1, 2 + column, 2 + after))
        for ring in range(len(RINGS) - 1):
            a, b = 2 + ring * COLUMNS + column, 2 + ring * COLUMNS + after
            c, d = a + COLUMNS, b + COLUMNS
            triangles += [(a, c, b), (b, c, d)]
    order = (0, 1, 2) if side > 0 else (0, 2, 1)
    return np.vstack(points), np.array(triangles)[:, order], kinds


def fit_sphere(points: Array) -> tuple[Array, float]:
    """Centre and radius of the sphere nearest to points, by linear least squares."""
    system = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    return centre, float(np.sqrt(solution[3] + centre @ centre))
