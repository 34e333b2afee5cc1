"""A generator's mapping network, trained before its synthesis: a small render is linear in its W.

Regression against renders (`jaxface.methods.scene_regression`) teaches mapping and synthesis at
once, and the mapping, which has to find out from a scene's factors where things are, learns through
a synthesis network that knows nothing yet. Here it learns alone: a linear layer reads a render of
some 16 px from W and is thrown away afterwards. A step costs a hundredth of one of the generator,
so batches are large and each render is used many times.

Batches are those of `scene_regression`, without landmarks.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxface.methods.scene_regression import (
    begun_generator,
    factors_alone,
    in_rows,
    learning_rate,
    num_shown,
    scene_latents,
    targets_at,
)
from jaxface.metrics import psnr
from jaxface.nets import Generator, GeneratorConfig
from jaxface.nets.equalized_layers import Dense
from jaxface.nets.stylegan2.mapping import MappingNetwork
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.loop import Phase
from jaxface.training.recipe import Recipe, single_stage_recipe

Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class MappingSettings:
    """The training's settings.

    Raises:
      ValueError: z cannot hold the factors.
    """

    generator: GeneratorConfig
    num_factors: int
    """The first coordinates of z that the scene depends on; the rest of z is free."""
    steps: int
    batch_size: int = 128
    resolution: int = 16
    """Of the renders that the linear layer reads from W."""
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 3e-2
    beta1: float = 0.9
    beta2: float = 0.99
    warmup_steps: int = 100
    decay_fraction: float = 0.5
    """The last part of all steps, in which the learning rate falls linearly to zero."""
    ema_half_life: float = 5_000.0
    """Half-life of the EMA of the weights, in images."""

    @property
    def trains(self) -> str:
        """The role ``generator``."""
        return "generator"

    def __post_init__(self):
        if self.num_factors > self.generator.z_dim:
            raise ValueError(
                f"MappingSettings: z has {self.generator.z_dim} coordinates, expected at least "
                f"the {self.num_factors} factors."
            )

    @property
    def num_steps(self) -> int:
        """Steps of the one stage."""
        return self.steps

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``generator`` where it is given; the synthesis network stays as it is.
        The score is the PSNR of what the linear layer reads on held-out scenes, at its resolution.

        Raises:
          UsageError: the generator given has other sizes.
        """
        state_key, eval_key = jax.random.split(key)
        given = networks.get("generator")
        generator = begun_generator(self.generator, self.num_factors, state_key, given)
        state = initial_state(self, state_key, generator)
        score = sample_images = None
        if held_out is not None:
            score, sample_images = _eval_hooks(self, held_out, eval_key)
        return single_stage_recipe(
            self,
            mapping_phase(self),
            state,
            fields=("image", "factors"),
            parameters=state.network,
            finished=lambda state: with_mapping(generator, state.average.mapping),
            score=score,
            sample_images=sample_images,
        )


class Readout(nnx.Module):
    """A mapping network, and the linear layer that reads an image [N, r, r, 3] from its W."""

    def __init__(self, mapping: MappingNetwork, config: GeneratorConfig, resolution: int, *, key):
        self.mapping = mapping
        self.resolution = resolution
        self.head = Dense(config.w_dim, 3 * resolution**2, rngs=nnx.Rngs(key))
        self.head.weight[...] = jnp.zeros_like(self.head.weight[...])

    def __call__(self, z: jax.Array) -> jax.Array:
        """[N, z_dim] to [N, r, r, 3]; renders are in [-1, 1]."""
        flat = self.head(self.mapping.to_w(z))
        return flat.reshape(-1, self.resolution, self.resolution, 3)


def initial_state(settings: MappingSettings, key: jax.Array, generator: Generator) -> AveragedState:
    """The state before the first step: the generator's mapping and a layer that reads nothing."""
    mapping = jax.tree.map(jnp.copy, generator.mapping)
    readout = Readout(mapping, settings.generator, settings.resolution, key=key)
    return averaged.init_state(readout, _optimizer(settings))


def with_mapping(generator: Generator, mapping: MappingNetwork) -> Generator:
    """A generator with another mapping network; the one given stays as it is."""
    copy = jax.tree.map(lambda leaf: leaf, generator)
    copy.mapping = mapping
    return copy


def mapping_phase(settings: MappingSettings) -> Phase:
    """The one phase of a step, for `jaxface.training.loop.fit`; it reads no constants.

    Its metrics are the means of the loss, an L1, and of the PSNR at the readout's resolution.
    """
    optimizer = _optimizer(settings)

    def loss_fn(readout, part):
        z, targets = part
        factors_alone(readout.mapping, settings.num_factors)
        images = readout(z)
        return jnp.mean(jnp.abs(images - targets)), jnp.mean(psnr(images, targets))

    def step(state: AveragedState, constants, batch: Batch, key: jax.Array):
        del constants
        factors = batch["factors"][:, : settings.num_factors]
        z = scene_latents(factors, settings.generator.z_dim, key)
        targets = targets_at(batch["image"], settings.resolution)
        state, loss, decibels = averaged.train_step(
            state,
            loss_fn,
            (z, targets),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            microbatches=settings.microbatches,
        )
        return state, {"loss": loss, "psnr": decibels}

    return Phase("mapping", step)


def _optimizer(settings: MappingSettings) -> optax.GradientTransformation:
    return optax.adam(learning_rate(settings), b1=settings.beta1, b2=settings.beta2)


def _eval_hooks(
    settings: MappingSettings, held_out: Mapping[str, jax.Array], key: jax.Array
) -> tuple[Callable[[AveragedState], dict[str, float]], Callable[[AveragedState], jax.Array]]:
    """The recipe's `score` and `sample_images`."""
    factors = held_out["factors"][:, : settings.num_factors]
    targets = targets_at(held_out["image"], settings.resolution)
    z = scene_latents(factors, settings.generator.z_dim, key)
    read = jax.jit(lambda readout, z: jnp.clip(readout(z), -1.0, 1.0))

    def score(state: AveragedState) -> dict[str, float]:
        return {"psnr": float(jnp.mean(psnr(read(state.average, z), targets)))}

    def sample_images(state: AveragedState) -> jax.Array:
        shown = num_shown(len(z))
        return in_rows(targets[:shown], read(state.average, z[:shown]))

    return score, sample_images
