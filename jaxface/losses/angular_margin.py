"""ArcFace's additive angular margin (Deng et al. 2019)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxface.losses.identity import unit

# Below this squared sine the root's slope is held: it grows without bound towards an angle of 0.
LEAST_SQUARED_SINE = 1e-6


def angular_margin_loss(
    embeddings: Float[Array, "n d"],
    centres: Float[Array, "classes d"],
    labels: Int[Array, " n"],
    *,
    s: float,
    m: float,
) -> tuple[Float[Array, " n"], Float[Array, "n classes"]]:
    """Cross-entropy of s cos(theta_j), with s cos(theta_y + m) for the right class: equation 3.

    The paper's formula rises again where theta_y + m passes pi; as in the reference implementation
    (``recognition/arcface_torch/losses.py`` of deepinsight/insightface) it continues there as
    cos(theta_y) - m sin(m), which falls all the way.

    Args:
      embeddings: [N, D], of any length.
      centres: [n, D], a row a class, of any length; W of the paper.
      labels: [N] integers in [0, n); another one makes its loss NaN.
      s: the radius of the hypersphere that the embeddings lie on.
      m: the margin in radians.

    Returns:
      The loss of each item, [N], and cos(theta_j), [N, n].

    Raises:
      ValueError: the shapes do not fit.
    """
    if embeddings.ndim != 2 or centres.ndim != 2 or embeddings.shape[1] != centres.shape[1]:
        raise ValueError(
            f"angular_margin_loss: expected embeddings [N, D] and centres [n, D], got "
            f"{embeddings.shape} and {centres.shape}."
        )
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"angular_margin_loss: expected labels [{len(embeddings)}], got {labels.shape}."
        )
    cosine = jnp.einsum(
        "id,jd->ij", unit(embeddings), unit(centres), precision=jax.lax.Precision.HIGHEST
    )
    chosen = labels[:, None]
    right = jnp.take_along_axis(cosine, chosen, axis=1, mode="fill")
    sine = jnp.sqrt(jnp.maximum(1.0 - jnp.square(right), LEAST_SQUARED_SINE))
    beyond = right <= np.cos(np.pi - m).item()
    moved = jnp.where(
        beyond,
        right - m * np.sin(m).item(),
        right * np.cos(m).item() - sine * np.sin(m).item(),
    )
    logits = s * jnp.where(jnp.arange(len(centres))[None] == chosen, moved, cosine)
    return jax.nn.logsumexp(logits, axis=1) - s * moved[:, 0], cosine
