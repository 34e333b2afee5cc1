"""Training of the Latent Difference Encoder and of its discriminator, a step of each by turns.

Batches are portraits with their landmarks. The landmarks that are wished of a portrait are those of
the batch's one before it, never its own. Real pairs are portraits with their own landmarks; the
discriminator's fake ones are another portrait drawn with these (``wish="raw"``, as in the authors'
code), or a portrait with its wish. What the cycle comes back to is never shown to it as fake.

The encoder's norms move while the encoder trains and not in the discriminator's step; in the code
they move in both.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.errors import UsageError
from jaxface.methods.adversarial_training import (
    BETAS,
    discriminator_step,
    group_size,
    new_discriminator,
    penalised,
)
from jaxface.methods.latent_difference.items import items_of, points_of, portraits_of
from jaxface.methods.latent_difference.landmarks import other_of
from jaxface.methods.latent_difference.losses import (
    Frozen,
    Items,
    beside,
    discriminator_losses,
    drawn,
    encoder_losses,
    image_of,
    manipulated,
)
from jaxface.methods.latent_difference.scores import merit, validation
from jaxface.methods.latent_difference.settings import LatentDifferenceSettings
from jaxface.morphable.bases import models_of
from jaxface.nets import (
    KeypointConfig,
    KeypointEncoder,
    LatentDifferenceEncoder,
    NaiveEncoder,
)
from jaxface.nets.encoders.styles import read_portraits
from jaxface.training.beginning import needed_network, network_to_begin_with
from jaxface.training.ema import ema_decay, update_ema
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.recipe import Recipe, Stage

RAMP = 0.1
"""Early in a run the average's half-life is at most this share of the portraits seen."""


@struct.dataclass
class LatentDifferenceState:
    """Everything that training changes."""

    network: Any
    average: Any
    """EMA of the encoder's weights, or None where there is none."""
    discriminator: Any
    optimizer: Any
    discriminator_optimizer: Any
    step: jax.Array

    @property
    def used(self) -> Any:
        """The encoder that is used afterwards."""
        return self.network if self.average is None else self.average


def latent_difference_recipe(
    settings: LatentDifferenceSettings,
    *,
    key: jax.Array,
    networks: Mapping[str, Any],
    held_out: Mapping[str, jax.Array] | None,
) -> Recipe:
    """The whole training, see `jaxface.training.recipe.Trainable`.

    Reads ``generator``, the inversion's encoder and what the terms need; begins with
    ``latent_difference`` and ``landmark_discriminator`` where the experiment names their files.
    Scores are `scores.validation`'s of held-out portraits; the finished networks are those with the
    best of them.

    Raises:
      UsageError: a network is missing or does not fit.
    """
    frozen = frozen_networks(settings, networks)
    check_fit(settings, frozen.generator)
    init = jax.jit(
        lambda key, frozen, given, judge: initial_state(
            settings, key, frozen, network=given, discriminator=judge
        )
    )
    given, judge = (networks.get(r) for r in ("latent_difference", "landmark_discriminator"))
    state = init(key, frozen, given, judge)
    score = sample_images = None
    judges = {role: networks[role] for role in ("landmarks", "recognition") if role in networks}
    if held_out is not None:
        score, sample_images = validation(settings, frozen, judges, held_out)
    phases = [encoder_phase(settings)]
    if settings.adversarial:
        phases.append(discriminator_phase(settings))
        if settings.r1_gamma and settings.r1_interval > 1:
            phases.append(penalty_phase(settings))
    stage = Stage(
        phases,
        settings.steps,
        settings.batch_size,
        microbatches=settings.microbatches,
        group_size=group_size(settings.discriminator, settings.batch_size),
    )
    return Recipe(
        state=state,
        stages=[stage],
        fields=settings.fields,
        networks=lambda state: {
            "latent_difference": state.used,
            "landmark_discriminator": state.discriminator,
        },
        parameters=nnx.state(state.network, nnx.Param),
        constants=frozen,
        sample_images=sample_images,
        score=score,
        merit=merit if score is not None and len(judges) == 2 else None,
    )


def new_network(settings: LatentDifferenceSettings, key: jax.Array, generator: Any) -> Any:
    """A fresh encoder; the naive one without the code's last norm begins at the mean of W."""
    kind: Any = LatentDifferenceEncoder
    if settings.naive:
        kind = NaiveEncoder
    elif isinstance(settings.network, KeypointConfig):
        kind = KeypointEncoder
    network = kind(settings.network, rngs=nnx.Rngs(key))
    if settings.naive and network.head.w_start is not None:
        network.head.w_start[...] = generator.w_mean
    return network


def initial_state(
    settings: LatentDifferenceSettings,
    key: jax.Array,
    frozen: Frozen,
    *,
    network: Any = None,
    discriminator: Any = None,
) -> LatentDifferenceState:
    """Fresh networks, or those given.

    Raises:
      UsageError: a network given has other sizes than the settings name.
    """
    network_key, discriminator_key = jax.random.split(key)
    network = network_to_begin_with(
        "latent_difference",
        network,
        settings.network,
        lambda: new_network(settings, network_key, frozen.generator),
    )
    discriminator = network_to_begin_with(
        "landmark_discriminator",
        discriminator,
        settings.discriminator,
        lambda: new_discriminator(settings.discriminator, discriminator_key),
    )
    optimizer = _optimizer(settings)
    return LatentDifferenceState(
        network=network,
        average=None if settings.ema_half_life is None else jax.tree.map(jnp.copy, network),
        discriminator=discriminator,
        optimizer=optimizer.init(nnx.state(network, nnx.Param)),
        discriminator_optimizer=optimizer.init(nnx.state(discriminator, nnx.Param)),
        step=jnp.zeros((), jnp.int32),
    )


def encoder_phase(settings: LatentDifferenceSettings) -> Phase:
    """The encoder's step; its constants are `Frozen`.

    Metrics: ``loss`` and the terms of `encoder_losses` without their weights.
    """
    optimizer = _optimizer(settings)

    def step(state: LatentDifferenceState, frozen: Frozen, batch: Any, key: jax.Array):
        del key
        items = items_of(settings, frozen, batch)
        graphdef, params, rest = nnx.split(state.network, nnx.Param, ...)

        def loss_fn(params, part, number):
            del number
            network = nnx.merge(graphdef, params, rest, copy=True)
            network.train()
            losses, terms = encoder_losses(
                settings, network, state.discriminator, frozen, part, state.step
            )
            network.eval()
            _, _, moved = nnx.split(network, nnx.Param, ...)
            means = {name: jnp.mean(term) for name, term in terms.items()}
            return jnp.mean(losses), (moved, means)

        (loss, (moved, terms)), grads = mean_gradients(
            loss_fn, params, items, parts=settings.microbatches
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
        network = nnx.merge(graphdef, optax.apply_updates(params, updates), moved)
        average = state.average
        if average is not None:
            count = len(items.images)
            decay = ema_decay(
                count,
                half_life=settings.ema_half_life or 0.0,
                seen=(state.step + 1) * count,
                ramp=RAMP,
            )
            # Statistics too: those of other weights would not fit the averaged ones.
            own = update_ema(nnx.state(average), nnx.state(network), decay)
            average = nnx.merge(nnx.graphdef(network), own)
        state = state.replace(  # type: ignore
            network=network, average=average, optimizer=optimizer_state, step=state.step + 1
        )
        return state, {"loss": loss, **terms}

    return Phase("encoder", step)


def discriminator_phase(settings: LatentDifferenceSettings) -> Phase:
    """The discriminator's step, with the penalty where it is of every step.

    Metrics: ``loss``, ``fake``, ``real`` and, where it is, ``penalty``.
    """
    optimizer = _optimizer(settings)
    penalty = settings.r1_gamma / 2 if settings.r1_interval == 1 else 0.0

    def step(state: LatentDifferenceState, frozen: Frozen, batch: Any, key: jax.Array):
        del key
        items = items_of(settings, frozen, batch)
        fake, points = fakes(settings, state, frozen, items)

        def loss_fn(discriminator, part):
            return discriminator_losses(settings, discriminator, *part, penalty=penalty)

        return discriminator_step(
            state,
            loss_fn,
            (fake, points, items),
            optimizer=optimizer,
            microbatches=settings.microbatches,
        )

    return Phase("discriminator", step)


def penalty_phase(settings: LatentDifferenceSettings) -> Phase:
    """The penalty by itself, every so many steps, for which it counts as often.

    Metrics: ``loss`` and ``penalty``.
    """
    optimizer = _optimizer(settings)
    factor = settings.r1_gamma / 2 * settings.r1_interval

    def step(state: LatentDifferenceState, frozen: Frozen, batch: Any, key: jax.Array):
        del key
        images, side = portraits_of(batch), settings.network.resolution
        points = points_of(settings, frozen, batch, images) * (side / images.shape[1])
        landmarks = drawn(settings, jax.lax.stop_gradient(points), side)

        def loss_fn(discriminator, part):
            images, landmarks = part
            return penalised(
                lambda images: discriminator(beside(images, landmarks)), images, factor=factor
            )

        return discriminator_step(
            state,
            loss_fn,
            (read_portraits("latent_difference", images, side), landmarks),
            optimizer=optimizer,
            microbatches=settings.microbatches,
        )

    return Phase("r1", step, settings.r1_interval)


def fakes(
    settings: LatentDifferenceSettings, state: LatentDifferenceState, frozen: Frozen, items: Items
) -> tuple[jax.Array, jax.Array]:
    """What the discriminator sees as fake: images, and the landmarks that they were to show."""
    network = nnx.merge(*nnx.split(state.network), copy=True)
    network.train()
    source = items.images if settings.naive else items.w_plus
    points = items.own
    if settings.wish == "normalised":
        points = items.wished
    elif settings.naive:
        # Own portraits and others by turns; `step` has counted the encoder's step already.
        source = jnp.where(state.step % 2 == 1, source, other_of(source))
    else:
        source = other_of(source)
    w_plus = manipulated(settings, network, source, points)
    return jax.lax.stop_gradient(image_of(settings, frozen.generator, w_plus)), points


def frozen_networks(settings: LatentDifferenceSettings, networks: Mapping[str, Any]) -> Frozen:
    """What does not train.

    Raises:
      UsageError: the experiment lacks a network.
    """

    def needed(role: str, why: str) -> Any:
        return needed_network("latent_difference", networks, role, why=why)

    reads = settings.points == "network"
    normal = settings.wish == "normalised"
    features = settings.compares_images and settings.perceptual_weight
    found: dict[str, Any] = {"generator": needed("generator", "it draws")}
    if not settings.naive:
        found["inversion"] = needed(settings.inversion.role, "it embeds portraits")
    if features:
        found["perceptual"] = needed("perceptual", "images are compared by its features")
    if reads or settings.reads_landmarks:
        found["landmarks"] = needed("landmarks", "landmarks are read")
    if settings.identity_weight:
        found["recognition"] = needed("recognition", "the identity term needs it")
    if reads and normal:
        found["reconstruction"] = needed("reconstruction", "wishes are normalised by faces")
    # Faces, read or of the data, are those of the model that the suite reads.
    model = models_of(networks.get("reconstruction")).landmarks if normal else None
    return Frozen(**found, landmark_model=model)


def check_fit(settings: LatentDifferenceSettings, generator: Any) -> None:
    """Insist that the encoder's codes are the generator's.

    Raises:
      UsageError: they are not.
    """
    wanted = (generator.num_ws, generator.config.w_dim)
    if (settings.network.num_ws, settings.network.w_dim) != wanted:
        raise UsageError(
            f"latent_difference: the generator takes W+ of {wanted[0]} x {wanted[1]}, "
            f"method.network gives {settings.network.num_ws} x {settings.network.w_dim}; set "
            f"method.network.num_ws={wanted[0]} and method.network.w_dim={wanted[1]}"
        )
    if generator.resolution < settings.network.resolution:
        raise UsageError(
            f"latent_difference: the generator draws {generator.resolution} px, the encoder reads "
            f"{settings.network.resolution}; set method.network.resolution and "
            f"method.discriminator.resolution to {generator.resolution} or less"
        )


def _optimizer(settings: LatentDifferenceSettings) -> optax.GradientTransformation:
    schedule = optax.exponential_decay(
        settings.learning_rate, max(settings.steps // 4, 1), settings.quarter_rate
    )
    return optax.adam(schedule, *BETAS)
