"""Avatars of `jaxface personalise`: a head that turns, and expressions as far as its clip showed.

What the hand asks for is pitch and yaw in degrees, each expression in deviations of the clip from
its mean, both within the frames that were learned from, and the suite's directions, which stay
while head and face move. The command line is `jaxface reenact AVATAR`, driven by a motion template
of one frame, whose numbers it takes as they are.
"""

import dataclasses
import functools
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.avatars import StoredAvatar, avatar_folder, read_avatar
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.motion_files import write_motion
from jaxface.media.images import to_uint8
from jaxface.methods.pvp import Avatar
from jaxface.methods.pvp.features import ANGLES, features_of
from jaxface.morphable import FaceParameters
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.motion import Motion, motion_of_pie, pie_group
from jaxface.morphable.parameters import NUM_PARAMETERS
from jaxface.runtime.iteration import Flat, Program
from jaxface.studio.controls import KEYS, Control, Controls, moves_of, region_of
from jaxface.studio.drawing import Drawer, Plan, Subject, size_of
from jaxface.studio.edits import AskedEdit
from jaxface.studio.engine import sets_of, shift_of
from jaxface.studio.subjects import Gallery, Portrait
from jaxface.vocabulary import EXPRESSION_NAMES

NUMBERED = 10
"""Of expressions without names, such as FLAME's, so many are shown."""


class AvatarDrawer(Drawer):
    """Draws one avatar.

    Args:
      avatar: it.
    """

    def __init__(self, avatar: Avatar):
        self.avatar, self._networks = avatar, Flat.of((avatar.generator, avatar.mappers))
        learned = avatar.clip[avatar.training]
        expression = _expression(learned)
        self._mean, self._deviation = expression.mean(axis=0), expression.std(axis=0)
        self._learned = learned.mean()
        self._sets = sets_of(avatar.suite)
        low, high = avatar.range.pose
        self._head = ANGLES[: avatar.mappers.config.angles]
        values = {}
        for place, name in enumerate(self._head):
            values[name] = _control(
                name, np.rad2deg(low[place]), np.rad2deg(high[place]), 0.1, "°", "Head"
            )
        for name, place in _places(avatar.clip).items():
            if self._deviation[place] < 1e-4:  # nothing was learned of it
                continue
            span = (expression[:, place] - self._mean[place]) / self._deviation[place]
            values[name] = _control(name, span.min(), span.max(), 0.01, "", region_of(name))
        controls = Controls(values, moves_of(self._sets), light=False, groups=(), motion=False)
        super().__init__(avatar.suite, controls, avatar.generator, feedback=False)

    def subject(self) -> Subject:
        """The avatar as it is: its clip's mean, to a tenth of a degree."""
        before = self.asked({})
        arguments = (self._networks, before, self._shift({}))
        pixels, before = jax.device_get(_drawn(self.rest)(*arguments))
        return Subject(before, pixels[0])

    def program(self, plan: Plan, subject: Subject) -> Program:
        del subject
        return _drawn(plan)

    def arguments(self, subject: Subject, edit: AskedEdit, driven: Mapping[str, Any]) -> tuple:
        del subject, driven
        return self._networks, self.asked(edit.values), self._shift(edit.moves)

    def asked(self, values: Mapping[str, float]) -> Motion:
        """The motion of one frame that is asked for."""
        rotation = np.zeros((1, 3), np.float32)
        mean = np.rad2deg(np.asarray(self._learned.rotation)[0])
        for place, name in enumerate(self._head):
            rotation[0, place] = np.deg2rad(values.get(name, round(float(mean[place]), 1)))
        expression = self._mean.copy()
        for name, place in _places(self.avatar.clip).items():
            expression[place] += values.get(name, 0.0) * self._deviation[place]
        return _with_expression(self._learned, rotation, expression)

    def told(self, shown: Motion) -> dict[str, float]:
        degrees, expression = np.asarray(shown.degrees)[0], _expression(shown)[0]
        told = {name: round(float(degrees[place]), 3) for place, name in enumerate(self._head)}
        for name, place in _places(self.avatar.clip).items():
            if name in self.controls.values:
                own = (expression[place] - self._mean[place]) / self._deviation[place]
                told[name] = round(float(own), 3) + 0.0
        return told

    def motion(self, shown: Motion) -> Motion:
        return shown

    def _shift(self, moves: Mapping[str, float]) -> np.ndarray:
        return shift_of(self._sets, moves, self.avatar.generator.config)


class AvatarGallery(Gallery):
    """The page of one avatar.

    Args:
      stored: it.
      path: of its folder, as the user named it.
      folder: the studio's.
    """

    def __init__(self, stored: StoredAvatar, path: str, folder: Path):
        super().__init__(AvatarDrawer(stored.avatar), folder)
        self.engine: AvatarDrawer
        self._path = path

    @classmethod
    def read(cls, path: str, folder: Path, *, suite: Any) -> "AvatarGallery":
        """Reads an avatar, see `read_avatar`."""
        return cls(read_avatar(path, suite=suite), path, folder)

    def open(self, inputs: Sequence[str]) -> list[str]:
        del inputs
        name = Path(self._path).absolute().name
        key = hashlib.sha256(str(Path(self._path).absolute()).encode()).hexdigest()[:12]
        self._add([Portrait(key, name, Item(name, self._path, _no_image), "avatar")])
        return []

    def load(self, portrait: Portrait) -> Subject:
        del portrait
        return self.engine.subject()

    def files(self) -> list[str]:
        folder = avatar_folder(self._path)
        assert folder is not None
        own = [str(path) for path in folder.iterdir() if path.is_file()]
        return [*map(str, self.engine.suite.files.values()), *own]

    def command_lines(
        self,
        portrait: Portrait,
        edit: AskedEdit,
        *,
        driver: str | None = None,
        relative: bool = False,
    ) -> str:
        del portrait, driver, relative
        if edit.empty:
            return ""
        words = ["jaxface", "reenact", self._path, f"--suite={self.engine.suite.name}"]
        words += [f"--driving={self._template(edit)}"]
        words += [f"--direction={name}={value:g}" for name, value in edit.moves.items()]
        return " ".join(map(shlex.quote, [*words, "--lossless", "--out=moved"]))

    def _template(self, edit: AskedEdit) -> Path:
        """The motion template of one frame that is asked for; written once."""
        asked = sorted(edit.values.items())
        digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:12]
        path = self.folder / "poses" / f"{digest}.safetensors"
        if not path.is_file():
            write_motion(path, self.engine.asked(edit.values), [Fraction(0)])
        return path


def _no_image() -> Any:
    raise UsageError("an avatar is no image")


def _control(name: str, low: float, high: float, step: float, unit: str, region: str) -> Control:
    low, high = (float(round(each / step) * step) for each in (low, high))
    label = name.replace("_", " ")
    return Control(
        label[0].upper() + label[1:],
        round(low, 6) + 0.0,
        round(high, 6) + 0.0,
        step,
        unit,
        region,
        KEYS.get(name, ""),
    )


def _places(clip: Motion) -> dict[str, int]:
    """Which coefficients have sliders, by name."""
    if clip.basis == "embedded":
        return {name: place for place, name in enumerate(EXPRESSION_NAMES)}
    if clip.basis in ("anatomical", "arkit"):
        return {name: place for place, name in enumerate(ARKIT_UNITS)}
    width = _expression(clip).shape[1]
    return {f"expression_{place}": place for place in range(min(NUMBERED, width))}


def _expression(motion: Motion) -> np.ndarray:
    """Coefficients [T, E] of which jaw and gaze are a part, where the basis has them so."""
    if motion.basis in ("embedded", "anatomical"):
        return np.asarray(pie_group(motion, "expression"))
    return np.asarray(motion.expression)


def _with_expression(motion: Motion, rotation: np.ndarray, expression: np.ndarray) -> Motion:
    """One frame in a pose and with coefficients, and what follows of these for jaw and gaze."""
    expression = expression[None].astype(np.float32)
    if motion.basis in ("embedded", "anatomical"):
        face = FaceParameters.from_flat(np.zeros((1, NUM_PARAMETERS), np.float32))  # type: ignore
        face = dataclasses.replace(face, rotation=rotation, expression=expression)
        return jax.tree.map(np.asarray, motion_of_pie(face, basis=motion.basis))
    return dataclasses.replace(
        jax.tree.map(np.asarray, motion), rotation=rotation, expression=expression
    )


@functools.cache
def _drawn(plan: Plan) -> Program:
    """An avatar in a motion, with directions added to w_rot, as `Avatar.latents` does."""

    def image(flat: Flat, motion: Motion, shift: Any) -> Any:
        generator, mappers = flat.tree()
        pose, expression = features_of(motion)
        w_plus = mappers.moved(mappers.turned(pose) + shift, mappers.offsets(expression))
        images = generator.synthesis(w_plus, **size_of(plan, generator))
        return to_uint8(images), motion

    return Program(image)
