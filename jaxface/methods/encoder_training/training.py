"""The training of an encoder: its state, its two kinds of step, and its scores."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct

from jaxface.errors import UsageError
from jaxface.losses import identity
from jaxface.media.images import as_float, from_uint8
from jaxface.methods import encoder as encoders
from jaxface.methods.adversarial_training import (
    BETAS,
    discriminator_step,
    group_size,
    judged,
    new_discriminator,
    penalised,
)
from jaxface.methods.encoder_training.objective import (
    Items,
    Judges,
    passes,
    progressive_stage,
    sampled,
    targets_of,
    terms,
    with_samples,
)
from jaxface.methods.encoder_training.settings import ENCODERS, TERMS, EncoderSettings
from jaxface.metrics import psnr
from jaxface.nets import LPIPS, Generator, InDomainEncoder, WEncoder
from jaxface.nets.encoders.styles import read_portraits
from jaxface.training.beginning import needed_network
from jaxface.training.loop import Phase
from jaxface.training.microbatches import mean_gradients
from jaxface.training.optimizers import adam_with_warmup_cosine
from jaxface.training.recipe import Recipe, Stage

Batch = Mapping[str, jax.Array]

_SCORED = 64  # held-out portraits encoded together
_SHOWN, _COLUMNS = 32, 8  # held-out portraits in a sample grid, and how many in a row


def training_recipe(
    settings: EncoderSettings,
    *,
    key: jax.Array,
    networks: Mapping[str, Any],
    held_out: Mapping[str, jax.Array] | None,
) -> Recipe:
    """See `EncoderSettings.recipe`."""
    judges = _judges(settings, networks)
    # One program, not many.
    init = jax.jit(
        lambda key, generator, given, judge: initial_state(
            settings, key, generator, network=given, discriminator=judge
        )
    )
    judge = networks.get("discriminator") if settings.adversarial_weight else None
    if judge is not None and judge.config != settings.discriminator:
        judge = None
    state = init(key, judges.generator, networks.get(settings.trains), judge)
    whole = [encoder_phase(settings)]
    if settings.adversarial_weight:
        whole.append(discriminator_phase(settings))
        if settings.r1_gamma and settings.r1_interval > 1:
            whole.append(penalty_phase(settings))
    phases = [([latent_phase(settings)], settings.latent_steps), (whole, settings.steps)]
    return Recipe(
        state=state,
        stages=[
            Stage(
                group,
                steps,
                settings.batch_size,
                microbatches=settings.microbatches,
                group_size=_group_size(settings),
            )
            for group, steps in phases
            if steps
        ],
        fields=("image",),
        parameters=nnx.state(state.network, nnx.Param),
        networks=lambda state: {settings.trains: state.network},
        constants=judges,
        score=None if held_out is None else _score(settings, held_out, judges),
        sample_images=None if held_out is None else _sample_images(settings, held_out, judges),
    )


@struct.dataclass
class EncoderState:
    """Everything that training changes."""

    network: Any
    optimizer: Any
    step: jax.Array
    """Steps done, int32; the progressive stage goes by it."""
    discriminator: Any = None
    """Of the adversarial term; None without it."""
    discriminator_optimizer: Any = None


def initial_state(
    settings: EncoderSettings,
    key: jax.Array,
    generator: Generator,
    *,
    network: Any = None,
    discriminator: Any = None,
) -> EncoderState:
    """A fresh encoder, whose codes are the generator's mean of W, or the one given.

    An in-domain encoder whose codes are normalised has no mean to begin at.

    The last layer of each style begins at zero, so that no style begins with a deviation.

    Raises:
      UsageError: the encoder given is of another kind or has other sizes than the settings name, or
        the settings' codes are not the generator's.
    """
    wanted, codes = ENCODERS[settings.encoder], (settings.network.num_ws, settings.network.w_dim)
    if codes != (generator.num_ws, generator.config.w_dim):
        raise UsageError(
            f"encoder: the generator takes W+ of {generator.num_ws} x {generator.config.w_dim}, "
            f"the settings' network gives {codes[0]} x {codes[1]}; change num_ws and w_dim"
        )
    if network is None:
        network = wanted(settings.network, rngs=nnx.Rngs(key))
        _start_at_mean(network, generator)
    elif type(network) is not wanted or network.config != settings.network:
        raise UsageError(
            f"encoder: the network to begin with is a {type(network).__name__} of "
            f"{network.config}, the settings say {wanted.__name__} of {settings.network}"
        )
    optimizer = _optimizer(settings).init(nnx.state(network, nnx.Param))
    state = EncoderState(network=network, optimizer=optimizer, step=jnp.zeros((), jnp.int32))
    if not settings.adversarial_weight or settings.discriminator is None:
        return state
    if discriminator is None:
        discriminator = new_discriminator(settings.discriminator, jax.random.fold_in(key, 1))
    optimizer = _discriminator_optimizer(settings).init(nnx.state(discriminator, nnx.Param))
    return state.replace(  # type: ignore
        discriminator=discriminator, discriminator_optimizer=optimizer
    )


def _start_at_mean(network: Any, generator: Generator) -> None:
    """A fresh network's codes become the generator's mean of W."""
    if isinstance(network, InDomainEncoder):
        if network.head.w_start is not None:  # its last layer is zero already
            network.head.w_start[...] = generator.w_mean
        return
    network.w_start[...] = jnp.broadcast_to(generator.w_mean, network.w_start.shape)
    ends = [network] if isinstance(network, WEncoder) else network.styles
    for end in ends:
        end.dense.weight[...] = jnp.zeros_like(end.dense.weight[...])


def _mean_of(network: Any) -> jax.Array:
    """What a network's codes are added to."""
    start = network.head.w_start if isinstance(network, InDomainEncoder) else network.w_start
    return jnp.zeros(()) if start is None else start[...]


def discriminator_phase(settings: EncoderSettings) -> Phase:
    """The discriminator's step, on the data's images alone.

    Metrics: ``loss``, ``fake``, ``real`` and, where it is of every step, ``penalty``.
    """
    optimizer = _discriminator_optimizer(settings)
    penalty = settings.r1_gamma / 2 if settings.r1_interval == 1 else 0.0

    def step(state: EncoderState, constants: Judges, batch: Batch, key: jax.Array):
        del key
        images = _compared(settings, batch)
        network = nnx.merge(*nnx.split(state.network), copy=True)
        network.train()
        stage = progressive_stage(settings, state.step)
        _, fake = passes(settings, network, constants.generator, images, stage)[-1]

        def loss_fn(discriminator, part):
            fake, images = part
            return judged(discriminator(fake), discriminator, images, penalty=penalty)

        return discriminator_step(
            state,
            loss_fn,
            (jax.lax.stop_gradient(fake), images),
            optimizer=optimizer,
            microbatches=settings.microbatches,
        )

    return Phase("discriminator", step)


def penalty_phase(settings: EncoderSettings) -> Phase:
    """The discriminator's penalty by itself, every so many steps.

    Metrics: ``loss`` and ``penalty``.
    """
    optimizer = _discriminator_optimizer(settings)
    factor = settings.r1_gamma / 2 * settings.r1_interval

    def step(state: EncoderState, constants: Judges, batch: Batch, key: jax.Array):
        del constants, key
        return discriminator_step(
            state,
            lambda discriminator, images: penalised(discriminator, images, factor=factor),
            _compared(settings, batch),
            optimizer=optimizer,
            microbatches=settings.microbatches,
        )

    return Phase("r1", step, settings.r1_interval)


def _compared(settings: EncoderSettings, batch: Batch) -> jax.Array:
    """A batch's portraits at the side where images are compared."""
    images = as_float(batch["image"])
    return read_portraits("encoder", images, settings.side)


def _group_size(settings: EncoderSettings) -> int:
    if not settings.adversarial_weight or settings.discriminator is None:
        return 1
    return group_size(settings.discriminator, settings.batch_size)


def _discriminator_optimizer(settings: EncoderSettings) -> optax.GradientTransformation:
    return optax.adam(settings.learning_rate, *BETAS)


def encoder_phase(settings: EncoderSettings) -> Phase:
    """The encoder's phase of a step with the whole loss; its constants are `Judges`.

    Metrics: ``loss``, the sum over the passes; of the last pass those terms that have a weight,
    without it, and ``psnr``, of the data's images and the samples together; ``stage``.
    """

    def items(generator, images, key):
        return with_samples(settings, generator, images, key)

    return _phase("encoder", settings, TERMS, items)


def latent_phase(settings: EncoderSettings) -> Phase:
    """The one phase of a step that learns from samples' codes alone, in one pass; see above."""
    count = settings.batch_size + settings.samples

    def items(generator, images, key):
        return sampled(generator, key, count=count, resolution=settings.side)

    return _phase("latents", dataclasses.replace(settings, iterations=1), ("latent",), items)


def _phase(
    name: str,
    settings: EncoderSettings,
    counted: Sequence[str],
    items_of: Callable[[Generator, jax.Array, jax.Array], Items],
) -> Phase:
    optimizer = _optimizer(settings)
    weights = {term: getattr(settings, f"{term}_weight") for term in counted}
    weights = {term: weight for term, weight in weights.items() if weight}

    def loss_fn(params, part, graphdef, rest, judges, stage, discriminator):
        # A copy, which may change: its running statistics move.
        network = nnx.merge(graphdef, params, rest, copy=True)
        targets = targets_of(judges, part)
        network.train()
        made = passes(settings, network, judges.generator, targets.images, stage)
        network.eval()
        total, means = jnp.zeros(()), {}
        for w_plus, generated in made:
            found = terms(
                judges,
                w_plus,
                generated,
                targets,
                mean=_mean_of(network),
                stage=stage,
                discriminator=discriminator if "adversarial" in weights else None,
            )
            # The compiler leaves out what has no weight.
            means = {term: jnp.mean(found[term]) for term in weights}
            total += jnp.sum(jnp.stack([weights[term] * means[term] for term in weights]))
            if "pixel" in counted:
                means["psnr"] = jnp.mean(psnr(generated, targets.images))
        _, _, rest = nnx.split(network, nnx.Param, ...)
        return total, (rest, means)

    def step(state: EncoderState, constants: Judges, batch: Batch, key: jax.Array):
        images = as_float(batch["image"])
        items = items_of(constants.generator, images, key)
        stage = progressive_stage(settings, state.step)
        graphdef, params, rest = nnx.split(state.network, nnx.Param, ...)
        (loss, (rest, means)), grads = mean_gradients(
            lambda params, part, _: loss_fn(
                params, part, graphdef, rest, constants, stage, state.discriminator
            ),
            params,
            items,
            parts=settings.microbatches,
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, params)
        network = nnx.merge(graphdef, optax.apply_updates(params, updates), rest)
        state = state.replace(  # type: ignore
            network=network, optimizer=optimizer_state, step=state.step + 1
        )
        return state, {"loss": loss, "stage": stage, **means}

    return Phase(name, step)


def inversion_scores(
    judges: Judges, generated: jax.Array, images: jax.Array
) -> dict[str, jax.Array]:
    """How N inversions compare with their portraits, both [N, R, R, 3] in [-1, 1]: [N] each.

    Returns:
      ``psnr`` in dB of the image as it would be stored, and ``lpips`` and ``identity`` where there
      is a network for them.
    """
    found = {"psnr": psnr(jnp.clip(generated, -1.0, 1.0), images)}
    if judges.lpips is not None:
        found["lpips"] = judges.lpips(generated, images)
    if judges.recognition is not None:
        found["identity"] = identity.distance(
            judges.recognition(generated), judges.recognition(images)
        )
    return found


def _judges(settings: EncoderSettings, networks: Mapping[str, Any]) -> Judges:
    def get(role: str, what: str) -> Any:
        return needed_network("encoder", networks, role, why=f"{what} needs it")

    lpips = recognition = None
    if settings.lpips_weight:
        lpips = get(settings.distance, "lpips_weight")
        lpips = LPIPS.of_trunk(lpips) if settings.distance == "perceptual" else lpips
    if settings.identity_weight:
        recognition = get("recognition", "identity_weight")
    perceptual = get("perceptual", "features_weight") if settings.features_weight else None
    return Judges(
        get("generator", "the loss"),
        lpips,
        recognition,
        perceptual,
        settings.lpips_resolution,
        settings.features_size,
    )


def _optimizer(settings: EncoderSettings) -> optax.GradientTransformation:
    return adam_with_warmup_cosine(
        settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        steps=settings.latent_steps + settings.steps,
    )


def _invert(settings: EncoderSettings) -> Callable[..., jax.Array]:
    """(encoder, generator, uint8 portraits) -> inversions, as `jaxface invert` makes them."""
    use = encoders.Settings(iterations=settings.iterations)

    def invert(network, generator, portraits):
        networks = encoders.Networks(generator, network)
        w_plus = encoders.encode(use, networks, from_uint8(portraits))
        return generator.synthesis(w_plus, "const")

    return invert


def _score(
    settings: EncoderSettings, held_out: Mapping[str, jax.Array], judges: Judges
) -> Callable[[EncoderState], dict[str, float]]:
    portraits, invert = held_out["image"], _invert(settings)

    @jax.jit
    def scores(network, judges, portraits):
        generated = invert(network, judges.generator, portraits)
        side = generated.shape[1]
        return inversion_scores(
            judges, generated, read_portraits("encoder", from_uint8(portraits), side)
        )

    def score(state: EncoderState) -> dict[str, float]:
        parts = [
            jax.device_get(scores(state.network, judges, portraits[first : first + _SCORED]))
            for first in range(0, len(portraits), _SCORED)
        ]
        count = len(portraits)
        return {name: sum(float(part[name].sum()) for part in parts) / count for name in parts[0]}

    return score


def _sample_images(
    settings: EncoderSettings, held_out: Mapping[str, jax.Array], judges: Judges
) -> Callable[[EncoderState], jax.Array]:
    shown = min(_SHOWN, len(held_out["image"])) // _COLUMNS * _COLUMNS
    portraits, invert = held_out["image"][:shown], _invert(settings)

    @jax.jit
    def pairs(network, generator, portraits):
        generated = invert(network, generator, portraits)
        given = read_portraits("encoder", from_uint8(portraits), generated.shape[1])
        rows = jnp.stack([x.reshape(-1, _COLUMNS, *x.shape[1:]) for x in (given, generated)], 1)
        return rows.reshape(-1, *generated.shape[1:])

    return lambda state: pairs(state.network, judges.generator, portraits)
