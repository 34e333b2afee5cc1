"""Samples of a generator whose z begins with a scene's factors: what they show is known."""

from jaxface.errors import UsageError
from jaxface.morphable.worlds import World, world_of_basis
from jaxface.nets import Generator
from jaxface.vocabulary import Basis


def world_of_samples(name: str, num_factors: int, generator: Generator, basis: Basis) -> World:
    """The embedded world whose scenes a generator draws.

    Args:
      name: of the method, for the message.
      num_factors: the first coordinates of z that are a scene's whitened factors.
      generator: that draws them.
      basis: of the expressions that the suite's reader of faces knows.

    Raises:
      UsageError: the reader's faces are of no embedded world, its scenes have another number of
        factors, or z cannot hold them.
    """
    of = world_of_basis(basis)
    if of is None:
        raise UsageError(
            f"{name}: faces of the basis {basis!r} are of no embedded world; set num_factors=0"
        )
    if num_factors != of.num_factors or num_factors > generator.config.z_dim:
        raise UsageError(
            f"{name}: scenes of the world's version {of.version} have {of.num_factors} factors and "
            f"the generator's z {generator.config.z_dim} coordinates, num_factors is "
            f"{num_factors}; set it to the former, or to 0 where z does not begin with factors"
        )
    return of
