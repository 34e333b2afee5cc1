"""Landmark images: the 68 points of iBUG 300-W as coloured lines on black, drawn on the device.

What the Latent Difference Encoder (Herrmann and Zengerle 2020) is told of a face: the lines of its
chin, brows, nose, eyes and inner lip, each group in a colour of its own, one typographical point
wide at 100 pixels an inch. The authors draw them with matplotlib; here each pixel's share that a
line covers is computed from its distance to the line, for all pixels, lines and images at once,
and can be differentiated by the points.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NUM_POINTS = 68

LINE_WIDTH = 100 / 72
"""Pixels of a line: ``lw=1`` is one of 72 points an inch, at the figure's 100 pixels an inch
(``FaceLandmarkExtractor.generate_landmark_image``)."""

MARGIN = 0.05
"""Share of the lines' extent by which the authors' view passes a point outside of the image:
matplotlib's ``axes.xmargin``."""

Outside = Literal["clip", "grow"]


class Line(NamedTuple):
    """A line through consecutive landmarks.

    Attributes:
      group: what it shows, out of `COLOURS`.
      first, last: its landmarks, both included.
      closed: whether it returns to the first.
    """

    group: str
    first: int
    last: int
    closed: bool = False


COLOURS = {
    "chin": (0, 128, 0),
    "brows": (255, 165, 0),
    "nose": (0, 0, 255),
    "eyes": (255, 0, 0),
    "lip": (255, 192, 203),
}
"""RGB of each group, 0 to 255: matplotlib's green, orange, blue, red and pink."""

LINES = (
    Line("chin", 0, 16),
    Line("brows", 17, 21),
    Line("brows", 22, 26),
    Line("nose", 27, 30),
    Line("nose", 31, 35),
    Line("eyes", 36, 41, closed=True),
    Line("eyes", 42, 47, closed=True),
    Line("lip", 60, 67, closed=True),
)
"""In the order in which they are drawn, later ones over earlier ones. The outer lip is not."""


def landmark_images(
    points: Float[Array, "n 68 2"], size: int, *, outside: Outside = "clip"
) -> Float[Array, "n {size} {size} 3"]:
    """Landmark images, as networks read them.

    Args:
      points: (x, y) in pixels of a portrait of `size` pixels a side, x to the right, y down, the
        first pixel's centre at (0.5, 0.5), as `jaxface.morphable.landmarks` and the landmark
        networks give them.
      size: pixels per side.
      outside: what becomes of lines that leave the image: "clip", they end at its edge; "grow", the
        view grows until it holds them and a white border appears, as in the authors' images.

    Returns:
      RGB in [-1, 1]. A row depends on that row alone; differentiable in the points.

    Raises:
      ValueError: the points are not [N, 68, 2].
    """
    if points.ndim != 3 or points.shape[1:] != (NUM_POINTS, 2):
        raise ValueError(f"landmark_images: expected points [N, 68, 2], got {list(points.shape)}.")
    points = points.astype(jnp.float32) - 0.5  # the first pixel's centre at zero, as in the figure
    if outside == "grow":
        points, image = _grown_view(points, size)
    else:
        image = jnp.zeros((len(points), size, size, 3))
    for line in LINES:
        colour = jnp.asarray(COLOURS[line.group], jnp.float32) / 255
        covered = line_coverage(points[:, line.first : line.last + 1], size, closed=line.closed)
        image += covered[..., None] * (colour - image)
    return 2 * image - 1


def line_coverage(
    points: Float[Array, "n k 2"], size: int, *, closed: bool
) -> Float[Array, "n {size} {size}"]:
    """The share of each pixel that a line through K points covers.

    A segment covers what lies between two parallels and between the perpendiculars at its ends; at
    the line's two ends it goes on for half the width ("projecting" caps), and joints are round.

    Args:
      points: (x, y) in pixels, the first pixel's centre at (0, 0).
      size: pixels per side.
      closed: whether the last point is joined with the first.

    Returns:
      [N, size, size] in [0, 1].
    """
    half = LINE_WIDTH / 2
    if closed:  # as the authors close it: an open line that ends where it began
        points = jnp.concatenate([points, points[:, :1]], axis=1)
    starts, along = points[:, :-1], points[:, 1:] - points[:, :-1]
    squared = jnp.sum(jnp.square(along), axis=-1)
    # Points that coincide make a dot; the root has no slope at zero.
    apart = squared > 1e-12
    length = jnp.sqrt(jnp.where(apart, squared, 1e-12))
    unit = jnp.where(apart[..., None], along / length[..., None], jnp.array([1.0, 0.0]))
    caps = np.zeros((2, starts.shape[1], 1, 1), np.float32)
    caps[0, 0] = caps[1, -1] = half

    dx, dy = _from(starts, size)
    ux, uy = unit[:, :, 0, None, None], unit[:, :, 1, None, None]
    across, lengthwise = dy * ux - dx * uy, dx * ux + dy * uy
    end = length[:, :, None, None] + caps[1]
    pieces = _half_plane(across + half, ux, uy) - _half_plane(across - half, ux, uy)
    pieces *= _half_plane(lengthwise + caps[0], ux, uy) - _half_plane(lengthwise - end, ux, uy)
    dx, dy = _from(starts[:, 1:], size)
    discs = jnp.clip(half + 0.5 - jnp.sqrt(jnp.square(dx) + jnp.square(dy) + 1e-12), 0.0, 1.0)
    # The rasteriser adds the shares of parts that meet in a pixel, also where they overlap.
    return jnp.maximum(jnp.minimum(jnp.sum(pieces, axis=1), 1.0), jnp.max(discs, axis=1))


def _from(points: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Where pixels are from points [N, K, 2], across and down: [N, K, 1, size], [N, K, size, 1]."""
    pixel = jnp.arange(size, dtype=jnp.float32)
    across = pixel[None, None, None, :] - points[:, :, 0, None, None]
    return across, pixel[None, None, :, None] - points[:, :, 1, None, None]


def _half_plane(distance: jax.Array, nx: jax.Array, ny: jax.Array) -> jax.Array:
    """The share of a unit square on the inner side of a straight edge of normal (nx, ny).

    Args:
      distance: of the square's centre from the edge, positive inside.
      nx, ny: of unit length.
    """
    nx, ny = jnp.abs(nx), jnp.abs(ny)
    large, small = jnp.maximum(nx, ny), jnp.maximum(jnp.minimum(nx, ny), 1e-4)
    inner, outer = (large - small) / 2, (large + small) / 2
    away = jnp.abs(distance)
    linear = away / large
    corner = 0.5 - jnp.square(jnp.maximum(outer - away, 0.0)) / (2 * large * small)
    return 0.5 + jnp.sign(distance) * jnp.where(away <= inner, linear, corner)


def _grown_view(points: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Points where matplotlib's view shows them, and its black square on white.

    The view holds the image and all lines, with `MARGIN` beyond a line that passes the image, and
    its longer side fills the figure.
    """
    drawn = np.concatenate([np.arange(line.first, line.last + 1) for line in LINES])
    low, high = points[:, drawn].min(axis=1), points[:, drawn].max(axis=1)
    first, last = jnp.minimum(low, -0.5), jnp.maximum(high, size - 0.5)
    margin = MARGIN * (last - first)
    first -= jnp.where(low < -0.5, margin, 0.0)
    last += jnp.where(high > size - 0.5, margin, 0.0)
    extent = last - first
    scale = size / extent.max(axis=-1, keepdims=True)
    border = (size - extent * scale) / 2
    # Whole pixels, as many as the square needs; they are counted from the figure's lower left.
    left = jnp.round((-0.5 - first[:, :1]) * scale + border[:, :1])
    bottom = size - jnp.round(size - ((size - 0.5 - first[:, 1:]) * scale + border[:, 1:]))
    side, pixel = jnp.ceil(size * scale), jnp.arange(size)
    across = (pixel >= left) & (pixel < left + side)
    down = (pixel >= bottom - side) & (pixel < bottom)
    black = across[:, None, :] & down[:, :, None]
    moved = (points - first[:, None]) * scale[:, None] + border[:, None] - 0.5
    return moved, jnp.where(black[..., None], 0.0, jnp.ones((3,)))


def group_of_colour(image: Any) -> dict[str, np.ndarray]:
    """Where an image shows exactly a group's colour.

    Args:
      image: [S, S, 3], uint8 or in [-1, 1].

    Returns:
      Group to (row, column) in shares of the side, [P, 2] each; pixels that a line only partly
      covers have no group.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.round((image + 1) * 127.5).astype(np.uint8)
    sides = np.array(image.shape[:2])
    return {
        name: np.argwhere((image == np.array(colour, np.uint8)).all(axis=-1)) / sides
        for name, colour in COLOURS.items()
    }
