"""Weights of pixels by where they lie: regions that count more in a pixel loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def box_weights(
    boxes: Float[Array, "n k 4"], *, resolution: int, weight: float
) -> Float[Array, "n r r 1"]:
    """1 outside the boxes, `weight` inside; between them over the width of a pixel.

    Args:
      boxes: [N, K, 4], left, top, right and bottom in pixels; the centre of an image's first pixel
        is at (0.5, 0.5). They may overlap and reach out of the image.
      resolution: edge of the images in pixels.
      weight: in the boxes, > 0.
    """
    centres = jnp.arange(resolution, dtype=boxes.dtype) + 0.5
    left, top, right, bottom = (boxes[..., i, None] for i in range(4))
    across = jnp.clip(jnp.minimum(centres - left, right - centres) + 0.5, 0.0, 1.0)
    down = jnp.clip(jnp.minimum(centres - top, bottom - centres) + 0.5, 0.0, 1.0)
    inside = jnp.max(down[..., :, None] * across[..., None, :], axis=1)
    return (1.0 + (weight - 1.0) * inside)[..., None]
