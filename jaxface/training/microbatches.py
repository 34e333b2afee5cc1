"""Gradient accumulation: gradients of a batch whose activations the memory does not hold at once.

`optax.microbatching` is not used. Its function does not learn the number of its part, into which
keys are folded here; items that belong together (pairs) cannot stay neighbours; and its loop is the
form that XLA's CPU backend runs slowly, so that the unrolled form would stand beside it anyway.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.runtime.devices import over_devices
from jaxface.runtime.iteration import platform_strategy


def mean_gradients(
    loss_fn: Callable[[Any, Any, Any], tuple[jax.Array, Any]],
    params: Any,
    batch: Any,
    *,
    parts: int = 1,
    group: int = 1,
) -> tuple[tuple[jax.Array, Any], Any]:
    """Gradients of a mean over the batch, accumulated over its parts (microbatches).

    On accelerators memory for one part is enough. On CPU it saves none, and gives the same numbers.
    Part i takes every parts-th group of items from the i-th on. So each part stays spread over all
    devices, and statistics over strided groups (`minibatch_std`) keep their groups where the
    number of groups divides by `parts`.

    Args:
      loss_fn: (params, part of the batch, its number) -> (mean of the items' losses, pytree of
        floating means over the items). The number, an int32, is there to fold into a key.
      params: what is differentiated by.
      batch: leaves [B, ...]; B divisible by parts * group.
      parts: >= 1.
      group: neighbours that belong together, such as 2 for pairs.

    Returns:
      ((loss, means), gradients) as `jax.value_and_grad(loss_fn, has_aux=True)` of the whole batch
      gives them, up to rounding; where an item's loss depends on the others' (batch
      normalisation), it now depends on those of its part.

    Raises:
      ValueError: the batch does not divide.
    """
    gradients = jax.value_and_grad(loss_fn, has_aux=True)
    if parts == 1:
        return gradients(params, over_devices(batch), jnp.int32(0))
    sizes = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(batch)}
    if any(size % (parts * group) for size in sizes):
        raise ValueError(
            f"mean_gradients: {parts} parts of groups of {group} need a batch that is a multiple "
            f"of {parts * group}, got {sorted(sizes)}."
        )
    split = jax.tree.map(lambda a: a.reshape(-1, parts, group, *a.shape[1:]), batch)

    def part(number):
        taken = jax.tree.map(lambda a: a[:, number].reshape(-1, *a.shape[3:]), split)
        return gradients(params, over_devices(taken), jnp.int32(number))

    if platform_strategy() == "scan":

        def add(total, number):
            return jax.tree.map(jnp.add, total, part(number)), None

        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(part, 0))
        total, _ = jax.lax.scan(add, zeros, jnp.arange(parts, dtype=jnp.int32))
    else:
        # On CPU a loop body makes convolution gradients ten times slower
        # (`jaxface.runtime.iteration`). Unrolled, the parts' memory is not shared: XLA drops what
        # would keep them in order.
        total = part(0)
        for number in range(1, parts):
            total = jax.tree.map(jnp.add, total, part(number))
    return jax.tree.map(lambda a: a / parts, total)
