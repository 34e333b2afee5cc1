"""Latent spaces Z, W and W+ of a StyleGAN2 generator.

``z [N, z_dim]``, ``w [N, w_dim]``, ``w_plus [N, L, w_dim]`` with ``L = 2 log2(resolution) - 2``.
"""

import jax
import jax.numpy as jnp
import numpy as np


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
