"""A landmark network trained on renders, whose landmarks are known.

The loss is what the network is judged by, the mean distance of its points from the true ones, in
units of the image's side (Nibali et al. 2018 train soft-argmax so, without a target heatmap).
Images are made softer and noisier at random, since a generator's will be read. Batches are
``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "landmarks": [N, 68, 2] pixels}``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxface.media.images import from_uint8
from jaxface.metrics import nme
from jaxface.morphable import FaceParameters
from jaxface.nets import LandmarkConfig, LandmarkNet
from jaxface.training import averaged
from jaxface.training.augmented_regression import regression_phase
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

# Of the image's side: rounds the distance off where a point is right, so that it has a slope.
_ROUNDING = 1e-4

FRONTAL_YAW = 0.35
"""Radians up to which a face counts as one that looks at the camera: 20 degrees."""


@dataclasses.dataclass(frozen=True)
class LandmarkSettings:
    """Training of a landmark network."""

    network: LandmarkConfig
    steps: int
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    noise: float = 0.02
    """See `jaxface.training.augmentation`."""
    blur: float = 0.8
    ema_half_life: float = 10_000.0
    """Half-life of the EMA of the weights, in images."""

    @property
    def trains(self) -> str:
        """The role ``landmarks``."""
        return "landmarks"

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``landmarks`` where it is given. Scores are `landmark_scores` of the
        EMA network on the held-out portraits.
        """
        state = initial_state(self, key, networks.get("landmarks"))
        return single_stage_recipe(
            self,
            landmark_phase(self),
            state,
            fields=("image", "landmarks"),
            parameters=state.network,
            finished=lambda state: state.average,
            score=None if held_out is None else _score(held_out),
        )


def initial_state(
    settings: LandmarkSettings, key: jax.Array, network: LandmarkNet | None = None
) -> AveragedState:
    """A fresh network, all of whose points are in the image's centre, or the one given.

    Raises:
      UsageError: the network given has other sizes than the settings name.
    """
    network = network_to_begin_with(
        "landmarks",
        network,
        settings.network,
        lambda: LandmarkNet(settings.network, rngs=nnx.Rngs(key)),
    )
    return averaged.init_state(network, _optimizer(settings))


def landmark_distance(predicted: jax.Array, true: jax.Array, size: int) -> jax.Array:
    """Mean distance of points [N, K, 2] in pixels, over the image's side: [N]."""
    squared = jnp.sum(jnp.square((predicted - true) / size), axis=-1)
    return jnp.mean(jnp.sqrt(squared + _ROUNDING**2), axis=-1)


def landmark_phase(settings: LandmarkSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``, the mean of `landmark_distance`.
    """

    def loss_fn(network, part):
        images, true = part
        return jnp.mean(landmark_distance(network(images), true, images.shape[1])), None

    return regression_phase(
        "landmarks",
        settings,
        loss_fn,
        lambda batch: batch["landmarks"],
        optimizer=_optimizer(settings),
    )


def landmark_scores(predicted: jax.Array, true: jax.Array, yaw: jax.Array) -> dict[str, jax.Array]:
    """Errors on N faces whose landmarks are known, see `jaxface.metrics.nme`.

    Args:
      predicted: [N, 68, 2] in pixels.
      true: the same.
      yaw: of the heads in radians, [N].

    Returns:
      Means over the faces: ``nme_box`` and ``nme_inter_ocular`` of all,
      ``nme_inter_ocular_frontal`` of those turned by at most `FRONTAL_YAW` (NaN where there is
      none), and ``pixels``, the mean distance.
    """
    eyes = nme(predicted, true, normaliser="inter_ocular")
    frontal = jnp.abs(yaw) <= FRONTAL_YAW
    return {
        "nme_box": jnp.mean(nme(predicted, true, normaliser="box")),
        "nme_inter_ocular": jnp.mean(eyes),
        "nme_inter_ocular_frontal": jnp.sum(eyes * frontal) / jnp.sum(frontal),
        "pixels": jnp.mean(jnp.linalg.norm(predicted - true, axis=-1)),
    }


def _optimizer(settings: LandmarkSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _score(held_out: Mapping[str, jax.Array]) -> Callable[[AveragedState], dict[str, float]]:
    predict = jax.jit(lambda network, images: network(from_uint8(images)))
    face = FaceParameters.from_flat(jnp.asarray(held_out["face"]))
    true = jnp.asarray(held_out["landmarks"])

    def score(state: AveragedState) -> dict[str, float]:
        found = predict(state.average, held_out["image"])
        scores = landmark_scores(found, true, face.rotation[:, 1])
        return {name: float(value) for name, value in scores.items()}

    return score
