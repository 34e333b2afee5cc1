"""DECA's camera: orthographic, with a scale and a translation of each face's own.

FLAME's coordinates have y up and z towards the viewer; image coordinates have x to the right and y
down, both in [-1, 1] from edge to edge of DECA's square crop, and z away from the viewer.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

_IMAGE_AXES = np.array([1.0, -1.0, -1.0], np.float32)


def scaled_orthographic(points: Array, camera: Array) -> Array:
    """scale * (x + tx, y + ty, z), ``batch_orth_proj``, still with y up.

    Args:
        points: [N, V, 3].
        camera: [N, 3], scale, tx, ty.

    Returns:
        [N, V, 3].
    """
    shift = jnp.pad(camera[:, None, 1:], ((0, 0), (0, 0), (0, 1)))
    return camera[:, None, :1] * (points + shift)


def weak_perspective(points: Array, camera: Array) -> Array:
    """Image coordinates and depth of FLAME's points: y and z are negated, as in DECA's decoder.

    Args:
        points: [N, V, 3].
        camera: [N, 3], scale, tx, ty.

    Returns:
        [N, V, 3]: x and y in [-1, 1] inside the crop, z growing away from the viewer.
    """
    return scaled_orthographic(points, camera) * _IMAGE_AXES
