"""One network in training, with the exponential moving average (EMA) of its weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.training.ema import ema_decay, update_average
from jaxface.training.microbatches import mean_gradients

RAMP = 0.1
"""Early in a run the EMA's half-life is at most this share of the items seen."""


@struct.dataclass
class AveragedState:
    """Everything that the training of one network changes."""

    network: Any
    average: Any
    """EMA of the weights: the network that is used afterwards."""
    optimizer: Any
    items_seen: jax.Array


def init_state(network: Any, optimizer: optax.GradientTransformation) -> AveragedState:
    """The state before the first step; the EMA begins as the network."""
    return AveragedState(
        network=network,
        average=jax.tree.map(jnp.copy, network),
        optimizer=optimizer.init(nnx.state(network, nnx.Param)),
        items_seen=jnp.zeros((), jnp.int32),
    )


def train_step(
    state: AveragedState,
    loss_fn: Callable[[Any, Any], tuple[jax.Array, Any]],
    batch: Any,
    *,
    optimizer: optax.GradientTransformation,
    half_life: float,
    ramp: float | None = RAMP,
    microbatches: int = 1,
    group: int = 1,
) -> tuple[AveragedState, jax.Array, Any]:
    """One optimiser step on the mean loss of a batch, and one update of the EMA.

    Args:
      state: before the step.
      loss_fn: (network, part of the batch) -> (mean of the items' losses, pytree of means).
      batch: leaves [B, ...].
      optimizer: as given to `init_state`.
      half_life: of the EMA, in items.
      ramp: its upper limit, as a share of the items seen; None for no limit.
      microbatches: of the gradient accumulation, `parts` of `mean_gradients`.
      group: see `mean_gradients`.

    Returns:
      The state after the step, the loss, and the means.
    """
    graphdef, params, rest = nnx.split(state.network, nnx.Param, ...)
    (loss, means), grads = mean_gradients(
        lambda params, part, _: loss_fn(nnx.merge(graphdef, params, rest), part),
        params,
        batch,
        parts=microbatches,
        group=group,
    )
    updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
    network = nnx.merge(graphdef, optax.apply_updates(params, updates), rest)
    count = jax.tree.leaves(batch)[0].shape[0]
    seen = state.items_seen + count
    decay = ema_decay(count, half_life=half_life, seen=seen, ramp=ramp)
    average = update_average(state.average, network, decay)
    return AveragedState(network, average, optimizer_state, seen), loss, means
