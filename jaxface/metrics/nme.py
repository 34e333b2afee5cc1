"""Normalised mean error of landmarks, by the two sizes that the field divides by.

* ``inter_ocular``: the distance of the outer corners of the eyes, 300-W (Sagonas et al. 2013). In
  profile it goes towards zero, and the error's share towards infinity: read it for faces that look
  at the camera.
* ``box``: the root of the area of the box around the true landmarks (Bulat and Tzimiropoulos 2017),
  which stays of the face's size as the head turns.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Normaliser = Literal["inter_ocular", "box"]

OUTER_EYE_CORNERS = (36, 45)
"""Among iBUG's 68 landmarks."""


def nme(
    predicted: Float[Array, "n k 2"], true: Float[Array, "n k 2"], *, normaliser: Normaliser
) -> Float[Array, " n"]:
    """Mean distance of the landmarks as a share of the face's size, [N].

    Args:
      predicted: [N, 68, 2] in pixels.
      true: [N, 68, 2], in the same pixels; the size is taken from these.
      normaliser: which size, see the module's words.

    Raises:
      ValueError: the shapes differ, or are not [N, 68, 2] where the eyes are asked for, or the
        normaliser is unknown.
    """
    if predicted.shape != true.shape or predicted.ndim != 3 or predicted.shape[-1] != 2:
        raise ValueError(f"nme: both must be [N, 68, 2], got {predicted.shape} and {true.shape}.")
    if normaliser == "inter_ocular":
        if true.shape[1] != 68:
            raise ValueError(f"nme: the eyes are known of 68 landmarks, got {true.shape[1]}.")
        left, right = (true[:, corner] for corner in OUTER_EYE_CORNERS)
        size = jnp.linalg.norm(right - left, axis=-1)
    elif normaliser == "box":
        sides = jnp.max(true, axis=1) - jnp.min(true, axis=1)
        size = jnp.sqrt(sides[:, 0] * sides[:, 1])
    else:
        raise ValueError(f"nme: normaliser must be 'inter_ocular' or 'box', got {normaliser!r}.")
    return jnp.mean(jnp.linalg.norm(predicted - true, axis=-1), axis=-1) / size
