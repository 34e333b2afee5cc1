"""Training of F_rot and F_expr on a tuned generator: section 4.3 and appendix B.

One compiled step draws both branches and has all losses; frames stay on the device as 8 bits,
and which of them a step takes, and by what they are perturbed, follows from the step's number
alone, so that a run that goes on from a stored state gives the same networks bit for bit.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct

from jaxface.errors import JaxfaceError, UsageError
from jaxface.losses.perceptual import downsample
from jaxface.media.images import from_uint8
from jaxface.methods.pvp.features import Features, Layout, standard
from jaxface.methods.pvp.losses import Batch, Frozen, draw, mapper_losses, noise_of
from jaxface.methods.pvp.settings import MapperSettings
from jaxface.methods.pvp.tuning import batch_of
from jaxface.metrics import psnr
from jaxface.nets import AvatarConfig, AvatarMappers, AvatarPrior, Generator
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.devices import divisor_mesh, over_devices
from jaxface.runtime.iteration import Iteration, Phase
from jaxface.solving.placement import Placement

CHECKS = 25
"""Times that the selection's frames are drawn in a training."""


@struct.dataclass
class Constants:
    """What a step reads: networks, all training frames, and the key of everything random."""

    mappers: AvatarMappers
    frozen: Frozen
    frames: Batch
    key: jax.Array


@struct.dataclass
class State:
    """What a step changes: parameters of the mappers and, where they are trained, noise maps."""

    params: Any
    optimizer: Any


def fresh_mappers(
    settings: MapperSettings,
    anchors: Any,
    features: Features,
    *,
    key: jax.Array,
) -> AvatarMappers:
    """Mappers before the first step.

    Args:
      settings: sizes, and whether inputs are standardised.
      anchors: [K, L, w_dim].
      features: of the training frames.
      key: of the weights.
    """
    count, rows, width = anchors.shape
    config = AvatarConfig(
        anchors=count,
        num_ws=rows,
        expression=features.expression.shape[1],
        w_dim=width,
        angles=settings.angles,
        expression_rows=min(settings.expression_rows, rows),
        hidden=settings.hidden,
        beta=settings.beta,
        sharpness=settings.sharpness,
        rotation=settings.rotation,
        published_start=settings.start == "torch",
    )
    mappers = AvatarMappers(config, rngs=nnx.Rngs(key))
    mappers.anchors[...] = jnp.asarray(anchors, jnp.float32)
    if settings.standardise:
        found = standard(features, floor=settings.deviation_floor)
        names = ("pose_mean", "pose_scale", "expression_mean", "expression_scale")
        for name, value in zip(names, found, strict=True):
            array = getattr(mappers, name)
            array[...] = jnp.asarray(value)[: len(array[...])]
    return mappers


def prior_mappers(
    settings: MapperSettings, prior: AvatarPrior, anchors: Any, features: Features
) -> AvatarMappers:
    """Mappers that begin as a prior says of a person's anchors: F_rot's last layer is solved for.

    Args:
      settings: of the training; sizes, hull and standardisation are the prior's.
      prior: see `jaxface.nets.AvatarPrior`.
      anchors: [K, L, w_dim].
      features: of the anchors.

    Raises:
      UsageError: the prior is of other latents or expressions.
    """
    known, (_, rows, width) = prior.config, anchors.shape
    numbers = features.expression.shape[1]
    if (known.num_ws, known.w_dim, known.expression) != (rows, width, numbers):
        raise UsageError(
            f"the suite's avatar_prior is of W+ of {known.num_ws} x {known.w_dim} and expressions "
            f"of {known.expression} numbers, the clip has {rows} x {width} and {numbers}: train "
            "one for the suite, or set mappers.start=zero"
        )
    sized = dataclasses.replace(
        settings,
        start="zero",
        standardise=False,
        angles=known.angles,
        hidden=known.hidden,
        expression_rows=known.expression_rows,
        beta=known.beta,
        sharpness=known.sharpness,
    )
    mappers = fresh_mappers(sized, anchors, features, key=jax.random.key(0))  # of which none stays
    pose, expression = map(jnp.asarray, features)
    weight, bias = prior.last_layer(pose, expression)
    mappers.rotation.weight1[...] = prior.weight1[...][None]
    mappers.rotation.bias1[...] = prior.bias1[...][None]
    mappers.rotation.weight2[...] = weight[None]
    mappers.rotation.bias2[...] = bias[None]
    nnx.update(mappers.expression, jax.tree.map(jnp.array, nnx.state(prior.expression)))
    mappers.pose_mean[...] = prior.pose_mean[...]
    mappers.pose_scale[...] = prior.pose_scale[...]
    mappers.expression_mean[...] = jnp.mean(expression, axis=0)
    mappers.expression_scale[...] = prior.expression_scale[...]
    return mappers


class Training:
    """The training as a loop of chunks, which can be left and gone on with.

    The frames of a step are split over as many of this process's devices as divide them.

    Args:
      settings: see `MapperSettings`.
      mappers: to begin with.
      frozen: what draws and judges.
      frames: all training frames; images at the side of comparison.
      selection: frames by whose PSNR the best step is chosen; None: the last step.
      layout: of the numbers of an expression.
      key: typed.
    """

    def __init__(
        self,
        settings: MapperSettings,
        mappers: AvatarMappers,
        frozen: Frozen,
        frames: Batch,
        *,
        selection: Batch | None,
        layout: Layout,
        key: jax.Array,
    ):
        self._settings, self._layout, self._selection = settings, layout, selection
        self._mappers = mappers
        frames = jax.tree.map(jnp.asarray, frames)
        self._constants = Constants(mappers, frozen, frames, key)
        self._batch = min(settings.batch_size, len(frames.pose))
        rate: Any = settings.learning_rate
        if settings.last_learning_rate < 1:
            rate = optax.cosine_decay_schedule(rate, settings.steps, settings.last_learning_rate)
        self._optimizer = optax.adam(rate)
        self._placement = Placement(divisor_mesh(self._batch))
        self._iteration = Iteration([Phase("map", lambda s, c, _, i: self.step(s, c, i))])
        self.chunk = max(1, -(-settings.steps // CHECKS))
        """Steps between two calls of `after`."""

    def start(self) -> State:
        """The state before the first step."""
        params = {"mappers": jax.tree.map(jnp.array, nnx.state(self._mappers, nnx.Param))}
        if self._settings.train_noise:
            synthesis = self._constants.frozen.generator.synthesis
            params["noise"] = jax.tree.map(jnp.array, nnx.state(synthesis, is_noise))
        return State(params, self._optimizer.init(params))

    def programs(self, state: State) -> list[Any]:
        """The compiled programs of a chunk, for their memory and cost."""
        state, constants = self._placement.replicate((state, self._constants))
        return self._iteration.compiled(state, constants, self.chunk)

    def run(
        self,
        state: State,
        trace: Sequence[dict[str, float]] = (),
        *,
        best: Any = None,
        after: Callable[[State, list[dict[str, float]], Any], None] | None = None,
    ) -> tuple[AvatarMappers, Any, list[dict[str, float]]]:
        """All steps, or those that are left.

        Args:
          state: `start`'s, or an earlier run's; it is used up.
          trace: of an earlier run: a row for each chunk, with its last ``step``.
          best: the parameters of the best chunk so far, where there is a selection.
          after: called after each chunk with the state, the trace and the best parameters; it may
            raise to stop.

        Returns:
          The mappers; all that was trained, for `with_noise`; and the trace: means of each chunk's
          losses and, with a selection, its ``psnr``.

        Raises:
          JaxfaceError: the losses are no numbers any more, or the manifold has none.
        """
        rows = [dict(each) for each in trace]
        state, constants = self._placement.replicate((state, self._constants))
        done = int(rows[-1]["step"]) if rows else 0
        while done < self._settings.steps:
            count = min(self.chunk, self._settings.steps - done)
            state, outputs = self._iteration.advance(state, constants, done, count)
            done += count
            row = {name: float(np.mean(each)) for name, each in outputs["map"].items()}
            lowest = float(np.min(outputs["map"].get("weight_sum", np.ones(1))))
            if not all(map(np.isfinite, row.values())):
                raise JaxfaceError(
                    f"the mappers diverged before step {done}: their losses are no numbers; lower "
                    "mappers.learning_rate"
                )
            if lowest <= 0:
                raise JaxfaceError(
                    f"the mappers left the manifold before step {done}: all blending weights are "
                    "at their bound; lower mappers.learning_rate or mappers.beta"
                )
            row["step"] = done
            if self._selection is not None:
                row["psnr"] = self.quality(state.params, self._selection)
                if best is None or row["psnr"] > max(each["psnr"] for each in rows):
                    best = jax.tree.map(jnp.array, state.params)
            rows.append(row)
            if after is not None:
                after(state, rows, best)
        params = self._placement.unplaced(state.params if best is None else best)
        return _merged(self._mappers, params), params, rows

    def quality(self, params: Any, frames: Batch) -> float:
        """Mean PSNR of frames as they are drawn, dB."""
        mappers = _merged(self._mappers, params)
        generator = with_noise(self._constants.frozen.generator, params)
        seen = [np.asarray(each) for each in frames[:3]]
        return float(by_chunks(partial(_psnr, mappers, generator), *seen, size=16).mean())

    def step(self, state: State, constants: Constants, index: jax.Array) -> Any:
        """One update: the state after it, and its losses by name; traceable."""
        settings = self._settings
        count = len(constants.frames.pose)
        rows = batch_of(constants.key, index, count=count, batch=self._batch)
        batch = over_devices(jax.tree.map(lambda leaf: leaf[rows], constants.frames))
        key = jax.random.fold_in(jax.random.fold_in(constants.key, _NOISE), index)
        scale = constants.mappers.expression_scale[...]
        shape = batch.expression.shape
        noise = noise_of(settings, constants.mappers, shape, layout=self._layout, key=key)
        noise = over_devices(noise)

        def total(params: Any) -> Any:
            mappers = _merged(constants.mappers, params)
            generator = with_noise(constants.frozen.generator, params)
            drawn = draw(settings, mappers, generator, batch, noise)
            losses, terms = mapper_losses(
                settings,
                constants.frozen,
                batch,
                drawn,
                expression_scale=scale,
                layout=self._layout,
            )
            told = {name: jnp.mean(term) for name, term in terms.items()}
            if settings.rotation == "blend":
                told["weight_sum"] = jnp.min(mappers.weight_sums(batch.pose))
            return jnp.mean(losses), told

        (loss, told), gradient = jax.value_and_grad(total, has_aux=True)(state.params)
        updates, optimizer = self._optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer), {"loss": loss, **told}


_NOISE = 0x6E7A


def is_noise(path: tuple[Any, ...], value: Any) -> bool:
    """A filter of nnx for a generator's stored noise maps."""
    del value
    return path[-1] == "noise_const"


def _merged(mappers: AvatarMappers, params: Any) -> AvatarMappers:
    graphdef, _, rest = nnx.split(mappers, nnx.Param, ...)
    return nnx.merge(graphdef, params["mappers"], rest)


def with_noise(generator: Generator, params: Any) -> Generator:
    """The generator with the noise maps of what was trained, where they were."""
    return with_synthesis(generator, params["noise"]) if "noise" in params else generator


@jax.jit
def _psnr(mappers: AvatarMappers, generator: Generator, images: Any, pose: Any, expression: Any):
    target = from_uint8(images)
    drawn = downsample(generator.synthesis(mappers(pose, expression)), target.shape[1])
    return psnr(jnp.clip(drawn, -1, 1), target)
