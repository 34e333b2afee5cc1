"""Renders and samples of the embedded world that no training uses, in batches."""

from collections.abc import Iterator

import jax

from jaxface.media.images import from_uint8, to_uint8
from jaxface.morphable.worlds import world as world_of
from jaxface.nets import Generator

SEED = 20_000_003
"""Of the scenes and latents; training counts its seeds from 0."""


def batches(key: jax.Array, count: int, width: int, batch_size: int) -> Iterator[jax.Array]:
    """`count` rows of N(0, 1) of that width, in batches; the last one may be shorter."""
    for index, start in enumerate(range(0, count, batch_size)):
        rows = jax.random.normal(jax.random.fold_in(key, index), (batch_size, width))
        yield rows[: count - start]


def renders(
    key: jax.Array, count: int, size: int, batch_size: int, *, version: str = "2.0.0"
) -> Iterator[jax.Array]:
    """Renders of `count` random scenes, in batches of [B, size, size, 3] in [-1, 1].

    They are rounded to 8 bits, as a file would hold them.
    """
    of = world_of(version)
    for factors in batches(key, count, of.num_factors, batch_size):
        yield eight_bits(of.render(of.scenes(factors), size))


def samples(
    generator: Generator, key: jax.Array, count: int, batch_size: int
) -> Iterator[jax.Array]:
    """What a generator draws of `count` random z, as `renders` gives scenes."""
    for z in batches(key, count, generator.config.z_dim, batch_size):
        yield eight_bits(draw(generator, z))


@jax.jit
def draw(generator: Generator, z: jax.Array) -> jax.Array:
    """z [N, z_dim] to images."""
    return generator(z)


@jax.jit
def eight_bits(images: jax.Array) -> jax.Array:
    """Images in [-1, 1], rounded as a file holds them."""
    return from_uint8(to_uint8(images))
