"""Which face model a suite's reconstruction network reads."""

from jaxface.morphable.bases import basis_of
from jaxface.suite import Suite
from jaxface.vocabulary import Basis


def suite_basis(suite: Suite) -> Basis:
    """The basis of the expressions that a suite reads; see `jaxface.morphable.bases.basis_of`.

    Raises:
      SuiteError: the suite has no reconstruction network.
    """
    return basis_of(suite.reconstruction, suite.face_model if "face_model" in suite else None)
