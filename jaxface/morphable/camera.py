"""Euler pose and the pinhole camera.

The camera stands on the z axis and looks at the head's origin. Pixel coordinates have x to the
right and y down, with the centre of the first pixel at (0.5, 0.5), in pixels of the given
resolution. The embedded world's framing follows FFHQ: eyes at 47% of the height, 23% of the width
apart.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

CAMERA_DISTANCE = 8.0
"""Distance of the camera from the head's origin, in head units."""
FOCAL_LENGTH = 2.49
"""Focal length in image widths."""
CENTRE_HEIGHT = -0.01
"""Height, in head units, that is seen in the middle of the image."""


@dataclass(frozen=True)
class Camera:
    """Where the camera stands; the defaults are the embedded world's.

    Attributes:
        distance: from the head's origin, in the face model's units.
        focal_length: in image widths.
        centre_height: the height, in the face model's units, seen in the middle of the image.
    """

    distance: float = CAMERA_DISTANCE
    focal_length: float = FOCAL_LENGTH
    centre_height: float = CENTRE_HEIGHT


EMBEDDED_CAMERA = Camera()


def rotation_matrix(rotation: Array) -> Array:
    """Rz(roll) Ry(yaw) Rx(pitch) of Euler angles (pitch, yaw, roll) in radians."""
    (a, b, c), (sa, sb, sc) = (
        (f(rotation[..., 0]), f(rotation[..., 1]), f(rotation[..., 2])) for f in (jnp.cos, jnp.sin)
    )
    rows = (
        (b * c, sa * sb * c - a * sc, a * sb * c + sa * sc),
        (b * sc, sa * sb * sc + a * c, a * sb * sc - sa * c),
        (-sb, sa * b, a * b),
    )
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def transform(
    points: Array,
    rotation: Array,
    translation: Array,
) -> Array:
    """Points turned by the Euler angles about the origin, then moved."""
    turned = jnp.einsum("...vj,...ij->...vi", points, rotation_matrix(rotation))
    return turned + translation[..., None, :]


def project(points: Array, resolution: int, camera: Camera = EMBEDDED_CAMERA) -> Array:
    """World points to (x pixels, y pixels, depth); depth is the distance along the optical axis."""
    depth = camera.distance - points[..., 2]
    scale = camera.focal_length * resolution / depth
    x = 0.5 * resolution + points[..., 0] * scale
    y = 0.5 * resolution - (points[..., 1] - camera.centre_height) * scale
    return jnp.stack([x, y, depth], axis=-1)
