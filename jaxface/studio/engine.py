"""Portraits as latents of a suite: RigNets, directions of motion, linear directions.

The edit is `jaxface edit`'s: motion along directions first, then the groups of the RigNets in one
step (`jaxface.methods.pie.edit_together`), then linear directions. Which of them are asked for is
an argument of one program, not a program each, so that nothing compiles while a hand moves.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import SuiteError
from jaxface.jobs.editing import FEEDBACK, MOTION_FEEDBACK
from jaxface.jobs.inputs.latents import Latent
from jaxface.jobs.outputs.tuned import tuned_generator
from jaxface.media.images import to_uint8
from jaxface.methods.direction_matrix import direction_sets
from jaxface.methods.motion_editing import apply_motion, motion_networks, motion_target
from jaxface.methods.motion_reading import read_motion
from jaxface.methods.pie.attributes import Attribute, light_target, named_targets
from jaxface.methods.pie.editing import Target, apply_together, editing_networks
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable import FaceParameters, group_width
from jaxface.morphable.motion import Motion, measured, motion_of_pie
from jaxface.nets.edits.linear_directions import LatentDirections
from jaxface.runtime.iteration import Flat, Program
from jaxface.studio.controls import Controls
from jaxface.studio.drawing import Drawer, Plan, Subject, size_of
from jaxface.studio.edits import AskedEdit
from jaxface.suite import Suite


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
class LatentSubject(Subject):
    """A portrait as a latent; `before` is a `Reading`.

    Attributes:
      w_plus: [1, L, w_dim].
      noise: of its generator.
      networks: `Networks`, whose generator is the suite's, or its own (PTI).
    """

    w_plus: np.ndarray
    noise: str
    networks: Flat


class Engine(Drawer):
    """Draws edits of a suite's portraits.

    Args:
      suite: has a generator; see `Controls` for what can be asked for.
    """

    def __init__(self, suite: Suite):
        self._sets = sets_of(suite)
        controls = Controls.of_suite(suite, self._sets)
        self._networks = Networks(
            suite.generator,
            {group: editing_networks(suite, group) for group in controls.groups},
            motion_networks(suite) if controls.motion else None,
        )
        reads = bool(controls.groups) or controls.motion
        super().__init__(suite, controls, suite.generator, feedback=reads)
        self._nothing = {
            group: Target(
                np.zeros((1, group_width(group)), np.float32),  # type: ignore
                np.zeros(group_width(group), bool),  # type: ignore
                np.zeros((), np.float32),  # type: ignore
            )
            for group in controls.groups
        }

    def subject(self, latent: Latent) -> LatentSubject:
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
        networks = Flat.of(self._networks._replace(generator=generator))
        pixels, before = jax.device_get(_look(latent.noise)(networks, w_plus))
        return LatentSubject(before, pixels[0], w_plus, latent.noise, networks)

    def program(self, plan: Plan, subject: LatentSubject) -> Program:
        return _picture(plan, subject.noise)

    def arguments(
        self, subject: LatentSubject, edit: AskedEdit, driven: Mapping[str, Target]
    ) -> tuple:
        return subject.networks, subject.w_plus, subject.before, self.asked(edit, driven)

    def asked(self, edit: AskedEdit, driven: Mapping[str, Target]) -> Asked:
        """An edit as the programs take it.

        Args:
          edit: it.
          driven: targets by group, in place of the edit's.
        """
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
            shift_of(self._sets, edit.moves, self.suite.generator.config),
        )

    def told(self, shown: Reading) -> dict[str, float]:
        if shown.motion is not None:
            names = self._networks.motion.directions.names
            found = dict(zip(names, np.asarray(shown.motion)[0].tolist(), strict=True))
            return {name: round(found[name], 3) for name in self.controls.values}
        if shown.face is None:
            return {}
        told = {}
        for group, attributes in self._named.items():
            values = np.asarray(shown.face.group(group))[0].tolist()
            told |= {each.name: round(each.read(values), 3) for each in attributes}
        return told

    @functools.cached_property
    def _named(self) -> Mapping[str, Sequence[Attribute]]:
        """The named values by group."""
        if not self.controls.values:
            return {}
        ones = dict.fromkeys(self.controls.values, 1.0)
        return named_targets(self.suite, ones, relative=False)[1]

    @functools.cached_property
    def basis(self) -> Any:
        """Of the motion of what is drawn; None where nothing reads it."""
        if self.controls.motion:
            return "arkit"
        if not self.controls.groups:
            return None
        return suite_basis(self.suite)

    def motion(self, shown: Reading) -> Motion | None:
        return None if shown.face is None else motion_of_pie(shown.face, basis=self.basis)


def sets_of(suite: Suite) -> Mapping[str, LatentDirections]:
    """A suite's directions by set; none where it has none."""
    try:
        return direction_sets(suite)
    except SuiteError:  # none, which is no mistake here
        return {}


def shift_of(
    sets: Mapping[str, LatentDirections], moves: Mapping[str, float], config: Any
) -> np.ndarray:
    """What directions add to a latent, [1, L, w_dim].

    Args:
      sets: by name.
      moves: strengths by ``SET.NAME``.
      config: the generator's.
    """
    shift = np.zeros((1, config.num_ws, config.w_dim), np.float32)
    for name, strength in moves.items():
        own, _, direction = name.partition(".")
        vectors, units = _vectors(sets[own])
        place = sets[own].names.index(direction)
        shift += np.float32(strength) * units[place] * vectors[place]
    return shift


@functools.lru_cache(maxsize=256)
def _vectors(directions: LatentDirections) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [K, 1 or L, w_dim], and how far their units lead, [K]."""
    return np.asarray(directions.vectors[...]), np.asarray(directions.units[...])


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

    def look(flat: Flat, w_plus: jax.Array) -> Any:
        networks: Networks = flat.tree()
        images = networks.generator.synthesis(w_plus, noise=noise)
        return to_uint8(images), _read(networks, images)

    return Program(look)


@functools.cache
def _picture(plan: Plan, noise: Any) -> Program:
    """Edits by a plan: pixels, and what is read of them before linear directions."""
    rounds = FEEDBACK if plan.feedback else 0
    motion_rounds = MOTION_FEEDBACK if plan.feedback else 0

    def image(flat: Flat, w_plus: jax.Array, before: Reading, asked: Asked) -> Any:
        networks: Networks = flat.tree()
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
        size = size_of(plan, networks.generator)
        images = networks.generator.synthesis(edited, noise=noise, **size)
        return to_uint8(images), after if plan.feedback else None

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
