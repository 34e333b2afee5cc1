"""Images of a few channels, above all for TPUs: what is linear along an axis as a matrix product.

A TPU lays out an image of three channels as the operations on it ask, and shifted slices, strided
reads and sums over groups of columns ask for layouts that are padded tens of times. A product
leaves rows and columns where vectors are full. CPUs gain from it where a filter is long: of shifted
slices XLA would write out every product of two taps, and compile for minutes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.formulation import platform_of_formulation

CHANNELS = 4
"""The most that an image has."""

LONG = 8
"""Taps of a filter that CPUs are spared; the networks' own have four."""


def by_matrices(images: Any, taps: int = 1) -> bool:
    """Whether [N, H, W, C] is better taken so on the platform that is compiled for.

    Args:
        images: them.
        taps: of the filter that runs along an axis.
    """
    platform = platform_of_formulation()
    if platform == "cpu" and taps <= LONG:
        return False
    return images.shape[-1] <= CHANNELS and platform in ("tpu", "cpu")


def along_rows(images: Float[Array, "n h w c"], matrix: np.ndarray) -> Float[Array, "n r w c"]:
    """[N, H, W, C] by [R, H] to [N, R, W, C], in the images' dtype."""
    return _product("nhwc,rh->nrwc", images, matrix)


def along_columns(images: Float[Array, "n h w c"], matrix: np.ndarray) -> Float[Array, "n h s c"]:
    """[N, H, W, C] by [S, W] to [N, H, S, C], in the images' dtype."""
    return _product("nhwc,sw->nhsc", images, matrix)


def _product(form: str, images: jax.Array, matrix: np.ndarray) -> jax.Array:
    precision = lax.Precision.HIGHEST if images.dtype == jnp.float32 else None
    return jnp.einsum(form, images, jnp.asarray(matrix, images.dtype), precision=precision)
