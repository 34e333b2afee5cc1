"""Peak signal-to-noise ratio."""

import jax.numpy as jnp
from jaxtyping import Array, Float

PEAK = 2.0  # the range of images in [-1, 1]


def psnr(images: Float[Array, "n h w c"], targets: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """10 log10(peak^2 / MSE) of each item, the error over all its pixels and channels.

    Values are compared as given: clip images to [-1, 1] first if they will be stored as pixels.

    Args:
      images: [N, H, W, C] in [-1, 1].
      targets: [N, H, W, C] in [-1, 1].

    Returns:
      [N] in dB; infinite where the images are equal.

    Raises:
      ValueError: the shapes differ or are not of rank 4.
    """
    if images.ndim != 4 or images.shape != targets.shape:
        raise ValueError(
            f"psnr: both must be [N, H, W, C], got {images.shape} and {targets.shape}."
        )
    mse = jnp.mean(jnp.square(images - targets), axis=(1, 2, 3))
    return 10.0 * jnp.log10(PEAK**2 / mse)
