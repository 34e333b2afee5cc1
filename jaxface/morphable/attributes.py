"""Face parameters by the names that a person edits them by.

``pitch``, ``yaw`` and ``roll`` are the angles of `FaceParameters.rotation`; the names of
`EXPRESSION_NAMES` are its first expression coefficients.
"""

import itertools
from collections.abc import Mapping
from types import MappingProxyType

from jaxface.errors import did_you_mean
from jaxface.morphable.parameters import SEMANTIC_GROUPS, WIDTHS
from jaxface.vocabulary import ANGLES, EXPRESSION_NAMES

_OFFSETS = dict(zip(WIDTHS, itertools.accumulate(WIDTHS.values(), initial=0), strict=False))

ATTRIBUTES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {name: ("pose", _OFFSETS["rotation"] + i) for i, name in enumerate(ANGLES)}
    | {name: ("expression", _OFFSETS["expression"] + i) for i, name in enumerate(EXPRESSION_NAMES)}
)
"""Name to semantic group and place in the 257 parameters."""


def group_places(group: str) -> list[int]:
    """Where a semantic group's numbers lie in the 257 parameters, in the order of `group`."""
    return [_OFFSETS[field] + i for field in SEMANTIC_GROUPS[group] for i in range(WIDTHS[field])]


def attribute(name: str) -> tuple[str, int]:
    """Semantic group, and place among the group's numbers, of a named parameter.

    Raises:
        ValueError: if no parameter has that name; the message gives the nearest.
    """
    if name not in ATTRIBUTES:
        raise ValueError(
            f"unknown face parameter {name!r}; {did_you_mean(name, ATTRIBUTES)} Known: "
            f"{', '.join(ATTRIBUTES)}"
        )
    group, place = ATTRIBUTES[name]
    return group, group_places(group).index(place)
