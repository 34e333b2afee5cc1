"""PIE's hierarchical optimisation (section 4.4): in W from its mean, then in W+ from there."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxface.losses.perceptual import downsample
from jaxface.methods.pie.energy import Targets, energy, evaluate, to_w_plus
from jaxface.methods.pie.networks import Bank, Networks, networks_of, phi, psi
from jaxface.methods.pie.sampling import estimate
from jaxface.methods.pie.settings import Settings
from jaxface.morphable.models import FaceModels
from jaxface.runtime.iteration import Program
from jaxface.solving.continuous_batching import ContinuousBatcher
from jaxface.solving.solver import Progress, Solver, Stage
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Embedded portraits, as NumPy arrays.

    Attributes:
      w_plus: [N, L, w_dim].
      images: I_w with the stored noise maps (none if the settings say so), [N, R, R, 3]; as the
        generator gives them, not clipped to [-1, 1].
      losses: {"loss": the energy, and its terms without their weights as `energy` names them}: [N],
        of `images`. Expectations are over one v of the portrait's own, another than the steps'.
      status: [N] of `jaxface.solving.solver.Status`; `DIVERGED` rows hold the last finite latent.
      steps: [N] updates each portrait took.
      traces: {"w": {name: [steps, N]}, "w_plus": ...}.
      seconds: wall time of the batch without compilation.
      compile_seconds: time spent compiling.
    """

    w_plus: np.ndarray
    images: np.ndarray
    losses: dict[str, np.ndarray]
    status: np.ndarray
    steps: np.ndarray
    traces: dict[str, dict[str, np.ndarray]]
    seconds: float
    compile_seconds: float


def invert(
    suite: Suite,
    images: jax.Array | np.ndarray,
    *,
    keys: jax.Array,
    settings: Settings,
    models: FaceModels | None = None,
    bank: Bank | None = None,
    mask: np.ndarray | None = None,
    mesh: Mesh | None = None,
    chunk: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> Inversion:
    """Embeds a batch of portraits.

    A portrait's result does not depend on the others of its batch. Batches of one shape compile
    once; pad the last one and mask the padding out.

    Args:
      suite: has the networks that the settings' terms need.
      images: I, [N, R, R, 3] in [-1, 1] with R the generator's resolution.
      keys: [N] typed keys, see `jaxface.keys.item_keys`.
      settings: see `jaxface.methods.presets`.
      models: of the face that the suite reads; None: the embedded world's.
      bank: what `draw_bank` made for these settings; None if they ask for none.
      mask: [N] bool, False for rows that only pad the batch.
      mesh: devices with an axis "data" to split the rows over; N must be a multiple of it.
      chunk: iterations between two calls of `progress`; no influence on results.
      progress: called after each chunk.

    Raises:
      ValueError: wrong shapes, or no bank of the size that the settings give.
      SuiteError: the suite lacks a network that a term needs.
    """
    generator = suite.generator
    shape = (generator.resolution, generator.resolution, 3)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ValueError(f"invert: images must be [N, {shape}], got {images.shape}.")
    embedder = _embedder(settings, generator.num_ws, mesh, chunk)
    networks = networks_of(suite, settings, models=models, bank=bank)
    return embedder(networks, images, keys, mask=mask, progress=progress)


def stages(settings: Settings, num_ws: int) -> tuple[Stage, ...]:
    """The hierarchical schedule of section 4.4: W, then W+ from where W ended."""

    def stage(
        name: str, steps: int, step_size: float, start: Callable, resolution: int | None = None
    ) -> Stage:
        schedule = optax.exponential_decay(step_size, settings.decay_steps, settings.decay_rate)
        return Stage(
            name=name,
            energy=functools.partial(energy, settings, num_ws, resolution),
            optimizer=settings.optimizer.transformation(schedule),
            steps=steps,
            start=start,
            stop_below=settings.stop_below,
        )

    from_w = functools.partial(to_w_plus, num_ws=num_ws)
    found = []
    if settings.w_steps:
        resolution = settings.w_resolution
        found.append(stage("w", settings.w_steps, settings.w_step_size, lambda w: w, resolution))
    if settings.w_plus_steps:
        found.append(stage("w_plus", settings.w_plus_steps, settings.w_plus_step_size, from_w))
    return tuple(found)


class Embedder:
    """The compiled programs of one choice of settings: targets, solver, final image and losses."""

    def __init__(
        self, settings: Settings, num_ws: int, *, mesh: Mesh | None = None, chunk: int = 50
    ):
        self.solver = Solver(stages(settings, num_ws), mesh=mesh, chunk=chunk)
        self._targets = Program(functools.partial(read_targets, settings))
        self._finish = Program(functools.partial(_finish, settings, num_ws))

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        programs = (self.solver, self._targets, self._finish)
        return sum(program.compile_seconds for program in programs)

    def __call__(
        self,
        networks: Networks,
        images: jax.Array | np.ndarray,
        keys: jax.Array,
        *,
        mask: np.ndarray | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Inversion:
        """See `invert`."""
        begin, compiled_before = time.perf_counter(), self.compile_seconds
        images = self.solver.place(jnp.asarray(images))
        networks = self.solver.replicate(networks)
        keys = self.solver.place(keys)
        targets = self._targets(networks, images)
        start = _start(networks, targets.images)
        solution = self.solver(start, networks, targets, keys, mask=mask, progress=progress)
        result = self._finish(networks, targets, solution.variables, keys)
        w_plus, reconstructions, losses = jax.device_get(result)
        compile_seconds = self.compile_seconds - compiled_before
        return Inversion(
            w_plus=w_plus,
            images=reconstructions,
            losses=losses,
            status=solution.status,
            steps=solution.steps,
            traces=solution.traces,
            seconds=time.perf_counter() - begin - compile_seconds,
            compile_seconds=compile_seconds,
        )


@functools.lru_cache(maxsize=8)
def _embedder(settings: Settings, num_ws: int, mesh: Mesh | None, chunk: int) -> Embedder:
    return Embedder(settings, num_ws, mesh=mesh, chunk=chunk)


def slots(
    settings: Settings,
    num_ws: int,
    size: int,
    *,
    mesh: Mesh | None = None,
    chunk: int = 50,
    measure: Callable[[jax.Array, jax.Array], Any],
) -> ContinuousBatcher:
    """The embedding of portraits that come one by one; see `jaxface.solving.continuous_batching`.

    A problem's inputs are I, [R, R, 3] in [-1, 1]; its result is (w_plus [L, w_dim], the losses as
    `Inversion` has them, what `measure` gave).

    Args:
      settings, mesh, chunk: see `invert`.
      num_ws: L.
      size: portraits that are embedded together.
      measure: (I_w, I), both [N, R, R, 3] -> pytree of [N, ...], traceable.
    """

    def finish(networks: Networks, targets: Targets, w: jax.Array, keys: jax.Array):
        w_plus, images, losses = _finish(settings, num_ws, networks, targets, w, keys)
        return w_plus, losses, measure(images, targets.images)

    return ContinuousBatcher(
        Solver(stages(settings, num_ws), mesh=mesh, chunk=chunk),
        size,
        start=_start,
        targets=functools.partial(read_targets, settings),
        finish=finish,
    )


def _start(networks: Networks, images: jax.Array) -> jax.Array:
    """W's mean for each portrait, [N, w_dim]; section 4.4."""
    w_mean = networks.generator.w_mean
    return jnp.broadcast_to(w_mean, (len(images), *w_mean.shape))


def read_targets(settings: Settings, networks: Networks, images: jax.Array) -> Targets:
    """What the energy knows of portraits I [N, R, R, 3] from the start."""
    coarse = None
    if settings.w_resolution is not None:
        small = downsample(images, settings.w_resolution)
        features = None if networks.perceptual is None else phi(settings, networks, small)
        coarse = Targets(images=small, features=features)
    return Targets(
        images=images,
        features=None if networks.perceptual is None else phi(settings, networks, images),
        reading=estimate(settings, networks, images) if "invariance" in settings.terms else None,
        embedding=None if networks.recognition is None else psi(settings, networks, images),
        coarse=coarse,
    )


def _finish(
    settings: Settings,
    num_ws: int,
    networks: Networks,
    targets: Targets,
    w: jax.Array,
    keys: jax.Array,
):
    w_plus = to_w_plus(w, num_ws)
    noise = "none" if settings.noise == "none" else "const"
    loss, terms, images = evaluate(settings, w_plus, networks, targets, keys, noise)
    return w_plus, images, {"loss": loss, **terms}
