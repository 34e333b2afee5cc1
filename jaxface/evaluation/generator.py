"""How good a generator of the embedded world is.

Samples are compared with renders in a space of features: spatial means of the perceptual network's
activations. What a distance between two finite sets of the same distribution is, the floor, is
measured with two disjoint sets of renders. All renders are of keys that no training uses.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.keys import item_keys
from jaxface.losses import perceptual
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pie
from jaxface.methods.scene_regression import held_out_psnr
from jaxface.metrics import (
    frechet_distance,
    linear_probe_r2,
    perceptual_path_length,
    precision_recall,
    psnr,
)
from jaxface.morphable import FACTORS, NUM_FACTORS, Scene, render, scene_from_gaussian
from jaxface.nets import VGG16, Generator
from jaxface.runtime.devices import divisor_mesh
from jaxface.suite import Suite

FEATURE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The layers whose spatial means are the features, low and high ones side by side."""

SEED = 20_000_003
"""Of the scenes and latents; training counts its seeds from 0."""


@dataclasses.dataclass(frozen=True)
class GeneratorScores:
    """What was measured.

    Attributes:
      frechet: distance of samples from renders, see `jaxface.metrics.frechet_distance`.
      frechet_floor: of renders from other renders, as many.
      precision, recall: of samples, see `jaxface.metrics.precision_recall`.
      precision_floor, recall_floor: of renders against other renders.
      path_length: see `jaxface.metrics.perceptual_path_length`.
      factors_psnr: dB of held-out scenes, drawn from their factors; mean and lowest. None for a
        generator whose z does not begin with them.
      w_plus_psnr: dB of held-out renders, embedded in W+; mean and lowest.
      linear_r2: by group of factors, R squared of a linear probe of w. None as above.
      samples: items in each set.
      portraits: renders embedded.
    """

    frechet: float
    frechet_floor: float
    precision: float
    recall: float
    precision_floor: float
    recall_floor: float
    path_length: float
    factors_psnr: tuple[float, float] | None
    w_plus_psnr: tuple[float, float] | None
    linear_r2: dict[str, float] | None
    samples: int
    portraits: int


def evaluate_generator(
    suite: Suite,
    *,
    samples: int = 10_000,
    portraits: int = 64,
    knows_factors: bool = True,
    settings: pie.Settings = pie.EMBEDDED,
    batch_size: int = 100,
    say: Callable[[str], None] = lambda text: None,
) -> GeneratorScores:
    """Measures a suite's generator with the suite's perceptual network.

    Args:
      suite: has a generator and perceptual features.
      samples: items in each of the three sets: samples, renders, other renders.
      portraits: held-out renders to embed; 0 leaves that out.
      knows_factors: whether z begins with a scene's factors, as `scene_regression` trains it.
      settings: how the portraits are embedded.
      batch_size: items at a time.
      say: receives a line before each part.
    """
    generator, network = suite.generator, suite.perceptual
    keys = dict(
        zip(
            ("real", "other", "fake", "paths", "held", "probe", "free"),
            jax.random.split(jax.random.key(SEED), 7),
            strict=True,
        )
    )
    size = generator.resolution
    sets: dict[str, np.ndarray] = {}
    for name in ("real", "other"):
        say(f"rendering {samples} scenes")
        sets[name] = _features(network, renders(keys[name], samples, size, batch_size))
    say(f"drawing {samples} samples")
    sets["fake"] = _features(network, _samples(generator, keys["fake"], samples, batch_size))
    say("comparing")
    real, other, fake = sets["real"], sets["other"], sets["fake"]
    measured, floor = precision_recall(fake, real), precision_recall(other, real)
    weights = dict(settings.layers)
    say("walking paths")
    length = perceptual_path_length(
        generator, network, weights, key=keys["paths"], count=max(samples // 5, 1)
    )
    from_factors, r2, embedded = None, None, None
    if knows_factors:
        say("drawing held-out scenes")
        from_factors = _mean_and_lowest(_factor_psnr(generator, keys["held"], 256, keys["free"]))
        r2 = linear_r2(generator, keys["probe"], 10 * generator.config.w_dim)
    if portraits:
        say(f"embedding {portraits} portraits")
        scenes = jnp.concatenate(list(renders(keys["held"], portraits, size, batch_size)))
        item = item_keys(jax.random.key(0), [f"held-{i}" for i in range(portraits)])
        inversion = pie.invert(
            suite, scenes, keys=item, settings=settings, mesh=divisor_mesh(portraits)
        )
        embedded = _mean_and_lowest(psnr(jnp.clip(inversion.images, -1.0, 1.0), scenes))
    return GeneratorScores(
        frechet=frechet_distance(fake, real),
        frechet_floor=frechet_distance(other, real),
        precision=measured.precision,
        recall=measured.recall,
        precision_floor=floor.precision,
        recall_floor=floor.recall,
        path_length=length,
        factors_psnr=from_factors,
        w_plus_psnr=embedded,
        linear_r2=r2,
        samples=samples,
        portraits=portraits,
    )


def linear_r2(generator: Generator, key: jax.Array, count: int) -> dict[str, float]:
    """R squared of an affine map from w to what it should know, by group of the scene's parameters.

    Rotation, translation, identity, reflectance, expression and illumination are the face
    parameters; the rest are the whitened factors of the surroundings.
    """
    z = jax.random.normal(key, (count, generator.config.z_dim))
    w = np.asarray(jax.jit(lambda generator, z: generator.mapping.to_w(z))(generator, z))
    factors = z[:, :NUM_FACTORS]
    face = scene_from_gaussian(factors).face
    groups: dict[str, Any] = {
        field.name: getattr(face, field.name) for field in dataclasses.fields(face)
    }
    for name in ("hair_colour", "hair_style", "clothes", "background", "glasses"):
        groups[name] = factors[:, FACTORS[name]]
    return {name: linear_probe_r2(w, np.asarray(value)) for name, value in groups.items()}


@functools.partial(jax.jit, static_argnames="resolution")
def _pooled(network: VGG16, images: jax.Array, resolution: int) -> jax.Array:
    found = perceptual.features(network, images, FEATURE_LAYERS, resolution=resolution)
    return jnp.concatenate([jnp.mean(found[name], axis=(1, 2)) for name in FEATURE_LAYERS], axis=1)


def _features(network: VGG16, batches: Iterator[jax.Array]) -> np.ndarray:
    """Spatial means of activations, [N, D]."""
    return np.concatenate(
        [np.asarray(_pooled(network, images, images.shape[1])) for images in batches]
    )


def _batches(key: jax.Array, count: int, width: int, batch_size: int) -> Iterator[jax.Array]:
    """`count` rows of N(0, 1) of that width, in batches; the last one may be shorter."""
    for index, start in enumerate(range(0, count, batch_size)):
        rows = jax.random.normal(jax.random.fold_in(key, index), (batch_size, width))
        yield rows[: count - start]


def renders(key: jax.Array, count: int, size: int, batch_size: int) -> Iterator[jax.Array]:
    """Pictures as a file would hold them, in 8 bits."""
    for factors in _batches(key, count, NUM_FACTORS, batch_size):
        yield _eight_bits(render(scene_from_gaussian(factors), size))


def _samples(
    generator: Generator, key: jax.Array, count: int, batch_size: int
) -> Iterator[jax.Array]:
    for z in _batches(key, count, generator.config.z_dim, batch_size):
        yield _eight_bits(_draw(generator, z))


@jax.jit
def _draw(generator: Generator, z: jax.Array) -> jax.Array:
    return generator(z)


@jax.jit
def _eight_bits(images: jax.Array) -> jax.Array:
    return from_uint8(to_uint8(images))


def _factor_psnr(generator: Generator, key: jax.Array, count: int, free: jax.Array) -> jax.Array:
    factors = jnp.concatenate(list(_batches(key, count, NUM_FACTORS, 64)))
    scenes: Scene = scene_from_gaussian(factors)
    pictures = render(scenes, generator.resolution)
    score = jax.jit(held_out_psnr, static_argnames="resolution")
    return score(generator, factors, pictures, free, resolution=generator.resolution)


def _mean_and_lowest(values: jax.Array | np.ndarray) -> tuple[float, float]:
    return float(jnp.mean(values)), float(jnp.min(values))
