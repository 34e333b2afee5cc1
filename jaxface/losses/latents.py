"""Regularisers of an encoder's codes. Codes are float32 [N, L, w_dim]; every loss returns [N]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxface.losses import photometric


def w_norm(w_plus: Float[Array, "n l d"], mean: Float[Array, "*l d"]) -> Float[Array, " n"]:
    """Euclidean distance of codes from the mean of W+.

    pSp's L_reg (Richardson et al. 2021, equation 4; ``criteria/w_norm.py``): the norm over all
    entries of an item, not squared.

    Args:
      w_plus: [N, L, D].
      mean: [L, D] or [D].

    Returns:
      [N], >= 0.
    """
    return _length(jnp.sum(jnp.square(w_plus - mean), axis=(1, 2)))


def delta_norm(w_plus: Float[Array, "n l d"], stage: int | jax.Array) -> Float[Array, " n"]:
    """How far the styles are from the first: e4e's L_d-reg (Tov et al. 2021, equation 5).

    The sum over the styles 1 ... `stage` of the Euclidean length of what they deviate by. The
    authors' ``training/coach.py`` begins to count a style one stage later than it begins to train
    it, and so never counts the last; the equation has them all, and so has this.

    Args:
      w_plus: [N, L, D].
      stage: the last style that has a deviation of its own; may be traced.

    Returns:
      [N], >= 0.
    """
    lengths = _length(jnp.sum(jnp.square(w_plus - w_plus[:, :1]), axis=2))
    rows = jnp.arange(w_plus.shape[1])
    return jnp.sum(jnp.where((rows >= 1) & (rows <= stage), lengths, 0.0), axis=1)


def w_plus_l2(w_plus: Float[Array, "n l d"], targets: Float[Array, "n l d"]) -> Float[Array, " n"]:
    """Mean squared difference of codes from known ones, [N].

    Raises:
      ValueError: the shapes differ.
    """
    return photometric.l2(w_plus[..., None], targets[..., None])


def _length(squares: jax.Array) -> jax.Array:
    """The root, whose gradient at zero is zero."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)
