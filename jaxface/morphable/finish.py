"""What a Lambertian face model leaves out: soft shadows, sheen of the skin, catchlights.

All of it follows from the face's own illumination, whose first band tells where the light comes
from, and from strengths in `PortraitNuisance`: a face model does not explain them, as with
photographs.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxface.morphable.camera import CAMERA_DISTANCE, rotation_matrix
from jaxface.morphable.illumination import SH_BANDS, spherical_harmonics

_SHEEN_EXPONENT, _SHEEN = 18.0, 0.42
_FIRST_BAND = np.array([3, 1, 2])  # where x, y and z stand among the harmonics
# A lamp of colour c puts c times this into the first band along its direction.
_LAMP = 0.48860251 * 2.0 * math.pi / 3.0


def _fixed_directions() -> np.ndarray:
    """Directions at which second-order harmonics are told apart, [64, 3]."""
    index = np.arange(64) + 0.5
    height, angle = 1.0 - index / 32.0, np.pi * (1.0 + 5.0**0.5) * index
    around = np.sqrt(1.0 - height**2)
    return np.stack([around * np.cos(angle), height, around * np.sin(angle)], 1).astype(np.float32)


_DIRECTIONS = _fixed_directions()


def light_in_head(light: Array, rotation: Array) -> Array:
    """Coefficients [N, 9, 3] in a head's own axes of light [N, 27] in the camera's.

    The harmonics of the second order are closed under rotation: values at fixed directions of the
    head, which the camera sees turned, determine the coefficients.
    """
    gamma = light.reshape(-1, SH_BANDS, 3)
    turned = jnp.einsum("dj,nij->ndi", _DIRECTIONS, rotation_matrix(rotation))
    with jax.ensure_compile_time_eval():
        inverse = np.linalg.pinv(np.asarray(spherical_harmonics(jnp.asarray(_DIRECTIONS))))
    return jnp.einsum("bd,ndk,nkc->nbc", inverse, spherical_harmonics(turned), gamma)


def main_light(light: Array) -> tuple[Array, Array]:
    """Direction [N, 3] to the lamp, and its colour [N, 3], that the first band stands for."""
    band = light.reshape(-1, SH_BANDS, 3)[:, _FIRST_BAND]
    total = band.mean(axis=-1)
    size = jnp.sqrt((total**2).sum(axis=-1, keepdims=True) + 1e-8)
    towards = total / size
    return towards, jnp.maximum(jnp.einsum("nic,ni->nc", band, towards) / _LAMP, 0.0)


def irradiance(
    normals: Array, light: Array, shadow: Array, head_light: Array, depth: Array
) -> Array:
    """Light that reaches vertices, [N, V, 3], their own shadows weighted by `depth` [N, 1]."""
    gamma = light.reshape(-1, SH_BANDS, 3)
    open_sky = spherical_harmonics(normals) @ gamma
    hidden = jnp.einsum("vb,nbc->nvc", shadow, head_light)
    return jnp.maximum(open_sky + depth[:, :, None] * hidden, 0.02 * gamma[:, :1])


def sheen(points: Array, normals: Array, light: Array, gloss: ArrayLike) -> Array:
    """Blinn and Phong's highlight of the main light, [N, V, 3].

    Args:
        points: [N, V, 3] placed before the camera.
        normals: [N, V, 3].
        light: [N, 27].
        gloss: 0 for matt surfaces, 1 for wet ones; broadcast to [N, V].
    """
    towards, colour = main_light(light)
    view = jnp.array([0.0, 0.0, CAMERA_DISTANCE], points.dtype) - points
    view = view / jnp.linalg.norm(view, axis=-1, keepdims=True)
    half = view + towards[:, None]
    half = half / jnp.sqrt((half**2).sum(axis=-1, keepdims=True) + 1e-8)
    facing = jnp.maximum((normals * half).sum(axis=-1), 1e-3)
    strength = jnp.asarray(gloss) * (_SHEEN * facing**_SHEEN_EXPONENT)
    return strength[..., None] * colour[:, None]


GLINT_POINTS = 9
"""Vertices of a catchlight: its middle and a ring around it."""


def glint_triangles() -> np.ndarray:
    """Triangles of one catchlight, [8, 3], to be drawn from both sides."""
    ring = np.arange(1, GLINT_POINTS)
    return np.stack([np.zeros_like(ring), ring, np.roll(ring, -1)], axis=1)


def glint(centre: Array, pole: Array, light: Array) -> tuple[Array, Array, Array]:
    """The lamp's mirror image on a cornea: a small disc.

    The cornea is a sphere of 0.64 of the eyeball's radius that bulges out of it (7.8 mm of 12 mm).

    Args:
        centre: [N, 3] of the eyeball, placed before the camera.
        pole: [N, 3], where the optical axis leaves the eyeball.
        light: [N, 27].

    Returns:
        points [N, 9, 3], radiosity [N, 9, 3], and cover [N, 9], negative where the light is too
        soft to have an image or meets the eye outside its cornea.
    """
    towards, colour = main_light(light)
    axis = pole - centre
    radius = jnp.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / radius
    view = jnp.array([0.0, 0.0, CAMERA_DISTANCE], centre.dtype) - centre
    half = view / jnp.linalg.norm(view, axis=-1, keepdims=True) + towards
    half = half / jnp.sqrt((half**2).sum(axis=-1, keepdims=True) + 1e-8)
    bulge, size = 0.43 * radius, 0.105 * radius
    middle = centre + bulge * axis + 0.64 * radius * half
    across = jnp.cross(jnp.array([0.0, 1.0, 0.0]), half)
    across = across / jnp.linalg.norm(across, axis=-1, keepdims=True)
    up = jnp.cross(half, across)
    angle = np.linspace(0.0, 2.0 * np.pi, GLINT_POINTS, dtype=np.float32)[:-1, None]
    ring = np.cos(angle) * across[:, None] + np.sin(angle) * up[:, None]
    points = middle[:, None] + size[:, None] * ring
    points = jnp.concatenate([middle[:, None], points], axis=1)
    strength = colour.mean(axis=-1, keepdims=True)
    within = (axis * half).sum(axis=-1, keepdims=True) - 0.62
    cover = jnp.minimum(strength - 0.10, within)
    bright = jnp.clip(2.4 * colour, 0.0, 1.0)
    shape = (centre.shape[0], GLINT_POINTS)
    return (
        points,
        jnp.broadcast_to(bright[:, None], (*shape, 3)),
        jnp.broadcast_to(cover, shape),
    )


def lid_shadow(directions: Array) -> Array:
    """How much of the light the lids leave to an eyeball's vertices, [N, K].

    Args:
        directions: [N, K, 3] unit, from the eyeball's centre, in the head's axes.
    """
    x, y = directions[..., 0], directions[..., 1]
    above = jnp.clip((y + 0.10) / 0.55, 0.0, 1.0)
    corner = jnp.clip((jnp.abs(x) - 0.35) / 0.5, 0.0, 1.0)
    return (1.0 - 0.55 * above * above * (3.0 - 2.0 * above)) * (1.0 - 0.4 * corner)
