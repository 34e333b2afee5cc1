"""LPIPS' heads, fitted to pairs of images of which it is known which one is nearer to a third.

Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", section
3, the form *lin*): the trunk stays, and heads at or above zero learn which image people chose. A
small network stands between the two distances and that choice there, for people disagree. Here the
order is known: one of two renders has all that the other has of changes, and more
(`jaxface.data.ranked_renders`). So the loss is that of logistic regression on the logarithm of the
distances' ratio, and since a ratio has no scale, the heads' mean stays 1, as it was at the start.
The optimiser is the package's (``lpips/trainer.py``); its dropout of channels is left out.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface.data.ranked_renders import CHANGES
from jaxface.errors import UsageError
from jaxface.media.images import as_float
from jaxface.nets import LPIPS, VGG16
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]

_FLOOR = 1e-6  # of distances: near and far are the same image where both are 0


@dataclasses.dataclass(frozen=True)
class DistanceSettings:
    """Training of a learned distance on the features of the role ``perceptual``."""

    steps: int
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 1e-4
    """The package's; it falls to zero over the second half of the steps, as there."""

    @property
    def trains(self) -> str:
        """The role ``lpips``."""
        return "lpips"

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with heads of one on the role ``perceptual``. Scores are `ranked_right` of held-out
        triplets, over all and of each of their changes.

        Raises:
          UsageError: there is no such trunk.
        """
        trunk = networks.get("perceptual")
        if not isinstance(trunk, VGG16):
            raise UsageError(
                "distance: the suite has no perceptual network of VGG-16's form, whose features "
                "are to be compared; train it first (configs/embedded_perceptual.py)"
            )
        state = initial_state(self, LPIPS.of_trunk(trunk))
        return single_stage_recipe(
            self,
            ranking_phase(self),
            state,
            fields=("reference", "near", "far"),
            parameters=state.distance,
            finished=lambda state: state.distance,
            score=None if held_out is None else _score(held_out),
        )


@struct.dataclass
class RankingState:
    """Everything that training changes."""

    distance: LPIPS
    optimizer: Any


def initial_state(settings: DistanceSettings, distance: LPIPS) -> RankingState:
    """The start of a training.

    Args:
      settings: of the optimiser.
      distance: whose heads are trained.
    """
    return RankingState(distance, _optimizer(settings).init(nnx.state(distance, is_head)))


def ranking_phase(settings: DistanceSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``, and ``right``, the share of triplets whose distances are in their true order.
    """
    optimizer = _optimizer(settings)

    def loss_fn(distance: LPIPS, part: Any) -> tuple[jax.Array, jax.Array]:
        reference, near, far = (distance.features(images) for images in part)
        nearer, farther = (distance.distance(reference, other) for other in (near, far))
        margin = jnp.log(farther + _FLOOR) - jnp.log(nearer + _FLOOR)
        return jnp.mean(jax.nn.softplus(-margin)), jnp.mean(margin > 0)

    def step(state: RankingState, constants: Any, batch: Batch, key: jax.Array):
        del constants, key
        images = tuple(as_float(batch[name]) for name in ("reference", "near", "far"))
        graphdef, heads, trunk = nnx.split(state.distance, is_head, ...)
        (loss, right), grads = mean_gradients(
            lambda heads, part, _: loss_fn(nnx.merge(graphdef, heads, trunk), part),
            heads,
            images,
            parts=settings.microbatches,
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, heads)
        heads = _rescaled(optax.apply_updates(heads, updates))
        after = RankingState(nnx.merge(graphdef, heads, trunk), optimizer_state)
        return after, {"loss": loss, "right": right}

    return Phase("distance", step)


def _rescaled(heads: Any) -> Any:
    """At least 0, with a mean of 1 over the channels of all layers."""
    heads = jax.tree.map(lambda head: jnp.maximum(head, 0), heads)
    mean = jnp.mean(jnp.concatenate(jax.tree.leaves(heads)))
    return jax.tree.map(lambda head: head / mean, heads)


def ranked_right(distance: LPIPS, triplets: Mapping[str, jax.Array]) -> jax.Array:
    """Whether a distance orders N triplets as they are, [N]; images as in `DistanceSettings`."""
    reference, near, far = (as_float(triplets[name]) for name in ("reference", "near", "far"))
    return distance(reference, near) < distance(reference, far)


def is_head(path: tuple[Any, ...], value: Any) -> bool:
    """A filter of nnx for what is learned of LPIPS."""
    del value
    return path[0] == "heads"


def _optimizer(settings: DistanceSettings) -> optax.GradientTransformation:
    half = settings.steps // 2
    rate = optax.linear_schedule(settings.learning_rate, 0.0, max(settings.steps - half, 1), half)
    return optax.adam(rate, b1=0.5, b2=0.999)


def _score(held_out: Mapping[str, jax.Array]) -> Callable[[RankingState], dict[str, float]]:
    judge = jax.jit(ranked_right)
    images = {name: held_out[name] for name in ("reference", "near", "far")}
    change = np.asarray(held_out["change"])

    def score(state: RankingState) -> dict[str, float]:
        right = np.asarray(judge(state.distance, images))
        of_each = {
            f"right_{name}": float(right[change == index].mean())
            for index, name in enumerate(CHANGES)
            if (change == index).any()
        }
        return {"right": float(right.mean()), **of_each}

    return score
