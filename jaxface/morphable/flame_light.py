"""Light as DECA shades FLAME's surface: spherical harmonics.

The harmonics are those of `illumination`, in another order and already convolved with the clamped
cosine; band 0 lacks the convolution's factor pi (``constant_factor`` of DECA's renderer.py), so
coefficients of one form are not coefficients of the other.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.illumination import SH_BANDS, spherical_harmonics

# DECA's order of the bands: 1, x, y, z, xy, xz, yz, x^2 - y^2, 3 z^2 - 1.
_ORDER = np.array([0, 3, 1, 2, 4, 7, 5, 8, 6])
_TRANSFER = np.array([1.0] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5, np.float32)


def harmonics_shading(normals: Array, coefficients: Array) -> Array:
    """Shading by environment light, ``add_SHlight``; it may be negative.

    Args:
        normals: [N, ..., 3], unit vectors: of vertices, or of pixels.
        coefficients: [N, 9, 3] or [N, 27], by band, then RGB.

    Returns:
        [N, ..., 3], to be multiplied by the albedo.
    """
    gamma = coefficients.reshape(coefficients.shape[0], SH_BANDS, 3)
    bands = spherical_harmonics(normals)[..., _ORDER] * _TRANSFER
    return jnp.einsum("n...b,nbc->n...c", bands, gamma, precision="highest")
