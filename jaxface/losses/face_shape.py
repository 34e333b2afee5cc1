"""Shapes of two faces: vertices, and how far eyes and mouth are open. One value an item.

The reenactment loss of "Finding Directions in GAN's Latent Space for Neural Face Reenactment"
(Bounareli et al., BMVC 2022), equations 4 and 5. Points are in pixels, in the order of iBUG's 68.
The paper and the authors' code measure the distance of two landmarks differently, see `Reading`.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Reading = Literal["code", "paper"]
"""How landmarks are compared. "code": ``|p_i - p_j|`` on each axis, and the mean over axes and
pairs of how much two faces differ in it. "paper": the Euclidean distance of p_i and p_j, and the
sum over pairs of how much two faces differ in it."""

Pairs = Sequence[tuple[int, int]]

EYE_PAIRS: Pairs = ((36, 39), (37, 41), (38, 40), (42, 45), (43, 47), (44, 46))
"""The code's: of each eye the corners and two of the lids."""
LID_PAIRS: Pairs = ((37, 41), (38, 40), (43, 47), (44, 46))
"""Upper and lower lids alone, which the paper speaks of."""
MOUTH_PAIRS: Pairs = (
    *((48, 54), (49, 59), (50, 58), (51, 57), (52, 56), (53, 55)),
    *((60, 64), (61, 67), (62, 66), (63, 65)),
)
"""Corners, and upper and lower edges of the outer and of the inner lips."""
INNER_LIP_PAIRS: Pairs = ((61, 67), (62, 66), (63, 65))
"""Upper and lower edges of the inner lips."""
BROW_PAIRS: Pairs = (
    *((18, 36), (19, 37), (20, 38), (21, 39)),
    *((22, 42), (23, 43), (24, 44), (25, 45)),
)
"""Brows, and the eyes below them."""


def vertices(shape: Float[Array, "n v 3"], target: Float[Array, "n v 3"]) -> Float[Array, " n"]:
    """L_sh: the mean absolute difference over vertices and axes.

    The paper writes the sum; a mean does not depend on the model, and is what the code takes.

    Raises:
      ValueError: the shapes differ or are not of rank 3.
    """
    _check("vertices", shape, target)
    return jnp.mean(jnp.abs(shape - target), axis=(1, 2))


def eyes(
    points: Float[Array, "n p 2"], target: Float[Array, "n p 2"], *, reading: Reading
) -> Float[Array, " n"]:
    """L_eye of landmarks [N, 68, 2]; see `Reading`, `EYE_PAIRS` and `LID_PAIRS`."""
    pairs = EYE_PAIRS if reading == "code" else LID_PAIRS
    return inner_distances(points, target, pairs, reading=reading)


def mouth(
    points: Float[Array, "n p 2"], target: Float[Array, "n p 2"], *, reading: Reading
) -> Float[Array, " n"]:
    """L_mouth of landmarks [N, 68, 2]; see `Reading` and `MOUTH_PAIRS`."""
    return inner_distances(points, target, MOUTH_PAIRS, reading=reading)


def inner_distances(
    points: Float[Array, "n p c"], target: Float[Array, "n p c"], pairs: Pairs, *, reading: Reading
) -> Float[Array, " n"]:
    """How much two faces differ in the distances of pairs of landmarks.

    Args:
      points: [N, P, C].
      target: the same shape.
      pairs: numbers of the landmarks.
      reading: see `Reading`.

    Raises:
      ValueError: the shapes differ, or there is no such reading.
    """
    _check("inner_distances", points, target)
    if reading not in ("code", "paper"):
        raise ValueError(f"inner_distances: reading must be 'code' or 'paper', got {reading!r}.")
    first, second = np.array(pairs).T
    here, there = (x[:, first] - x[:, second] for x in (points, target))
    if reading == "code":
        return jnp.mean(jnp.abs(jnp.abs(here) - jnp.abs(there)), axis=(1, 2))
    return jnp.sum(jnp.abs(_length(here) - _length(there)), axis=1)


def _length(x: jax.Array) -> jax.Array:
    """Along the last axis, with a gradient of zero where it is zero."""
    squares = jnp.sum(jnp.square(x), axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def _check(owner: str, points: jax.Array, target: jax.Array) -> None:
    if points.ndim != 3 or points.shape != target.shape:
        raise ValueError(
            f"{owner}: both must be [N, P, C] and alike, got {list(points.shape)} and "
            f"{list(target.shape)}."
        )
