"""Up-sampling, FIR filtering and down-sampling of image batches.

Follows ``upfirdn2d`` of stylegan2-ada-pytorch: insert zeros, pad, filter, keep every n-th sample.
It is written as sums of shifted slices, one axis at a time (on GPUs both at once), each output
phase on its own, so that XLA fuses the whole filter into its neighbours and no multiplication with
an inserted zero is ever made. On CPU this is about twice as fast as a depthwise convolution.

Filters are host-side NumPy arrays: [taps] for a separable filter, [taps_y, taps_x] otherwise.
Padding is ``(y0, y1, x0, x1)`` in samples of the zero-inserted image; negative values crop.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.formulation import platform_of_formulation
from jaxface.nets.ops.image_matrices import along_columns, along_rows, by_matrices


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
    x: Float[Array, "n h w c"],
    taps: np.ndarray,
    *,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Float[Array, "n h2 w2 c"]:
    """Insert ``up - 1`` zeros after each sample, pad, filter, keep every ``down``-th sample.

    Differentiable any number of times in reverse mode: its transpose is itself, with ``up`` and
    ``down`` exchanged and the filter flipped.

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
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    y0, y1, x0, x1 = padding
    rows = _Axis(1, x.shape[1], ty, up, down, y0, y1)
    columns = _Axis(2, x.shape[2], tx, up, down, x0, x1)
    correlated = taps if flip else np.flip(taps)

    # Left to itself, the gradient of a sum of shifted slices is a sum of shifted paddings, which
    # XLA turns into a branch per term and sample.
    @jax.custom_vjp
    def apply(x: jax.Array) -> jax.Array:
        return _correlate(x, correlated, rows, columns, gain)

    def forward(x: jax.Array) -> tuple[jax.Array, None]:
        return apply(x), None

    def backward(_: None, cotangent: jax.Array) -> tuple[jax.Array]:
        transposed = (*rows.transposed_padding, *columns.transposed_padding)
        return (
            upfirdn(
                cotangent,
                taps,
                up=down,
                down=up,
                padding=transposed,
                gain=gain,
                flip=not flip,
            ),
        )

    apply.defvjp(forward, backward)
    return apply(x)


def _correlate(
    x: jax.Array, taps: np.ndarray, rows: "_Axis", columns: "_Axis", gain: float
) -> jax.Array:
    """Both axes padded at once, then filtered one after the other."""
    if taps.ndim == 1 and by_matrices(x, len(taps)):
        x = along_rows(x, rows.matrix(taps * gain, x.shape[1]))
        return along_columns(x, columns.matrix(taps, x.shape[2]))
    if rows.edges != (0, 0) or columns.edges != (0, 0):
        x = jnp.pad(x, ((0, 0), rows.edges, columns.edges, (0, 0)))
    if taps.ndim == 1 and not _in_one_pass(rows, columns):
        return columns.correlate(rows.correlate(x, taps * gain), taps)
    matrix = taps if taps.ndim == 2 else np.outer(taps, taps)
    return rows.correlate(x, matrix * gain, columns)


def _in_one_pass(rows: "_Axis", columns: "_Axis") -> bool:
    """Whether a filter is better not split into two.

    On GPUs XLA writes what is between two filters to the memory, and that is what such a filter
    waits for, not its operations.
    """
    same_size = all(len(axis.reads) == axis.stride == 1 for axis in (rows, columns))
    return same_size and platform_of_formulation() == "gpu"


class _Axis:
    """Where each tap reads along one axis: zero insertion, padding and decimation as index sums.

    Output sample n reads the zero-inserted, padded axis at n * down + k for each tap k; only
    positions that hold a real sample count. With P = up / gcd(up, down) output phases, the reads
    of one phase are slices of the input with stride down * P / up.

    Attributes:
        edges: zeros to put before and after the input so that every read falls inside.
        transposed_padding: the padding of the transposed operation.
    """

    def __init__(self, axis: int, size: int, taps: int, up: int, down: int, pad0: int, pad1: int):
        padded_size = size * up + pad0 + pad1
        if padded_size < taps:
            raise ValueError(
                f"upfirdn: axis {axis} has {padded_size} samples after padding ({pad0}, {pad1}), "
                f"expected at least the filter's {taps}"
            )
        self.axis = axis
        self.size = (padded_size - taps) // down + 1
        phases = up // np.gcd(up, down)
        self.stride = down * phases // up
        self.phase_size = -(-self.size // phases)
        # (offset into the input, tap) of each phase.
        self.reads = [
            [(n // up, k) for k in range(taps) if (n := phase * down - pad0 + k) % up == 0]
            for phase in range(phases)
        ]
        offsets = [offset for reads in self.reads for offset, _ in reads]
        span = (self.phase_size - 1) * self.stride + 1
        self.edges = (
            max(0, -min(offsets, default=0)),
            max(0, max(offsets, default=0) + span - size),
        )
        self.transposed_padding = (
            taps - pad0 - 1,
            size * up - self.size * down + pad0 - up + 1,
        )

    def matrix(self, taps: np.ndarray, length: int) -> np.ndarray:
        """What `correlate` does to an axis of that length, not padded: [size, length]."""
        found = np.zeros((self.size, length))
        for phase, reads in enumerate(self.reads):
            for place in range(phase, self.size, len(self.reads)):
                for offset, k in reads:
                    source = offset + place // len(self.reads) * self.stride
                    if 0 <= source < length:
                        found[place, source] += taps[k]
        return found

    def correlate(self, x: jax.Array, taps: np.ndarray, across: "_Axis | None" = None) -> jax.Array:
        """Sum of taps times what they read from ``x``, which is padded by ``edges``.

        A tap is a number, or with another axis the taps of a filter along that.
        """

        def times(read: jax.Array, tap: np.ndarray) -> jax.Array:
            if across is not None:
                return across.correlate(read, tap)
            return read * jnp.asarray(tap, x.dtype)

        outputs = []
        for reads in self.reads:
            terms = [times(self._read(x, offset), taps[k]) for offset, k in reads if taps[k].any()]
            if not terms:
                terms = [jnp.zeros_like(times(self._read(x, -self.edges[0]), taps[0]))]
            outputs.append(sum(terms[1:], start=terms[0]))
        if len(outputs) == 1:
            return outputs[0]
        y = jnp.stack(outputs, self.axis + 1)
        shape = list(outputs[0].shape)
        shape[self.axis] = self.phase_size * len(outputs)
        return lax.slice_in_dim(y.reshape(shape), 0, self.size, axis=self.axis)

    def _read(self, x: jax.Array, offset: int) -> jax.Array:
        start = offset + self.edges[0]
        stop = start + (self.phase_size - 1) * self.stride + 1
        return lax.slice_in_dim(x, start, stop, self.stride, self.axis)


def filter2d(
    x: Float[Array, "n h w c"], taps: np.ndarray, *, gain: float = 1.0
) -> Float[Array, "n h w c"]:
    """Filter [N, H, W, C] keeping its size; the reference's ``filter2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (ty // 2, (ty - 1) // 2, tx // 2, (tx - 1) // 2)
    return upfirdn(x, taps, padding=padding, gain=gain)


def upsample(
    x: Float[Array, "n h w c"], taps: np.ndarray, *, factor: int = 2
) -> Float[Array, "n {factor}*h {factor}*w c"]:
    """[N, H, W, C] to [N, factor * H, factor * W, C]; the reference's ``upsample2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (
        (ty + factor - 1) // 2,
        (ty - factor) // 2,
        (tx + factor - 1) // 2,
        (tx - factor) // 2,
    )
    return upfirdn(x, taps, up=factor, padding=padding, gain=factor**2)


def downsample(
    x: Float[Array, "n h w c"], taps: np.ndarray, *, factor: int = 2
) -> Float[Array, "n h2 w2 c"]:
    """[N, H, W, C] to [N, H / factor, W / factor, C]; the reference's ``downsample2d`` padding."""
    ty, tx = taps.shape if taps.ndim == 2 else (len(taps), len(taps))
    padding = (
        (ty - factor + 1) // 2,
        (ty - factor) // 2,
        (tx - factor + 1) // 2,
        (tx - factor) // 2,
    )
    return upfirdn(x, taps, down=factor, padding=padding)
