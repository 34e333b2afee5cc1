"""The tuning of generators, each for a portrait whose pivot is at hand."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from jaxface.losses import photometric
from jaxface.losses.perceptual import downsample
from jaxface.methods.inversion import generator_in
from jaxface.methods.pti.settings import REPO, Settings
from jaxface.nets import LPIPS, Generator
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.runtime.devices import on_each_device
from jaxface.runtime.iteration import platform_strategy
from jaxface.solving.procedure import Compiled, Procedure
from jaxface.solving.solver import Progress, Stage
from jaxface.suite import Suite


class Networks(NamedTuple):
    """What the energy needs, the same for all portraits.

    Attributes:
      generator: G_0.
      lpips: the distance; AlexNet's in the authors' code.
    """

    generator: Generator
    lpips: LPIPS


class Targets(NamedTuple):
    """What is known of N portraits.

    Attributes:
      images: x, [N, R, R, 3] in [-1, 1].
      features: of x, as the LPIPS network compares them.
      w_plus: the pivots, [N, L, w_dim].
    """

    images: jax.Array
    features: Any
    w_plus: jax.Array


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Tuned generators.

    Attributes:
      weights: parameters of the synthesis networks, leaves [N, ...]; see `tuned_generator`.
      images: what they draw at their pivots, [N, R, R, 3], not clipped.
      losses: {"loss", "l2", "lpips"} and, with locality, {"locality"}: [N], of `images`.
      status: [N] of `jaxface.solving.solver.Status`.
      steps: [N] updates taken.
      traces: {name: [steps, N]}.
      seconds: wall time without compilation.
      compile_seconds: time spent compiling.
    """

    weights: Any
    images: np.ndarray
    losses: dict[str, np.ndarray]
    status: np.ndarray
    steps: np.ndarray
    traces: dict[str, np.ndarray]
    seconds: float
    compile_seconds: float


def tune(
    suite: Suite,
    images: jax.Array | np.ndarray,
    w_plus: jax.Array | np.ndarray,
    *,
    keys: jax.Array,
    settings: Settings,
    mask: np.ndarray | None = None,
    mesh: Mesh | None = None,
    chunk: int = 50,
    progress: Callable[[Progress], None] | None = None,
) -> Tuning:
    """Tunes a generator for each portrait of a batch.

    Each has weights, two moments and a gradient of its own, 452 MB of float32 at 1024 px.

    Args:
      suite: has a generator and an LPIPS network.
      images: x, [N, R, R, 3] in [-1, 1].
      w_plus: the pivots, [N, L, w_dim].
      keys: [N] typed keys, see `jaxface.keys.item_keys`; of the samples w_z.
      settings: such as `REPO` or `PAPER`.
      mask: [N] bool, False for rows that only pad the batch.
      mesh: devices with an axis "data" to split the rows over; N must be a multiple of it.
      chunk: steps between two calls of `progress`; no influence on results.
      progress: called after each chunk.

    Raises:
      ValueError: wrong shapes.
      SuiteError: the suite lacks a network.
    """
    generator = generator_in(suite, settings.dtype)
    lpips = distance_network(suite, settings)
    size, latent = generator.resolution, (generator.num_ws, generator.config.w_dim)
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(f"tune: images must be [N, {size}, {size}, 3], got {images.shape}.")
    if w_plus.shape != (len(images), *latent):
        raise ValueError(f"tune: w_plus must be {(len(images), *latent)}, got {w_plus.shape}.")
    solved = _compiled(settings, mesh, chunk)(
        Networks(generator, lpips), (images, w_plus), keys, mask=mask, progress=progress
    )
    loss, terms, drawn = jax.device_get(solved.results)
    return Tuning(
        weights=solved.variables,
        images=drawn,
        losses={"loss": loss, **terms},
        status=solved.status,
        steps=solved.steps,
        traces=solved.traces["tune"],
        seconds=solved.seconds,
        compile_seconds=solved.compile_seconds,
    )


def distance_network(suite: Suite, settings: Settings) -> LPIPS:
    """The network of `Settings.distance`.

    Raises:
      SuiteError: the suite lacks it.
    """
    if settings.distance == "perceptual":
        return LPIPS.of_trunk(suite.perceptual)
    return suite.lpips


def procedure(settings: Settings) -> Procedure:
    """From (images [N, R, R, 3], pivots [N, L, w_dim]) to what `evaluate` gives of the tuned."""
    return Procedure(
        start=lambda networks, inputs: start(networks, len(inputs[0]), settings=settings),
        targets=lambda networks, inputs: read_targets(settings, networks, *inputs),
        stages=(stage(settings),),
        finish=lambda networks, targets, weights, keys: evaluate(
            settings, weights, networks, targets, keys
        ),
    )


def tuned_generator(generator: Generator, weights: Any, row: int) -> Generator:
    """The generator of one portrait.

    Args:
      generator: G_0.
      weights: `Tuning.weights`.
      row: which portrait.
    """
    return with_synthesis(generator, jax.tree.map(lambda leaf: leaf[row], weights))


def changed_generator(generator: Generator, change: Any, row: int) -> Generator:
    """The generator of one portrait, of `jaxface.methods.inversion.Inverted.weights`.

    Args:
      generator: G_0.
      change: of the parameters of synthesis that were tuned, leaves [N, ...].
      row: which portrait.
    """
    _, own, _ = nnx.split(generator.synthesis, nnx.Param, ...)
    before, added = dict(nnx.to_flat_state(own)), nnx.to_flat_state(change)
    weights = [
        (path, jax.tree.map(lambda x, y: (x + y[row])[None], before[path], leaf))
        for path, leaf in added
    ]
    return tuned_generator(generator, nnx.from_flat_state(weights), 0)


def stage(settings: Settings) -> Stage:
    """The tuning; its variables are one row of parameters a portrait, see `start`."""
    return Stage(
        name="tune",
        energy=functools.partial(energy, settings),
        optimizer=optax.adam(settings.learning_rate),
        steps=settings.steps,
        stop_below=settings.stop_below,
        stop_on="lpips",
    )


def start(networks: Networks, count: int, *, settings: Settings = REPO) -> Any:
    """The parameters of G_0's synthesis network that are tuned, for each of `count` portraits.

    Raises:
      ValueError: the settings leave none.
    """
    synthesis = networks.generator.synthesis
    _, weights, _ = nnx.split(synthesis, _tuned(settings, synthesis), ...)
    if not jax.tree.leaves(weights):
        last = settings.last_resolution
        to = " on" if last is None else f" to {last} px"
        raise ValueError(
            f"Settings: the generator has no block from {settings.first_resolution} px{to}."
        )
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), weights)


_RGB = frozenset({"to_rgb", "to_image"})
"""Layers that make RGB: a block's, and MobileStyleGAN's one, at its full size."""


def _tuned(settings: Settings, synthesis: Any) -> Any:
    """A filter of nnx for the parameters that the settings tune."""
    sizes = [block.resolution for block in synthesis.blocks]
    first, last = settings.first_resolution, settings.last_resolution or sizes[-1]

    def kept(path: tuple[Any, ...], value: Any) -> bool:
        if not issubclass(getattr(value, "type", type(value)), nnx.Param):
            return False
        # Outside the blocks MobileStyleGAN has what others have in their first one.
        size = sizes[int(path[1])] if path[0] == "blocks" else 4
        if _RGB.isdisjoint(path):
            return first <= size <= last
        return settings.tunes_rgb and (path[0] != "blocks" or first <= size <= last)

    return kept


def read_targets(
    settings: Settings, networks: Networks, images: jax.Array, w_plus: jax.Array
) -> Targets:
    """What the energy knows of portraits [N, R, R, 3] with pivots [N, L, w_dim]."""
    return Targets(images, features(settings, networks, images), w_plus)


def features(settings: Settings, networks: Networks, images: jax.Array) -> Any:
    """What LPIPS compares of images [N, R, R, 3]: float32, computed in the settings' dtype."""
    if settings.resolution is not None:
        images = downsample(images, settings.resolution)
    return networks.lpips.features(images.astype(settings.dtype))


def energy(
    settings: Settings,
    weights: Any,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L of each portrait, in the form of `jaxface.solving.solver.Energy`.

    Args:
      settings: weights and samples.
      weights: parameters of the synthesis networks, leaves [N, ...].
      networks: see `Networks`.
      targets: see `Targets`.
      keys: [N] typed keys of this step.
      step: unused; the energy is the same at every step.

    Returns:
      [N], and {"l2", "lpips"} and, with locality, {"locality"}, [N]; without their weights, but
      L_R's own.
    """
    del step
    loss, terms, _ = evaluate(settings, weights, networks, targets, keys)
    return loss, terms


def evaluate(
    settings: Settings, weights: Any, networks: Networks, targets: Targets, keys: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """`energy`, and what the tuned generators draw as the third: [N, R, R, 3]."""

    def one(row: tuple[Any, Targets, jax.Array]) -> Any:
        weights, target, key = row
        synthesis = with_synthesis(networks.generator, weights).synthesis
        fit, each, image = fitted(
            settings, networks, synthesis, jax.tree.map(lambda leaf: leaf[None], target)
        )
        loss, terms = fit[0], {name: value[0] for name, value in each.items()}
        if settings.locality:
            near = project_to_sphere(settings, networks, target.w_plus[0], key)
            terms["locality"] = locality(settings, networks, synthesis, near)
            loss = loss + terms["locality"]
        return loss, terms, image[0]

    return _over_rows(settings, one, (weights, targets, keys))


def fitted(
    settings: Settings, networks: Networks, synthesis: Any, targets: Targets
) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """L without L_R of N portraits that one synthesis network draws.

    Args:
      settings: the weights.
      networks: have the distance.
      synthesis: the tuned network.
      targets: see `Targets`.

    Returns:
      [N]; {"l2", "lpips"} without their weights, [N]; and what is drawn, [N, R, R, 3].
    """
    images = synthesis(targets.w_plus)
    found = features(settings, networks, images)
    terms = {
        "l2": photometric.l2(images, targets.images),
        "lpips": networks.lpips.distance(found, targets.features),
    }
    loss = settings.l2_weight * terms["l2"] + settings.lpips_weight * terms["lpips"]
    return loss, terms, images


def project_to_sphere(
    settings: Settings, networks: Networks, w_plus: jax.Array, key: jax.Array
) -> jax.Array:
    """w_r about one pivot [L, w_dim], for samples of its key: [samples, L, w_dim]."""
    z = jax.random.normal(key, (settings.samples, networks.generator.config.z_dim))
    w_z = networks.generator.mapping(z, truncation=settings.truncation)
    return locality_latents(settings, w_z, w_plus)


def locality_latents(settings: Settings, w_z: jax.Array, w_plus: jax.Array) -> jax.Array:
    """w_r, `settings.alpha` from the pivot [L, w_dim] towards w_z [samples, L, w_dim]."""
    difference = w_z - w_plus
    length = jnp.sqrt(jnp.sum(jnp.square(difference), axis=(1, 2), keepdims=True))
    return w_plus + settings.alpha * difference / length


def locality(settings: Settings, networks: Networks, synthesis: Any, w_r: jax.Array) -> jax.Array:
    """L_R of one tuned synthesis network, the mean over w_r [samples, L, w_dim]: a scalar."""
    images = synthesis(w_r, noise="none")
    before = networks.generator.synthesis(w_r, noise="none")
    distance = networks.lpips.distance(
        features(settings, networks, images), features(settings, networks, before)
    )
    loss = settings.locality_l2_weight * photometric.l2(images, before)
    return jnp.mean(loss + settings.locality_lpips_weight * distance)


def _over_rows(settings: Settings, one: Callable, rows: Any) -> Any:
    form = settings.rows or ("unrolled" if platform_strategy() == "host" else "map")
    if form == "vmap":
        return jax.vmap(one)(rows)
    if form == "map":
        return on_each_device(functools.partial(jax.lax.map, one), rows)
    return on_each_device(functools.partial(_one_by_one, one), rows)


def _one_by_one(one: Callable, rows: Any) -> Any:
    count = len(jax.tree.leaves(rows)[0])
    found = [one(jax.tree.map(lambda leaf, i=i: leaf[i], rows)) for i in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


@functools.lru_cache(maxsize=8)
def _compiled(settings: Settings, mesh: Mesh | None, chunk: int) -> Compiled:
    return Compiled(procedure(settings), mesh=mesh, chunk=chunk)
