"""Smaller images by averages over squares of pixels."""

import numpy as np
from jaxtyping import Array, Float

from jaxface.nets.ops.image_matrices import along_columns, along_rows, by_matrices


def downsample(images: Float[Array, "n r r c"], resolution: int) -> Float[Array, "n s s c"]:
    """Box-averages square images down to at most `resolution`; smaller ones are left as they are.

    The factor is a whole number: 4 from 1024 to 256, as in PIE section 4.1.

    Args:
      images: [N, R, R, C].
      resolution: the largest side that is kept, >= 1.

    Returns:
      [N, R / f, R / f, C] with f = max(1, R / resolution).

    Raises:
      ValueError: not square, or R is neither below `resolution` nor a multiple of it.
    """
    n, height, width, channels = images.shape
    if height != width or (height > resolution and height % resolution):
        raise ValueError(
            f"downsample: images must be square with a side up to {resolution} or a multiple of "
            f"it, got {height} x {width}."
        )
    if height <= resolution:
        return images
    factor = height // resolution
    if by_matrices(images):
        mean = np.repeat(np.eye(resolution), factor, axis=1) / factor
        return along_columns(along_rows(images, mean), mean)
    # One axis after the other: of both at once TPUs make copies, and CPUs take twice the time.
    rows = images.reshape(n, resolution, factor, width, channels).mean(axis=2)
    return rows.reshape(n, resolution, resolution, factor, channels).mean(axis=3)
