"""Sampled latents, in pairs, and what the frozen networks say of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxface.morphable import FaceParameters
from jaxface.morphable.bases import models_of
from jaxface.morphable.models import FaceModels
from jaxface.nets import Generator

CHUNK = 32  # images at once, where they are not trained on
_CHUNK_PIXELS = 1 << 22  # of these, at the generator's own size
_LATENTS = 512  # that W's variance is measured on


class Models(struct.PyTreeNode):
    """What training reads and does not change."""

    generator: Generator
    reconstruction: Any
    face: FaceModels
    w_variance: jax.Array
    """Of the generator's W, the mean over its coordinates."""
    resolution: int | None = struct.field(pytree_node=False, default=None)
    """Of the images; None: the generator's."""


def frozen_models(
    generator: Generator, reconstruction: Any, key: jax.Array, *, resolution: int | None = None
) -> Models:
    """The frozen parts of training on a generator; W's variance is measured.

    Args:
      generator: unconditional.
      reconstruction: images to PIE's parameters [N, 257], of whatever face model it reads.
      key: typed, of the latents that W's variance is measured on.
      resolution: see `Models`.
    """
    w = draw_latents(generator, jax.random.split(key, _LATENTS))[:, 0]
    return Models(
        generator=generator,
        reconstruction=reconstruction,
        face=models_of(reconstruction),
        w_variance=jnp.mean(jnp.var(w, axis=0)),
        resolution=resolution,
    )


def sample_z(keys: jax.Array, z_dim: int) -> jax.Array:
    """z [N, z_dim] of the items with these typed keys [N]."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), (z_dim,)))(keys)


def sample_latents(generator: Generator, keys: jax.Array, mixing_probability: float) -> jax.Array:
    """w_plus [N, L, w_dim] of the items with these typed keys [N], some of them mixed."""
    w_plus = generator.mapping(sample_z(keys, generator.config.z_dim))
    if mixing_probability == 0.0:
        return w_plus
    others = jax.vmap(jax.random.fold_in, (0, None))(keys, 1)
    other = generator.mapping(sample_z(others, generator.config.z_dim))

    def first_of_other(key: jax.Array) -> jax.Array:
        row_key, share_key = jax.random.split(jax.random.fold_in(key, 2))
        row = jax.random.randint(row_key, (), 1, generator.num_ws)
        mixed = jax.random.uniform(share_key) < mixing_probability
        return jnp.where(mixed, row, generator.num_ws)

    rows = jnp.arange(generator.num_ws)[None, :, None]
    return jnp.where(rows < jax.vmap(first_of_other)(keys)[:, None, None], w_plus, other)


_draw = jax.jit(lambda generator, keys: sample_latents(generator, keys, 0.0))


def draw_latents(generator: Generator, keys: jax.Array) -> jax.Array:
    """`sample_latents` of any number of items, unmixed, compiled."""
    return in_chunks(lambda part: _draw(generator, part), keys)


def synthesize_and_reconstruct(
    models: Models, w_plus: jax.Array
) -> tuple[jax.Array, FaceParameters]:
    """I_w [N, R, R, 3] and p_w = F(I_w), with the generator's stored noise maps."""
    images = models.generator.synthesis(w_plus, resolution=models.resolution)
    return images, FaceParameters.from_flat(models.reconstruction(images))


_synthesize_and_reconstruct = jax.jit(synthesize_and_reconstruct)


def observe_all(models: Models, w_plus: jax.Array) -> tuple[jax.Array, FaceParameters]:
    """`synthesize_and_reconstruct` of any number of latents, compiled."""
    return in_chunks(
        lambda part: _synthesize_and_reconstruct(models, part), w_plus, most=_images(models)
    )


def read_all(models: Models, w_plus: jax.Array) -> FaceParameters:
    """`observe_all` without the images, which fill a memory where they are large and many."""
    return in_chunks(
        lambda part: _synthesize_and_reconstruct(models, part)[1], w_plus, most=_images(models)
    )


def _images(models: Models) -> int:
    """How many images are drawn at once: a large generator's need much memory."""
    return max(1, min(CHUNK, _CHUNK_PIXELS // models.generator.resolution**2))


def in_chunks(fn: Callable[[Any], Any], tree: Any, *, most: int = CHUNK) -> Any:
    """fn of parts of the items, for memory: of one size, so that it is compiled once.

    Args:
      fn: of some items.
      tree: of items.
      most: items of a part.
    """
    count = len(jax.tree.leaves(tree)[0])
    size = max(n for n in range(1, most + 1) if count % n == 0)
    starts = range(0, count, size)
    parts = [fn(jax.tree.map(lambda a, i=i: a[i : i + size], tree)) for i in starts]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def swap_pairs(tree: Any) -> Any:
    """Every item replaced by the other one of its pair, items 0 and 1, 2 and 3, ...; leaves [N]."""
    return jax.tree.map(lambda a: a.reshape(-1, 2, *a.shape[1:])[:, ::-1].reshape(a.shape), tree)
