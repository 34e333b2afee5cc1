"""Sizes that a checkpoint does not state, inferred from its arrays' shapes and values."""

import re
from collections.abc import Mapping

import numpy as np

from jaxface.convert.refusal import Refusal

# What every published StyleGAN2 uses: the binomial filter [1, 3, 3, 1].
BINOMIAL = (1.0, 3.0, 3.0, 1.0)


def shape_of(arrays: Mapping[str, np.ndarray], key: str, ndim: int) -> tuple[int, ...]:
    """The shape of an array that must be there and have ``ndim`` dimensions.

    Raises:
        Refusal: if it is not so.
    """
    if key not in arrays:
        raise Refusal(f"the network lacks {key}")
    if arrays[key].ndim != ndim:
        raise Refusal(f"{key}: its shape is {list(arrays[key].shape)}, expected {ndim} dimensions")
    return arrays[key].shape


def count_keys(arrays: Mapping[str, np.ndarray], pattern: str) -> int:
    """How many keys a regular expression matches in full."""
    return sum(re.fullmatch(pattern, key) is not None for key in arrays)


def channel_schedule(widths: Mapping[int, int]) -> tuple[int, int]:
    """``(channel_base, channel_max)`` such that every width is ``min(base // r, max)``.

    Args:
        widths: resolution to number of feature maps.

    Raises:
        Refusal: if no such pair exists.
    """
    base = max(width * resolution for resolution, width in widths.items())
    most = widths[min(widths)]
    for resolution, width in widths.items():
        if width != min(base // resolution, most):
            raise Refusal(
                f"{width} channels at resolution {resolution} do not follow "
                f"min({base} // resolution, {most})"
            )
    return base, most


def filter_taps(kernel: np.ndarray, *, where: str, gain: float = 1.0) -> tuple[float, ...]:
    """The separable taps of a stored FIR filter, in the units of ``[1, 3, 3, 1]`` if it is that.

    Args:
        kernel: [t, t], or [t] if stored separably.
        where: the key, for the error.
        gain: the filter's sum (4 where the source multiplies an up-sampling filter by factor^2).

    Raises:
        Refusal: if the filter is not separable and symmetric, or its sum is not ``gain``.
    """
    kernel = np.asarray(kernel, np.float64) / gain
    taps = kernel.sum(axis=1) if kernel.ndim == 2 else kernel
    whole = kernel if kernel.ndim == 2 else np.outer(kernel, kernel)
    # Filters are stored in float32, normalised: 1e-6 is some 10 roundings.
    if (
        taps.ndim != 1
        or abs(whole.sum() - 1) > 1e-6
        or not np.allclose(whole, np.outer(taps, taps), rtol=0, atol=1e-6)
        or not np.allclose(taps, taps[::-1], rtol=0, atol=1e-6)
    ):
        raise Refusal(f"{where}: the FIR filter is not separable, symmetric and of sum {gain:g}")
    binomial = np.asarray(BINOMIAL) / sum(BINOMIAL)
    if taps.shape == binomial.shape and np.allclose(taps, binomial, rtol=0, atol=1e-6):
        return BINOMIAL
    return tuple(taps.tolist())
