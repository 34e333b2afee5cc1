"""Expression through a clip: aspect ratios of eyes, mouth and brows, and their correlation.

Transfer's expression statistic FL (Jahoda and Cech 2023, section 4.3): each ratio is a signal over
the frames of a clip, and the signals of a driver and of what was driven are correlated, so that
the proportions of the two faces do not count. The paper gives no formulas; these are of the 68
landmarks, the eyes' after Soukupova and Cech 2016.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

RATIOS = ("left_eye", "right_eye", "mouth", "left_brow", "right_brow")
"""The signals. Left is the image's left, where landmarks 36 to 41 and 17 to 21 are."""

SHORTEST = 12
"""Frames below which a clip's correlation says nothing."""

# Upper and lower points whose distances are summed, and the corners.
_OPENINGS = {
    "left_eye": (((37, 41), (38, 40)), (36, 39)),
    "right_eye": (((43, 47), (44, 46)), (42, 45)),
    "mouth": (((61, 67), (62, 66), (63, 65)), (60, 64)),
}
# Points of the brow, points of the eye, and the eye's corners.
_BROWS = {
    "left_brow": (slice(17, 22), slice(36, 42), (36, 39)),
    "right_brow": (slice(22, 27), slice(42, 48), (42, 45)),
}


def aspect_ratios(landmarks: Float[np.ndarray, "t 68 2"]) -> dict[str, Float[np.ndarray, " t"]]:
    """The signals of a clip.

    Args:
      landmarks: [T, 68, 2], in any unit that is the same across and down.

    Returns:
      Name out of `RATIOS` to [T]: of eyes and mouth the sum of the openings over twice the distance
      of the corners (of the mouth the inner lips'), of brows the distance of brow and eye, each the
      mean of its points, over the eye's width. Not finite where corners coincide.

    Raises:
      ValueError: the landmarks have another shape.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise ValueError(f"aspect_ratios: expected landmarks [T, 68, 2], got {list(points.shape)}.")

    def distance(first: int, second: int) -> np.ndarray:
        return np.linalg.norm(points[:, first] - points[:, second], axis=1)

    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, (pairs, corners) in _OPENINGS.items():
            opening = np.sum([distance(*pair) for pair in pairs], axis=0)
            found[name] = opening / (2 * distance(*corners))
        for name, (brow, eye, corners) in _BROWS.items():
            lifted = points[:, brow].mean(axis=1) - points[:, eye].mean(axis=1)
            found[name] = np.linalg.norm(lifted, axis=1) / distance(*corners)
    return found


def ratio_correlations(
    signals: Mapping[str, Float[np.ndarray, " t"]], others: Mapping[str, Float[np.ndarray, " t"]]
) -> dict[str, float]:
    """Pearson's correlation of each signal with its counterpart, at lag zero.

    Args:
      signals: of a clip, see `aspect_ratios`.
      others: of the clip that was driven by it, of as many frames.

    Returns:
      Name to a number from -1 to 1. What is undefined is left out: signals that are constant or
      not finite, and all where there are fewer than `SHORTEST` frames.

    Raises:
      ValueError: the clips differ in length.
    """
    found = {}
    for name, signal in signals.items():
        other = others[name]
        if len(signal) != len(other):
            raise ValueError(
                f"ratio_correlations: expected clips of one length, got {len(signal)} and "
                f"{len(other)} frames."
            )
        if len(signal) < SHORTEST or not np.isfinite([signal, other]).all():
            continue
        a, b = signal - np.mean(signal), other - np.mean(other)
        scale = np.sqrt(np.sum(a * a) * np.sum(b * b))
        # A constant signal leaves rounding alone.
        rounding = 1e-9 * len(a) * np.max(np.abs(signal)) * np.max(np.abs(other))
        if scale > rounding:
            found[name] = float(np.sum(a * b) / scale)
    return found
