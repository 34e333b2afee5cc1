"""The mesh of a face in a portrait that is aligned as FFHQ's, without a detector.

The face's place is known, so the mesh network sees a fixed square first, then the square that
MediaPipe's face landmarker takes in the next frame of a clip, 1.5 times the longer side of the
points' box, turned so that the line between the outer corners of the eyes is level. All is
differentiable in the images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxface.nets.landmarks.face_mesh import EYE_CORNERS, FaceMesh
from jaxface.nets.ops.averaging import downsample

FIRST = (0.5, 0.61, 0.93)
"""The square that is seen first: centre and side, in the portrait's sides. Means over samples of
the generator of the square that MediaPipe's detector gives."""
REGION = 1.5
"""The second square's side, in the longer sides of the points' box; MediaPipe's."""
LARGEST = 512
"""Sides of portraits that squares are cut from, so that sampling them at 256 px loses little."""


class Squares(NamedTuple):
    """Turned squares of N portraits, in the portraits' sides.

    Attributes:
      centres: [N, 2], x and y.
      axes: [N, 2], from the centre to the middle of the right side.
    """

    centres: jax.Array
    axes: jax.Array

    def place(self, points: Float[Array, "n p 2"]) -> Float[Array, "n p 2"]:
        """Points in units of half a square's side, from its centre, in the portrait's sides."""
        x, y = points[..., :1], points[..., 1:]
        right = self.axes[:, None]
        down = jnp.stack([-right[..., 1], right[..., 0]], axis=-1)
        return self.centres[:, None] + x * right + y * down


def portrait_mesh(network: FaceMesh, portraits: Float[Array, "n r r 3"]) -> Float[Array, "n p 3"]:
    """The points of N portraits, in the portraits' sides: x right, y down, z away.

    Args:
      network: reads squares.
      portraits: in [-1, 1], aligned as FFHQ's; sides up to `LARGEST`, or a multiple of it.
    """
    images = downsample(portraits, LARGEST)
    count = images.shape[0]
    centre = jnp.broadcast_to(jnp.array(FIRST[:2]), (count, 2))
    axis = jnp.broadcast_to(jnp.array([FIRST[2] / 2, 0.0]), (count, 2))
    points = points_in_squares(network, images, Squares(centre, axis))
    return points_in_squares(network, images, squares_around(points))


def squares_around(points: Float[Array, "n p 3"]) -> Squares:
    """The squares that the mesh network sees of faces whose points are known already."""
    flat = points[..., :2]
    low, high = flat.min(axis=1), flat.max(axis=1)
    level = flat[:, EYE_CORNERS[1]] - flat[:, EYE_CORNERS[0]]
    level = level / jnp.maximum(jnp.linalg.norm(level, axis=-1, keepdims=True), 1e-6)
    reach = REGION / 2 * jnp.max(high - low, axis=-1, keepdims=True)
    return Squares((low + high) / 2, level * reach)


def points_in_squares(
    network: FaceMesh, images: Float[Array, "n r r 3"], squares: Squares
) -> Float[Array, "n p 3"]:
    """The network's points in squares of the images, in the images' sides."""
    size = network.config.input_size
    middles = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(1, -1, 2)
    places = squares.place(jnp.broadcast_to(jnp.asarray(grid), (images.shape[0], size * size, 2)))
    crops = jax.vmap(_sampled)(images, places).reshape(images.shape[0], size, size, 3)
    points = network(crops).points / (size / 2) - jnp.array([1.0, 1.0, 0.0])
    half = jnp.linalg.norm(squares.axes, axis=-1)[:, None, None]
    return jnp.concatenate([squares.place(points[..., :2]), points[..., 2:] * half], axis=-1)


def _sampled(image: jax.Array, places: jax.Array) -> jax.Array:
    """An image [R, R, 3] at places [P, 2] in its sides, bilinearly; its edge goes on outside."""
    places = places * len(image) - 0.5
    return jax.vmap(
        lambda channel: jax.scipy.ndimage.map_coordinates(
            channel, [places[:, 1], places[:, 0]], order=1, mode="nearest"
        ),
        in_axes=2,
        out_axes=1,
    )(image)
