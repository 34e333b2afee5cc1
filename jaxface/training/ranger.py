"""Ranger as the encoders' published code runs it (version 20.4.11), in optax's form.

RAdam (Liu et al. 2020), lookahead (Zhang et al. 2019) and gradient centralisation (Yong et al.
2020) in one rule, which pSp, e4e, ReStyle and Transfer train with. Of a parameter p at step
t = 1, 2, ...:

    g <- g - mean(g over every axis but the output's)       where p has more than one axis
    v <- b2 v + (1 - b2) g^2;  m <- b1 m + (1 - b1) g
    rho = rho_inf - 2 t b2^t / (1 - b2^t),  rho_inf = 2 / (1 - b2) - 1
    rho > 5:  p <- p - lr r sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
    else:     p <- p - lr m / (1 - b1^t)
    every k-th step:  slow <- slow + alpha (p - slow);  p <- slow

with r = sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho)).

``optax.lookahead(optax.radam(...))`` is another optimiser: epsilon is added there to the root of
the bias-corrected v, and `optax.centralize` keeps the first axis, which is PyTorch's
output axis. Ours is the last one. Ranger21 (Wright and Demeure 2021) is another one again.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

RECTIFIED_FROM = 5.0
"""Of rho: up to it a step is plain momentum (N_sma_threshhold)."""


class RangerState(NamedTuple):
    """What Ranger remembers.

    Attributes:
      count: steps done, an int32.
      mean: m of each parameter.
      square: v of each parameter.
      slow: the lookahead's weights, the initial parameters at first.
    """

    count: jax.Array
    mean: Any
    square: Any
    slow: Any


def ranger(
    learning_rate: float | optax.Schedule = 1e-3,
    *,
    b1: float = 0.95,
    b2: float = 0.999,
    eps: float = 1e-5,
    weight_decay: float = 0.0,
    sync_period: int = 6,
    slow_step_size: float = 0.5,
    centralise: bool = True,
) -> optax.GradientTransformation:
    """Ranger; its `update` needs the parameters.

    Args:
      learning_rate: a number, or a function of the steps done so far.
      b1, b2: decay of m and of v; the defaults are the reference's. With b2 up to 2/3 rho would
        never pass the threshold.
      eps: added to the root of v.
      weight_decay: p <- (1 - lr weight_decay) p before the step.
      sync_period: k, steps between two synchronisations of the lookahead, >= 1.
      slow_step_size: alpha, from 0 to 1.
      centralise: whether gradients are centralised, over all axes but the last.

    Raises:
      ValueError: a number is out of its range.
    """
    if not (0 < b1 < 1 and 2 / 3 < b2 < 1 and sync_period >= 1):
        raise ValueError(
            "ranger: expected b1 between 0 and 1, b2 between 2/3 and 1 and sync_period >= 1; got "
            f"{b1}, {b2} and {sync_period}."
        )
    factors = _Factors(b1, b2)

    def init(params: Any) -> RangerState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        copies = [jax.tree.map(jnp.copy, tree) for tree in (zeros, zeros, params)]
        return RangerState(jnp.zeros((), jnp.int32), *copies)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("ranger: update needs the parameters, as its third argument.")
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        count = state.count + 1
        if centralise:
            grads = jax.tree.map(_centralised, grads)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.square, grads)
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, grads)
        factor, rectified = factors(count)
        sync = count % sync_period == 0

        def moved(p, m, v, slow):
            step = m * jnp.where(rectified, 1 / (jnp.sqrt(v) + eps), 1.0)
            p = p - rate * weight_decay * p - rate * factor * step
            slow = jnp.where(sync, slow + slow_step_size * (p - slow), slow)
            return jnp.where(sync, slow, p), slow

        # As lists: parameters may be any pytree, tuples included.
        leaves, structure = jax.tree.flatten(params)
        rest = [structure.flatten_up_to(tree) for tree in (mean, square, state.slow)]
        pairs = [moved(*each) for each in zip(leaves, *rest, strict=True)]
        updates = [new - old for (new, _), old in zip(pairs, leaves, strict=True)]
        slow = structure.unflatten([slow for _, slow in pairs])
        return structure.unflatten(updates), RangerState(count, mean, square, slow)

    return optax.GradientTransformation(init, update)  # type: ignore


def _centralised(gradient: jax.Array) -> jax.Array:
    """Without its mean over the axes that lead to an output; vectors and scalars as they are."""
    if gradient.ndim < 2:
        return gradient
    axes = tuple(range(gradient.ndim - 1))
    return gradient - jnp.mean(gradient, axis=axes, keepdims=True)


class _Factors:
    """What a step is multiplied by, and whether it is divided by the root of v.

    The first steps come from a table in float64: rho is a small difference of two large numbers
    there, and float32 would not even say reliably when it passes the threshold. Behind it, where
    t is beyond 1 / (1 - b2), float32 is exact to some 2e-7.
    """

    def __init__(self, b1: float, b2: float):
        self._logarithms = math.log(b1), math.log(b2)
        self._rho_inf = 2 / (1 - b2) - 1
        steps = np.arange(1, math.ceil(1 / (1 - b2)) + 1, dtype=np.float64)
        table, rectified = self._formula(np, steps)
        self._table, self._rectified = np.asarray(table, np.float32), rectified

    def __call__(self, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of step `count`, an int32 from 1 on."""
        place = jnp.minimum(count, len(self._table)) - 1
        late = count > len(self._table)
        factor, rectified = self._formula(jnp, count.astype(jnp.float32))
        return (
            jnp.where(late, factor, jnp.asarray(self._table)[place]),
            jnp.where(late, rectified, jnp.asarray(self._rectified)[place]),
        )

    def _formula(self, numbers: Any, t: Any) -> tuple[Any, Any]:
        """The module's formulas in NumPy or in JAX."""
        of_b1, of_b2 = (-numbers.expm1(t * logarithm) for logarithm in self._logarithms)
        whole = self._rho_inf
        rho = whole - 2 * t * (1 - of_b2) / of_b2
        rectified = rho > RECTIFIED_FROM
        rho = numbers.maximum(rho, RECTIFIED_FROM)
        ratio = (rho - 4) * (rho - 2) * whole / ((whole - 4) * (whole - 2) * rho)
        factor = numbers.where(rectified, numbers.sqrt(of_b2 * ratio), 1.0) / of_b1
        return factor, rectified
