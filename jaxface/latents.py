"""Latent spaces Z, W and W+ of a StyleGAN2 generator.

``z [N, z_dim]``, ``w [N, w_dim]``, ``w_plus [N, L, w_dim]`` with ``L = 2 log2(resolution) - 2``.

A person's own part of W+ is the dilated hull of K anchors, codes of that person: sums of the
anchors by weights that add up to 1 and are no less than -beta (MyStyle, Nitzan et al. 2022; PVP,
Lin et al. 2023, equation 6).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def num_ws(resolution: int) -> int:
    """Rows of W+ of a generator: 18 at 1024, 10 at 64.

    Raises:
        ValueError: if ``resolution`` is no power of two of at least 4.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution: expected a power of two of at least 4, got {resolution}")
    return 2 * (resolution.bit_length() - 1) - 2


def check_w_plus(owner: str, w_plus: jax.Array | np.ndarray, *, num_ws: int, w_dim: int) -> None:
    """Insist on W+ of a generator's rows and width.

    Args:
        owner: what the error begins with.
        w_plus: is to be [N, num_ws, w_dim].
        num_ws: rows, see `num_ws`.
        w_dim: of a row.

    Raises:
        ValueError: it has another shape.
    """
    if w_plus.ndim != 3 or w_plus.shape[1:] != (num_ws, w_dim):
        raise ValueError(
            f"{owner}: w_plus must be [N, {num_ws}, {w_dim}], got {list(w_plus.shape)}."
        )


def broadcast_w(w: jax.Array, count: int) -> jax.Array:
    """Repeat ``w [N, w_dim]`` to ``w_plus [N, count, w_dim]``."""
    return jnp.broadcast_to(w[:, None, :], (w.shape[0], count, w.shape[1]))


def truncate(
    w_plus: jax.Array, w_mean: jax.Array, psi: float | jax.Array, *, cutoff: int | None = None
) -> jax.Array:
    """Pull styles towards the mean: ``w_mean + psi (w - w_mean)``.

    Args:
        w_plus: [N, L, w_dim].
        w_mean: [w_dim].
        psi: 1 leaves the styles alone, 0 gives the mean.
        cutoff: truncate only the first ``cutoff`` rows; None for all of them.
    """
    truncated = w_mean + (w_plus - w_mean) * psi
    if cutoff is None:
        return truncated
    rows = jnp.arange(w_plus.shape[1])[:, None] < cutoff
    return jnp.where(rows, truncated, w_plus)


def interpolate(
    start: jax.Array | np.ndarray, stop: jax.Array | np.ndarray, frames: int
) -> jax.Array:
    """Latents along the straight line from a portrait's latent to its edit, both included.

    A line in W+ rather than edits of interpolated parameters: it begins at the very latent, which
    RigNet's answer to the parameters that a portrait already has does not.

    Args:
      start: [L, w_dim].
      stop: [L, w_dim].
      frames: at least 2.

    Returns:
      [frames, L, w_dim].

    Raises:
      ValueError: fewer than 2 frames.
    """
    if frames < 2:
        raise ValueError(f"interpolate: frames must be >= 2, got {frames}.")
    share = jnp.linspace(0.0, 1.0, frames)[:, None, None]
    start = jnp.asarray(start)
    return start + share * (jnp.asarray(stop) - start)


def dilated(residual: jax.Array, *, beta: float, sharpness: float) -> jax.Array:
    """Weights of the hull before they are divided by their sum: softplus(1/K + residual + beta).

    The softplus is log(1 + exp(s x)) / s, and beta is taken off again, so that no weight is below
    -beta. The residual is from the centroid, whose weights are all 1/K. Computed in float32.

    Args:
        residual: [..., K].
        beta: how far below zero weights may be.
        sharpness: s.
    """
    shifted = residual.astype(jnp.float32) + (1.0 / residual.shape[-1] + beta)
    return jax.nn.softplus(sharpness * shifted) / sharpness - beta


def hull_weights(residual: jax.Array, *, beta: float, sharpness: float) -> jax.Array:
    """Weights of the dilated hull's anchors, [..., K], which add up to 1.

    A residual of zero gives the centroid exactly. The division loosens the bound: a weight is at
    least -beta over the sum of `dilated`, which is 1.16 at the centroid of 200 anchors with the
    published numbers. Where nearly all weights are at the bound that sum comes to zero, and beyond
    it has another sign: whoever trains the residual insists on a positive one.

    Args:
        residual: [..., K], from the centroid.
        beta, sharpness: see `dilated`.
    """
    weights = dilated(residual, beta=beta, sharpness=sharpness)
    return weights / jnp.sum(weights, axis=-1, keepdims=True)


def blend(weights: jax.Array, anchors: jax.Array) -> jax.Array:
    """Sums of anchors [K, L, w_dim] by weights [N, K]: [N, L, w_dim]."""
    return jnp.einsum("nk,kld->nld", weights, anchors, precision=jax.lax.Precision.HIGHEST)


def nearest_hull_weights(
    w_plus: jax.Array, anchors: jax.Array, *, beta: float, steps: int = 500
) -> jax.Array:
    """Weights of the points of the dilated hull that are nearest to latents, [N, K].

    The quadratic program of MyStyle's editing: the least distance of alpha A from w, where alpha
    adds up to 1 and is at least -beta, by accelerated projected gradients (Beck and Teboulle 2009).

    Args:
        w_plus: [N, L, w_dim].
        anchors: A, [K, L, w_dim].
        beta: >= 0.
        steps: of the iteration.
    """
    count = len(anchors)
    # Weights add up to 1, so that the centroid can be taken off both sides.
    centre = anchors.mean(axis=0)
    flat = (anchors - centre).reshape(count, -1)
    precision = jax.lax.Precision.HIGHEST
    gram = jnp.matmul(flat, flat.T, precision=precision)
    wanted = jnp.matmul((w_plus - centre).reshape(len(w_plus), -1), flat.T, precision=precision)
    step = 1.0 / jnp.maximum(jnp.linalg.norm(gram, ord=2), 1e-12)
    onto = jax.vmap(lambda x: optax.projections.projection_simplex(x, 1.0 + beta * count))

    def advance(_: int, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple:
        shifted, ahead, t = state
        gradient = jnp.matmul(ahead - beta, gram, precision=precision) - wanted
        moved = onto(ahead - step * gradient)
        after = (1.0 + jnp.sqrt(1.0 + 4.0 * t**2)) / 2.0
        return moved, moved + (t - 1.0) / after * (moved - shifted), after

    start = jnp.full((len(w_plus), count), 1.0 / count + beta, flat.dtype)
    found, _, _ = jax.lax.fori_loop(0, steps, advance, (start, start, jnp.ones(())))
    return found - beta
