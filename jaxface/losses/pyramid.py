"""Pixel differences at several scales. Images are float32 [N, H, W, C]; every loss returns [N]."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxface.losses import photometric


def halve(images: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """2 x 2 means: [N, H, W, C] to [N, H / 2, W / 2, C].

    Raises:
      ValueError: a side is odd.
    """
    n, height, width, channels = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"halve: images need even sides, got {height} x {width}.")
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def pyramid_l1(
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n h w c"],
    *,
    levels: int,
    weights: Float[Array, "n h w 1"] | None = None,
) -> Float[Array, " n"]:
    """Mean absolute difference, averaged over the levels of a 2 x 2 mean pyramid.

    A plain L1 sees a feature that is one pixel off as two mistakes; at the coarser levels it is
    nearly right, so the gradient knows which way to move it.

    Args:
      images: [N, H, W, C].
      targets: [N, H, W, C].
      levels: >= 1; the first is the images themselves. Sides are divisible by 2 ** (levels - 1).
      weights: factor of each pixel's difference, averaged down with the images; default: 1.

    Returns:
      [N], in units of the images (0 to 2 for images in [-1, 1]).

    Raises:
      ValueError: the shapes differ, `levels` is below 1, or a side cannot be halved that often.
    """
    if levels < 1:
        raise ValueError(f"pyramid_l1: levels must be >= 1, got {levels}.")
    terms = [_l1(images, targets, weights)]
    for _ in range(levels - 1):
        images, targets = halve(images), halve(targets)
        weights = None if weights is None else halve(weights)
        terms.append(_l1(images, targets, weights))
    return jnp.mean(jnp.stack(terms), axis=0)


def _l1(images: Array, targets: Array, weights: Array | None) -> Array:
    if weights is None:
        return photometric.l1(images, targets)
    return jnp.mean(weights * jnp.abs(images - targets), axis=(1, 2, 3))
