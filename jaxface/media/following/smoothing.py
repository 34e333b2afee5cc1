"""Squares of a face over time: gaps filled, jitter taken out, in seconds and not in frames."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxface.media.alignment import CropTransform


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """Standard deviations in seconds; 0 leaves what was measured.

    At 25 frames a second the defaults are Tzaban et al.'s 1 and 3 frames (STIT, SIGGRAPH Asia
    2022), for any rate.

    Attributes:
      center: of the square's centre.
      axes: of its size and its direction.
    """

    center: float = 0.04
    axes: float = 0.12

    def __post_init__(self):
        if self.center < 0 or self.axes < 0:
            raise ValueError(f"Smoothing: expected 0 or more, got {self.center}, {self.axes}.")


def smooth_values(times: Any, values: Any, sigma: float) -> np.ndarray:
    """A normalised Gaussian over true times.

    Every frame counts for the time that it is nearest to, so a run of many short frames weighs no
    more than one long frame.

    Args:
      times: [T] seconds, increasing.
      values: [T, ...].
      sigma: seconds; 0 returns the values.

    Returns:
      float64 [T, ...].
    """
    times = np.asarray([float(time) for time in times])
    values = np.asarray(values, np.float64)
    if sigma == 0 or len(times) < 2:
        return values
    steps = np.diff(times)
    lengths = (np.append(steps, steps[-1]) + np.insert(steps, 0, steps[0])) / 2
    result = np.empty_like(values)
    for place, time in enumerate(times):
        low, high = np.searchsorted(times, [time - 5 * sigma, time + 5 * sigma])
        near = slice(low, max(high, place + 1))
        weights = lengths[near] * np.exp(-0.5 * ((times[near] - time) / sigma) ** 2)
        result[place] = np.tensordot(weights / weights.sum(), values[near], axes=1)
    return result


def smooth_squares(
    times: Sequence[Fraction], squares: Sequence[CropTransform], smoothing: Smoothing
) -> list[CropTransform]:
    """The squares of one shot without jitter.

    Directions are averaged as unit vectors, so that nothing jumps at half a turn.

    Args:
      times: of the squares, increasing.
      squares: of one face in one shot, without gaps.
      smoothing: how much.
    """
    centers = smooth_values(times, [square.center for square in squares], smoothing.center)
    if smoothing.axes == 0:
        rights = np.array([square.right for square in squares])
    else:
        raw = np.array([square.right for square in squares], np.float64)
        lengths = np.hypot(*raw.T)
        units = smooth_values(times, raw / lengths[:, None], smoothing.axes)
        sizes = np.exp(smooth_values(times, np.log(lengths), smoothing.axes))
        norms = np.hypot(*units.T)
        units = np.where(norms[:, None] > 1e-6, units, raw / lengths[:, None])
        rights = units * (sizes / np.hypot(*units.T))[:, None]
    return [
        dataclasses.replace(square, center=tuple(center), right=tuple(right))
        for square, center, right in zip(squares, centers.tolist(), rights.tolist(), strict=True)
    ]


def between(before: CropTransform, after: CropTransform, share: float) -> CropTransform:
    """The square at a share, 0 to 1, of the way from one to another."""
    center = (1 - share) * np.array(before.center) + share * np.array(after.center)
    one, other = complex(*before.right), complex(*after.right)
    turned = one * (other / one) ** share  # the shorter way round, the size geometric
    right = (turned.real, turned.imag)
    return dataclasses.replace(before, center=tuple(center.tolist()), right=right)


def acceleration(points: Mapping[int, np.ndarray], cuts: Collection[int] = ()) -> float:
    """How much points jump: the mean length of their second difference over three frames in a row.

    Args:
      points: [K, 2] by frame; frames may be missing.
      cuts: frames that begin a shot, across which nothing is compared.

    Returns:
      In the points' units a frame squared; 0 at a steady motion, and where there are no three.
    """
    steps = [
        now - 2 * points[frame - 1] + points[frame - 2]
        for frame, now in points.items()
        if frame - 1 in points and frame - 2 in points and not {frame, frame - 1} & set(cuts)
    ]
    return float(np.hypot(*np.moveaxis(np.array(steps), -1, 0)).mean()) if steps else 0.0


def jitter(squares: Sequence[CropTransform]) -> float:
    """`acceleration` of the corners of squares of consecutive frames."""
    return acceleration({frame: square.corners for frame, square in enumerate(squares)})
