"""A generator trained by regression against renders: StyleGAN2's weights without an adversary.

In the embedded world a portrait is a deterministic function of its whitened factors
(`scenes` of its `jaxface.morphable.world`), so the pair (factors, render) is a supervised example
for mapping and synthesis together: `z` is the factors followed by free coordinates, and the image
of `z` should be the render. That costs a fraction of adversarial training, which may follow
(`jaxface.methods.stylegan2` keeps some of this loss).

The skip architecture makes it progressive: the sum of RGB outputs up to resolution r is an image
(Karras et al. 2020a, section 4.1), so the low resolutions are trained first, at a fraction of the
price of a full image, by stages that go on with the same state. Batches are
``{"image": [N, R, R, 3] uint8 or float32 in [-1, 1], "factors": [N, F] float32}``, and
``"landmarks": [N, 68, 2]`` in pixels where eyes and mouth count more than the rest.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxface.errors import UsageError
from jaxface.losses import perceptual
from jaxface.losses.pyramid import pyramid_l1
from jaxface.losses.regions import box_weights
from jaxface.media.images import as_float
from jaxface.metrics import psnr
from jaxface.morphable.annotation import feature_boxes
from jaxface.nets import Generator, GeneratorConfig
from jaxface.nets.stylegan2 import grown
from jaxface.nets.stylegan2.mapping import MappingNetwork
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import needed_network
from jaxface.training.loop import Phase
from jaxface.training.recipe import Recipe
from jaxface.training.recipe import Stage as RecipeStage

Batch = Mapping[str, jax.Array]

# Held-out scenes in a sample grid, and how many in a row.
_SHOWN, _COLUMNS = 32, 8


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """How far an image is from its render."""

    pyramid_levels: int = 3
    """Levels of the mean pyramid that the L1 is taken at, fewer where the image is below 4 px."""
    perceptual_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Weight of each layer of the perceptual network, e.g. ``{"conv1_2": 0.1}``; empty: none."""
    feature_weight: float = 1.0
    """Weight in the L1 of the pixels of eyes and mouth, by the landmarks; 1: as all others."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """So many steps at one resolution; the images are averaged down to it."""

    resolution: int
    steps: int
    batch_size: int = 32
    reconstruction: Reconstruction = Reconstruction()


@dataclasses.dataclass(frozen=True)
class RegressionSettings:
    """The route's settings.

    Raises:
      ValueError: a stage's resolution is none of the generator's, its architecture has no image
        below full resolution, or z cannot hold the factors.
    """

    generator: GeneratorConfig
    stages: tuple[Stage, ...]
    num_factors: int
    """The first coordinates of z that the scene depends on; the rest of z is free."""
    learning_rate: float = 2.5e-3
    mapping_rate: float = 1.0
    """Factor of the mapping network's learning rate: below 1 where it was trained before
    (`jaxface.methods.mapping_regression`)."""
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    beta1: float = 0.9
    beta2: float = 0.99
    warmup_steps: int = 200
    """Steps of linear growth of the learning rate."""
    decay_fraction: float = 0.3
    """The last part of all steps, in which the learning rate falls linearly to zero."""
    ema_half_life: float = 5_000.0
    """Half-life of the EMA of the weights, in images."""
    ema_ramp: float | None = 0.1
    """Limits the half-life to this share of the images seen; None for no limit."""

    @property
    def trains(self) -> str:
        """The role ``generator``."""
        return "generator"

    def __post_init__(self):
        skip = self.generator.architecture == "skip"
        for stage in self.stages:
            if stage.resolution not in self.generator.block_resolutions:
                raise ValueError(
                    f"RegressionSettings: a stage trains at {stage.resolution} px, expected one "
                    f"of {self.generator.block_resolutions}."
                )
            if stage.resolution != self.generator.resolution and not skip:
                raise ValueError(
                    f"RegressionSettings: only the 'skip' architecture has an image at "
                    f"{stage.resolution} px, this generator is {self.generator.architecture!r}."
                )
        if self.num_factors > self.generator.z_dim:
            raise ValueError(
                f"RegressionSettings: z has {self.generator.z_dim} coordinates, expected at least "
                f"the {self.num_factors} factors."
            )

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Begins with the role ``generator`` where it is given; reads ``perceptual`` where a stage's
        reconstruction gives its layers weights. Scores are the PSNR of the EMA generator on
        held-out scenes at full resolution; the sample grid has rows of held-out renders, each
        followed by the generator's images.

        Raises:
          UsageError: a network is missing or does not fit.
        """
        perceptual_network = None
        if any(stage.reconstruction.perceptual_weights for stage in self.stages):
            perceptual_network = needed_network(
                "regression", networks, "perceptual", why="perceptual_weights are of its layers"
            )
        state_key, eval_key = jax.random.split(key)
        init = jax.jit(lambda key, generator: initial_state(self, key, generator))
        state = init(state_key, networks.get("generator"))
        stages = [
            RecipeStage(
                [regression_phase(self, stage)],
                stage.steps,
                stage.batch_size,
                microbatches=self.microbatches,
            )
            for stage in self.stages
        ]
        score = sample_images = None
        if held_out is not None:
            score, sample_images = _eval_hooks(self, held_out, eval_key)
        weighted = any(stage.reconstruction.feature_weight != 1.0 for stage in self.stages)
        return Recipe(
            state=state,
            stages=stages,
            fields=("image", "factors", "landmarks") if weighted else ("image", "factors"),
            constants={"perceptual": perceptual_network},
            networks=lambda state: {self.trains: state.average},
            parameters=nnx.state(state.network, nnx.Param),
            score=score,
            sample_images=sample_images,
        )


def begun_generator(
    config: GeneratorConfig, num_factors: int, key: jax.Array, generator: Generator | None
) -> Generator:
    """A generator that does not read the free coordinates of z: a fresh one, or a copy of another.

    One that is smaller than the configuration is grown (`jaxface.nets.stylegan2.grown`).

    Raises:
      UsageError: the generator given has sizes from which the configuration's cannot be grown.
    """
    if generator is None:
        generator = Generator(config, rngs=nnx.Rngs(key))
    elif generator.config != config:
        try:
            generator = grown(generator, config, rngs=nnx.Rngs(key))
        except ValueError as error:
            raise UsageError(
                f"regression: the generator to begin with has other sizes: {error}"
            ) from error
    generator = cast(Generator, jax.tree.map(jnp.copy, generator))  # the one given stays as it is
    for first in generator.mapping.first_layers:
        first.weight[...] = first.weight[...].at[num_factors:].set(0.0)
    return generator


def initial_state(
    settings: RegressionSettings, key: jax.Array, generator: Generator | None = None
) -> AveragedState:
    """The state before the first step, of `begun_generator`; raises what that raises."""
    begun = begun_generator(settings.generator, settings.num_factors, key, generator)
    return averaged.init_state(begun, _optimizer(settings))


def factors_alone(mapping: MappingNetwork, num_factors: int) -> None:
    """Stops the gradient of what reads the free coordinates of z, in a mapping that is traced.

    A scene does not depend on them: their true gradient is zero.
    """
    for first in mapping.first_layers:
        weight = first.weight[...]
        free = jax.lax.stop_gradient(weight[num_factors:])
        first.weight[...] = weight.at[num_factors:].set(free)


def scene_latents(factors: jax.Array, z_dim: int, key: jax.Array) -> jax.Array:
    """z [N, z_dim]: the factors [N, F], then free coordinates drawn from N(0, 1)."""
    count, width = factors.shape
    free = jax.random.normal(key, (count, z_dim - width))
    return jnp.concatenate([factors.astype(jnp.float32), free], axis=1)


def reconstruction_loss(
    images: jax.Array,
    targets: jax.Array,
    reconstruction: Reconstruction,
    *,
    network: Any,
    boxes: jax.Array | None = None,
) -> jax.Array:
    """Distance of images from their renders, [N].

    Args:
      images: [N, R, R, 3] in [-1, 1].
      targets: the same shape.
      reconstruction: which distances.
      network: the perceptual `VGG16`; read only where `reconstruction` gives its layers weights.
      boxes: of eyes and mouth, [N, 3, 4] in pixels of these images; needed where `reconstruction`
        gives them a weight.
    """
    resolution = images.shape[1]
    levels = min(reconstruction.pyramid_levels, resolution.bit_length() - 2)
    weights = None
    if boxes is not None:
        weight = reconstruction.feature_weight
        weights = box_weights(boxes, resolution=resolution, weight=weight)
    loss = pyramid_l1(images, targets, levels=levels, weights=weights)
    if reconstruction.perceptual_weights:
        layers = tuple(reconstruction.perceptual_weights)
        predicted, wanted = (
            perceptual.features(network, x, layers, resolution=resolution)
            for x in (images, targets)
        )
        loss += perceptual.distance(predicted, wanted, reconstruction.perceptual_weights)
    return loss


def targets_at(images: jax.Array, resolution: int) -> jax.Array:
    """A batch's images as float32 in [-1, 1], averaged down to `resolution`."""
    images = as_float(images)
    return perceptual.downsample(images, resolution)


def images_at(generator: Generator, w_plus: jax.Array, resolution: int) -> jax.Array:
    """The generator's image [N, r, r, 3] at one of its resolutions, without noise.

    Without noise because a scene leaves nothing to chance: the noise strengths stay at their
    initial zero, and the trained network is the same with constant noise.
    """
    return generator.synthesis(w_plus, "none", resolution=resolution)


def regression_phase(settings: RegressionSettings, stage: Stage) -> Phase:
    """The one phase of a stage's step, for `jaxface.training.loop.fit`.

    Its constants are ``{"perceptual": VGG16 or None}``; its metrics are the means of the loss and
    of the PSNR at the stage's resolution.
    """
    optimizer = _optimizer(settings)

    def loss_fn(generator, part, constants):
        z, targets, boxes = part
        factors_alone(generator.mapping, settings.num_factors)
        w_plus = generator.mapping(z)
        images = images_at(generator, w_plus, stage.resolution)
        losses = reconstruction_loss(
            images,
            targets,
            stage.reconstruction,
            network=constants["perceptual"],
            boxes=boxes,
        )
        w_mean = generator.mapping.updated_w_mean(w_plus[:, 0])
        return jnp.mean(losses), (jnp.mean(psnr(images, targets)), w_mean)

    def step(state: AveragedState, constants, batch: Batch, key: jax.Array):
        factors = batch["factors"][:, : settings.num_factors]
        z = scene_latents(factors, settings.generator.z_dim, key)
        targets = targets_at(batch["image"], stage.resolution)
        boxes = None
        if stage.reconstruction.feature_weight != 1.0:
            scale = stage.resolution / batch["image"].shape[1]
            boxes = scale * feature_boxes(batch["landmarks"])
        state, loss, (decibels, w_mean) = averaged.train_step(
            state,
            lambda generator, part: loss_fn(generator, part, constants),
            (z, targets, boxes),
            optimizer=optimizer,
            half_life=settings.ema_half_life,
            ramp=settings.ema_ramp,
            microbatches=settings.microbatches,
        )
        state = dataclasses.replace(
            state,
            network=state.network.with_w_mean(w_mean),
            average=state.average.with_w_mean(w_mean),
        )
        return state, {"loss": loss, "psnr": decibels}

    return Phase(f"regression_{stage.resolution}", step)


def held_out_psnr(
    generator: Generator, factors: jax.Array, images: jax.Array, key: jax.Array, resolution: int
) -> jax.Array:
    """PSNR in dB of each held-out scene, [N], at one of the generator's resolutions."""
    z = scene_latents(factors, generator.config.z_dim, key)
    synthesised = images_at(generator, generator.mapping(z), resolution)
    return psnr(jnp.clip(synthesised, -1.0, 1.0), targets_at(images, resolution))


class Scheduled(Protocol):
    """Settings with a learning rate."""

    @property
    def num_steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warmup_steps(self) -> int: ...
    @property
    def decay_fraction(self) -> float: ...


def learning_rate(settings: Scheduled) -> optax.Schedule:
    """Linear growth, a plateau, and a linear fall to zero at the last step."""
    total, fall = settings.num_steps, settings.decay_fraction * settings.num_steps

    def schedule(step):
        rise = jnp.minimum(1.0, (step + 1) / max(settings.warmup_steps, 1))
        return settings.learning_rate * rise * jnp.clip((total - step) / max(fall, 1), 0.0, 1.0)

    return schedule


def _optimizer(settings: RegressionSettings) -> optax.GradientTransformation:
    adam = optax.adam(learning_rate(settings), b1=settings.beta1, b2=settings.beta2)
    if settings.mapping_rate == 1.0:
        return adam

    def of_mapping(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "mapping", params)

    return optax.chain(adam, optax.masked(optax.scale(settings.mapping_rate), of_mapping))


def num_shown(count: int) -> int:
    """How many of so many held-out scenes a sample grid has, in whole rows."""
    return min(_SHOWN, count) // _COLUMNS * _COLUMNS


def in_rows(targets: jax.Array, images: jax.Array) -> jax.Array:
    """A sample grid's images: each row of targets, then the row made of them; both [N, R, R, 3]."""
    rows = jnp.stack([x.reshape(-1, _COLUMNS, *x.shape[1:]) for x in (targets, images)], axis=1)
    return rows.reshape(-1, *rows.shape[3:])


def _eval_hooks(
    settings: RegressionSettings, held_out: Mapping[str, jax.Array], key: jax.Array
) -> tuple[Callable[[AveragedState], dict[str, float]], Callable[[AveragedState], jax.Array]]:
    """The recipe's `score` and `sample_images`."""
    images, factors = held_out["image"], held_out["factors"][:, : settings.num_factors]
    resolution = settings.generator.resolution

    @jax.jit
    def psnrs(generator, factors, images):
        return held_out_psnr(generator, factors, images, key, resolution)

    @jax.jit
    def pairs(generator, factors, images):
        z = scene_latents(factors, settings.generator.z_dim, key)
        return targets_at(images, resolution), images_at(
            generator, generator.mapping(z), resolution
        )

    def score(state: AveragedState) -> dict[str, float]:
        return {"psnr": float(jnp.mean(psnrs(state.average, factors, images)))}

    def sample_images(state: AveragedState) -> jax.Array:
        shown = num_shown(len(images))
        return in_rows(*pairs(state.average, factors[:shown], images[:shown]))

    return score, sample_images
