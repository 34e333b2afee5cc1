"""What a suite can be asked for in the studio, as the page shows it. What it lacks is not shown."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_editing import edits_motion
from jaxface.methods.pie.attributes import names_expressions
from jaxface.nets.edits.linear_directions import LatentDirections
from jaxface.suite import Suite
from jaxface.vocabulary import (
    ANGLE_LIMITS,
    ANGLES,
    EDITABLE_GROUPS,
    EXPRESSION_LIMIT,
    EXPRESSION_NAMES,
    UNIT_LIMIT,
)

REGIONS: Mapping[str, tuple[str, ...]] = {
    "Mouth": (
        "smile",
        "jaw_open",
        "pucker",
        "frown",
        "upper_lip_raise",
        "mouth_left",
        "jaw_left",
    ),
    "Eyes and brows": (
        "brow_raise",
        "brow_furrow",
        "blink_left",
        "blink_right",
        "eyes_wide",
    ),
    "Cheeks and nose": ("cheek_puff", "nose_wrinkle"),
}
"""Expressions by what moves."""

BOTH_WAYS = ("smile", "brow_raise", "mouth_left", "jaw_left")
"""Expressions that go to either side of the neutral face."""

KEYS: Mapping[str, str] = {
    "jaw_open": "j",
    "smile": "s",
    "brow_raise": "b",
    "blink_left": "q",
    "blink_right": "e",
    "frown": "f",
    "pucker": "p",
    "brow_furrow": "w",
    "mouth_left": "m",
    "jaw_left": "k",
    "upper_lip_raise": "u",
    "nose_wrinkle": "x",
    "cheek_puff": "c",
    "eyes_wide": "o",
}
"""A key raises an expression, with Shift it lowers it (PIE, section 5.3, has blendshapes on keys
too, and does not say which)."""

_REACH = {"degree": (-60.0, 60.0), "ARKit unit": (-UNIT_LIMIT, UNIT_LIMIT)}
"""How far a direction is moved, in its unit; others by `_FAR`."""
_FAR = (-6.0, 6.0)

_UNITS = {
    ("eye", "brow"): "Eyes and brows",
    ("jaw", "mouth", "tongue"): "Mouth",
    ("cheek", "nose"): "Cheeks and nose",
}
"""Regions of ARKit's units, by how they are called."""


@dataclasses.dataclass(frozen=True)
class Control:
    """A number that can be asked for.

    Attributes:
      label: on the page.
      low, high: its limits.
      step: what it is rounded to, and what a key changes it by ten of.
      unit: on the page, such as "°".
      region: under which it is shown.
      key: of the keyboard; "" for none.
    """

    label: str
    low: float
    high: float
    step: float
    unit: str
    region: str
    key: str = ""

    def limited(self, value: float) -> float:
        """Within the limits, a multiple of the step."""
        steps = round(min(max(value, self.low), self.high) / self.step)
        return round(steps * self.step, 6) + 0.0


@dataclasses.dataclass(frozen=True)
class Controls:
    """Everything that a suite can be asked for.

    Attributes:
      values: by the names of `jaxface edit`'s options.
      moves: by ``SET.NAME`` of its `--direction`.
      light: whether there is a lamp.
      groups: the semantic groups that RigNets edit.
      motion: whether angles and expressions are edited along directions of motion.
    """

    values: Mapping[str, Control]
    moves: Mapping[str, Control]
    light: bool
    groups: tuple[str, ...]
    motion: bool

    @classmethod
    def of_suite(cls, suite: Suite, sets: Mapping[str, LatentDirections]) -> "Controls":
        """Those of a suite.

        Args:
          suite: it.
          sets: its directions.

        Raises:
          SuiteError: it has no generator.
        """
        suite.metadata("generator")
        motion, values = edits_motion(suite), {}
        groups = tuple(
            group
            for group in EDITABLE_GROUPS
            if "reconstruction" in suite and f"rignet_{group}" in suite
        )
        if motion:
            names = suite.network(f"direction_{DIRECTIONS}").names
            values = {
                name: _value(name, UNIT_LIMIT, one_way=True) for name in names if _named(name)
            }
        else:
            if "pose" in groups:
                values |= {name: _value(name, 0.0) for name in ANGLES}
            if "expression" in groups and names_expressions(suite):
                values |= {name: _value(name, EXPRESSION_LIMIT) for name in EXPRESSION_NAMES}
        moves = moves_of(sets)
        if motion:  # what is asked for as it is to be, is not moved as well
            moves = {k: each for k, each in moves.items() if k not in _own(values)}
        return cls(values, moves, "illumination" in groups, groups, motion)

    def groups_of(self, values: Collection[str], light: bool) -> list[str]:
        """The semantic groups that an edit of these names, and of the light, goes through."""
        own = () if self.motion else values
        named = {"pose" if name in ANGLES else "expression" for name in own}
        named |= {"illumination"} if light else set()
        return [group for group in EDITABLE_GROUPS if group in named]

    @property
    def head(self) -> dict[str, str]:
        """What the trackball moves, by angle: "values.yaw", or "moves.pose.yaw" of a matrix."""
        found = {name: f"values.{name}" for name in ANGLES if name in self.values}
        for name in ANGLES:
            own = [move for move in self.moves if move.rpartition(".")[2] == name]
            if name not in found and own:
                found[name] = f"moves.{own[0]}"
        return found

    @property
    def gaze(self) -> str | None:
        """The set of directions with ARKit's eight units of looking, for eyes that are dragged."""
        for move in self.moves:
            own, _, name = move.rpartition(".")
            looks = [f"{own}.eyeLook{way}{eye}" for way in _WAYS for eye in ("Left", "Right")]
            if name.startswith("eyeLook") and all(look in self.moves for look in looks):
                return own
        return None

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "values": {name: dataclasses.asdict(each) for name, each in self.values.items()},
            "moves": {name: dataclasses.asdict(each) for name, each in self.moves.items()},
            "light": self.light,
            "head": self.head,
            "gaze": self.gaze,
            "kinds": self.kinds,
        }

    @property
    def kinds(self) -> list[str]:
        """The methods of editing that there are, in words."""
        found = ["directions of motion"] if self.motion else []
        found += [f"RigNets of {', '.join(self.groups)}"] if self.groups else []
        sets = dict.fromkeys(move.partition(".")[0] for move in self.moves)
        return found + ([f"directions {', '.join(sets)}"] if sets else [])


_WAYS = ("In", "Out", "Up", "Down")


def _named(name: str) -> bool:
    """Whether `jaxface edit` has an option of a motion's name; others are directions."""
    return name in ANGLES or name in EXPRESSION_NAMES


def _value(name: str, limit: float, *, one_way: bool = False) -> Control:
    if name in ANGLES:
        most = ANGLE_LIMITS[name]
        return Control(name.capitalize(), -most, most, 0.1, "°", "Head")
    low = -limit if name in BOTH_WAYS and not one_way else 0.0
    label = name.replace("_", " ").capitalize()
    return Control(label, low, limit, 0.01, "", region_of(name), KEYS[name])


def _own(values: Collection[str]) -> set[str]:
    return {f"{DIRECTIONS}.{name}" for name in values}


def region_of(name: str) -> str:
    """Of an expression, or of one of ARKit's units."""
    for region, names in REGIONS.items():
        if name in names:
            return region
    return next((it for starts, it in _UNITS.items() if name.startswith(starts)), "Expression")


def moves_of(sets: Mapping[str, LatentDirections]) -> dict[str, Control]:
    """Linear directions by ``SET.NAME``; those in ARKit's units by region."""
    found = {}
    for own, directions in sets.items():
        if directions.config.space == "z":  # which embeddings are not in
            continue
        units = directions.config.unit_names or ("",) * len(directions.names)
        for name, unit in zip(directions.names, units, strict=True):
            low, high = _REACH.get(unit, _FAR)
            region = f"{own}: {region_of(name).lower()}" if unit == "ARKit unit" else own
            label = name.replace("_", " ")
            shown = "°" if unit == "degree" else ""
            found[f"{own}.{name}"] = Control(label, low, high, 0.01, shown, region)
    return found
