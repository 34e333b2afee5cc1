"""The training of a direction matrix: ranges, embedded portraits, cases, steps."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.data.sources import DataSource
from jaxface.errors import UsageError
from jaxface.media.images import to_uint8
from jaxface.methods import encoder
from jaxface.methods.direction_matrix.columns import check_matrix, column_names, column_values
from jaxface.methods.direction_matrix.faces import Faces, faces_of
from jaxface.methods.direction_matrix.losses import (
    Cases,
    Embedded,
    Models,
    distance_network,
    draw,
    matrix_losses,
)
from jaxface.methods.direction_matrix.settings import (
    ANGLE_REACH,
    PERCEPTUAL_ROLES,
    Kind,
    MatrixSettings,
    MatrixStage,
)
from jaxface.methods.rignet.latents import CHUNK, sample_latents
from jaxface.nets import DirectionMatrix, DirectionMatrixConfig, Generator
from jaxface.runtime.distributed import gathered
from jaxface.training import averaged
from jaxface.training.averaged import AveragedState
from jaxface.training.beginning import needed_network
from jaxface.training.loop import Phase
from jaxface.training.recipe import Recipe, Stage
from jaxface.vocabulary import ANGLES

Batch = Mapping[str, jax.Array]

_SOURCE, _TARGET, _CHOICE, _COLUMN, _UNIFORM = range(5)  # folded into an item's key
_NO_EMA = 1e-6  # items: less than a step forgets


def matrix_recipe(
    settings: MatrixSettings,
    *,
    key: jax.Array,
    networks: Mapping[str, Any],
    held_out: Mapping[str, Any] | None,
) -> Recipe:
    """See `MatrixSettings.recipe`."""
    from jaxface.methods.direction_matrix.scores import scores_of

    models = frozen_models(settings, networks)
    ranges_key, state_key = jax.random.split(key)
    begin = networks.get("direction_matrix")
    state = initial_state(settings, models, ranges_key, state_key, matrix=begin)
    score = None if held_out is None else scores_of(settings, models, np.asarray(held_out["key"]))
    stages = [
        Stage(
            [matrix_phase(settings, stage)],
            stage.steps,
            stage.batch_size,
            microbatches=settings.microbatches,
            group_size=2,
        )
        for stage in settings.stages
    ]
    return Recipe(
        state=state,
        stages=stages,
        fields=("key",),
        networks=lambda state: {settings.trains: state.average},
        parameters=nnx.state(state.network, nnx.Param),
        constants=models,
        score=score,
    )


def frozen_models(settings: MatrixSettings, networks: Mapping[str, Any]) -> Models:
    """The frozen parts of the training, embedded portraits among them.

    Raises:
      UsageError: a network or data is missing.
    """

    def needed(role: str, why: str) -> Any:
        return needed_network("direction matrix", networks, role, why=why)

    perceptual = settings.losses.perceptual
    models = Models(
        generator=needed("generator", "it draws"),
        faces=faces_of(networks, angles=settings.angle_reading),
        recognition=needed("recognition", "the identity loss needs it"),
        distance=distance_network(
            perceptual, needed(PERCEPTUAL_ROLES[perceptual], "the perceptual loss needs it")
        ),
    )
    kinds = {stage.kind for stage in settings.stages}
    for kind, name in (("mixed", "portraits"), ("paired", "pairs")):
        if kind in kinds:
            data = getattr(settings, name)
            if data is None:
                raise UsageError(f"direction matrix: a {kind} stage needs data; set method.{name}")
            network = needed("encoder", f"a {kind} stage embeds portraits with it")
            codes = embed(models.generator, network, data, settings.embedded)
            models = dataclasses.replace(models, **{name: codes})
    return models


def embed(generator: Generator, network: Any, data: DataSource, count: int) -> Embedded:
    """The first `count` items of a data source and their codes; encoded once.

    Of several processes each encodes its share, and all have them all.

    Args:
      generator: its rows of W+ are the codes'.
      network: the encoder.
      data: has a field ``image``, [N, R, R, 3] or of pairs [N, 2, R, R, 3].
      count: of items.
    """
    encode = jax.jit(functools.partial(encoder.encode, encoder.Settings("any")))
    batches, images, codes = data.batches(CHUNK, ("image",), seed=0), [], []
    for _ in range(-(-count // CHUNK)):
        part = np.asarray(next(batches)["image"])
        if part.dtype != np.uint8:
            part = np.asarray(to_uint8(jnp.asarray(part)))
        flat = jnp.asarray(part.reshape(-1, *part.shape[-3:]), jnp.float32) / 127.5 - 1.0
        found = encode(encoder.Networks(generator, network), flat)
        codes.append(gathered(np.asarray(found).reshape(*part.shape[:-3], *found.shape[1:])))
        images.append(gathered(part))
    return Embedded(
        jnp.asarray(np.concatenate(codes)[:count]), jnp.asarray(np.concatenate(images)[:count])
    )


def initial_state(
    settings: MatrixSettings,
    models: Models,
    ranges_key: jax.Array,
    key: jax.Array,
    *,
    matrix: DirectionMatrix | None = None,
) -> AveragedState:
    """A fresh matrix with the ranges of sampled images, or the one given, which keeps its own.

    Raises:
      UsageError: the matrix given does not fit the suite.
    """
    generator = models.generator
    if matrix is None:
        matrix = initial_matrix(settings, generator, models.faces, key)
        values = sample_values(settings, models, matrix.names, ranges_key)
        set_ranges(settings, matrix, values)
    else:
        check_matrix("begin", matrix, models.faces.basis)
        if matrix.config.w_dim != generator.config.w_dim or matrix.config.rows > generator.num_ws:
            raise UsageError(
                f"direction matrix: the matrix to begin with moves {matrix.config.rows} rows of "
                f"{matrix.config.w_dim}, the generator has {generator.num_ws} of "
                f"{generator.config.w_dim}"
            )
    return averaged.init_state(matrix, matrix_optimizer(settings))


def initial_matrix(
    settings: MatrixSettings, generator: Generator, faces: Faces, key: jax.Array
) -> DirectionMatrix:
    """A fresh matrix, without ranges."""
    names = column_names(faces.basis, settings.expressions, angles=settings.angles)
    config = DirectionMatrixConfig(
        names=names,
        basis=faces.basis,
        rows=min(settings.rows, generator.num_ws),
        w_dim=generator.config.w_dim,
        bias=settings.bias,
        spread=settings.spread,
    )
    matrix = DirectionMatrix(config, rngs=nnx.Rngs(key))
    if settings.initial == "eye":
        block = jnp.eye(config.w_dim, len(names))
        matrix.weight[...] = jnp.broadcast_to(block, matrix.weight[...].shape)
    return matrix


def sample_values(
    settings: MatrixSettings, models: Models, names: tuple[str, ...], key: jax.Array
) -> np.ndarray:
    """The numbers of sampled images, [samples, K]."""

    @jax.jit
    def values(models: Models, keys: jax.Array) -> jax.Array:
        w_plus = sample_latents(models.generator, keys, 0.0)
        images = draw(models.generator, w_plus, settings.truncation)
        motion = models.faces.motion(models.faces.read(images))
        return column_values(names, models.faces.basis, motion)

    count = -(-settings.samples // CHUNK)
    keys = jax.random.split(key, (count, CHUNK))
    found = [np.asarray(values(models, part)) for part in keys]
    return np.concatenate(found)[: settings.samples]


def set_ranges(settings: MatrixSettings, matrix: DirectionMatrix, values: np.ndarray) -> None:
    """Lines from the least and the largest value to -a and a, and the deviations as units.

    Raises:
      UsageError: a number does not vary.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    for name, width in zip(matrix.names, high - low, strict=True):
        if not width > 0:
            raise UsageError(
                f"direction matrix: {name} is the same in all samples; leave its column out"
            )
    slope = 2 * settings.spread / (high - low)
    offset = -settings.spread * (high + low) / (high - low)
    unit = values.std(axis=0)
    for place, name in enumerate(matrix.names):
        if name in ANGLES:
            unit[place] = 1.0
            if settings.fixed_angles:
                slope[place], offset[place] = settings.spread / ANGLE_REACH[name], 0.0
    matrix.ranges[...] = jnp.asarray(np.stack([low, high], axis=1), jnp.float32)
    matrix.slope[...] = jnp.asarray(slope, jnp.float32)
    matrix.offset[...] = jnp.asarray(offset, jnp.float32)
    matrix.unit[...] = jnp.asarray(unit, jnp.float32)


def draw_cases(
    settings: MatrixSettings, models: Models, kind: Kind, columns: int, keys: jax.Array
) -> Cases:
    """The cases of the items with these typed keys [N].

    In mixed stages the first half of the sources are embedded portraits; all their targets are
    sampled, as in the code.
    """
    count, generator = len(keys), models.generator

    def drawn(purpose: int, sample: Any) -> jax.Array:
        return jax.vmap(lambda key: sample(jax.random.fold_in(key, purpose)))(keys)

    def latents(purpose: int) -> jax.Array:
        inner = jax.vmap(jax.random.fold_in, (0, None))(keys, purpose)
        return sample_latents(generator, inner, 0.0)

    side = generator.resolution
    blank = jnp.zeros((count, side, side, 3), jnp.uint8)
    places = np.arange(count)
    real = np.zeros(count, bool)
    single = places >= count // 2 if settings.half == "second" else places % 2 == 1
    images, target_images = blank, blank
    if kind == "paired":
        codes = _some(models.pairs, drawn, count)
        (w_plus, target), (images, target_images) = (
            (x[:, 0], x[:, 1]) for x in (codes.w_plus, codes.images)
        )
        real, single = np.ones(count, bool), np.zeros(count, bool)
    else:
        w_plus, target = latents(_SOURCE), latents(_TARGET)
    if kind == "mixed":
        codes = _some(models.portraits, drawn, count)
        real = places < count // 2
        w_plus = jnp.where(real[:, None, None], codes.w_plus, w_plus)
        images = codes.images
    return Cases(
        w_plus=w_plus,
        target_w_plus=target,
        images=images,
        target_images=target_images,
        real=jnp.asarray(real),
        real_target=jnp.full(count, kind == "paired"),
        single=jnp.asarray(single),
        column=drawn(_COLUMN, lambda key: jax.random.randint(key, (), 0, columns)),
        uniform=drawn(_UNIFORM, jax.random.uniform),
    )


def _some(codes: Embedded | None, drawn: Any, count: int) -> Embedded:
    """As many embedded items as there are keys, drawn with replacement."""
    assert codes is not None
    most = len(codes.w_plus)
    chosen = drawn(_CHOICE, lambda key: jax.random.randint(key, (), 0, most))
    del count
    return jax.tree.map(lambda leaf: leaf[chosen], codes)


def matrix_phase(settings: MatrixSettings, stage: MatrixStage) -> Phase:
    """The one phase of a stage's steps, for `jaxface.training.loop.fit`; constants are `Models`."""
    optimizer = matrix_optimizer(settings)

    def loss_fn(matrix: DirectionMatrix, cases: Cases, models: Models) -> Any:
        paired = stage.kind == "paired"
        losses, terms = matrix_losses(settings, models, matrix, cases, paired=paired)
        return jnp.mean(losses), {name: jnp.mean(term) for name, term in terms.items()}

    def step(state: AveragedState, constants: Models, batch: Batch, key: jax.Array):
        del key  # an item's key is its own
        keys = jax.random.wrap_key_data(batch["key"])
        columns = len(state.network.names)
        cases = draw_cases(settings, constants, stage.kind, columns, keys)
        state, loss, terms = averaged.train_step(
            state,
            lambda matrix, part: loss_fn(matrix, part, constants),
            cases,
            optimizer=optimizer,
            half_life=settings.ema_half_life or _NO_EMA,
            microbatches=settings.microbatches,
            group=2,
        )
        return state, {"loss": loss, **terms}

    return Phase(f"matrix_{stage.kind}", step)


def matrix_optimizer(settings: MatrixSettings) -> optax.GradientTransformation:
    """Adam, with L2 in the gradient as torch's has it, and a falling rate where asked."""
    rate: Any = settings.learning_rate
    if settings.cosine:
        rate = optax.cosine_decay_schedule(settings.learning_rate, settings.steps)
    decay = [optax.add_decayed_weights(settings.weight_decay)] if settings.weight_decay else []
    return optax.chain(*decay, optax.adam(rate))
