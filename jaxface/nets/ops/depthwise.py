"""Depthwise 3 x 3 convolution: each channel with a kernel of its own, fast on every platform.

XLA's grouped convolution is several times slower than the arithmetic asks for on CPU. There it is
written as nine shifted products of one padded array, which become one loop, with a gradient of the
same form: the transposed sum is the sum with the kernel turned by 180 degrees, where the automatic
one adds nine padded arrays. `depthwise_conv` is the one place that chooses the form by platform.

Reverse-mode derivatives of any order; forward mode is not defined.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.formulation import by_platform
from jaxface.nets.ops.strided import DIMENSION_NUMBERS

SIZE = 3
TAPS = tuple((i, j) for i in range(SIZE) for j in range(SIZE))


@jax.custom_vjp
def depthwise_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "..."]
) -> Float[Array, "n h w c"]:
    """Correlate each channel with its kernel; zeros outside.

    Args:
        x: [N, H, W, C].
        kernel: [3, 3, C]; cast to the dtype of ``x``.

    Returns:
        [N, H, W, C] in the dtype of ``x``.
    """
    return _forward_form(x, kernel.astype(x.dtype))


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise_conv(x, kernel), (x, kernel)


def _backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    to_input = depthwise_conv(gradient, kernel[::-1, ::-1])
    return to_input, _kernel_gradient(x, gradient).astype(kernel.dtype)


depthwise_conv.defvjp(_forward, _backward)


def _forward_form(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return by_platform(x, kernel, cpu=by_shifts, default=by_groups)


def by_shifts(x: Float[Array, "n h w c"], kernel: Float[Array, "..."]) -> Float[Array, "n h w c"]:
    """`depthwise_conv` as nine shifted products."""
    taps = kernel.reshape(SIZE * SIZE, -1)
    return sum(part * tap for part, tap in zip(_windows(x), taps, strict=True))  # pyright: ignore


def by_groups(x: Float[Array, "n h w c"], kernel: Float[Array, "..."]) -> Float[Array, "n h w c"]:
    """`depthwise_conv` as a convolution of as many groups as channels."""
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=DIMENSION_NUMBERS,
        feature_group_count=x.shape[-1],
    )


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """[3, 3, C] of float32 or more: for each tap the sum over images and places."""
    return by_platform(x, gradient, cpu=gradient_by_rows, default=gradient_by_taps)


def gradient_by_rows(
    x: Float[Array, "n h w c"], gradient: Float[Array, "n h w c"]
) -> Float[Array, "..."]:
    """The kernel's gradient, a row of the images after the other.

    XLA's reductions of shifted products on CPU take three times as long: each goes through memory
    for itself, channel by channel.
    """
    _, height, width, channels = x.shape
    padded, dtype = _padded(x), jnp.promote_types(x.dtype, jnp.float32)

    def add(total: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
        rows = lax.dynamic_slice_in_dim(padded, row, SIZE, 1)
        against = lax.dynamic_index_in_dim(gradient, row, 1, keepdims=False)
        products = [rows[:, i, j : j + width] * against for i, j in TAPS]
        return total + jnp.stack([jnp.sum(each.astype(dtype), 0) for each in products]), None

    start = jnp.zeros((len(TAPS), width, channels), dtype)
    total, _ = lax.scan(add, start, jnp.arange(height))
    return jnp.sum(total, 1).reshape(SIZE, SIZE, channels)


def gradient_by_taps(
    x: Float[Array, "n h w c"], gradient: Float[Array, "n h w c"]
) -> Float[Array, "..."]:
    """The kernel's gradient as nine reductions."""
    axes, dtype = (0, 1, 2), jnp.promote_types(x.dtype, jnp.float32)
    taps = [jnp.sum((part * gradient).astype(dtype), axes) for part in _windows(x)]
    return jnp.stack(taps).reshape(SIZE, SIZE, -1)


def _padded(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _windows(x: jax.Array) -> list[jax.Array]:
    """x as the nine taps see it, row by row: [N, H, W, C] each."""
    height, width = x.shape[1:3]
    padded = _padded(x)
    return [padded[:, i : i + height, j : j + width] for i, j in TAPS]
