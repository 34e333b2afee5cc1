"""Up-sampling, FIR filtering and down-sampling of image batches.

Follows ``upfirdn2d`` of stylegan2-ada-pytorch: insert zeros, pad, filter, keep every n-th sample.
It is written as sums of shifted slices, one axis at a time, each output phase on its own, so that
XLA fuses the whole filter into its neighbours and no multiplication with an inserted zero is
ever made. On CPU this is about twice as fast as a depthwise convolution.

Filters are host-side NumPy arrays: [taps] for a separable filter, [taps_y, taps_x] otherwise.
Padding is ``(y0, y1, x0, x1)`` in samples of the zero-inserted image; negative values crop.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def fir_taps(taps: Sequence[float] | np.ndarray) -> np.ndarray:
    """Normalise filter taps to unit sum, in float64.

    Args:
        taps: [t] separable taps, or [ty, tx] for a filter that is not separable.

    Raises:
        ValueError: if the taps are neither a vector nor a matrix, or sum to zero.
    """
    array = np.asarray(taps, np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"FIR taps: expected a vector or a matrix, got shape {array.shape}")
    total = array.sum()
    if total == 0:
        raise ValueError("FIR taps: expected a filter of non-zero sum, got taps that sum to 0")
    return array / total


def upfirdn(
    x: jax.Array,
    taps: np.ndarray,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> jax.Array:
    """Insert ``up - 1`` zeros after each sample, pad, filter, keep every ``down``-th sample.

    Args:
        x: [N, H, W, C].
        taps: [t] or [ty, tx], used as they are (see :func:`fir_taps` for normalisation).
        padding: (y0, y1, x0, x1), applied after zero insertion; negative values crop.
        gain: factor on the output.
        flip: False convolves (the reference's default), True correlates.

    Returns:
        [N, (H * up + y0 + y1 - ty) // down + 1, (W * up + x0 + x1 - tx) // down + 1, C].

    Raises:
        ValueError: if the padded image is smaller than the filter.
    """
    taps = np.asarray(taps, np.float64)
    y0, y1, x0, x1 = padding
    if not flip:
        taps = taps[::-1] if taps.ndim == 1 else taps[::-1, ::-1]
    if taps.ndim == 1:
        x = _filter_axis(x, taps * gain, 1, up, down, y0, y1)
        return _filter_axis(x, taps, 2, up, down, x0, x1)
    rows = []
    for row, row_taps in enumerate(taps):
        # A matrix is a sum of its rows: each filters along x, then moves along y.
        shift = np.zeros(taps.shape[0])
        shift[row] = gain
        filtered = _filter_axis(x, row_taps, 2, up, down, x0, x1)
        rows.append(_filter_axis(filtered, shift, 1, up, down, y0, y1))
    return sum(rows[1:], start=rows[0])


def _filter_axis(
    x: jax.Array, taps: np.ndarray, axis: int, up: int, down: int, pad0: int, pad1: int
) -> jax.Array:
    """Zero-insert, pad, correlate with ``taps`` and decimate along one axis."""
    size = x.shape[axis]
    padded_size = size * up + pad0 + pad1
    if padded_size < len(taps):
        raise ValueError(
            f"upfirdn: axis {axis} has {padded_size} samples after padding ({pad0}, {pad1}), "
            f"expected at least the filter's {len(taps)}"
        )
    out_size = (padded_size - len(taps)) // down + 1
    # Output sample n * down reads x at i + offset for the taps whose position falls on a real
    # sample; with L = up / gcd(up, down) output phases, phase p advances down * L / up per step.
    phases = up // np.gcd(up, down)
    stride = down * phases // up
    phase_size = -(-out_size // phases)
    reads: list[list[tuple[int, float]]] = []
    for phase in range(phases):
        start = phase * down - pad0
        reads.append(
            [
                ((start + k) // up, float(tap))
                for k, tap in enumerate(taps)
                if tap != 0 and (start + k) % up == 0
            ]
        )
    offsets = [offset for phase in reads for offset, _ in phase]
    before = max(0, -min(offsets, default=0))
    after = max(0, max(offsets, default=0) + (phase_size - 1) * stride + 1 - size)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    x = jnp.pad(x, widths)

    def read(offset: int) -> jax.Array:
        start = offset + before
        return lax.slice_in_dim(x, start, start + (phase_size - 1) * stride + 1, stride, axis)

    # A phase that meets only inserted zeros is zero.
    zero = jnp.zeros((*x.shape[:axis], phase_size, *x.shape[axis + 1 :]), x.dtype)
    outputs = [
        sum((read(offset) * jnp.asarray(tap, x.dtype) for offset, tap in phase), start=zero)
        for phase in reads
    ]
    if phases == 1:
        return outputs[0]
    y = jnp.stack(outputs, axis + 1)
    shape = list(x.shape)
    shape[axis] = phase_size * phases
    return lax.slice_in_dim(y.reshape(shape), 0, out_size, axis=axis)


def filter2d(x: jax.Array, taps: np.ndarray, *, gain: float = 1.0) -> jax.Array:
    """Filter [N, H, W, C] keeping its size; the reference's ``filter2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (ty // 2, (ty - 1) // 2, tx // 2, (tx - 1) // 2)
    return upfirdn(x, taps, padding=padding, gain=gain)


def upsample(x: jax.Array, taps: np.ndarray, *, factor: int = 2) -> jax.Array:
    """[N, H, W, C] to [N, factor * H, factor * W, C]; the reference's ``upsample2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (
        (ty + factor - 1) // 2,
        (ty - factor) // 2,
        (tx + factor - 1) // 2,
        (tx - factor) // 2,
    )
    return upfirdn(x, taps, up=factor, padding=padding, gain=factor**2)


def downsample(x: jax.Array, taps: np.ndarray, *, factor: int = 2) -> jax.Array:
    """[N, H, W, C] to [N, H / factor, W / factor, C]; the reference's ``downsample2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (
        (ty - factor + 1) // 2,
        (ty - factor) // 2,
        (tx - factor + 1) // 2,
        (tx - factor) // 2,
    )
    return upfirdn(x, taps, down=factor, padding=padding)
