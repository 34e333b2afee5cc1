"""Targets by the names and in the units that people use: degrees, deviations, names of lights."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxface.errors import UsageError
from jaxface.methods.pie.editing import Target
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable.attributes import group_places, named_parameter, named_parameters
from jaxface.morphable.scenes import named_light
from jaxface.nets import FaceReconstruction
from jaxface.suite import Suite
from jaxface.vocabulary import ANGLES


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A named parameter of a target, for captions.

    Attributes:
      name: as the user knows it.
      places: among its group's parameters; the value is the mean of these.
      units: of each what one of the user's units is, such as a degree in radians.
    """

    name: str
    places: tuple[int, ...]
    units: tuple[float, ...]

    def read(self, values: Sequence[float | None]) -> float:
        """Its value in the user's units, of a group's parameters; NaN where one is None."""
        found = np.array([values[place] for place in self.places], float)
        return float((found / self.units).mean())


def named_targets(
    suite: Suite, values: Mapping[str, float], *, relative: bool
) -> tuple[dict[str, Target], dict[str, Sequence[Attribute]]]:
    """Targets of single parameters.

    Args:
      suite: reads portraits with the face model that the names are of.
      values: by the names of `jaxface.morphable.attributes.named_parameters`, angles in degrees,
        expressions in standard deviations.
      relative: they are added to what a portrait has.

    Returns:
      The targets, and their named parameters, by semantic group.

    Raises:
      UsageError: the suite's face model does not name its expressions.
    """
    basis = suite_basis(suite)
    in_units: dict[str, list[float]] = {}
    attributes: dict[str, list[Attribute]] = {}
    for name, value in values.items():
        if name not in ANGLES and not names_expressions(suite):
            raise UsageError(
                f"{suite.name!r} reads portraits with a face model, or a network, that does not "
                f"know expressions such as {name} by name; use --like with --group expression"
            )
        group, places = named_parameter(name, basis)
        units = _DEGREE if group == "pose" else _deviations(suite, places)
        in_units[name] = [value * unit for unit in units]
        attributes.setdefault(group, []).append(Attribute(name, places, units))
    return Target.named(in_units, basis=basis, relative=relative), dict(attributes)


def names_expressions(suite: Suite) -> bool:
    """Whether `named_targets` knows the expressions of a suite with a reconstruction network."""
    known = "smile" in named_parameters(suite_basis(suite))
    return known and isinstance(suite.reconstruction, FaceReconstruction)


def light_target(name: str, strength: float) -> Target:
    """The illumination of a light source that is named by where it is.

    Raises:
      UsageError: there is none of that name, or the strength is out of [0, 1].
    """
    try:
        return Target.of_values(named_light(name, strength)[None])
    except ValueError as error:
        raise UsageError(f"--light: {error}") from error


def _deviations(suite: Suite, places: Sequence[int]) -> tuple[float, ...]:
    """Standard deviations of expression coefficients in the world of the suite's faces."""
    network = suite.reconstruction
    assert isinstance(network, FaceReconstruction)  # names_expressions
    scale = np.asarray(network.scale[...])[group_places("expression")]
    return tuple(scale[list(places)].tolist())


_DEGREE = (math.pi / 180,)
