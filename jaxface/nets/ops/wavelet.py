"""The inverse Haar wavelet transform: four bands at one resolution to an image at the next."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def inverse_haar(bands: Float[Array, "n h w c"]) -> Float[Array, "n _ _ _"]:
    """One level up.

    Args:
        bands: [N, H, W, 4 C], side by side: the low band, the differences of rows, those of
            columns, those of both; orthonormal, so that a low band is twice the mean of its pixels.

    Returns:
        [N, 2 H, 2 W, C]: at (2 y + a, 2 x + b) half of L + (-1)^a R + (-1)^b D + (-1)^(a + b) B.
    """
    low, rows, columns, both = jnp.split(bands * jnp.asarray(0.5, bands.dtype), 4, axis=-1)
    sums, differences = (low + rows, low - rows), (columns + both, columns - both)
    lines = [jnp.stack([s + d, s - d], axis=3) for s, d in zip(sums, differences, strict=True)]
    count, height, width, channels = low.shape
    return jnp.stack(lines, axis=2).reshape(count, 2 * height, 2 * width, channels)


def low_band_image(low: Float[Array, "n h w c"], resolution: int) -> jax.Array:
    """The image of a low band, averaged down.

    Args:
        low: [N, R, R, C].
        resolution: a side R / 2^n.

    Returns:
        [N, resolution, resolution, C]: the mean of the full image over squares of pixels.
    """
    count, side, _, channels = low.shape
    step = side // resolution
    image = low * jnp.asarray(0.5, low.dtype)
    image = image.reshape(count, resolution, step, resolution, step, channels)
    return jnp.mean(image, axis=(2, 4))
