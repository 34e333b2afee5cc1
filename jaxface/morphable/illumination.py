"""Second-order spherical harmonics light (Ramamoorthi and Hanrahan 2001; MoFA).

The radiosity of a Lambertian surface with reflectance r and unit normal n is
C(n) = r * sum_b gamma_b H_b(n), with nine real harmonics H_b and RGB coefficients gamma [9, 3].
Harmonics are orthonormal on the sphere; bands in the order
(0,0), (1,-1), (1,0), (1,1), (2,-2), (2,-1), (2,0), (2,1), (2,2), x right, y up, z to the camera.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

SH_BANDS = 9

# sqrt(1/4pi), sqrt(3/4pi), sqrt(15/4pi), sqrt(5/16pi), sqrt(15/16pi).
_Y0, _Y1, _Y2, _Y20, _Y22 = 0.28209479, 0.48860251, 1.09254843, 0.31539157, 0.54627422

# Transfer of a clamped cosine in bands 0, 1 and 2: pi, 2pi/3, pi/4 (Ramamoorthi and Hanrahan,
# equation 8).
_CLAMPED_COSINE = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5, np.float32)


DISPLAY_GAMMA = 2.2
"""Of the embedded world, whose reflectance is linear."""


def spherical_harmonics(directions: Array) -> Array:
    """The nine harmonics at unit directions."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    return jnp.stack(
        [
            jnp.full_like(x, _Y0),
            _Y1 * y,
            _Y1 * z,
            _Y1 * x,
            _Y2 * x * y,
            _Y2 * y * z,
            _Y20 * (3.0 * z * z - 1.0),
            _Y2 * x * z,
            _Y22 * (x * x - y * y),
        ],
        axis=-1,
    )


def directional_light(direction: Array, colour: Array) -> Array:
    """Coefficients of a distant lamp: a surface facing it gets about `colour`."""
    bands = spherical_harmonics(direction) * _CLAMPED_COSINE
    return bands[:, :, None] * colour[:, None, :]


def ambient_light(colour: Array) -> Array:
    """Coefficients of light that is the same from everywhere."""
    coefficients = jnp.zeros((colour.shape[0], SH_BANDS, 3), colour.dtype)
    return coefficients.at[:, 0].set(colour / _Y0)


def shade(
    reflectance: Array,
    normals: Array,
    coefficients: Array,
) -> Array:
    """Radiosity of Lambertian vertices; negative lobes of the truncated light are cut at 0."""
    gamma = coefficients.reshape(*coefficients.shape[:-1], SH_BANDS, 3)
    irradiance = spherical_harmonics(normals) @ gamma
    return reflectance * jnp.maximum(irradiance, 0.0)


def encode(radiosity: Array, gamma: float = DISPLAY_GAMMA) -> Array:
    """Radiosity to the image range [-1, 1]: clipped at black and white, to the power 1 / gamma.

    Args:
        radiosity: linear where gamma is 2.2; in units of the stored image where it is 1.
        gamma: of the face model's reflectance.
    """
    return 2.0 * jnp.clip(radiosity, 1e-4, 1.0) ** (1.0 / gamma) - 1.0


def decode(images: Array) -> Array:
    """The image range to linear radiosity in 0..1: undoes `encode`, but for what it clipped."""
    return (0.5 * (jnp.clip(images, -1.0, 1.0) + 1.0)) ** DISPLAY_GAMMA
