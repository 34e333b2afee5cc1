"""Targets by the names and in the units that people use: degrees, deviations, names of lights."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from jaxface.errors import UsageError
from jaxface.methods.pie.editing import Target
from jaxface.morphable.attributes import attribute, group_places
from jaxface.morphable.scenes import named_light
from jaxface.nets import FaceReconstruction
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A named parameter of a target, for captions.

    Attributes:
      name: as the user knows it.
      place: among its group's parameters.
      unit: what one of the user's units is, such as a degree in radians.
    """

    name: str
    place: int
    unit: float


def named_targets(
    suite: Suite, values: Mapping[str, float], *, relative: bool
) -> tuple[dict[str, Target], dict[str, Sequence[Attribute]]]:
    """Targets of single parameters.

    Args:
      suite: reads portraits with the face model that the names are of.
      values: by the names of `jaxface.morphable.attributes.ATTRIBUTES`, angles in degrees,
        expressions in standard deviations.
      relative: they are added to what a portrait has.

    Returns:
      The targets, and their named parameters, by semantic group.

    Raises:
      UsageError: the suite's face model does not name its expressions.
    """
    in_units: dict[str, float] = {}
    attributes: dict[str, list[Attribute]] = {}
    for name, value in values.items():
        group, place = attribute(name)
        unit = math.pi / 180 if group == "pose" else _deviation(suite, place)
        in_units[name] = value * unit
        attributes.setdefault(group, []).append(Attribute(name, place, unit))
    return Target.named(in_units, relative=relative), dict(attributes)


def light_target(name: str, strength: float) -> Target:
    """The illumination of a light source that is named by where it is.

    Raises:
      UsageError: there is none of that name, or the strength is out of [0, 1].
    """
    try:
        return Target.of_values(named_light(name, strength)[None])
    except ValueError as error:
        raise UsageError(f"--light: {error}") from error


def _deviation(suite: Suite, place: int) -> float:
    """The standard deviation of an expression coefficient in the world of the suite's faces."""
    network = suite.reconstruction
    if not isinstance(network, FaceReconstruction):
        raise UsageError(
            f"expressions by name are those of the embedded face model, and {suite.name!r} reads "
            f"portraits with a {type(network).__name__}; use --like with --group expression"
        )
    return float(network.scale[...][group_places("expression")[place]])
