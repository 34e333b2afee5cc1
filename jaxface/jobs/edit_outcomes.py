"""What an edit was to reach and what it reached: in words, and whether it missed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxface.methods.linear_directions import Move
from jaxface.methods.motion_directions import DIRECTIONS as MOTION
from jaxface.methods.pie.attributes import Attribute
from jaxface.vocabulary import ANGLES

MISSED = "missed"
"""How a row's note begins where an edit ended far from its target."""
TOLERANCES = {"pose": 5.0, "expression": 1.0, "unit": 0.2, "way": 0.5}
"""Degrees, standard deviations and ARKit's units from its target within which an edit counts as
arrived; of a group without named parameters, such as a light, the share of the way that is left."""
IDENTITY = "identity_distance"
"""The column of how far the edit is from the person, 1 less the cosine of their embeddings."""
_NEAR = 1e-3  # the length of a way that is none


def missed(edits: Mapping[str, Any], attributes: Mapping[str, Sequence[Attribute]]) -> list[str]:
    """Notes on what ended further from its target than `TOLERANCES`.

    Args:
      edits: by group, what was ``wanted``, and what was read ``before`` and ``after``.
      attributes: by group, the parameters that the user named.
    """
    notes = []
    for group, moments in edits.items():
        for each in attributes.get(group, ()):
            tolerance = TOLERANCES[_kind(group, each)]
            wanted, after = (each.read(moments[when]) for when in ("wanted", "after"))
            by = math.inf if math.isnan(after - wanted) else abs(after - wanted)
            if by > tolerance:
                notes.append(f"{MISSED} {each.name} by {by:.1f}, more than {tolerance:g}")
        if group not in attributes and (left := _left(moments)) > TOLERANCES["way"]:
            most = f"{TOLERANCES['way']:.0%}"
            notes.append(f"{MISSED} the {group}: {left:.0%} of the way is left, more than {most}")
    return notes


def described(
    edits: Mapping[str, Any],
    attributes: Mapping[str, Sequence[Attribute]],
    names: Mapping[str, str],
    moves: Sequence[Move],
) -> str:
    """What an edit asked for and gave, such as "yaw 20.0 -> 19.4, before 2.1".

    Args:
      edits: as in `missed`.
      attributes: as in `missed`.
      names: by group, what stands for one without named parameters, such as "light left 0.8".
      moves: along linear directions, which nothing reads.
    """
    parts = []
    for group, moments in edits.items():
        for each in attributes.get(group, ()):
            digits = 2 if _kind(group, each) == "unit" else 1
            wanted, before, after = (
                _shown(each.read(moments[when]), digits) for when in ("wanted", "before", "after")
            )
            parts.append(f"{each.name} {wanted} -> {after}, before {before}")
        if group not in attributes:
            left = _left(moments)
            way = f", {1 - left:.0%} of the way" if math.isfinite(left) else ""
            parts.append(names.get(group, group) + way)
    parts += [f"{move.directions}.{move.name} {move.strength:+g}" for move in moves]
    return "; ".join(parts)


def identity_told(row: Mapping[str, Any]) -> str:
    """Such as "  identity distance 0.123"; empty where nothing judges it."""
    return "" if row[IDENTITY] is None else f"  identity distance {row[IDENTITY]:.3f}"


def _kind(group: str, attribute: Attribute) -> str:
    """The tolerance that holds for a named parameter."""
    if group != MOTION:
        return group
    return "pose" if attribute.name in ANGLES else "unit"


def _shown(value: float, digits: int) -> str:
    return "?" if math.isnan(value) else f"{value:.{digits}f}"


def _left(moments: Mapping[str, Sequence[float | None]]) -> float:
    """The distance from the target after the edit, in that before it; 0 where both are none."""
    wanted, before, after = (
        [math.nan if value is None else value for value in moments[when]]
        for when in ("wanted", "before", "after")
    )
    way, left = math.dist(wanted, before), math.dist(wanted, after)
    if math.isnan(way + left):
        return math.inf
    return left / max(way, _NEAR) if left > _NEAR else 0.0
