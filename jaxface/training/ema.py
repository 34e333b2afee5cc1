"""Exponential moving average (EMA) of a network's weights: the network that is used afterwards.

`optax.incremental_update` computes ``s * value + (1 - s) * average`` with the step size
``s = 1 - decay``. Here it is ``value + decay * (average - value)``, StyleGAN2's ``lerp``, which
differs in the last bits and leaves an average that equals its value exactly as it is. Integer
leaves (counters) are copied; optax would average them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def update_average(average: Any, network: Any, decay: float | jax.Array) -> Any:
    """The EMA after one more step: parameters are averaged, buffers are the network's.

    As `G_ema` in stylegan2-ada-pytorch's `training/training_loop.py`.

    Args:
      average: the average so far, a module like `network`.
      network: the network after its step.
      decay: weight of the average so far, see `ema_decay`.
    """
    _, old, _ = nnx.split(average, nnx.Param, ...)
    graphdef, new, buffers = nnx.split(network, nnx.Param, ...)
    return nnx.merge(graphdef, update_ema(old, new, decay), buffers)


def update_ema(average: Any, value: Any, decay: float | jax.Array) -> Any:
    """decay * average + (1 - decay) * value by leaf; integer leaves are taken from `value`."""
    return jax.tree.map(
        lambda a, v: v + (a - v) * decay if jnp.issubdtype(a.dtype, jnp.inexact) else v,
        average,
        value,
    )


def ema_decay(
    batch_size: int, *, half_life: float, seen: jax.Array | None = None, ramp: float | None = None
) -> jax.Array:
    """Decay per step of an EMA whose half-life is counted in images.

    0.5 ** (batch_size / half_life), the half-life limited to `ramp * seen` early in a run:
    StyleGAN2-ADA's rule, `ema_kimg` and `ema_rampup` in its `training/training_loop.py`.

    Args:
      batch_size: images per step.
      half_life: in images.
      seen: images seen so far.
      ramp: e.g. 0.05; needs `seen`.
    """
    life = jnp.asarray(half_life, jnp.float32)
    if ramp is not None:
        if seen is None:
            raise ValueError("ema_decay: `ramp` needs `seen`, the images seen so far.")
        life = jnp.minimum(life, jnp.asarray(seen, jnp.float32) * ramp)
    return 0.5 ** (batch_size / jnp.maximum(life, 1e-8))
