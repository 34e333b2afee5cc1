"""Samples of a generator whose z begins with a scene's factors: what they show is known."""

from jaxface.errors import UsageError
from jaxface.morphable.worlds import World, world_of_basis
from jaxface.nets import Generator
from jaxface.vocabulary import Basis


def world_of_samples(name: str, generator: Generator, basis: Basis) -> World:
    """The embedded world whose scenes a generator draws.

    Args:
      name: of the method, for the message.
      generator: that draws them, from a z that begins with a scene's whitened factors.
      basis: of the expressions that the suite's reader of faces knows.

    Raises:
      UsageError: the reader's faces are of no embedded world, or z cannot hold a scene's factors.
    """
    of = world_of_basis(basis)
    if of is None:
        raise UsageError(
            f"{name}: faces of the basis {basis!r} are of no embedded world; set known_scenes=False"
        )
    if of.num_factors > generator.config.z_dim:
        raise UsageError(
            f"{name}: scenes of the world's version {of.version} have {of.num_factors} factors, "
            f"the generator's z {generator.config.z_dim} coordinates; set known_scenes=False"
        )
    return of
