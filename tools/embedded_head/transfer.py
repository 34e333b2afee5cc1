"""How each vertex of the mean head receives light: its own shadows, in spherical harmonics.

For a lamp in direction w with radiance L(w) = sum_b l_b H_b(w), a vertex that sees the part V of
the sky gets sum_b l_b T_b with T_b the integral of H_b(w) V(w) max(n.w, 0) (precomputed radiance
transfer, Sloan et al. 2002). Divided by the clamped cosine's transfer a_b, T_b is H_b(n) where
nothing is hidden; what is stored is the difference, which an image adds to its Lambertian light.
"""

import jax.numpy as jnp
import numpy as np

from jaxface.morphable.illumination import _CLAMPED_COSINE, spherical_harmonics
from jaxface.morphable.rasterise import FAR, NEAR, interpolate, rasterise
from tools.embedded_head.source import Array

DIRECTIONS, RESOLUTION = 160, 256


def sphere_directions(count: int) -> Array:
    """Points spread evenly on the unit sphere (a Fibonacci lattice), [count, 3]."""
    index = np.arange(count) + 0.5
    height, angle = 1.0 - 2.0 * index / count, np.pi * (1.0 + 5.0**0.5) * index
    around = np.sqrt(1.0 - height**2)
    return np.stack([around * np.cos(angle), height, around * np.sin(angle)], axis=1)


def visibility(vertices: Array, normals: Array, triangles: Array, directions: Array) -> Array:
    """How much of a lamp in each direction reaches each vertex, [D, V] in 0..1: a depth map."""
    lifted = vertices + 0.012 * normals
    scale = RESOLUTION / 6.0
    seen = []
    for towards in directions:
        up = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
        across = np.cross(up, towards)
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(towards, across), towards])

        def pixels(points: Array, axes: Array = axes) -> Array:
            x, y, z = axes @ points.T
            depth = 0.5 * (NEAR + FAR) - z * 0.9
            return np.stack(
                [0.5 * RESOLUTION + scale * x, 0.5 * RESOLUTION - scale * y, depth], axis=1
            )

        points = jnp.asarray(pixels(vertices)[None], jnp.float32)
        cover, both = jnp.ones(points.shape[:2]), jnp.ones(len(triangles), bool)
        mesh = jnp.asarray(triangles, jnp.int32)
        identity = rasterise(points, cover, mesh, both, RESOLUTION, capacity=6 * len(triangles))
        depth = interpolate(identity, points, points[..., 2:], mesh, RESOLUTION)[0, :, 0]
        depth = np.where(np.asarray(identity[0]) >= 0, np.asarray(depth), np.inf)
        depth = depth.reshape(RESOLUTION, RESOLUTION)
        wanted = pixels(lifted)
        column, row = wanted[:, :2].T - 0.5
        total = 0.0
        # The four pixels around the vertex, weighted bilinearly.
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        for dx in (0, 1):
            for dy in (0, 1):
                weight = np.abs(1 - dx - (column - left)) * np.abs(1 - dy - (row - top))
                at = depth[
                    np.clip(top + dy, 0, RESOLUTION - 1), np.clip(left + dx, 0, RESOLUTION - 1)
                ]
                total = total + weight * (wanted[:, 2] <= at + 0.03)
        seen.append(total)
    return np.array(seen)


def shadow_transfer(vertices: Array, normals: Array, triangles: Array, mirror: Array) -> Array:
    """T_b / a_b - H_b(n) of each vertex, [V, 9], mirror-symmetric."""
    directions = sphere_directions(DIRECTIONS)
    seen = visibility(vertices, normals, triangles, directions)
    harmonics = np.asarray(spherical_harmonics(jnp.asarray(directions, jnp.float32)))
    cosine = np.maximum(directions @ normals.T, 0.0)
    # The same quadrature with and without what hides the lamp, so that its error cancels.
    hidden = (cosine * (seen - 1.0)).T @ harmonics * (4.0 * np.pi / DIRECTIONS) / _CLAMPED_COSINE
    # x -> -x changes the sign of the harmonics that are odd in x: (1,1), (2,-2), (2,1).
    odd = np.where(np.isin(np.arange(9), (3, 4, 7)), -1.0, 1.0)
    return 0.5 * (hidden + hidden[mirror] * odd)
