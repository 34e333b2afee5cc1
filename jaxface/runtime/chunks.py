"""Rows in chunks of one size, so that one compiled program serves any number of them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


def chunks(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """The numbers of `count` rows, `size` at a time; the last chunk is filled up with the last row.

    Yields:
      Row numbers [size], and how many of them count.

    Example:
      >>> [(rows.tolist(), kept) for rows, kept in chunks(5, 3)]
      [([0, 1, 2], 3), ([3, 4, 4], 2)]
    """
    for first in range(0, count, size):
        rows = np.minimum(np.arange(first, first + size), count - 1)
        yield rows, min(size, count - first)


def by_chunks(
    function: Callable[..., Any],
    *rows: Any,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """What a function of rows gives for all of them, a chunk at a time.

    Args:
      function: of `size` rows of each argument; every array that it returns has `size` rows.
      rows: pytrees of arrays with N rows, N >= 1.
      size: of a chunk.
      progress: called after each chunk with the rows done and N.

    Returns:
      The pytree that `function` returns, NumPy arrays with N rows.

    Example:
      >>> by_chunks(lambda x: {"twice": 2 * x}, np.arange(5), size=3)["twice"].tolist()
      [0, 2, 4, 6, 8]
    """
    count, done, parts = len(jax.tree.leaves(rows)[0]), 0, []
    for chosen, kept in chunks(count, size):
        given = function(*jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], rows))
        parts.append(jax.tree.map(lambda leaf, kept=kept: np.asarray(leaf)[:kept], given))
        done += kept
        if progress is not None:
            progress(done, count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
