"""Convolution with FIR resampling, plain and modulated.

Modulation is written as scale the input by the style, convolve with the shared kernel, scale the
output by the demodulation factor. It equals the grouped form of the StyleGAN2 paper (section
2.2, equations 1 and 3), shares one kernel over the batch, and on CPU is four times faster
forward and nine times in the gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.fir import upfirdn
from jaxface.nets.ops.formulation import platform_of_formulation
from jaxface.nets.ops.image_matrices import CHANNELS
from jaxface.nets.ops.strided import DIMENSION_NUMBERS, strided_conv, transposed_conv


def conv_resample(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    *,
    taps: np.ndarray,
    up: int = 1,
    down: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolve [N, H, W, I] with a [k, k, I, O] kernel, resampling by 2 on the way.

    Sizes follow ``conv2d_resample`` of stylegan2-ada-pytorch with its padding of k // 2: the
    output is [N, H * up / down, W * up / down, O].  Up-sampling is a transposed convolution
    followed by the FIR filter, down-sampling the FIR filter followed by a strided convolution;
    1 x 1 kernels filter at the cheaper end.

    Args:
        kernel: odd size; cast to the dtype of ``x``.
        taps: normalised separable FIR taps, used when ``up`` or ``down`` is 2.
        up: 1 or 2.
        down: 1 or 2; at most one of ``up`` and ``down`` is 2.

    Raises:
        ValueError: for any other combination of ``up`` and ``down``, or an even kernel.
    """
    size = kernel.shape[0]
    if kernel.shape[1] != size or size % 2 == 0:
        raise ValueError(f"conv_resample: expected an odd square kernel, got {kernel.shape[:2]}")
    if (up, down) not in ((1, 1), (2, 1), (1, 2)):
        raise ValueError(f"conv_resample: (up, down) must be (1,1), (2,1) or (1,2); got {up, down}")
    kernel = kernel.astype(x.dtype)
    pad, t = size // 2, len(taps)

    if up == 1 and down == 1:
        return _conv(x, kernel, pad=pad)
    if down == 2:
        before, after = pad + (t - down + 1) // 2, pad + (t - down) // 2
        if size == 1:
            x = upfirdn(x, taps, down=down, padding=(before, after, before, after))
            return _conv(x, kernel, pad=0)
        x = upfirdn(x, taps, padding=(before, after, before, after))
        return strided_conv(x, kernel)
    before, after = pad + (t + up - 1) // 2, pad + (t - up) // 2
    if size == 1:
        x = _conv(x, kernel, pad=0)
        return upfirdn(x, taps, up=up, padding=(before, after, before, after), gain=up**2)
    border = (before - (size - 1), after - (size - up))
    if platform_of_formulation() == "gpu":
        # cuDNN has a transposed convolution, which XLA takes only where no border is asked of it.
        return upfirdn(transposed_conv(x, kernel), taps, padding=(*border, *border), gain=up**2)
    # The convolution makes the filter's zero border: the filter then runs without edge cases.
    return upfirdn(transposed_conv(x, kernel, border), taps, gain=up**2)


def modulated_conv(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "k k i o"],
    styles: Float[Array, "n i"],
    *,
    taps: np.ndarray,
    up: int = 1,
    demodulate: bool = True,
) -> Float[Array, "n h2 w2 o"]:
    """Convolve each image with the kernel scaled by its own style.

    Args:
        x: [N, H, W, I], in the dtype to compute in.
        kernel: [k, k, I, O] float32.
        styles: [N, I] float32, one factor per input channel.
        demodulate: scale each output map to unit expected variance (equation 3; epsilon 1e-8 as
            in the reference).
        up: 1 or 2.

    Returns:
        [N, H * up, W * up, O] in the dtype of ``x``; styles and demodulation are float32.
    """
    if demodulate and x.dtype == jnp.float16:
        # float16 overflows at 65504: the reference divides kernel and styles by their largest
        # magnitudes first, which demodulation undoes (networks.py, modulated_conv2d).
        fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
        largest = jnp.max(jnp.abs(kernel), axis=(0, 1, 2), keepdims=True)
        kernel = kernel * (fan_in**-0.5 / largest)
        styles = styles / jnp.max(jnp.abs(styles), axis=1, keepdims=True)
    if kernel.shape[:2] == (1, 1) and up == 1:
        # The kernel is far smaller than the image here: scale it, and multiply matrices.
        matrices = styles[:, :, None] * kernel[0, 0]
        if demodulate:
            energy = jnp.sum(jnp.square(matrices), axis=1, keepdims=True)
            matrices = matrices * lax.rsqrt(energy + 1e-8)
        return _coloured(x, matrices.astype(x.dtype))
    x = x * styles[:, None, None, :].astype(x.dtype)
    x = conv_resample(x, kernel, taps=taps, up=up)
    if demodulate:
        x = x * demodulation(kernel, styles)[:, None, None, :].astype(x.dtype)
    return x


def _coloured(x: Float[Array, "n h w i"], matrices: Float[Array, "n i o"]) -> jax.Array:
    """Each image's pixels by its matrix, [N, H, W, O]."""
    if matrices.shape[-1] > CHANNELS or platform_of_formulation() != "gpu":
        return jnp.einsum("nhwi,nio->nhwo", x, matrices)
    # cuBLAS pads three colours to eight, and the gradient of a product is an array of its own: sums
    # fuse with what is before and after them.
    colours = jnp.moveaxis(matrices, -1, 0)
    return jnp.stack([jnp.sum(x * each[:, None, None], axis=-1) for each in colours], axis=-1)


def demodulation(kernel: Float[Array, "k k i o"], styles: Float[Array, "n i"]) -> jax.Array:
    """The factors [N, O] that give each output map unit expected variance."""
    return lax.rsqrt(jnp.square(styles) @ _energy(kernel) + 1e-8)


def _energy(kernel: jax.Array) -> jax.Array:
    """Squares of a [k, k, I, O] kernel summed over its taps: [I, O].

    Added tap by tap: XLA's CPU reduction over the leading axes of a wide kernel takes longer than
    a convolution with it.
    """
    taps = kernel.reshape(-1, *kernel.shape[2:])
    return sum((jnp.square(tap) for tap in taps[1:]), start=jnp.square(taps[0]))


def _conv(x: jax.Array, kernel: jax.Array, *, pad: int) -> jax.Array:
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=DIMENSION_NUMBERS
    )
