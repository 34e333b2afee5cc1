"""Hausdorff distance of sets of points, for lines that were drawn."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float


def hausdorff(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]) -> float:
    """The larger of the two directed distances: of a point from the nearest of the other set.

    Raises:
      ValueError: a set is empty, or the points have other numbers of coordinates.
    """
    if first.ndim != 2 or first.shape[1:] != second.shape[1:] or not (len(first) and len(second)):
        raise ValueError(
            f"hausdorff: expected points [N, D] and [M, D], none of them empty, got "
            f"{list(first.shape)} and {list(second.shape)}."
        )
    squared = np.sum((first[:, None] - second[None]) ** 2, axis=-1)
    return float(np.sqrt(max(squared.min(axis=1).max(), squared.min(axis=0).max())))


def hausdorff_by_group(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, float] | None:
    """`hausdorff` of each group; None where a group has no point in one of the two.

    Args:
      first, second: the same groups, [N, D] each.
    """
    if any(not (len(first[name]) and len(second[name])) for name in first):
        return None
    return {name: hausdorff(first[name], second[name]) for name in first}
