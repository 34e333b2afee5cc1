"""The embedded world that a suite is of: whose renders it is compared with."""

from jaxface.errors import UsageError
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable.worlds import World, world_of_basis
from jaxface.suite import Suite


def suite_world(suite: Suite) -> World:
    """The world whose faces the suite's reconstruction network reads.

    Raises:
      UsageError: it reads faces of no embedded world, which have no renders.
      SuiteError: the suite lacks a reconstruction network.
    """
    basis = suite_basis(suite)
    of = world_of_basis(basis)
    if of is None:
        raise UsageError(
            f"suite {suite.name!r} reads faces of the basis {basis!r}; what is measured here is "
            "compared with renders of the embedded world, so that a suite of it is needed"
        )
    return of
