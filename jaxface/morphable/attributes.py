"""Face parameters by the names that a person edits them by.

``pitch``, ``yaw`` and ``roll`` are the angles of `FaceParameters.rotation`, in every face model.
The names of `EXPRESSION_NAMES` are the first expression coefficients of the embedded world's
version 2 ("embedded"), and means of ARKit's units, `EXPRESSIONS`, in its version 3 ("anatomical"),
whose units go by ARKit's names too. The Basel Face Model has no names of expressions.
"""

import functools
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from jaxface.errors import did_you_mean
from jaxface.morphable.arkit import ARKIT_UNITS, EXPRESSIONS
from jaxface.morphable.parameters import SEMANTIC_GROUPS, WIDTHS
from jaxface.vocabulary import ANGLES, EXPRESSION_NAMES, Basis

_OFFSETS = dict(zip(WIDTHS, itertools.accumulate(WIDTHS.values(), initial=0), strict=False))


class NamedParameter(NamedTuple):
    """What a name stands for.

    Attributes:
      group: the semantic group.
      places: among the group's numbers; the name's value is their mean.
    """

    group: str
    places: tuple[int, ...]


@functools.cache
def named_parameters(basis: Basis) -> Mapping[str, NamedParameter]:
    """All named parameters of a face model.

    Args:
        basis: "embedded", "anatomical" or "basel".

    Raises:
        ValueError: PIE's parameters are of no such basis.
    """
    if basis == "embedded":
        expressions = {name: (place,) for place, name in enumerate(EXPRESSION_NAMES)}
    elif basis == "anatomical":
        units = {name: (name,) for name in ARKIT_UNITS}
        expressions = {
            name: tuple(ARKIT_UNITS.index(unit) for unit in of)
            for name, of in (EXPRESSIONS | units).items()
        }
    elif basis == "basel":
        expressions = {}
    else:
        raise ValueError(f"named_parameters: no parameters of PIE's are of the basis {basis!r}.")
    return MappingProxyType(
        {name: NamedParameter("pose", (place,)) for place, name in enumerate(ANGLES)}
        | {name: NamedParameter("expression", places) for name, places in expressions.items()}
    )


def group_places(group: str) -> list[int]:
    """Where a semantic group's numbers lie in the 257 parameters, in the order of `group`."""
    return [_OFFSETS[field] + i for field in SEMANTIC_GROUPS[group] for i in range(WIDTHS[field])]


def named_parameter(name: str, basis: Basis) -> NamedParameter:
    """The parameter that a name stands for in a face model.

    Raises:
        ValueError: if no parameter has that name; the message gives the nearest.
    """
    known = named_parameters(basis)
    if name not in known:
        raise ValueError(
            f"unknown face parameter {name!r}; {did_you_mean(name, known)} Known: "
            f"{', '.join(known)}"
        )
    return known[name]
