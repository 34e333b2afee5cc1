"""What the hand asks for: angles and expressions, a lamp, strengths of directions.

All numbers are in the units and with the digits of a command line, so that `AskedEdit.words` asks
`jaxface edit` for the very same.
"""

import dataclasses
import math
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxface.errors import UsageError
from jaxface.studio.controls import Controls
from jaxface.vocabulary import ANGLES


class Lamp(NamedTuple):
    """A white lamp.

    Attributes:
      across: degrees to the image's right.
      up: degrees upwards.
      strength: 0, ambient, to 1, lamp.
    """

    across: float
    up: float
    strength: float

    @property
    def name(self) -> str:
        """As `jaxface.morphable.scenes.light_towards` reads it."""
        return f"{self.across:g},{self.up:g}"


@dataclasses.dataclass(frozen=True)
class AskedEdit:
    """An edit; what is not named stays as the portrait has it.

    Attributes:
      values: by name, absolute: angles in degrees, expressions in the suite's units.
      lamp: None: the portrait's own light.
      moves: strengths by ``SET.NAME``, added to the portrait; none is 0.
    """

    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    lamp: Lamp | None = None
    moves: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_json(cls, data: Any, controls: Controls) -> "AskedEdit":
        """What a client sent, within the controls' limits and with their digits.

        Raises:
          UsageError: no edit, or something that the suite does not have.
        """
        if not isinstance(data, dict):
            raise UsageError("an edit is an object of values, light and moves")
        values, moves, lamp = {}, {}, None
        for name, value in _items(data, "values"):
            if name not in controls.values:
                raise UsageError(f"the suite has no {name[:40]!r} to be asked for")
            values[name] = controls.values[name].limited(_number(value))
        for name, value in _items(data, "moves"):
            if name not in controls.moves:
                raise UsageError(f"the suite has no direction {name[:40]!r}")
            if strength := controls.moves[name].limited(_number(value)):
                moves[name] = strength
        if (light := data.get("light")) is not None:
            if not controls.light:
                raise UsageError("the suite edits no light")
            if not isinstance(light, list) or len(light) != 3:
                raise UsageError("a light is its degrees across and up, and its strength")
            across, up, strength = map(_number, light)
            lamp = Lamp(
                round(min(max(across, -180.0), 180.0)) + 0.0,
                round(min(max(up, -90.0), 90.0)) + 0.0,
                round(min(max(strength, 0.0), 1.0), 2),
            )
        return cls(values, lamp, moves)

    def to_json(self) -> dict[str, Any]:
        """As `of_json` reads it."""
        light = None if self.lamp is None else list(self.lamp)
        return {"values": dict(self.values), "light": light, "moves": dict(self.moves)}

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.values and self.lamp is None and not self.moves

    def words(self, controls: Controls) -> list[str]:
        """The options of `jaxface edit` that ask for it."""
        words = [
            f"--{name.replace('_', '-')}={value:g}"
            for name, value in sorted(self.values.items(), key=lambda item: item[0] not in ANGLES)
        ]
        if self.lamp is not None:
            words += [f"--light={self.lamp.name}", f"--strength={self.lamp.strength:g}"]
        words += [f"--direction={name}={value:g}" for name, value in self.moves.items()]
        if len(controls.groups_of(self.values, self.lamp is not None)) > 1:
            words.append("--together")
        return words

    def command(self, controls: Controls, embedding: str, *, suite: str, more: str = "") -> str:
        """The command line that makes the same edit.

        Args:
          controls: of the suite.
          embedding: the file of the latent code.
          suite: its name or folder.
          more: further options, such as "--paste-back".
        """
        words = ["jaxface", "edit", embedding, f"--suite={suite}", *self.words(controls)]
        return " ".join([*map(shlex.quote, words), *([more] if more else []), "--out=edited"])


def _items(data: Mapping[str, Any], name: str) -> Any:
    found = data.get(name) or {}
    if not isinstance(found, dict) or len(found) > 500:
        raise UsageError(f"{name} are an object of numbers by name")
    return found.items()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"expected a finite number, got {str(value)[:40]!r}")
    return float(value)
