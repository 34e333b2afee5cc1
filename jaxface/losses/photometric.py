"""Pixel differences. Images are float32 [N, H, W, 3] in [-1, 1]; every loss returns [N]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def l1(images: Float[Array, "n h w c"], targets: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Mean absolute difference of each item.

    Args:
      images: [N, H, W, C].
      targets: [N, H, W, C].

    Returns:
      [N], in units of the images (0 to 2 for images in [-1, 1]).

    Raises:
      ValueError: the shapes differ or are not of rank 4.
    """
    return jnp.mean(jnp.abs(_difference(images, targets, "l1")), axis=(1, 2, 3))


def l2(images: Float[Array, "n h w c"], targets: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Mean squared difference of each item.

    The mean, where papers often write the sum ``||I - I_w||_2^2``: a mean is comparable between
    resolutions. Methods convert published weights explicitly.

    Args:
      images: [N, H, W, C].
      targets: [N, H, W, C].

    Returns:
      [N], in squared units of the images (0 to 4 for images in [-1, 1]).

    Raises:
      ValueError: the shapes differ or are not of rank 4.
    """
    return jnp.mean(jnp.square(_difference(images, targets, "l2")), axis=(1, 2, 3))


def _difference(images: jax.Array, targets: jax.Array, name: str) -> jax.Array:
    if images.ndim != 4 or images.shape != targets.shape:
        raise ValueError(
            f"{name}: images and targets must both be [N, H, W, C], got {images.shape} and "
            f"{targets.shape}."
        )
    return images - targets
