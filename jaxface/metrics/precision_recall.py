"""Precision and recall of generated samples: Kynkäänniemi et al. 2019, "Improved Precision and
Recall Metric for Assessing Generative Models", section 2.

A set's manifold is the union of balls around its features, each as wide as the distance to the k-th
nearest other item of the set. Precision is the share of samples inside the manifold of real images,
recall the share of real images inside that of the samples.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]."""

    precision: float
    recall: float


def precision_recall(
    samples: Float[np.ndarray, "n d"],
    real: Float[np.ndarray, "m d"],
    *,
    neighbours: int = 3,
    chunk: int = 1000,
) -> PrecisionRecall:
    """Precision and recall of samples.

    Args:
      samples: [N, D] features of samples.
      real: [M, D] features of real images. The paper takes N = M.
      neighbours: k; 3 in the paper's section 2.
      chunk: rows of the distance matrix held at a time; no influence on results.

    Raises:
      ValueError: the shapes do not fit, or a set has no k-th neighbour.
    """
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(
            "precision_recall: expected features [N, D] and [M, D], got "
            f"{samples.shape} and {real.shape}."
        )
    if not 0 < neighbours < min(len(samples), len(real)):
        raise ValueError(
            f"precision_recall: expected 1 to {min(len(samples), len(real)) - 1} neighbours, got "
            f"{neighbours}."
        )
    # About their common centre: squared distances of float32 features far from 0 lose their digits.
    centre = np.mean(real, axis=0)
    generated, reference = jnp.asarray(samples - centre), jnp.asarray(real - centre)
    return PrecisionRecall(
        precision=_share_inside(generated, reference, neighbours, chunk),
        recall=_share_inside(reference, generated, neighbours, chunk),
    )


def _share_inside(points: jax.Array, of: jax.Array, neighbours: int, chunk: int) -> float:
    """Share of `points` inside the manifold of the set `of`."""
    radii = jnp.concatenate(
        [_radii(of[i : i + chunk], of, neighbours) for i in range(0, len(of), chunk)]
    )
    inside = [_inside(points[i : i + chunk], of, radii) for i in range(0, len(points), chunk)]
    return float(jnp.mean(jnp.concatenate(inside)))


@jax.jit
def _squared_distances(points: jax.Array, of: jax.Array) -> jax.Array:
    squares = jnp.sum(jnp.square(points), axis=1)[:, None] + jnp.sum(jnp.square(of), axis=1)[None]
    product = jnp.matmul(points, of.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.maximum(squares - 2.0 * product, 0.0)


@functools.partial(jax.jit, static_argnames="neighbours")
def _radii(points: jax.Array, of: jax.Array, neighbours: int) -> jax.Array:
    """Squared distance of each of `points`, members of `of`, to its k-th nearest other member."""
    nearest, _ = jax.lax.top_k(-_squared_distances(points, of), neighbours + 1)
    return -nearest[:, -1]  # the nearest of all is the point itself


@jax.jit
def _inside(points: jax.Array, of: jax.Array, radii: jax.Array) -> jax.Array:
    return jnp.any(_squared_distances(points, of) <= radii[None], axis=1).astype(jnp.float32)
