"""What a portrait follows: a clip, an image or a file of motion, read as `jaxface reenact` does."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.inputs.driving import DrivingMotion, read_driving
from jaxface.methods.pie import Target
from jaxface.methods.reenactment_presets import REENACTMENT_PRESETS
from jaxface.morphable.motion import pie_group
from jaxface.morphable.retargeting import Retargeting
from jaxface.studio.drawing import Drawer
from jaxface.studio.engine import Engine, LatentSubject

METHOD = "pie_rignet"
"""Of `jaxface reenact`: what moves the portraits here too."""


@dataclasses.dataclass(frozen=True)
class LoadedDriver:
    """A driver that was read.

    Attributes:
      name: of its file.
      path: the file.
      driving: its motion.
      groups: that follow it.
      remark: what the user should know, or None.
    """

    name: str
    path: str
    driving: DrivingMotion
    groups: tuple[str, ...]
    remark: str | None

    @property
    def seconds(self) -> float:
        """How long it lasts; 0 of a single image."""
        return float(self.driving.driver.times[-1])

    def path_of(self, engine: Engine, subject: LatentSubject, *, relative: bool) -> "DrivenPath":
        """What a portrait is to become through the driver's frames.

        Args:
          engine: of the portrait.
          subject: who.
          relative: whether the driver's changes, since its mean, are added to what the portrait
            shows.
        """
        own: Any = engine.motion(subject.before)
        retargeting = Retargeting(relative and self.driving.moves)
        wanted = retargeting(own, self.driving.whole, self.driving.neutral(retargeting))
        wanted = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), wanted)
        values = {
            group: np.asarray(pie_group(wanted, group, face=engine.basis)) for group in self.groups
        }
        times = np.array([float(time) for time in self.driving.driver.times])
        return DrivenPath(times, values)


class DrivenPath(NamedTuple):
    """What a portrait becomes as it follows a driver.

    Attributes:
      times: [T] seconds, from 0.
      values: by group, [T, P].
    """

    times: np.ndarray
    values: Mapping[str, np.ndarray]

    def targets(self, seconds: float) -> dict[str, Target]:
        """At a time, linear between frames; after the end the last one."""
        last = len(self.times) - 1
        after = min(int(np.searchsorted(self.times, seconds)), last)
        before = max(after - 1, 0)
        step = self.times[after] - self.times[before]
        share = min(1.0, (seconds - self.times[before]) / step) if step else 1.0
        targets = {}
        for group, each in self.values.items():
            found = ((1 - share) * each[before] + share * each[after]).astype(np.float32)[None]
            given = np.arange(found.shape[1]) < (3 if group == "pose" else found.shape[1])
            targets[group] = Target(found, given, np.zeros((), np.float32))  # type: ignore
        return targets


def drives(engine: Drawer) -> TypeGuard[Engine]:
    """Whether portraits can follow a driver here: by RigNets of pose or expression."""
    return (
        isinstance(engine, Engine)
        and not engine.controls.motion
        and bool({"pose", "expression"} & set(engine.controls.groups))
    )


def load_driver(engine: Drawer, path: Path) -> LoadedDriver:
    """Reads a driver, whose images count as aligned portraits unless faces can be found in them.

    Raises:
      UsageError: it is none, shows no face, or says nothing of what the suite's RigNets edit.
    """
    if not drives(engine):
        raise UsageError("there are no RigNets here that could follow a driver")
    groups = tuple(group for group in ("pose", "expression") if group in engine.controls.groups)
    method = REENACTMENT_PRESETS[METHOD].following(groups)
    driving = read_driving(
        str(path),
        method,
        method.networks(engine.suite),
        size=engine.suite.generator.resolution,
        reading=ClipReading(),
        alignment=None,
        folder=None,
    )
    retargeting = Retargeting()
    try:
        retargeting.check(driving.basis, engine.basis)
    except ValueError as error:
        raise UsageError(f"{path.name}: {error}") from error
    return LoadedDriver(
        path.name, str(path), driving, groups, retargeting.remark(driving.basis, engine.basis)
    )
