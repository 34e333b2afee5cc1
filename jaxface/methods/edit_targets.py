"""What an edit asks for by names, as targets: of PIE's groups or, where a suite edits motion along
directions, of those."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_editing import edits_motion, named_motion
from jaxface.methods.pie import Target, read_parameters
from jaxface.methods.pie.attributes import light_target, named_targets
from jaxface.suite import Suite

STRENGTH = 0.8
"""Of a light that is named without one."""


@dataclasses.dataclass(frozen=True)
class EditTargets:
    """What portraits are to become.

    Attributes:
      groups: PIE's targets by semantic group.
      motion: the target along the suite's directions of motion; None without one.
      attributes: the named parameters among them, by group, `motion_directions.DIRECTIONS` for
        those of motion.
    """

    groups: dict[str, Target]
    motion: Any
    attributes: dict[str, Sequence[Any]]


def edit_targets(
    suite: Suite,
    values: Mapping[str, float],
    *,
    relative: bool = False,
    light: str | None = None,
    strength: float | None = None,
    like: np.ndarray | None = None,
    groups: Collection[str] = (),
) -> EditTargets:
    """The targets of an edit.

    Args:
      suite: whose networks edit.
      values: by name: angles in degrees, expressions in standard deviations or, where the suite
        edits motion, in ARKit's units.
      relative: they are added to what a portrait has.
      light: where the lamp is, see `light_target`.
      strength: of it, 0 (ambient) to 1; `STRENGTH` by default.
      like: a portrait [R, R, 3] in [-1, 1] that groups are taken from.
      groups: these.

    Raises:
      UsageError: the suite has no such edit.
      SuiteError: it lacks a network.
    """
    targets: dict[str, Target] = {}
    attributes: dict[str, Sequence[Any]] = {}
    motion = None
    if values and edits_motion(suite):
        motion, named = named_motion(suite, values, relative=relative)
        attributes[DIRECTIONS] = named
    elif values:
        targets, attributes = named_targets(suite, values, relative=relative)
    if light is not None:
        targets["illumination"] = light_target(light, STRENGTH if strength is None else strength)
    if like is not None:
        face = read_parameters(suite, like[None])
        targets |= {group: Target.absolute(group, face) for group in groups}
    return EditTargets(targets, motion, attributes)
