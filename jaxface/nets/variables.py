"""Arrays of a network that are no parameters, and arrays that fill larger ones."""

import jax
from flax import nnx


class Buffer(nnx.Variable):
    """A stored array that no optimiser touches: noise maps, running averages."""


def fill_corner(target: nnx.Variable, source: nnx.Variable | jax.Array) -> None:
    """The first entries of every axis become the source, which is no larger."""
    values = source[...]
    corner = tuple(slice(size) for size in values.shape)
    target[...] = target[...].at[corner].set(values)
