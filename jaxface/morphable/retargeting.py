"""Retargeting: what a subject's motion becomes when a driver moves it. Pure functions of `Motion`.

Absolute motion is the driver's own; relative motion is the subject's plus the driver's change since
a neutral frame, which suits drivers who look or hold their heads otherwise. Both can be limited to
regions of the face, each with a gain. It all happens before a reenactment method sees the motion,
so every method has it; a method is given the motion that the subject is to have.

Regions lie in each other: "mouth" and "eyes" in "expression", and "pose" and "expression" in "all".
A number follows the gain of the smallest region that has one. Which expression coefficients are of
the mouth or of the eyes is known where the basis names them: ARKit's units, version 3's head, and
the first ones of version 2's; of FLAME only the jaw is, and of a Basel model nothing.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.errors import did_you_mean
from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.motion import (
    ARKIT_JAW_OPEN,
    ARKIT_JAW_SIDE,
    MOTION_GROUPS,
    Basis,
    Motion,
)
from jaxface.vocabulary import EXPRESSION_NAMES

REGIONS = ("pose", "expression", "mouth", "eyes", "all")
"""What can follow a driver; see the module."""

LARGEST_GAIN = 10.0
"""Gains beyond this are taken for mistakes."""

_MOUTH = ("mouth", "jaw", "tongue", "cheekPuff")
_MOUTH_NAMES = ("jaw_open", "smile", "frown", "pucker", "mouth_left", "jaw_left")
_MOUTH_NAMES += ("upper_lip_raise", "cheek_puff")
_EYES_NAMES = ("blink_left", "blink_right", "eyes_wide")
_WITH_JAW = ("embedded", "anatomical", "flame")
_PARENTS = {"mouth": "expression", "eyes": "expression", "expression": "all", "pose": "all"}


@dataclasses.dataclass(frozen=True)
class Retargeting:
    """How a driver's motion becomes a subject's.

    Attributes:
        relative: the driver's change since its neutral frame is added to the subject's motion; else
            the subject takes the driver's.
        neutral_first: with `relative`: the driver's first frame is its neutral one; else the mean
            of all is.
        regions: out of `REGIONS`; what is in none of them stays as the subject has it.
        gains: by region, factors of the driver's motion, or with `relative` of its change; 1 where
            none is given. Absolute motion is scaled about the model's rest: a head that looks
            straight ahead, coefficients of 0.

    Raises:
        ValueError: an unknown region, none, a gain of one that does not follow, or no number within
            +-`LARGEST_GAIN`; `neutral_first` without `relative`.
    """

    relative: bool = False
    neutral_first: bool = False
    regions: tuple[str, ...] = ("all",)
    gains: tuple[tuple[str, float], ...] = ()

    def __post_init__(self):
        for name in (*self.regions, *dict(self.gains)):
            if name not in REGIONS:
                raise ValueError(f"unknown region {name!r}; {did_you_mean(name, REGIONS)}")
        if not self.regions:
            raise ValueError(f"expected one region or more, out of {', '.join(REGIONS)}; got none")
        for name, gain in self.gains:
            if not (math.isfinite(gain) and abs(gain) <= LARGEST_GAIN):
                raise ValueError(
                    f"gain of {name}: expected a number within +-{LARGEST_GAIN:g}, got {gain}"
                )
            if not any(_within(name, region) or _within(region, name) for region in self.regions):
                raise ValueError(
                    f"gain of {name}: it does not follow the driver; regions are "
                    f"{', '.join(self.regions)}"
                )
        if self.neutral_first and not self.relative:
            raise ValueError("a neutral first frame is of use to relative motion alone")

    @property
    def groups(self) -> tuple[str, ...]:
        """Which of `jaxface.morphable.motion.MOTION_GROUPS` can move."""
        return tuple(
            group
            for group in MOTION_GROUPS
            if any(_within(each, group) or _within(group, each) for each in self.regions)
        )

    def neutral_of(self, clip: Motion) -> Motion:
        """The driver's neutral motion, one frame.

        Args:
            clip: all frames of the driver that show a face.
        """
        return clip[0] if self.neutral_first else clip.mean()

    def __call__(self, subject: Motion, driver: Motion, neutral: Motion | None = None) -> Motion:
        """The motion that a subject is to have, in the subject's basis.

        Args:
            subject: as it is drawn, of one frame or T.
            driver: of T frames.
            neutral: the driver's, of one frame; with `relative`.

        Returns:
            Of T frames; numbers that do not follow are the subject's own.

        Raises:
            ValueError: no neutral where there should be one, or the driver says nothing of the
                regions.
        """
        if self.relative and neutral is None:
            raise ValueError("Retargeting: relative motion needs the driver's neutral frame.")
        self.check(driver.basis, subject.basis)
        known, moved = in_basis(driver, subject.basis), {}
        rest = None if neutral is None else in_basis(neutral, subject.basis)
        for name in ("rotation", "jaw", "expression", "gaze"):
            own, value = getattr(subject, name), getattr(known, name)
            if own is None:
                continue
            following, gain = self._weights(name, subject.basis, own.shape[-1])
            following = following & _determined(name, driver.basis, subject.basis, own.shape[-1])
            if value is None or not following.any():
                moved[name] = jnp.broadcast_to(own, (len(driver), own.shape[-1]))
                continue
            change = gain * (value - getattr(rest, name)) if self.relative else gain * value
            moved[name] = jnp.where(following, own + change if self.relative else change, own)
        return Motion(basis=subject.basis, **{"jaw": None, **moved})

    def check(self, driver: Basis, subject: Basis) -> None:
        """Insists that a driver's basis says something of each region.

        Raises:
            ValueError: it does not; the message names those that it does.
        """
        widths = {"rotation": 3, "jaw": 3, "expression": _WIDTHS[subject], "gaze": 2}
        if subject not in _WITH_JAW:
            del widths["jaw"]
        if subject != "anatomical":
            del widths["gaze"]
        told = {
            region
            for region in REGIONS[:-1]
            if any(
                (_places(name, region, subject, n) & _determined(name, driver, subject, n)).any()
                for name, n in widths.items()
            )
        }
        for region in self.regions:
            wanted = {"pose", "expression"} if region == "all" else {region}
            if not wanted <= told:
                raise ValueError(
                    f"a driver's motion in the basis {driver!r} says nothing of the "
                    f"{min(wanted - told)} of a subject in {subject!r}; it does of the "
                    f"{', '.join(each for each in REGIONS if each in told)}"
                )

    def remark(self, driver: Basis, subject: Basis) -> str | None:
        """What a user should know of a driver in another basis than the subject's, if anything."""
        following = "expression" in self.groups
        if not following or driver == subject or {driver, subject} <= {"arkit", "anatomical"}:
            return None
        return (
            f"the driver's expressions ({driver}) are not those of the suite ({subject}): of them "
            "the jaw alone follows"
        )

    def _weights(self, name: str, basis: Basis, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a field's numbers: which are in the regions, and their gains."""
        gains = dict(self.gains)
        following = np.zeros(width, bool)
        gain = np.full(width, gains.get("all", 1.0), np.float32)
        for region in ("pose", "expression", "mouth", "eyes"):
            if region in gains:
                gain[_places(name, region, basis, width)] = gains[region]
        for region in self.regions:
            following |= _places(name, region, basis, width)
        return following, gain


def in_basis(motion: Motion, basis: Basis) -> Motion:
    """Motion in another basis, as far as the two have something in common; 0 for the rest.

    ARKit's units are the first coefficients of "anatomical"; from them jaw and gaze follow. Between
    other bases only rotation and jaw mean the same.
    """
    if motion.basis == basis:
        return motion
    jaw, expression, gaze = motion.jaw, motion.expression, None
    units = expression[:, : len(ARKIT_UNITS)] if motion.basis in ("arkit", "anatomical") else None
    if units is not None and jaw is None:
        jaw = _jaw_of(units)
    width = _WIDTHS[basis]
    if units is not None and basis in ("arkit", "anatomical"):
        expression = jnp.pad(units, ((0, 0), (0, width - units.shape[1])))
        gaze = gaze_degrees(expression) if basis == "anatomical" else None
    else:
        expression = jnp.zeros((len(motion), width))
        gaze = jnp.zeros((len(motion), 2)) if basis == "anatomical" else None
    return Motion(motion.rotation, jaw if basis in _WITH_JAW else None, expression, basis, gaze)


BASES = ("embedded", "anatomical", "basel", "flame", "arkit")
"""Of `Basis`."""

_WIDTHS: Mapping[str, int] = {
    "embedded": 64,
    "anatomical": 64,
    "basel": 64,
    "flame": 50,
    "arkit": len(ARKIT_UNITS),
}
"""Expression coefficients of each basis."""


def expression_width(basis: Basis) -> int:
    """How many expression coefficients a basis has."""
    return _WIDTHS[basis]


def has_jaw(basis: Basis) -> bool:
    """Whether the jaw is apart from a basis' expressions."""
    return basis in _WITH_JAW


def _jaw_of(units: Array) -> Array:
    """The jaw's axis-angle of ARKit's units, [T, 3], as version 3's head has it."""
    opened, left, right = (units[:, unit_index(n)] for n in ("jawOpen", "jawLeft", "jawRight"))
    turns = [ARKIT_JAW_OPEN * opened, ARKIT_JAW_SIDE * (left - right), jnp.zeros_like(opened)]
    return jnp.stack(turns, axis=-1)


def _within(region: str, other: str) -> bool:
    """Whether a region is another, or lies in it."""
    return region == other or (region in _PARENTS and _within(_PARENTS[region], other))


def _places(name: str, region: str, basis: Basis, width: int) -> np.ndarray:
    """Which numbers of a field of `Motion` are of a region."""
    if region == "all":
        return np.ones(width, bool)
    if name == "rotation" or region == "pose":
        return np.full(width, name == "rotation" and region == "pose")
    if region == "expression":
        return np.ones(width, bool)
    if name in ("jaw", "gaze"):
        return np.full(width, region == ("mouth" if name == "jaw" else "eyes"))
    found = np.zeros(width, bool)
    if basis in ("arkit", "anatomical"):
        starts = _MOUTH if region == "mouth" else ("eye",)
        found[: len(ARKIT_UNITS)] = [unit.startswith(starts) for unit in ARKIT_UNITS]
    elif basis == "embedded":
        names = _MOUTH_NAMES if region == "mouth" else _EYES_NAMES
        found[[EXPRESSION_NAMES.index(each) for each in names]] = True
    return found


def _determined(name: str, driver: Basis, subject: Basis, width: int) -> np.ndarray:
    """Which numbers of a field a driver in another basis knows."""
    units = {driver, subject} <= {"arkit", "anatomical"}
    if name == "rotation" or driver == subject:
        return np.ones(width, bool)
    if name == "jaw":
        return np.full(width, driver in (*_WITH_JAW, "arkit"))
    if name == "gaze":
        return np.full(width, units)
    return np.arange(width) < (len(ARKIT_UNITS) if units else 0)
