"""From what is asked to an image; nothing here knows of the web.

The edit is `jaxface edit`'s: motion along directions first, then the groups of the RigNets in one
step (`jaxface.methods.pie.edit_together`), then linear directions. Which of them are asked for is
an argument of one program, not a program each, so that nothing compiles while a hand moves.

An image at rest has the feedback and the resolution of the command. While the hand moves there may
be less of both: `Engine.prepare` compiles the quickest plan first, with which all is drawn until
the others are there, then tries them, the best one first, and keeps the first that is drawn in
`BUDGET`.
"""

import dataclasses
import functools
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError
from jaxface.jobs.inputs.latents import Latent
from jaxface.jobs.outputs.tuned import tuned_generator
from jaxface.media.images import to_uint8
from jaxface.methods.direction_matrix import direction_sets
from jaxface.methods.motion_editing import apply_motion, motion_networks, motion_target
from jaxface.methods.motion_reading import read_motion
from jaxface.methods.pie.attributes import light_target, named_targets
from jaxface.methods.pie.editing import Target, apply_together, editing_networks
from jaxface.morphable import FaceParameters, group_width
from jaxface.morphable.attributes import attribute
from jaxface.morphable.bases import basis_of
from jaxface.morphable.motion import Motion, measured, motion_of_pie
from jaxface.nets.edits.linear_directions import LatentDirections
from jaxface.runtime.iteration import Program
from jaxface.studio.controls import Controls
from jaxface.studio.edits import AskedEdit, Lamp
from jaxface.suite import Suite

BUDGET = 0.010
"""Seconds for an image while the hand moves. An edit waits for the image before it and is seen with
the page's next frame, so what is computed counts twice, and the browser needs the cores too."""

LEAST = 256
"""Pixels below which images are not made smaller for speed: nothing is gained there."""

FEEDBACK, MOTION_FEEDBACK = 1, 2
"""Rounds of `jaxface edit`: of RigNets, and along directions of motion."""


class Plan(NamedTuple):
    """How an image is drawn.

    Attributes:
      feedback: whether there are rounds of it.
      resolution: pixels a side.
    """

    feedback: bool
    resolution: int


class Networks(NamedTuple):
    """What the programs read.

    Attributes:
      generator: draws.
      groups: `EditingNetworks` by group.
      motion: `MotionNetworks`, or None.
    """

    generator: Any
    groups: dict[str, Any]
    motion: Any


class Asked(NamedTuple):
    """An edit as arrays of one form, whatever is asked for.

    Attributes:
      targets: by group.
      active: by group, whether it is edited.
      motion: along directions of motion; None where the suite has none.
      moved: whether motion is edited.
      shift: [1, L, w_dim] of linear directions.
    """

    targets: dict[str, Target]
    active: dict[str, np.ndarray]
    motion: Target | None
    moved: np.ndarray
    shift: np.ndarray


class Reading(NamedTuple):
    """What a portrait is read to show.

    Attributes:
      face: PIE's parameters; None where nothing reads them.
      motion: [1, K] of the suite's directions of motion; None without those.
    """

    face: FaceParameters | None
    motion: Any


@dataclasses.dataclass(frozen=True)
class Subject:
    """A portrait that can be edited.

    Attributes:
      w_plus: [1, L, w_dim].
      noise: of its generator.
      generator: the suite's, or its own (PTI).
      before: what it is read to show, unedited.
      pixels: uint8 [R, R, 3], unedited.
    """

    w_plus: np.ndarray
    noise: str
    generator: Any
    before: Reading
    pixels: np.ndarray


class Drawn(NamedTuple):
    """What was drawn.

    Attributes:
      pixels: uint8 [R, R, 3].
      seconds: that it took.
      after: what the edited portrait is read to show; None where nothing was read.
      w_plus: [L, w_dim].
    """

    pixels: np.ndarray
    seconds: float
    after: Reading | None
    w_plus: np.ndarray


class Engine:
    """Draws edits of a suite's portraits.

    Args:
      suite: has a generator; see `Controls` for what can be asked for.

    Attributes:
      controls: what can.
      rest: the plan of the command, and of whatever is kept.
      resting: the plan at rest, `rest` as soon as it is compiled.
      moving: the plan while the hand moves.
    """

    def __init__(self, suite: Suite):
        self._sets = _direction_sets(suite)
        self.suite, self.controls = suite, Controls.of_suite(suite, self._sets)
        self.rest = Plan(True, suite.generator.resolution)
        self.moving = self.resting = self.rest
        self._compiling, self._known = threading.Lock(), set[tuple[Plan, Any]]()
        self._networks = Networks(
            suite.generator,
            {group: editing_networks(suite, group) for group in self.controls.groups},
            motion_networks(suite) if self.controls.motion else None,
        )
        self._nothing = {
            group: Target(
                np.zeros((1, group_width(group)), np.float32),  # type: ignore
                np.zeros(group_width(group), bool),  # type: ignore
                np.zeros((), np.float32),  # type: ignore
            )
            for group in self.controls.groups
        }

    @property
    def reads(self) -> bool:
        """Whether anything of an image is read back."""
        return bool(self.controls.groups) or self.controls.motion

    def subject(self, latent: Latent) -> Subject:
        """A portrait of an embedding.

        Args:
          latent: of this suite's generator.

        Raises:
          SuiteError: its tuned weights are of another generator.
          WeightsError: they are damaged.
        """
        generator = self.suite.generator
        if latent.weights is not None:
            generator = tuned_generator(latent.weights, self.suite)
        w_plus = np.asarray(latent.w_plus, np.float32)[None]
        networks = self._networks._replace(generator=generator)
        pixels, before = jax.device_get(_look(latent.noise)(networks, w_plus))
        return Subject(w_plus, latent.noise, generator, before, pixels[0])

    def draw(
        self,
        subject: Subject,
        edit: AskedEdit,
        *,
        plan: Plan | None = None,
        driven: Mapping[str, Target] | None = None,
    ) -> Drawn:
        """An image of an edit.

        Args:
          subject: who.
          edit: what.
          plan: how; None: as the command does.
          driven: targets of a driver's frame, by group, in place of those of the edit.
        """
        start = time.perf_counter()
        if edit.empty and not driven:
            seconds = time.perf_counter() - start
            return Drawn(subject.pixels, seconds, subject.before, subject.w_plus[0])
        plan = plan or self.rest
        networks = self._networks._replace(generator=subject.generator)
        program = _picture(plan, subject.noise)
        asked = self.asked(edit, driven or {})
        arguments = (networks, subject.w_plus, subject.before, asked)
        self._compiled(plan, subject.noise, program, arguments)
        pixels, after, w_plus = jax.device_get(program(*arguments))
        read = after if plan.feedback and self.reads else None
        return Drawn(pixels[0], time.perf_counter() - start, read, w_plus[0])

    def asked(self, edit: AskedEdit, driven: Mapping[str, Target]) -> Asked:
        """An edit as the programs take it."""
        targets, motion = dict(self._nothing), None
        active = dict.fromkeys(self.controls.groups, False)
        if self.controls.motion:
            names = self._networks.motion.directions.names
            motion = _on_host(motion_target(names, edit.values))
        elif edit.values:
            for group, target in named_targets(self.suite, edit.values, relative=False)[0].items():
                targets[group], active[group] = _on_host(target), True
        if edit.lamp is not None:
            target = _lit(edit.lamp.name, edit.lamp.strength)
            targets["illumination"], active["illumination"] = target, True
        for group, target in driven.items():
            targets[group], active[group] = _on_host(target), True
        return Asked(
            targets,
            {group: np.array(value) for group, value in active.items()},
            motion,
            np.array(bool(edit.values) and self.controls.motion),
            self._shift(edit.moves),
        )

    def _shift(self, moves: Mapping[str, float]) -> np.ndarray:
        config = self.suite.generator.config
        shift = np.zeros((1, config.num_ws, config.w_dim), np.float32)
        for name, strength in moves.items():
            own, _, direction = name.partition(".")
            vectors, units = self._vectors[own]
            place = self._sets[own].names.index(direction)
            shift += np.float32(strength) * units[place] * vectors[place]
        return shift

    @functools.cached_property
    def _vectors(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each set its vectors [K, 1 or L, w_dim], and how far their units lead, [K]."""
        return {
            own: (np.asarray(each.vectors[...]), np.asarray(each.units[...]))
            for own, each in self._sets.items()
        }

    def prepare(self, subject: Subject, *, tell: Any = lambda text: None) -> None:
        """Compiles everything, and finds the plan for a moving hand.

        Args:
          subject: any portrait; its noise is what most embeddings have.
          tell: receives a line before each part.
        """
        controls, plans = self.controls, self.plans()
        edit = AskedEdit(
            dict.fromkeys(controls.values, 0.0),
            Lamp(0.0, 0.0, 0.5) if controls.light else None,
            dict.fromkeys(list(controls.moves)[:1], 0.0),
        )
        tell("compiling the quickest images")
        self.moving = self.resting = plans[-1]
        self._seconds(subject, edit, plans[-1])
        tell("compiling images at rest")
        self._seconds(subject, edit, self.rest)
        self.resting = self.rest
        tell("compiling images while the hand moves")
        for plan in plans[:-1]:
            if self._seconds(subject, edit, plan) <= BUDGET:
                self.moving = plan
                break

    def plans(self) -> list[Plan]:
        """How images may be drawn while the hand moves, the best first."""
        size, config = self.suite.generator.resolution, self.suite.generator.config
        sizes = [size]
        while getattr(config, "architecture", None) == "skip" and sizes[-1] // 2 >= LEAST:
            sizes.append(sizes[-1] // 2)
        whole = [Plan(True, size)] if self.reads else []
        return whole + [Plan(False, each) for each in sizes]

    def _seconds(self, subject: Subject, edit: AskedEdit, plan: Plan) -> float:
        """What an image takes by a plan, once it is compiled: the least of three."""
        networks = self._networks._replace(generator=subject.generator)
        arguments = (networks, subject.w_plus, subject.before, self.asked(edit, {}))
        program, taken = _picture(plan, subject.noise), []
        self._compiled(plan, subject.noise, program, arguments)
        for _ in range(4):
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            taken.append(time.perf_counter() - start)
        return min(taken[1:])

    def _compiled(self, plan: Plan, noise: Any, program: Program, arguments: tuple) -> None:
        """Begins to compile a program, by one thread alone; what is known waits for no other."""
        if (plan, noise) not in self._known:
            with self._compiling:
                program.prepare(*arguments)
                self._known.add((plan, noise))

    def told(self, reading: Reading) -> dict[str, float]:
        """What a portrait shows, by the names of the controls and in their units."""
        if reading.motion is not None:
            names = self._networks.motion.directions.names
            found = dict(zip(names, np.asarray(reading.motion)[0].tolist(), strict=True))
            return {name: round(found[name], 3) for name in self.controls.values}
        if reading.face is None:
            return {}
        told = {}
        for name, (group, place, unit) in self._units.items():
            told[name] = round(float(np.asarray(reading.face.group(group))[0, place]) / unit, 3)
        return told

    @functools.cached_property
    def _units(self) -> dict[str, tuple[str, int, float]]:
        """Of each named value its group, place and unit."""
        if not self.controls.values:
            return {}
        ones = dict.fromkeys(self.controls.values, 1.0)
        _, attributes = named_targets(self.suite, ones, relative=False)
        return {
            each.name: (group, attribute(each.name)[1], each.unit)
            for group, some in attributes.items()
            for each in some
        }

    @functools.cached_property
    def basis(self) -> Any:
        """Of the motion of what is drawn; None where nothing reads it."""
        if self.controls.motion:
            return "arkit"
        if not self.controls.groups:
            return None
        own = self.suite.face_model if "face_model" in self.suite else None
        return basis_of(self.suite.reconstruction, own)

    def motion(self, reading: Reading) -> Motion | None:
        """The motion of a portrait that was read, one frame; None where nothing tells it."""
        if reading.face is None:
            return None
        return motion_of_pie(reading.face, basis=self.basis)


def _direction_sets(suite: Suite) -> Mapping[str, LatentDirections]:
    try:
        return direction_sets(suite)
    except SuiteError:  # none, which is no mistake here
        return {}


def _on_host(target: Target) -> Target:
    """A target as float32 arrays of NumPy, which wait for no device."""
    return Target(
        np.asarray(target.values, np.float32),  # type: ignore
        np.asarray(target.given),  # type: ignore
        np.asarray(target.relative, np.float32),  # type: ignore
    )


@functools.lru_cache(maxsize=256)
def _lit(name: str, strength: float) -> Target:
    return _on_host(light_target(name, strength))


@functools.cache
def _look(noise: Any) -> Program:
    """Portraits as they are, and what they are read to show."""

    def look(networks: Networks, w_plus: jax.Array) -> Any:
        images = networks.generator.synthesis(w_plus, noise=noise)
        return to_uint8(images), _read(networks, images)

    return Program(look)


@functools.cache
def _picture(plan: Plan, noise: Any) -> Program:
    """Edits by a plan: pixels, what is read of them before linear directions, and their latents."""
    rounds = FEEDBACK if plan.feedback else 0
    motion_rounds = MOTION_FEEDBACK if plan.feedback else 0

    def image(networks: Networks, w_plus: jax.Array, before: Reading, asked: Asked) -> Any:
        edited, after = w_plus, before
        if networks.motion is not None:
            own = networks.motion._replace(generator=networks.generator)
            target: Any = asked.motion
            moved = apply_motion(
                own, edited, target, feedback=motion_rounds, noise=noise, before=before.motion
            )
            edited = jnp.where(asked.moved, moved.w_plus, edited)
            seen = jnp.where(asked.moved, moved.after, before.motion)
            after = after._replace(motion=seen)
        if networks.groups:
            groups = {
                group: each._replace(generator=networks.generator)
                for group, each in networks.groups.items()
            }
            edit = apply_together(
                groups,
                edited,
                asked.targets,
                feedback=rounds,
                noise=noise,
                active=asked.active,
                # Behind an edit of the motion the face is another.
                before=before.face if networks.motion is None else None,
            )
            edited, after = edit.w_plus, after._replace(face=edit.after)
        edited = edited + asked.shift
        # A generator without an image at every resolution draws the whole one.
        size = None if plan.resolution == networks.generator.resolution else plan.resolution
        more = {} if size is None else {"resolution": size}
        images = networks.generator.synthesis(edited, noise=noise, **more)
        return to_uint8(images), after if plan.feedback else None, edited

    return Program(image)


def _read(networks: Networks, images: jax.Array) -> Reading:
    face = motion = None
    if networks.groups:
        reconstruction = next(iter(networks.groups.values())).reconstruction
        face = FaceParameters.from_flat(reconstruction(images))
    if networks.motion is not None:
        _, reader, directions = networks.motion
        motion = measured(read_motion(reader, images), directions.names)
    return Reading(face, motion)
