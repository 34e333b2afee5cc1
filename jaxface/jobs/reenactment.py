"""Reenactment as a job: embedded portraits in, frames in which they move as a driver does out.

The driver's motion becomes a subject's by `jaxface.morphable.retargeting`, for which the subject's
own is read of what the method draws of its latent. What such jobs have in common is
`jaxface.jobs.driven_task`.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxface.jobs.driven_task import DrivenTask, Frame
from jaxface.jobs.inputs.driving import DrivingMotion, motion_of_values
from jaxface.jobs.inputs.latents import LatentError, read_latent
from jaxface.jobs.outputs.rows import numbers
from jaxface.methods.reenactment import BatchReenactor
from jaxface.morphable.motion import Basis, Motion
from jaxface.morphable.retargeting import Retargeting
from jaxface.nets import Generator

OWN_BATCH = 8  # subjects whose own motion is read together


@dataclasses.dataclass(frozen=True)
class Reenactment(DrivenTask):
    """How subjects are driven by motion; a `jaxface.jobs.task.Task`.

    Attributes:
      method: with the groups that follow.
      driving: the driver.
      retargeting: how the driver's motion becomes a subject's.
    """

    method: BatchReenactor
    driving: DrivingMotion
    retargeting: Retargeting = dataclasses.field(default_factory=Retargeting)

    def how(self) -> dict[str, Any]:
        """The retargeting."""
        return dataclasses.asdict(self.retargeting)

    def abstract_inputs(self) -> dict[str, Any]:
        """A subject's motion, and the one that it is to have."""
        motion = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self._abstract_motion
        )
        return {"own": motion, "wanted": motion}

    @functools.cached_property
    def _abstract_motion(self) -> Motion:
        return read_shapes(self.method, self.networks().method, self.suite.generator.resolution)

    def inputs(self, case_id: str, frame: Frame) -> dict[str, Any]:
        """See `DrivenTask`."""
        own = self._subjects.motion(frame.subject)
        driver = motion_of_values(
            {name: value[None] for name, value in frame.values.items()}, self.driving.basis
        )
        wanted = self.retargeting(own, driver, self._neutral)
        self._wanted[case_id] = np.asarray(wanted.degrees)[0]
        return jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float32)[0], {"own": own, "wanted": wanted}
        )

    @functools.cached_property
    def _neutral(self) -> Motion | None:
        return self.driving.neutral(self.retargeting)

    @functools.cached_property
    def _subjects(self) -> "_Subjects":
        return _Subjects(self)

    @functools.cached_property
    def _wanted(self) -> dict[str, np.ndarray]:
        """Of rows in flight, the degrees that they are to have."""
        return {}

    def said(self, case_id: str) -> dict[str, Any]:
        """The pose that a frame was to have."""
        return {"motion": {"degrees": numbers(self._wanted.pop(case_id), 3)}}

    def prominence(self, row: Mapping[str, Any]) -> float:
        """The largest angle."""
        return max(map(abs, row["motion"]["degrees"]))

    def described(self, row: Mapping[str, Any]) -> str:
        """The pose that a frame was to have."""
        pitch, yaw, roll = row["motion"]["degrees"]
        return f"yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f}"

    def span(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """From which yaw to which."""
        turns = [row["motion"]["degrees"][1] for row in rows]
        return f"yaw {min(turns):.0f} to {max(turns):.0f}"


class _Subjects:
    """The subjects' own motion, read some at a time as their frames come; memory stays flat."""

    def __init__(self, task: Reenactment):
        self._task = task
        self._known: dict[int, Motion] = {}

    def motion(self, place: int) -> Motion:
        """Of one subject, one frame."""
        if place not in self._known:
            self._read(place)
        return self._known[place]

    def _read(self, place: int) -> None:
        task, networks = self._task, self._task.networks()
        first = read_latent(task.frames.subjects[place], task.w_plus_shape)
        latents, generator = {place: first}, networks.generator
        if first.weights is not None:
            generator = (task.tuned.generator(place) or {})["generator"]
        else:
            end = min(place + OWN_BATCH, len(task.frames.subjects))
            for other in range(place + 1, end):
                with contextlib.suppress(LatentError):  # which gets a row that says so
                    latent = read_latent(task.frames.subjects[other], task.w_plus_shape)
                    if latent.weights is None and latent.noise == first.noise:
                        latents[other] = latent
        codes = [latent.w_plus for latent in latents.values()]
        codes += codes[:1] * (OWN_BATCH - len(codes))
        motion = own_motion(
            networks.method, generator, np.stack(codes), method=task.method, noise=first.noise
        )
        motion = jax.tree.map(np.asarray, motion)
        self._known = {each: motion[row] for row, each in enumerate(latents)}


@functools.partial(jax.jit, static_argnames=("method", "noise"))
def own_motion(
    networks: Any, generator: Generator, w_plus: Any, *, method: BatchReenactor, noise: Any
) -> Motion:
    """The motion of what a method draws of latents [N, L, w_dim]."""
    return method.read(networks, method.draw(generator, w_plus, noise=noise))


def read_shapes(method: BatchReenactor, networks: Any, size: int) -> Motion:
    """What a method reads of one portrait of a size, as shapes, with its basis."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(method.read, networks, image)


def basis_of(method: BatchReenactor, networks: Any, size: int) -> Basis:
    """The basis of the motion that a method reads."""
    return read_shapes(method, networks, size).basis
