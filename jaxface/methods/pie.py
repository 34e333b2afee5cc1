"""PIE: Portrait Image Embedding for Semantic Control (Tewari et al., ACM TOG 39(6), 2020).

A portrait I is embedded as the latent w whose image I_w minimises an energy (equation 6). This
module holds the energy's synthesis term (equation 7),

    E_syn(w) = lambda_l2 ||I - I_w||_2^2 + lambda_p ||phi(I) - phi(I_w)||_2^2

with phi the features of VGG-16 at conv1_1, conv1_2, conv3_2 and conv4_2, and the hierarchical
optimisation (section 4.4): first in W, from its mean, then in W+, from there.

What the paper leaves open, and what is chosen here:

* The range of the pixels and whether a norm is a sum: see `published_weights`.
* The filter that downsamples I before phi: a box average.
* The generator's noise inputs: its stored maps, so that w alone explains the portrait.
* Whether the step size starts anew in W+: it does, at its own starting value, and decays by its own
  count of steps.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxface.iteration import Program
from jaxface.latents import broadcast_w
from jaxface.losses import perceptual, photometric
from jaxface.nets import VGG16, Generator
from jaxface.solve import Progress, Solver, Stage
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class Adadelta:
    """Adadelta with its author's constants (Zeiler 2012, section 4.1). PIE's optimiser."""

    rho: float = 0.95
    eps: float = 1e-6

    def transformation(self, step_size: optax.Schedule) -> optax.GradientTransformation:
        """The optax transformation with a schedule of step sizes."""
        return optax.adadelta(step_size, rho=self.rho, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam with its authors' constants (Kingma and Ba 2015, algorithm 1)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def transformation(self, step_size: optax.Schedule) -> optax.GradientTransformation:
        """The optax transformation with a schedule of step sizes."""
        return optax.adam(step_size, b1=self.b1, b2=self.b2, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a portrait is embedded. Hashable: equal settings share compiled programs.

    Attributes:
      l2_weight: of the mean squared difference of images in [-1, 1].
      perceptual_weight: of the perceptual distance.
      layers: (layer, weight) pairs of the perceptual distance, each layer's squared difference
        averaged over its scalars.
      perceptual_resolution: larger images are downsampled to it before phi. Section 4.1: by 4 at
        1024.
      noise: "const": the generator's stored maps; "none"; "random": new ones at every step, from
        the item's key.
      optimizer: `Adadelta` or `Adam`.
      w_steps: iterations in W; 0 starts in W+ (the paper's "direct" ablation).
      w_step_size: at the first of them.
      w_plus_steps: iterations in W+; 0 ends in W.
      w_plus_step_size: at the first of them.
      decay_rate: the step size is multiplied by it, exponentially, every `decay_steps` iterations.
      decay_steps: see `decay_rate`.
      stop_below: a portrait whose energy is below this leaves the stage; None: never.
    """

    l2_weight: float
    perceptual_weight: float
    layers: tuple[tuple[str, float], ...]
    optimizer: Adadelta | Adam
    w_steps: int
    w_step_size: float
    w_plus_steps: int
    w_plus_step_size: float
    decay_rate: float
    decay_steps: int
    perceptual_resolution: int = 256
    noise: Literal["const", "none", "random"] = "const"
    stop_below: float | None = None

    def __post_init__(self):
        if min(self.w_steps, self.w_plus_steps) < 0 or self.w_steps + self.w_plus_steps < 1:
            raise ValueError(
                "Settings: w_steps and w_plus_steps must be >= 0 and not both 0, got "
                f"{self.w_steps} and {self.w_plus_steps}."
            )
        if self.noise not in ("const", "none", "random"):
            raise ValueError(
                f"Settings: noise must be 'const', 'none' or 'random', got {self.noise!r}."
            )


VGG_LAYERS = {"conv1_1": (1, 64), "conv1_2": (1, 64), "conv3_2": (4, 256), "conv4_2": (8, 512)}
"""The layers of phi (section 4.1): downsampling of the image, channels."""


def published_weights() -> tuple[float, float, tuple[tuple[str, float], ...]]:
    """The paper's weights of equation 7 in this library's units.

    lambda_l2 = lambda_p = 1e-6 (section 5; quoted without the paper at hand, so check them against
    it before comparing numbers), in units that it does not name. They are read here as factors of
    sums of squares, as the norms are written, over pixels of 0..255 at the paper's size of 1024
    (phi at 256): with these the two terms are of one order. The losses of this library are means
    over images in [-1, 1], so that they compare between resolutions; hence

        l2:  lambda_l2 * 3 * 1024^2 * 127.5^2
        layer j:  lambda_p * N_j * 57.6^2

    with N_j the scalars of layer j, and 57.6 = 255 * 0.226 grey levels the unit of torchvision's
    VGG-16, whose input is divided by ImageNet's standard deviation (features scale with the input,
    but for biases). Adadelta's step does not depend on the energy's overall scale.

    Returns:
      l2_weight, perceptual_weight, layers.
    """
    lambda_l2, lambda_p = 1e-6, 1e-6
    size, perceptual_size, grey_levels, vgg_unit = 1024, 256, 127.5, 57.6
    layers = tuple(
        (name, float(channels * (perceptual_size // stride) ** 2))
        for name, (stride, channels) in VGG_LAYERS.items()
    )
    return lambda_l2 * 3 * size**2 * grey_levels**2, lambda_p * vgg_unit**2, layers


_L2_WEIGHT, _PERCEPTUAL_WEIGHT, _LAYERS = published_weights()

PAPER = Settings(
    l2_weight=_L2_WEIGHT,
    perceptual_weight=_PERCEPTUAL_WEIGHT,
    layers=_LAYERS,
    optimizer=Adadelta(),
    w_steps=2000,
    w_step_size=50.0,
    w_plus_steps=1000,
    w_plus_step_size=10.0,
    decay_rate=0.1,
    decay_steps=2000,
)
"""As published (sections 4.4 and 5): about 10 minutes a portrait at 1024 on their V100."""

EMBEDDED = Settings(
    l2_weight=1.0,
    perceptual_weight=0.01,
    layers=tuple((name, 1.0) for name in VGG_LAYERS),
    optimizer=Adam(),
    w_steps=200,
    w_step_size=0.2,
    w_plus_steps=400,
    w_plus_step_size=0.1,
    decay_rate=0.1,
    decay_steps=400,
)
"""For the embedded suite at 64 px, tuned on 16 held-out renders. Five times the perceptual weight
costs about a decibel there, half the steps and step sizes half a decibel."""


class Networks(NamedTuple):
    """What the energy needs of a suite."""

    generator: Generator
    perceptual: VGG16


class Targets(NamedTuple):
    """What stays the same while portraits are embedded.

    Attributes:
      images: I, [N, R, R, 3] in [-1, 1].
      features: phi(I), {layer: [N, h, w, channels]}.
    """

    images: jax.Array
    features: perceptual.Features


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Embedded portraits, as NumPy arrays.

    Attributes:
      w_plus: [N, L, w_dim].
      images: I_w with the stored noise maps (none if the settings say so), [N, R, R, 3]; as the
        generator gives them, not clipped to [-1, 1].
      losses: {"loss", "l2", "perceptual"}: [N], of `images`; the two terms without their weights.
      status: [N] of `jaxface.solve.Status`; `DIVERGED` rows hold the last finite latent.
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
    mask: np.ndarray | None = None,
    mesh: Mesh | None = None,
    chunk: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> Inversion:
    """Embeds a batch of portraits.

    A portrait's result does not depend on the others of its batch. Batches of one shape compile
    once; pad the last one and mask the padding out.

    Args:
      suite: has a generator and perceptual features.
      images: I, [N, R, R, 3] in [-1, 1] with R the generator's resolution.
      keys: [N] typed keys, see `jaxface.solve.item_keys`.
      settings: see `jaxface.methods.presets`.
      mask: [N] bool, False for rows that only pad the batch.
      mesh: devices with an axis "data" to split the rows over; N must be a multiple of it.
      chunk: iterations between two calls of `progress`; no influence on results.
      progress: called after each chunk.

    Raises:
      ValueError: wrong shapes.
      SuiteError: the suite lacks a network.
    """
    generator = suite.generator
    shape = (generator.resolution, generator.resolution, 3)
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ValueError(f"invert: images must be [N, {shape}], got {images.shape}.")
    embedder = _embedder(settings, generator.num_ws, mesh, chunk)
    networks = Networks(generator, suite.perceptual)
    return embedder(networks, images, keys, mask=mask, progress=progress)


def energy(
    settings: Settings,
    num_ws: int,
    w: jax.Array,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The energy of each portrait, in the form of `jaxface.solve.Energy`.

    Args:
      settings: weights and noise.
      num_ws: L.
      w: [N, w_dim] in W or [N, L, w_dim] in W+.
      networks: see `Networks`.
      targets: see `Targets`.
      keys: [N] typed keys of this step.
      step: unused; the energy is the same at every step.

    Returns:
      [N], and its terms without their weights, [N] each.
    """
    noise = keys if settings.noise == "random" else settings.noise
    images = networks.generator.synthesis(_to_w_plus(w, num_ws), noise=noise)
    return synthesis_energy(settings, images, networks, targets)


def synthesis_energy(
    settings: Settings, images: jax.Array, networks: Networks, targets: Targets
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """E_syn, equation 7, of synthesised images I_w: [N], and its terms without their weights."""
    found = _phi(settings, networks, images)
    terms = {
        "l2": photometric.l2(images, targets.images),
        "perceptual": perceptual.distance(found, targets.features, dict(settings.layers)),
    }
    loss = settings.l2_weight * terms["l2"] + settings.perceptual_weight * terms["perceptual"]
    return loss, terms


def stages(settings: Settings, num_ws: int) -> tuple[Stage, ...]:
    """The hierarchical schedule of section 4.4: W, then W+ from where W ended."""

    def stage(name: str, steps: int, step_size: float, start: Callable) -> Stage:
        schedule = optax.exponential_decay(step_size, settings.decay_steps, settings.decay_rate)
        return Stage(
            name=name,
            energy=functools.partial(energy, settings, num_ws),
            optimizer=settings.optimizer.transformation(schedule),
            steps=steps,
            start=start,
            stop_below=settings.stop_below,
        )

    to_w_plus = functools.partial(_to_w_plus, num_ws=num_ws)
    found = []
    if settings.w_steps:
        found.append(stage("w", settings.w_steps, settings.w_step_size, lambda w: w))
    if settings.w_plus_steps:
        found.append(stage("w_plus", settings.w_plus_steps, settings.w_plus_step_size, to_w_plus))
    return tuple(found)


class Embedder:
    """The compiled programs of one choice of settings: targets, solver, final image and losses."""

    def __init__(
        self, settings: Settings, num_ws: int, *, mesh: Mesh | None = None, chunk: int = 50
    ):
        self.solver = Solver(stages(settings, num_ws), mesh=mesh, chunk=chunk)
        self._targets = Program(functools.partial(_targets, settings))
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
        targets = self._targets(networks, images)
        w_mean = networks.generator.w_mean
        start = jnp.broadcast_to(w_mean, (len(images), *w_mean.shape))
        solution = self.solver(start, networks, targets, keys, mask=mask, progress=progress)
        result = self._finish(networks, targets, solution.variables)
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


def _targets(settings: Settings, networks: Networks, images: jax.Array) -> Targets:
    return Targets(images, _phi(settings, networks, images))


def _finish(settings: Settings, num_ws: int, networks: Networks, targets: Targets, w: jax.Array):
    w_plus = _to_w_plus(w, num_ws)
    noise = "none" if settings.noise == "none" else "const"
    images = networks.generator.synthesis(w_plus, noise=noise)
    loss, terms = synthesis_energy(settings, images, networks, targets)
    return w_plus, images, {"loss": loss, **terms}


def _phi(settings: Settings, networks: Networks, images: jax.Array) -> perceptual.Features:
    layers = [name for name, _ in settings.layers]
    return perceptual.features(
        networks.perceptual, images, layers, resolution=settings.perceptual_resolution
    )


def _to_w_plus(w: jax.Array, num_ws: int) -> jax.Array:
    return broadcast_w(w, num_ws) if w.ndim == 2 else w
