"""Scalar profile functions from which the procedural head is drawn (NumPy, run once)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smoothstep(start: float | Array, stop: float | Array, x: Array) -> Array:
    """Cubic step: 0 at `start`, 1 at `stop` (which may lie below `start`), flat outside."""
    t = np.clip((x - start) / (np.asarray(stop) - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Array, centre: float | Array, width: float) -> Array:
    """Gaussian of height 1 with standard deviation `width`."""
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


def bump2(x: Array, y: Array, centre: tuple[float, float], widths: tuple[float, float]) -> Array:
    """Axis-aligned Gaussian of height 1 in the plane."""
    return bump(x, centre[0], widths[0]) * bump(y, centre[1], widths[1])


def graded_samples(
    count: int, low: float, high: float, bumps: tuple[tuple[float, float, float], ...]
) -> Array:
    """`count` increasing samples of [low, high], denser near each (centre, width, strength)."""
    fine = np.linspace(low, high, 4001)
    density = np.ones_like(fine)
    for centre, width, strength in bumps:
        density += strength * bump(fine, centre, width)
    mass = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.interp(np.linspace(0.0, 1.0, count), mass / mass[-1], fine)
