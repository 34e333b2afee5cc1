"""A block of few channels for TPUs: columns, and pairs of rows, folded into channels.

A TPU's vectors and its matrix unit are 128 wide, and the last blocks of a generator have 32 and 64
channels: unfolded, half to three quarters of each vector, of the memory and of the matrix unit's
rows and columns are padding. Here an image [N, H, W, C] is read as [N, H, W / f, f C]. A 3 x 3
convolution is then one over groups of f columns with a banded kernel, which multiplies by zeros
what was padding before. The transposed convolution and the FIR filter after it are one 6 x 6
kernel, whose even and odd rows come out side by side in the channels; of the second convolution
they are two results, which stay apart through noise, activation and ToRGB. The same function as
`jaxface.nets.stylegan2.synthesis.SynthesisBlock` computes otherwise, to rounding.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops import bias_act, demodulation
from jaxface.nets.ops.strided import DIMENSION_NUMBERS

LANES = 128
"""The width of a TPU's vectors and matrix unit."""

Phases = tuple[jax.Array, jax.Array]
"""Even and odd rows of an image [N, 2 H, W, C], each folded: [N, H, W / f, f C]."""


def folds(channels: int, resolution: int, dtype: Any) -> bool:
    """Whether a block is better folded: few channels, and an image that is worth it.

    float16, which no TPU computes in, has a modulation of its own.
    """
    return channels < LANES and resolution >= LANES and dtype != jnp.float16


def fold(x: Float[Array, "n h w c"], columns: int) -> Float[Array, "n h g d"]:
    """[N, H, W, C] as [N, H, W / f, f C], f = `columns`."""
    n, h, w, c = x.shape
    return x.reshape(n, h, w // columns, columns * c)


def unfold(rows: Phases, columns: int) -> Float[Array, "n r r c"]:
    """Even and odd rows as an image [N, 2 H, W, C]."""
    # Each between rows of zeros, and added: no row changes its layout, as it would if stacked.
    spread = [
        lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (phase, 1 - phase, 1), (0, 0, 0), (0, 0, 0)])
        for phase, x in enumerate(rows)
    ]
    x = spread[0] + spread[1]
    n, h, groups, wide = x.shape
    return x.reshape(n, h, groups * columns, wide // columns)


def unfold_colours(rows: Phases, channels: int) -> Float[Array, "n r r c"]:
    """As `unfold`, an image of few channels: its pixels are put in order by products with ones and
    zeros, which take a tenth of the time that moving them takes, and round nothing."""
    even, odd = rows
    n, h, groups, wide = even.shape
    columns = wide // channels
    across = np.zeros((groups, columns, groups * columns), np.float32)
    place = np.arange(groups * columns)
    across[place // columns, place % columns, place] = 1
    down = np.zeros((2, h, 2 * h), np.float32)
    for phase in range(2):
        down[phase, np.arange(h), 2 * np.arange(h) + phase] = 1

    def ordered(x: jax.Array, phase: int) -> jax.Array:
        x = x.reshape(n, h, groups, columns, channels)
        x = _placed("nhgfc,gfw->nhcw", x, across)
        return _placed("nhcw,hr->ncrw", x, down[phase])

    return (ordered(even, 0) + ordered(odd, 1)).transpose(0, 2, 3, 1)


def modulated_up(
    x: Float[Array, "n h g c"],
    kernel: Float[Array, "3 3 i o"],
    styles: Float[Array, "n i"],
    taps: np.ndarray,
) -> Float[Array, "n h g d"]:
    """`jaxface.nets.ops.modulated_conv` with ``up=2``.

    Args:
        x: folded by f, [N, H, W / f, f I].
        kernel: [3, 3, I, O] float32.
        styles: [N, I].
        taps: of the FIR filter, four.

    Returns:
        Even and odd rows side by side, folded by 2 f: [N, H, W / f, 2 (2 f O)].
    """
    columns = x.shape[-1] // kernel.shape[2]
    wide = _up_band(_with_filter(kernel, taps), columns).astype(x.dtype)
    x = _conv(x * _across(styles, columns, x.dtype), wide, (1, 1))
    return x * _across(demodulation(kernel, styles), 4 * columns, x.dtype)


def modulated(
    x: Float[Array, "n h g c"], kernel: Float[Array, "3 3 i o"], styles: Float[Array, "n i"]
) -> Phases:
    """`jaxface.nets.ops.modulated_conv` of even and odd rows side by side, [N, H, W / f, 2 f I]."""
    columns = x.shape[-1] // 2 // kernel.shape[2]
    wide = _band(kernel, columns).astype(x.dtype)
    above, here, below = wide
    nothing = jnp.zeros_like(here)
    x = x * _across(styles, 2 * columns, x.dtype)
    factor = _across(demodulation(kernel, styles), columns, x.dtype)

    def pair(even: jax.Array, odd: jax.Array) -> jax.Array:
        return jnp.concatenate([even, odd], axis=1)

    # Above an even row lies the odd one of the pair before it, below an odd row the next even one.
    even = jnp.stack([pair(nothing, above), pair(here, below)])
    odd = jnp.stack([pair(above, here), pair(below, nothing)])
    return _conv(x, even, (1, 0)) * factor, _conv(x, odd, (0, 1)) * factor


def activated(
    x: Float[Array, "n h g c"],
    bias: Float[Array, " o"],
    noise: Float[Array, "#n p h w"] | None,
    *,
    activation: Literal["linear", "lrelu"],
    clamp: float | None,
) -> jax.Array:
    """Noise, bias, activation and clamp, as a synthesis layer has them.

    Args:
        x: [N, H, W / f, P f O], P rows side by side.
        bias: [O].
        noise: scaled maps, [N or 1, P, H, W].
        activation, clamp: of `bias_act`.
    """
    parts = x.shape[-1] // bias.shape[0]
    if noise is not None:
        n, rows, h, _ = noise.shape
        maps = noise.reshape(n, rows, h, x.shape[2], parts // rows).transpose(0, 2, 3, 1, 4)
        maps = maps.reshape(n, h, x.shape[2], parts).astype(x.dtype)
        each = np.repeat(np.eye(parts, dtype=np.float32), bias.shape[0], axis=1)
        x = x + _placed("nhgp,pc->nhgc", maps, each)
    return bias_act(x, jnp.tile(bias, parts), activation=activation, clamp=clamp)


def to_colours(
    x: Float[Array, "n h g c"], kernel: Float[Array, "1 1 i o"], styles: Float[Array, "n i"]
) -> Float[Array, "n h g d"]:
    """A modulated 1 x 1 convolution without demodulation, of all pixels of a group at a time."""
    parts = x.shape[-1] // kernel.shape[2]
    matrices = styles[:, :, None] * kernel[0, 0]
    wide = jnp.einsum("nio,uv->nuivo", matrices, np.eye(parts, dtype=np.float32))
    wide = wide.reshape(len(matrices), x.shape[-1], -1).astype(x.dtype)
    return jnp.einsum("nhwi,nio->nhwo", x, wide)


def _placed(form: str, x: jax.Array, ones: np.ndarray) -> jax.Array:
    """A product with ones and zeros, one 1 for each result: it moves numbers as they are."""
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return jnp.einsum(form, x, ones.astype(x.dtype), precision=exact)


def _conv(x: jax.Array, kernel: jax.Array, rows: tuple[int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [rows, (1, 1)], dimension_numbers=DIMENSION_NUMBERS
    )


def _across(factors: jax.Array, columns: int, dtype: Any) -> jax.Array:
    """Factors of channels [N, C] for folded images: [N, 1, 1, f C]."""
    return jnp.tile(factors, (1, columns)).astype(dtype)[:, None, None]


def _band(kernel: jax.Array, columns: int) -> jax.Array:
    """[3, 3, I, O] over columns as [3, 3, f I, f O] over groups of f columns."""
    places = np.zeros((3, 3, columns, columns), np.float32)  # tap, group, column in, column out
    for out in range(columns):
        for tap in range(3):
            group, column = divmod(out + tap - 1 + columns, columns)
            places[tap, group, column, out] = 1
    wide = jnp.einsum("rtio,tbuq->rbuiqo", kernel, places)
    return wide.reshape(3, 3, columns * kernel.shape[2], columns * kernel.shape[3])


def _with_filter(kernel: jax.Array, taps: np.ndarray) -> jax.Array:
    """The transposed 3 x 3 convolution and the FIR filter after it as one: [6, 6, I, O].

    As `conv_resample` has them, the filter scaled by 4; its taps are symmetric.
    """
    rows = np.zeros((3, 6), np.float32)
    for place in range(3):
        rows[place, place : place + len(taps)] = 2 * taps
    return jnp.einsum("abio,ar,bc->rcio", kernel, rows, rows)


def _up_band(kernel: jax.Array, columns: int) -> jax.Array:
    """[6, 6, I, O] as [3, 3, f I, 2 (2 f O)]: groups of f columns to two rows of groups of 2 f."""
    across = np.zeros((6, 3, columns, 2 * columns), np.float32)  # tap, group, in, out
    down = np.zeros((6, 3, 2), np.float32)  # tap, row, phase
    for step in (-1, 0, 1):
        for out in range(2 * columns):
            group, column = divmod(out // 2 + step + columns, columns)
            across[out % 2 - 2 * step + 2, group, column, out] = 1
        for phase in range(2):
            down[phase - 2 * step + 2, step + 1, phase] = 1
    wide = jnp.einsum("rcio,rhp,cbuq->hbuipqo", kernel, down, across)
    return wide.reshape(3, 3, columns * kernel.shape[2], 4 * columns * kernel.shape[3])
