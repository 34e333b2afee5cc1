"""Identity: how alike two faces are to a recognition network.

Of embeddings [N, D], one value an item. pSp's and e4e's identity loss (``criteria/id_loss.py``)
with ArcFace's embeddings, `jaxface.nets.IRSE`; a target's embedding does not change while an image
is optimised, so compute it once.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Added to squared lengths, so that a zero vector has a gradient; nothing beside a unit vector's.
SMALLEST = 1e-12


def similarity(embeddings: Float[Array, "n d"], targets: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Cosine of the angle between embeddings.

    Args:
      embeddings: [N, D], of any length.
      targets: [N, D].

    Returns:
      [N], from -1 to 1.

    Raises:
      ValueError: the shapes differ or are not of rank 2.
    """
    if embeddings.ndim != 2 or embeddings.shape != targets.shape:
        raise ValueError(
            f"identity: embeddings must both be [N, D], got {embeddings.shape} and {targets.shape}."
        )
    return jnp.sum(unit(embeddings) * unit(targets), axis=1)


def distance(embeddings: Float[Array, "n d"], targets: Float[Array, "n d"]) -> Float[Array, " n"]:
    """One minus the cosine: the identity loss, [N], from 0 to 2; see `similarity`."""
    return 1 - similarity(embeddings, targets)


def unit(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows [N, D] scaled to length 1; a row of zeros stays."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=1, keepdims=True) + SMALLEST)
