"""StyleGAN2's training: the state, the phases of a step, and the recipe.

A step is ``adapt`` (every `ada_interval`), ``generator``, ``path_length`` (every
`generator_reg_interval`), ``discriminator``, ``r1`` (every `discriminator_reg_interval`) and
``average``, the order of stylegan2-ada-pytorch's `training/training_loop.py`, whose end-of-step
adaptation is the next step's beginning here. A lazy regulariser counts `interval` times in the
step that it is in, and both optimisers are slowed down by interval / (interval + 1) to make up for
its extra steps (Karras et al. 2020a, appendix B). Batches: ``{"image": [N, R, R, 3] uint8 or
float32 in [-1, 1]}``, with ``"factors"`` where some reconstruction is kept.

Minibatch statistics are taken over the whole batch's groups, so results do not depend on the number
of devices. Every microbatch draws its own noise, augmentations, directions and style mixing, and
compares its path lengths with the mean as it moves it itself; the reference does both on each GPU.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.methods.scene_regression import scene_latents, targets_at
from jaxface.methods.stylegan2 import losses
from jaxface.methods.stylegan2.settings import StyleGAN2Settings
from jaxface.nets import Discriminator, Generator
from jaxface.training.beginning import needed_network, network_to_begin_with
from jaxface.training.ema import ema_decay, update_average
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.recipe import Recipe, Stage

Batch = Mapping[str, jax.Array]

# Fixed latents of the sample grid.
_SHOWN = 64


@struct.dataclass
class StyleGAN2State:
    """Everything that training changes."""

    generator: Generator
    discriminator: Discriminator
    average: Generator
    """Exponential moving average of the generator: the network that is used afterwards."""
    generator_optimizer: Any
    discriminator_optimizer: Any
    path_length_mean: jax.Array
    augment_p: jax.Array
    sign_sum: jax.Array
    """Of the real logits since the augmentation was last adapted."""
    sign_count: jax.Array
    images_seen: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fresh(kind: Any, config: Any, key: jax.Array) -> Any:
    return kind(config, rngs=nnx.Rngs(key))


def initial_state(
    settings: StyleGAN2Settings, key: jax.Array, networks: Mapping[str, Any] | None = None
) -> StyleGAN2State:
    """Fresh networks, or those given for the roles ``generator`` and ``discriminator``.

    Raises:
      UsageError: a network given has other sizes than the settings name.
    """
    keys = jax.random.split(key)
    pair = []
    for role, kind, role_key in zip(
        ("generator", "discriminator"), (Generator, Discriminator), keys, strict=True
    ):
        config = getattr(settings, role)
        given = (networks or {}).get(role)
        fresh = functools.partial(_fresh, kind, config, role_key)
        pair.append(network_to_begin_with(role, given, config, fresh))
    generator, discriminator = pair
    g_optimizer, d_optimizer = _optimizers(settings)
    zero = jnp.zeros(())
    return StyleGAN2State(
        generator=generator,
        discriminator=discriminator,
        average=jax.tree.map(jnp.copy, generator),
        generator_optimizer=g_optimizer.init(nnx.state(generator, nnx.Param)),
        discriminator_optimizer=d_optimizer.init(nnx.state(discriminator, nnx.Param)),
        path_length_mean=zero,
        augment_p=jnp.asarray(settings.augment_initial_p, jnp.float32),
        sign_sum=zero,
        sign_count=zero,
        images_seen=jnp.zeros((), jnp.int32),
    )


def phases(settings: StyleGAN2Settings) -> list[Phase]:
    """The phases of a step, for `jaxface.training.loop.fit`.

    Their constants are ``{"perceptual": VGG16 or None}``, read by a reconstruction's perceptual
    part alone.
    """
    chosen = [Phase("generator", _generator_phase(settings))]
    if settings.augment is not None and settings.ada_target is not None:
        adapt = _adapt_phase(settings, settings.ada_target)
        chosen.insert(0, Phase("adapt", adapt, settings.ada_interval))
    if settings.path_length_weight:
        interval = settings.generator_reg_interval
        chosen.append(Phase("path_length", _path_length_phase(settings), interval))
    chosen.append(Phase("discriminator", _discriminator_phase(settings)))
    if settings.r1_gamma:
        chosen.append(Phase("r1", _r1_phase(settings), settings.discriminator_reg_interval))
    return [*chosen, Phase("average", _average_phase(settings))]


def _generator_phase(settings: StyleGAN2Settings):
    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        z_key, key = jax.random.split(key)
        z_dim, count = settings.generator.z_dim, batch["image"].shape[0]
        if settings.reconstruction_weight:
            z = scene_latents(batch["factors"][:, : settings.num_factors], z_dim, z_key)
            items = {"z": z, "image": batch["image"]}
        else:
            items = {"z": jax.random.normal(z_key, (count, z_dim))}

        def loss_fn(generator, part, number):
            reconstruct = None
            if "image" in part:
                reconstruct = {"image": part["image"], "perceptual": constants["perceptual"]}
            return losses.generator_loss(
                generator,
                state.discriminator,
                part["z"],
                p=state.augment_p,
                key=jax.random.fold_in(key, number),
                settings=settings,
                reconstruct=reconstruct,
            )

        state, aux = _generator_step(state, settings, loss_fn, items, gain=1)
        metrics = {"loss": aux["adversarial"], "fake_score": aux["fake_score"]}
        if "reconstruction" in aux:
            metrics["reconstruction"] = aux["reconstruction"]
        return state, metrics

    return step


def _path_length_phase(settings: StyleGAN2Settings):
    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        del constants
        z_key, key = jax.random.split(key)
        count = batch["image"].shape[0] // settings.path_length_batch_shrink
        z = jax.random.normal(z_key, (count, settings.generator.z_dim))

        def loss_fn(generator, z, number):
            return losses.path_length_loss(
                generator,
                z,
                state.path_length_mean,
                key=jax.random.fold_in(key, number),
                settings=settings,
            )

        gain = settings.generator_reg_interval
        state, aux = _generator_step(state, settings, loss_fn, z, gain=gain)
        state = _replace(state, path_length_mean=aux["mean"])
        return state, {"penalty": aux["penalty"], "mean": aux["mean"]}

    return step


def _discriminator_phase(settings: StyleGAN2Settings):
    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        del constants
        z_key, key = jax.random.split(key)
        images = targets_at(batch["image"], settings.discriminator.resolution)
        z = jax.random.normal(z_key, (images.shape[0], settings.generator.z_dim))

        def loss_fn(discriminator, part, number):
            return losses.discriminator_loss(
                discriminator,
                state.generator,
                part["image"],
                part["z"],
                p=state.augment_p,
                key=jax.random.fold_in(key, number),
                settings=settings,
            )

        items = {"image": images, "z": z}
        state, loss, aux = _discriminator_step(state, settings, loss_fn, items, gain=1)
        w_mean = aux.pop("w_mean")
        state = _replace(state, generator=state.generator.with_w_mean(w_mean))
        return state, {"loss": loss, **aux}

    return step


def _r1_phase(settings: StyleGAN2Settings):
    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        del constants
        images = targets_at(batch["image"], settings.discriminator.resolution)

        def loss_fn(discriminator, images, number):
            return losses.r1_loss(
                discriminator,
                images,
                p=state.augment_p,
                key=jax.random.fold_in(key, number),
                settings=settings,
            )

        gain = settings.discriminator_reg_interval
        state, _, aux = _discriminator_step(state, settings, loss_fn, images, gain=gain)
        return state, {"penalty": aux["penalty"]}

    return step


def _average_phase(settings: StyleGAN2Settings):
    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        del constants, key
        count = batch["image"].shape[0]
        decay = ema_decay(
            count,
            half_life=settings.ema_half_life,
            seen=state.images_seen,
            ramp=settings.ema_ramp,
        )
        average = update_average(state.average, state.generator, decay)
        return _replace(state, average=average, images_seen=state.images_seen + count), {}

    return step


def _adapt_phase(settings: StyleGAN2Settings, target: float):
    """The heuristic r_t = E[sign(D_train)] of Karras et al. 2020b, section 3.2."""

    def step(state: StyleGAN2State, constants, batch: Batch, key: jax.Array):
        del constants, key
        count = batch["image"].shape[0]
        sign = state.sign_sum / jnp.maximum(state.sign_count, 1.0)
        move = jnp.sign(sign - target) * count * settings.ada_interval
        move = jnp.where(state.sign_count > 0, move / settings.ada_images, 0.0)
        p = jnp.maximum(state.augment_p + move, 0.0)
        zero = jnp.zeros(())
        state = _replace(state, augment_p=p, sign_sum=zero, sign_count=zero)
        return state, {"p": p}

    return step


def _generator_step(
    state: StyleGAN2State, settings: StyleGAN2Settings, loss_fn: Callable, items: Any, *, gain: int
) -> tuple[StyleGAN2State, dict[str, Any]]:
    optimizer, _ = _optimizers(settings)
    generator, optimizer_state, _, aux = _update(
        state.generator,
        state.generator_optimizer,
        optimizer,
        loss_fn,
        items,
        gain=gain,
        parts=settings.microbatches,
    )
    generator = generator.with_w_mean(aux["w_mean"])
    return _replace(state, generator=generator, generator_optimizer=optimizer_state), aux


def _discriminator_step(
    state: StyleGAN2State, settings: StyleGAN2Settings, loss_fn: Callable, items: Any, *, gain: int
) -> tuple[StyleGAN2State, jax.Array, dict[str, Any]]:
    _, optimizer = _optimizers(settings)
    discriminator, optimizer_state, loss, aux = _update(
        state.discriminator,
        state.discriminator_optimizer,
        optimizer,
        loss_fn,
        items,
        gain=gain,
        parts=settings.microbatches,
    )
    count = jax.tree.leaves(items)[0].shape[0]
    state = _replace(
        state,
        discriminator=discriminator,
        discriminator_optimizer=optimizer_state,
        sign_sum=state.sign_sum + count * aux["real_sign"],
        sign_count=state.sign_count + count,
    )
    return state, loss, aux


def _update(
    network: Any,
    optimizer_state: Any,
    optimizer: optax.GradientTransformation,
    loss_fn: Callable,
    items: Any,
    *,
    gain: int,
    parts: int,
) -> tuple[Any, Any, jax.Array, dict[str, Any]]:
    """One optimiser step: (network, optimiser state, mean loss, aux)."""
    graphdef, params, buffers = nnx.split(network, nnx.Param, ...)

    def mean_loss(params, part, number):
        losses, aux = loss_fn(nnx.merge(graphdef, params, buffers), part, number)
        return gain * jnp.mean(losses), aux

    (loss, aux), grads = mean_gradients(mean_loss, params, items, parts=parts)
    # The reference's guard against a gradient that overflowed in reduced precision.
    grads = jax.tree.map(lambda g: jnp.nan_to_num(g, nan=0.0, posinf=1e5, neginf=-1e5), grads)
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    network = nnx.merge(graphdef, optax.apply_updates(params, updates), buffers)
    return network, optimizer_state, loss, aux


def _optimizers(
    settings: StyleGAN2Settings,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam for the generator and the discriminator, corrected for lazy regularisation."""

    def adam(interval: int) -> optax.GradientTransformation:
        ratio = interval / (interval + 1)
        return optax.adam(
            settings.learning_rate * ratio,
            b1=settings.beta1**ratio,
            b2=settings.beta2**ratio,
            eps=1e-8,
        )

    return adam(settings.generator_reg_interval), adam(settings.discriminator_reg_interval)


def _replace(state: StyleGAN2State, **changes: Any) -> StyleGAN2State:
    return state.replace(**changes)  # pyright: ignore[reportAttributeAccessIssue]


def training_recipe(
    settings: StyleGAN2Settings, *, key: jax.Array, networks: Mapping[str, Any]
) -> Recipe:
    """What `StyleGAN2Settings.recipe` makes."""
    weighted = settings.reconstruction_weight and settings.reconstruction.perceptual_weights
    if weighted:
        why = "perceptual_weights are of its layers"
        needed_network("stylegan2", networks, "perceptual", why=why)
    state_key, z_key = jax.random.split(key)
    state = initial_state(settings, state_key, networks)
    z = jax.random.normal(z_key, (_SHOWN, settings.generator.z_dim))
    sample = jax.jit(lambda generator, z: generator(z))
    return Recipe(
        state=state,
        stages=[
            Stage(
                phases(settings),
                settings.num_steps,
                settings.batch_size,
                microbatches=settings.microbatches,
                group_size=settings.path_length_batch_shrink,
            )
        ],
        fields=("image", "factors") if settings.reconstruction_weight else ("image",),
        constants={"perceptual": networks.get("perceptual")},
        networks=lambda state: {
            "generator": state.average,
            "discriminator": state.discriminator,
        },
        parameters={
            "generator": nnx.state(state.generator, nnx.Param),
            "discriminator": nnx.state(state.discriminator, nnx.Param),
        },
        sample_images=lambda state: sample(state.average, z),
    )
