"""What every kind of portrait has in common: from an edit to an image, by a plan quick enough.

A kind is a `Drawer`: of latents of a suite (`jaxface.studio.engine`), or an avatar of one person
(`jaxface.studio.avatars`). Nothing here knows of the web.

An image at rest has the feedback and the resolution of the command. While the hand moves there may
be less of both: `Drawer.prepare` compiles the quickest plan first, with which all is drawn until
the others are there, then tries them, the best one first, and keeps the first that is drawn in
`BUDGET`.
"""

import abc
import dataclasses
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxface.morphable.motion import Motion
from jaxface.runtime.iteration import Program
from jaxface.studio.controls import Controls
from jaxface.studio.edits import AskedEdit, Lamp
from jaxface.suite import Suite

BUDGET = 0.010
"""Seconds for an image while the hand moves. An edit waits for the image before it and is seen with
the page's next frame, so what is computed counts twice, and the browser needs the cores too."""

LEAST = 256
"""Pixels below which images are not made smaller for speed: nothing is gained there."""


class Plan(NamedTuple):
    """How an image is drawn.

    Attributes:
      feedback: whether there are rounds of it.
      resolution: pixels a side.
    """

    feedback: bool
    resolution: int


@dataclasses.dataclass(frozen=True)
class Subject:
    """A portrait that can be edited.

    Attributes:
      before: what it shows, unedited.
      pixels: uint8 [R, R, 3], unedited.
    """

    before: Any
    pixels: np.ndarray


class Drawn(NamedTuple):
    """What was drawn.

    Attributes:
      pixels: uint8 [R, R, 3].
      seconds: that it took.
      after: what the edited portrait shows; None where nothing tells.
    """

    pixels: np.ndarray
    seconds: float
    after: Any


class Drawer(abc.ABC):
    """Draws edits of portraits of one kind.

    Args:
      suite: its networks.
      controls: what can be asked for.
      generator: of the images.
      feedback: whether there are rounds of it.

    Attributes:
      rest: the plan of the command, and of whatever is kept.
      resting: the plan at rest, `rest` as soon as it is compiled.
      moving: the plan while the hand moves.
    """

    def __init__(self, suite: Suite, controls: Controls, generator: Any, *, feedback: bool):
        self.suite, self.controls = suite, controls
        self.plans = plans_of(generator, feedback=feedback)
        self.rest = self.resting = self.moving = self.plans[0]
        self._compiling = threading.Lock()
        self._known: dict[Program, jax.stages.Compiled] = {}

    @property
    def size(self) -> int:
        """Pixels a side of an image at rest."""
        return self.rest.resolution

    @abc.abstractmethod
    def program(self, plan: Plan, subject: Any) -> Program:
        """What draws edits by a plan: uint8 [1, R, R, 3], and what they show or None."""

    @abc.abstractmethod
    def arguments(self, subject: Any, edit: AskedEdit, driven: Mapping[str, Any]) -> tuple:
        """Those of the program."""

    @abc.abstractmethod
    def told(self, shown: Any) -> dict[str, float]:
        """What a portrait shows, by the names of the controls and in their units."""

    @abc.abstractmethod
    def motion(self, shown: Any) -> Motion | None:
        """The motion of what a portrait shows, one frame; None where nothing tells it."""

    def draw(
        self,
        subject: Any,
        edit: AskedEdit,
        *,
        plan: Plan | None = None,
        driven: Mapping[str, Any] | None = None,
    ) -> Drawn:
        """An image of an edit.

        Args:
          subject: who.
          edit: what.
          plan: how; None: as the command does.
          driven: what a driver's frame asks for, in place of what the edit does.
        """
        start = time.perf_counter()
        if edit.empty and not driven:
            return Drawn(subject.pixels, time.perf_counter() - start, subject.before)
        program = self.program(plan or self.rest, subject)
        arguments = self.arguments(subject, edit, driven or {})
        pixels, after = jax.device_get(self._compiled(program, arguments)(*arguments))
        return Drawn(pixels[0], time.perf_counter() - start, after)

    def prepare(self, subject: Any, *, tell: Any = lambda text: None) -> None:
        """Compiles everything, and finds the plan for a moving hand.

        Args:
          subject: any portrait; its program is what most portraits have.
          tell: receives a line before each part.
        """
        controls, quickest = self.controls, self.plans[-1]
        edit = AskedEdit(
            {name: each.limited(0.0) for name, each in controls.values.items()},
            Lamp(0.0, 0.0, 0.5) if controls.light else None,
            dict.fromkeys(list(controls.moves)[:1], 0.0),
        )
        tell("compiling the quickest images")
        self.moving = self.resting = quickest
        self._seconds(subject, edit, quickest)
        tell("compiling images at rest")
        self._seconds(subject, edit, self.rest)
        self.resting = self.rest
        tell("compiling images while the hand moves")
        for plan in self.plans[:-1]:
            if self._seconds(subject, edit, plan) <= BUDGET:
                self.moving = plan
                break

    def _seconds(self, subject: Any, edit: AskedEdit, plan: Plan) -> float:
        """What an image takes by a plan, once it is compiled: the least of three."""
        program, arguments = self.program(plan, subject), self.arguments(subject, edit, {})
        compiled, taken = self._compiled(program, arguments), []
        for _ in range(4):
            start = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            taken.append(time.perf_counter() - start)
        return min(taken[1:])

    def _compiled(self, program: Program, arguments: tuple) -> jax.stages.Compiled:
        """A program that is compiled by one thread alone; one that is known waits for no other.

        Its arguments' signature is always the same, and to make sure of it at every image takes
        longer than some images.
        """
        if program not in self._known:
            with self._compiling:
                program.prepare(*arguments)
            self._known[program] = program.compiled(*arguments)
        return self._known[program]


def plans_of(generator: Any, *, feedback: bool) -> tuple[Plan, ...]:
    """How images may be drawn, the best first.

    Args:
      generator: its images may be had at lower resolutions.
      feedback: whether there are rounds of it.
    """
    size = generator.resolution
    sizes = [size]
    while getattr(generator.config, "architecture", None) == "skip" and sizes[-1] // 2 >= LEAST:
        sizes.append(sizes[-1] // 2)
    whole = [Plan(True, size)] if feedback else []
    return (*whole, *(Plan(False, each) for each in sizes))


def size_of(plan: Plan, generator: Any) -> dict[str, int]:
    """What `synthesis` is told: a generator without an image at every resolution draws its own."""
    whole = plan.resolution == generator.resolution
    return {} if whole else {"resolution": plan.resolution}
