"""Where L_cons looks: everything but eyes and mouth, which expressions move (equation 13).

As ``gen_mask`` of the authors: the polygons of both eyes and of the mouth filled, dilated by a
square of 31 pixels and blurred by a Gaussian of 5 in a window of 51, at 512 px; at other sizes in
proportion. Theirs are drawn in the frame and multiplied with aligned images; here landmarks are
those of the aligned image.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

POLYGONS = (tuple(range(36, 42)), tuple(range(42, 48)), tuple(range(48, 61)))
"""Of the 68 landmarks: the eyes, and the mouth with the first of its inner points."""

SIDE, DILATION, WINDOW, SIGMA = 512, 31, 51, 5.0


def eyes_and_mouth(landmarks: jax.Array, *, size: int) -> jax.Array:
    """How much a pixel belongs to eyes or mouth.

    Args:
      landmarks: [T, 68, 2], x and y in pixels of `size`; the first pixel's centre is at (0.5, 0.5).
      size: pixels a side.

    Returns:
      float32 [T, size, size] in [0, 1]; L_cons is weighted by one minus this.
    """
    # One after the other: a frame's polygons take size^2 times some fifty numbers.
    return jax.lax.map(functools.partial(_one, size=size), jnp.asarray(landmarks, jnp.float32))


def _one(points: jax.Array, *, size: int) -> jax.Array:
    inside = jnp.zeros((size, size), bool)
    for polygon in POLYGONS:
        inside = inside | _filled(points[np.array(polygon)], size)
    radius = round(DILATION / SIDE * size) // 2
    dilated = jax.lax.reduce_window(
        inside.astype(jnp.float32),
        np.float32(0.0),
        jax.lax.max,
        (2 * radius + 1, 2 * radius + 1),
        (1, 1),
        "SAME",
    )
    reach = max(round(WINDOW / SIDE * size) // 2, 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (SIGMA * size / SIDE)) ** 2)
    kernel = jnp.asarray(weights / weights.sum(), jnp.float32)
    blurred = dilated
    for axis in (0, 1):
        padding = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        padded = jnp.pad(blurred, padding, mode="reflect")
        parts = [
            weight * jax.lax.slice_in_dim(padded, place, place + size, axis=axis)
            for place, weight in enumerate(kernel)
        ]
        blurred = jnp.sum(jnp.stack(parts), axis=0)
    return blurred


def _filled(points: jax.Array, size: int) -> jax.Array:
    """The pixels whose centres are inside a polygon [P, 2]: [size, size] bool."""
    y, x = jnp.mgrid[:size, :size].astype(jnp.float32) + 0.5
    ends = jnp.roll(points, -1, axis=0)
    inside = jnp.zeros((size, size), bool)
    for place in range(len(points)):
        (x0, y0), (x1, y1) = points[place], ends[place]
        crosses = (y0 > y) != (y1 > y)
        slope = (x1 - x0) / jnp.where(y1 == y0, 1.0, y1 - y0)
        inside = inside ^ (crosses & (x < x0 + (y - y0) * slope))
    return inside
