"""Which results of a job are much worse than its others, by a perceptual or identity measure.

PSNR alone misleads: a profile whose face is destroyed can have 30 dB, for most of it is hair and
backdrop. What networks measure does not, but has no scale that all suites share. So a result is
compared with the others of its job.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

OUTLIER = "outlier"
"""How a remark on one begins."""
FEWEST = 5
"""Results from which on there is something to compare with."""
DEVIATIONS = 4.0
"""Robust standard deviations above the median from which on a result is an outlier."""
_OF_MEDIAN = 0.25  # the least that counts as such a deviation, in medians: equal results have none
_NORMAL = 1.4826  # standard deviation over median absolute deviation, of a normal distribution


DISTANCES = ("perceptual", "lpips")
"""Columns of an inversion's rows that say how far a result is from its target."""


def distance_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which of `DISTANCES` the rows of a job have values of; the first where they have none."""
    for name in DISTANCES:
        if any(row.get(name) is not None for row in rows):
            return name
    return DISTANCES[0]


def outlier_limit(values: Sequence[float | None]) -> float:
    """What is more than this is an outlier among `values`, of which less is better.

    Infinity where there are fewer than `FEWEST`, None left out.
    """
    known = np.array([value for value in values if value is not None])
    if len(known) < FEWEST:
        return float("inf")
    median = float(np.median(known))
    deviation = _NORMAL * float(np.median(np.abs(known - median)))
    return median + DEVIATIONS * max(deviation, _OF_MEDIAN * median)


def outliers(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, str]:
    """Remarks on the outliers among rows, by id.

    Args:
      rows: with `measure`, a number or None.
      measure: a column, such as "perceptual" or "identity_distance".
    """
    limit = outlier_limit([row.get(measure) for row in rows])
    name = measure.replace("_", " ")
    return {
        row["id"]: f"{OUTLIER}: {name} {row[measure]:.3f}, the others below {limit:.3f}"
        for row in rows
        if row.get(measure) is not None and row[measure] > limit
    }


def summary(rows: Sequence[Mapping[str, Any]], measure: str) -> str:
    """Such as ", perceptual mean 0.042, highest 0.210, 1 outlier"; empty without any value.

    Args:
      rows: as in `outliers`.
      measure: as there.
    """
    values = [row[measure] for row in rows if row.get(measure) is not None]
    if not values:
        return ""
    name = measure.replace("_", " ")
    text = f", {name} mean {sum(values) / len(values):.3f}, highest {max(values):.3f}"
    count = len(outliers(rows, measure))
    return text + (f", {count} outlier{'s'[: count > 1]}" if count else "")
