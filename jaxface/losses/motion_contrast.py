"""Motion codes of one motion are alike, of two are not: Transfer's CosFace loss.

Equations 4 and 5 of Jahoda and Cech 2023, after Megaportraits (Drobyshev et al. 2022). The margin
of CosFace is taken off positive and negative pairs alike, so that it has no effect but for
rounding: every exponent of the fraction has the same factor.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxface.losses.identity import similarity

STABLE = 1e-8
"""Added inside the logarithm by the authors' code, after the fraction."""


def motion_contrast(
    drawn: Sequence[Float[Array, "n l d"]],
    same: Float[Array, "n l d"],
    other: Float[Array, "n l d"],
    *,
    scale: float = 5.0,
    margin: float = 0.2,
) -> Float[Array, " n"]:
    """Equation 5 of each item.

    Args:
      drawn: motion codes of results, z_AA and z_AB: [N, L, D] each, which are to be like `same`.
      same: of the driving frame, z_A.
      other: of another person's, z_B, which makes the negative pairs.
      scale: a of equation 4.
      margin: b of equation 4, which cancels.

    Returns:
      [N]: the sum over `drawn` of -log of the positive pair's share.

    Raises:
      ValueError: the codes' shapes differ.
    """

    def pair(code: Array, target: Array) -> Array:
        cosine = similarity(code.reshape(len(code), -1), target.reshape(len(target), -1))
        return jnp.exp(scale * (cosine - margin))

    positive = jnp.stack([pair(code, same) for code in drawn])
    negative = sum((pair(code, other) for code in drawn), jnp.zeros(()))
    return -jnp.sum(jnp.log(positive / (positive + negative) + STABLE), axis=0)
