"""Perceptual path length: Karras et al. 2019, "A Style-Based Generator Architecture for Generative
Adversarial Networks", section 4.1, in W and at the end points of paths, as Karras et al. 2020a
report it for StyleGAN2.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxface.latents import broadcast_w
from jaxface.losses import perceptual
from jaxface.nets import VGG16, Generator

EPSILON = 1e-4
"""The step along a path, as a share of it."""

# Percentiles outside of which a path does not count, as in both papers' code.
_TRIMMED = (1.0, 99.0)


def perceptual_path_length(
    generator: Generator,
    network: VGG16,
    weights: Mapping[str, float],
    *,
    key: Key[Array, ""],
    count: int,
    batch_size: int = 50,
) -> float:
    """Mean perceptual distance of a small step along paths between latents, over its square.

    Comparable between generators of one resolution judged by one network, not beyond: the papers
    use LPIPS.

    Args:
      generator: its stored noise maps are used.
      network: the perceptual features.
      weights: {layer: weight} of the perceptual distance.
      key: typed key of the latents.
      count: paths.
      batch_size: paths at a time; no influence on which paths.

    Raises:
      ValueError: fewer than one path.
    """
    if count < 1:
        raise ValueError(f"perceptual_path_length: expected at least 1 path, got {count}.")
    z = jax.random.normal(key, (count, 2, generator.config.z_dim))
    layers = tuple(sorted(weights.items()))
    found = [
        np.asarray(_distances(generator, network, z[i : i + batch_size], layers=layers))
        for i in range(0, count, batch_size)
    ]
    distances = np.concatenate(found) / EPSILON**2
    first, last = _TRIMMED
    low = np.percentile(distances, first, method="lower")
    high = np.percentile(distances, last, method="higher")
    return float(distances[(low <= distances) & (distances <= high)].mean())


@functools.partial(jax.jit, static_argnames="layers")
def _distances(
    generator: Generator, network: VGG16, z: jax.Array, *, layers: tuple[tuple[str, float], ...]
) -> jax.Array:
    start, stop = generator.mapping.to_w(z[:, 0]), generator.mapping.to_w(z[:, 1])
    w = jnp.concatenate([start, start + EPSILON * (stop - start)])
    images = generator.synthesis(broadcast_w(w, generator.num_ws))
    size = generator.resolution
    features = perceptual.features(network, images, [name for name, _ in layers], resolution=size)
    here = {name: feature[: z.shape[0]] for name, feature in features.items()}
    there = {name: feature[z.shape[0] :] for name, feature in features.items()}
    return perceptual.distance(there, here, dict(layers))
