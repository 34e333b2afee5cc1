"""A network that reads what small details of a render show: gaze, the jaw's opening, glasses.

Whether a generator draws them is asked of this network, so no training reads it, and its features
are a second space in which samples and renders are compared. It regresses `ATTRIBUTES` of the
world's version 3, whose scenes are known, in units of their deviation. Images are made softer and
noisier at random, since a generator's will be read. Batches are
``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "factors": [N, F] float32}``, and for a
network that looks closer at eyes and mouth (`jaxface.nets.reconstruction.close_ups`)
``"landmarks": [N, 68, 2]`` in pixels, which tell it where they are.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxface.media.images import from_uint8
from jaxface.morphable.annotation import feature_boxes
from jaxface.morphable.arkit import unit_index
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.parameters import PortraitNuisance
from jaxface.morphable.worlds import world
from jaxface.nets import FaceReconstruction, ReconstructionConfig
from jaxface.nets.reconstruction.close_ups import place_loss
from jaxface.training import averaged
from jaxface.training.augmented_regression import regression_phase
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import network_to_begin_with
from jaxface.training.loop import Phase
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, single_stage_recipe

VERSION = "3.0.0"
"""Of the world: version 2 has no gaze."""

ATTRIBUTES = ("gaze_yaw", "gaze_pitch", "jaw_open", "glasses")
"""Degrees of the eyes relative to the head, the coefficient of ARKit's ``jawOpen``, and 1 where
glasses are worn, else 0."""

WORN = 0.012
"""Radius of a frame in head units, half of the mean, above which glasses count as worn: factors map
to radii smoothly."""

_SCALED_BY = 4_096  # scenes whose deviations are the loss's units


@dataclasses.dataclass(frozen=True)
class AttributeSettings:
    """Training of the network.

    Raises:
      ValueError: the network has another number of outputs than there are attributes.
    """

    network: ReconstructionConfig
    steps: int
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    noise: float = 0.02
    """See `jaxface.training.augmentation`."""
    blur: float = 0.8
    ema_half_life: float = 10_000.0
    """Half-life of the EMA of the weights, in images."""
    place_weight: float = 300.0
    """Of where a network with close-ups looks, see `close_ups.place_loss`."""

    def __post_init__(self):
        if self.network.outputs != len(ATTRIBUTES):
            raise ValueError(
                f"AttributeSettings: network.outputs must be {len(ATTRIBUTES)}, one for each of "
                f"{', '.join(ATTRIBUTES)}; got {self.network.outputs}."
            )

    @property
    def trains(self) -> str:
        """The role ``attributes``."""
        return "attributes"

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``attributes`` where it is given. Scores are `attribute_errors` of the
        EMA network on the held-out portraits.
        """
        state = initial_state(self, key, networks.get("attributes"))
        return single_stage_recipe(
            self,
            attribute_phase(self),
            state,
            fields=("image", "factors", *(("landmarks",) if self.network.close_ups else ())),
            parameters=state.network,
            finished=lambda state: state.average,
            score=None if held_out is None else _score(held_out),
        )


def initial_state(
    settings: AttributeSettings, key: jax.Array, network: FaceReconstruction | None = None
) -> AveragedState:
    """A fresh network, which answers with the world's mean, or the one given.

    Raises:
      UsageError: the network given has other sizes than the settings name.
    """

    def fresh() -> FaceReconstruction:
        scenes_key, network_key = jax.random.split(key)
        true = attributes(jax.random.normal(scenes_key, (_SCALED_BY, world(VERSION).num_factors)))
        network = FaceReconstruction(settings.network, rngs=nnx.Rngs(network_key))
        network.mean[...], network.scale[...] = jnp.mean(true, axis=0), jnp.std(true, axis=0)
        return network

    network = network_to_begin_with("attributes", network, settings.network, fresh)
    return averaged.init_state(network, _optimizer(settings))


def attributes(factors: jax.Array) -> jax.Array:
    """`ATTRIBUTES` of scenes of version 3 by their factors [N, F]: [N, 4]."""
    scenes = world(VERSION).scenes(factors)
    nuisance, expression = cast(PortraitNuisance, scenes.nuisance), scenes.face.expression
    jaw = expression[:, unit_index("jawOpen")]
    glasses = (nuisance.glasses_thickness[:, 0] > WORN).astype(jnp.float32)
    return jnp.concatenate([gaze_degrees(expression), jaw[:, None], glasses[:, None]], axis=1)


def attribute_phase(settings: AttributeSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Metrics: ``loss``, the mean squared error in deviations, with the loss of the places.
    """

    def loss_fn(network, part):
        images, (true, *boxes) = part
        read, places = network.read(images)
        loss = jnp.mean(jnp.square((read - true) / network.scale[...]))
        if boxes:
            loss += settings.place_weight * jnp.mean(place_loss(places, boxes[0]))
        return loss, None

    def truth(batch):
        true = attributes(batch["factors"])
        if not settings.network.close_ups:
            return (true,)
        return true, feature_boxes(batch["landmarks"]) / batch["image"].shape[1]

    return regression_phase(
        "attributes",
        settings,
        loss_fn,
        truth,
        optimizer=_optimizer(settings),
    )


def attribute_errors(read: jax.Array, true: jax.Array) -> dict[str, jax.Array]:
    """Errors of N portraits whose attributes are known.

    Args:
      read: [N, 4], `ATTRIBUTES`.
      true: the same, glasses 0 or 1.

    Returns:
      ``gaze_degrees``, the mean distance of yaw and pitch; ``jaw_open``, the mean difference as a
      share of the range of what is true, from its 1st to its 99th percentile;
      ``glasses_accuracy``, the mean of the shares of those with and of those without that are told
      right (NaN where there are none), with the line at 0.5.
    """
    gaze = jnp.linalg.norm(read[:, :2] - true[:, :2], axis=1)
    low, high = jnp.percentile(true[:, 2], jnp.array([1.0, 99.0]))
    worn, told = true[:, 3] > 0.5, read[:, 3] > 0.5
    right = [jnp.sum((told == worn) & of) / jnp.sum(of) for of in (worn, ~worn)]
    return {
        "gaze_degrees": jnp.mean(gaze),
        "jaw_open": jnp.mean(jnp.abs(read[:, 2] - true[:, 2])) / (high - low),
        "glasses_accuracy": (right[0] + right[1]) / 2,
    }


def _optimizer(settings: AttributeSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate, warmup_steps=settings.warmup_steps, steps=settings.steps
    )


def _score(held_out: Mapping[str, jax.Array]) -> Callable[[AveragedState], dict[str, float]]:
    read = jax.jit(lambda network, images: network(from_uint8(images)))
    images, true = held_out["image"], attributes(jnp.asarray(held_out["factors"]))

    def score(state: AveragedState) -> dict[str, float]:
        errors = attribute_errors(read(state.average, images), true)
        return {name: float(value) for name, value in errors.items()}

    return score
