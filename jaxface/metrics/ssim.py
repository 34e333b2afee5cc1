"""Structural similarity: Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment: From
Error Visibility to Structural Similarity", equation 13.

The paper's own settings (section III-C): an 11 x 11 circular Gaussian window with sigma 1.5,
normalised to unit sum, K1 = 0.01 and K2 = 0.03; windows lie inside the image. For colour, the mean
over channels, as scikit-image's ``channel_axis`` gives.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

RANGE = 2.0  # L of the paper for images in [-1, 1]
WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * RANGE) ** 2
C2 = (0.03 * RANGE) ** 2


def ssim(images: Float[Array, "n h w c"], targets: Float[Array, "n h w c"]) -> Float[Array, " n"]:
    """Mean structural similarity of each item.

    Args:
      images: [N, H, W, C] in [-1, 1], sides of at least 11 pixels.
      targets: [N, H, W, C] in [-1, 1].

    Returns:
      [N], at most 1 (equal images).

    Raises:
      ValueError: the shapes differ, are not of rank 4, or a side is shorter than the window.
    """
    if images.ndim != 4 or images.shape != targets.shape:
        raise ValueError(
            f"ssim: both must be [N, H, W, C], got {images.shape} and {targets.shape}."
        )
    if min(images.shape[1:3]) < WINDOW:
        raise ValueError(f"ssim: sides must be at least {WINDOW} pixels, got {images.shape}.")
    x, y = images, targets
    # Windows of all five side by side in the channels: one program a fifth as large.
    fields = _windowed(jnp.concatenate([x, y, x * x, y * y, x * y], axis=-1))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = jnp.split(fields, 5, axis=-1)
    variance_x, variance_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _windowed(x: jax.Array) -> jax.Array:
    """Gaussian-weighted local mean, [N, H, W, C] to [N, H - 10, W - 10, C]."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    weights = (weights / weights.sum()).tolist()
    for axis in (1, 2):  # the window is separable
        size = x.shape[axis] - WINDOW + 1
        shifted = [jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(WINDOW)]
        x = jnp.sum(jnp.stack([w * s for w, s in zip(weights, shifted, strict=True)]), axis=0)
    return x
