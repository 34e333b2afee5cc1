"""Reenactment: a subject's portrait moves as a driver does. What all such methods share.

A method is a frozen, hashable dataclass of settings that is a `Reenactor`. `adapt` makes a
`Subject` of one frame, or of several, once; `drive` draws the subject for driving frames. `reenact`
does both for a clip, in chunks of one size, so that nothing compiles anew from clip to clip.

A `BatchReenactor` is one whose subject is a latent code: `move` takes rows, each a latent and the
motion that it is to have, so that one program draws frames of many subjects. `jaxface reenact` runs
those, and with codes that an `ImageReenactor` makes of the driver's images in place of motion. What
the motion is to be, absolute or relative, of which regions and by which gain, has been
decided before, by `jaxface.morphable.retargeting`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from jaxface.methods.inversion import Inverter
from jaxface.methods.pie.editing import read_parameters
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable.flame import NUM_LANDMARKS
from jaxface.morphable.motion import Motion, motion_of_pie
from jaxface.nets import Generator
from jaxface.runtime.chunks import by_chunks, chunks
from jaxface.suite import Suite

INPUTS = ("image", "motion", "landmarks")
"""What a method can require of driving frames."""


@dataclasses.dataclass(frozen=True)
class Driving:
    """Driving frames; a method says what it `requires` of them.

    Attributes:
      images: [T, R, R, 3] in [-1, 1], aligned as the subject's; what "image" asks for.
      motion: of T frames.
      landmarks: [T, 68, 2], x and y in units of the frame's side.
      clip: the motion of the whole clip that the frames are of, for what is relative to it; None:
        they are the clip. Only with `motion`.
    """

    images: Any = None
    motion: Motion | None = None
    landmarks: Any = None
    clip: Motion | None = None

    def __post_init__(self):
        lengths = {name: len(value) for name, value in self._given().items()}
        if not lengths or len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} of {count}" for name, count in lengths.items())
            raise ValueError(
                f"Driving: expected {', '.join(INPUTS)} or some of them, of equally many frames; "
                f"got {said or 'none'}."
            )
        if min(lengths.values()) < 1:
            raise ValueError("Driving: expected one frame or more, got none.")
        if self.landmarks is not None and self.landmarks.shape[1:] != (NUM_LANDMARKS, 2):
            raise ValueError(
                f"Driving: landmarks must be [T, 68, 2], got {list(self.landmarks.shape)}."
            )
        if self.images is not None and (self.images.ndim != 4 or self.images.shape[3] != 3):
            raise ValueError(
                f"Driving: images must be [T, R, R, 3], got {list(self.images.shape)}."
            )
        if self.clip is not None and self.motion is None:
            raise ValueError("Driving: clip goes with motion; give the frames' motion too.")

    def __len__(self) -> int:
        return len(next(iter(self._given().values())))

    def _given(self) -> dict[str, Any]:
        values = zip(INPUTS, (self.images, self.motion, self.landmarks), strict=True)
        return {name: value for name, value in values if value is not None}

    @property
    def whole(self) -> Motion | None:
        """The motion of the whole clip."""
        return self.motion if self.clip is None else self.clip

    def check(self, owner: str, requires: tuple[str, ...]) -> None:
        """Insist on what a method requires.

        Raises:
          ValueError: naming what is missing; it begins with `owner`.
        """
        given = self._given()
        missing = [name for name in requires if name not in given]
        if missing:
            raise ValueError(
                f"{owner}: driving frames need {', '.join(requires)}; got {', '.join(given)} "
                f"without {', '.join(missing)}."
            )

    def chunks(self, size: int) -> Iterator[tuple[int, "Driving"]]:
        """The frames in chunks of `size`, the last one filled up with its last frame.

        Yields:
          How many frames count, and the chunk, which knows the whole clip.
        """
        for rows, count in chunks(len(self), size):
            yield (
                count,
                Driving(
                    images=None if self.images is None else self.images[rows],
                    motion=None if self.motion is None else self.motion[rows],
                    landmarks=None if self.landmarks is None else self.landmarks[rows],
                    clip=self.whole,
                ),
            )


@dataclasses.dataclass(frozen=True)
class Subject:
    """Who is drawn; methods that learn more of a person extend it.

    Attributes:
      suite: whose networks move the subject.
      w_plus: of the subject's K frames, [K, L, w_dim].
      motion: of the K frames as they are drawn, where relative motion begins.
      generator: what draws the subject: the suite's, or one tuned to the person.
    """

    suite: Suite
    w_plus: Any
    motion: Motion
    generator: Generator


class Reenactor(Protocol):
    """A reenactment method: frozen, hashable settings that carry the behaviour."""

    @property
    def requires(self) -> tuple[str, ...]:
        """What a driving frame must have, out of `INPUTS`."""
        ...

    def roles(self) -> Mapping[str, str]:
        """The roles of a suite that are needed, each with a sentence on what needs it."""
        ...

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Subject:
        """The subject of K frames: one for a method that needs no more, several for tuning.

        Args:
          suite: has the networks of `roles`.
          frames: [K, R, R, 3] in [-1, 1] with R the generator's resolution.
          keys: [K] typed keys, see `jaxface.keys.item_keys`.

        Raises:
          ValueError: wrong shapes, or a number of frames that the method has no use for.
        """
        ...

    def drive(self, subject: Subject, driving: Driving) -> Any:
        """The subject for each driving frame, [T, R, R, 3], not clipped to [-1, 1].

        A frame's result depends on that frame, the subject and the driver's whole clip alone.
        Compiles for each T; `drive_chunks` has one T for all clips.

        Raises:
          ValueError: the frames lack what the method `requires`.
        """
        ...


class Moved(NamedTuple):
    """Frames of subjects.

    Attributes:
      w_plus: latents that a generator draws them from, [N, L, w_dim].
      images: [N, R, R, 3], as the generator gives them, not clipped to [-1, 1].
    """

    w_plus: Any
    images: Any


class LatentReenactor(Reenactor, Protocol):
    """A reenactment method whose subject is one latent code; see the module."""

    @property
    def inversion(self) -> Inverter:
        """How a subject's portrait is embedded."""
        ...

    def driving_roles(self) -> Mapping[str, str]:
        """Those of `roles` that are needed once subjects are embedded."""
        ...

    def networks(self, suite: Suite) -> Any:
        """What reads and moves, but for the generator: a pytree of arrays.

        Raises:
          SuiteError: the suite lacks a network.
        """
        ...

    def draw(self, generator: Generator, w_plus: Any, *, noise: Literal["const", "none"]) -> Any:
        """Subjects as they are, [N, R, R, 3], of latents [N, L, w_dim]; traceable."""
        ...


class BatchReenactor(LatentReenactor, Protocol):
    """A reenactment method that is driven by motion; see the module."""

    def following(self, groups: tuple[str, ...]) -> "BatchReenactor":
        """The same method where only these groups follow the driver.

        Args:
          groups: out of `jaxface.morphable.motion.MOTION_GROUPS`, one or more.
        """
        ...

    def read(self, networks: Any, images: Any) -> Motion:
        """The motion of portraits [N, R, R, 3] in [-1, 1]; traceable."""
        ...

    def move(
        self,
        networks: Any,
        generator: Generator,
        w_plus: Any,
        own: Motion,
        wanted: Motion,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """Subjects with another motion; traceable, and a row depends on that row alone.

        Args:
          networks: of `networks`.
          generator: the suite's, or one that was tuned to the subject of all rows.
          w_plus: [N, L, w_dim].
          own: the motion of what `draw` draws of `w_plus`, N rows.
          wanted: the motion that they are to have, in the same basis, N rows. Numbers that do not
            follow a driver are those of `own`.
          noise: "const": the generator's stored maps; "none".
        """
        ...


class ImageReenactor(LatentReenactor, Protocol):
    """A reenactment method that makes codes of its own of driving images: `move` takes rows, each a
    latent and the code of the frame that it is to follow.

    Codes are to be such that one between two others, by their weights, is a motion between theirs:
    so frames without a face are filled and drivers of another rate resampled.
    """

    def read(self, networks: Any, images: Any) -> Any:
        """The codes [N, ...] of driving frames [N, R, R, 3] in [-1, 1]; traceable."""
        ...

    def move(
        self,
        networks: Any,
        generator: Generator,
        w_plus: Any,
        codes: Any,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """Subjects as driving frames show them; traceable, a row depends on that row alone.

        Args:
          networks: of `networks`.
          generator: the suite's, or one that was tuned to the subject of all rows.
          w_plus: [N, L, w_dim], by `inversion`.
          codes: of `read`, N rows.
          noise: "const": the generator's stored maps; "none".
        """
        ...


def drive_chunks(
    reenactor: Reenactor,
    subject: Subject,
    driving: Driving,
    *,
    chunk: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[np.ndarray]:
    """The subject's frames, a chunk of a clip at a time: one program draws clips of any length.

    Args:
      reenactor, subject, driving: see `Reenactor.drive`.
      chunk: driving frames that are drawn together.
      progress: called after each chunk with the frames done and all frames.

    Yields:
      [n, R, R, 3], n = `chunk` but for the last.

    Raises:
      ValueError: `chunk` is below 1, or the frames lack what the method requires.
    """
    if chunk < 1:
        raise ValueError(f"drive_chunks: chunk must be >= 1, got {chunk}.")
    driving.check(type(reenactor).__name__, reenactor.requires)
    done = 0
    for count, frames in driving.chunks(chunk):
        yield np.asarray(reenactor.drive(subject, frames))[:count]
        done += count
        if progress is not None:
            progress(done, len(driving))


def reenact(
    suite: Suite,
    reenactor: Reenactor,
    frames: Any,
    driving: Driving,
    *,
    keys: jax.Array,
    chunk: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The subject of some frames, moving as a driver does.

    Args:
      suite: has the networks that the method needs.
      reenactor: see `jaxface.methods.reenactment_presets`.
      frames: of the subject, [K, R, R, 3] in [-1, 1] with R the generator's resolution.
      driving: T frames of the driver; `read_motion` reads the motion of images.
      keys: [K] typed keys, see `jaxface.keys.item_keys`.
      chunk, progress: see `drive_chunks`.

    Returns:
      [T, R, R, 3], as the generator gives them, not clipped to [-1, 1].

    Raises:
      ValueError: wrong shapes, or the driving frames lack what the method requires.
      SuiteError: the suite lacks a network.
    """
    suite.require(reenactor.roles())
    driving.check(type(reenactor).__name__, reenactor.requires)
    size = suite.generator.resolution
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or not len(frames):
        raise ValueError(
            f"reenact: frames must be [K, {size}, {size}, 3], got {list(frames.shape)}."
        )
    if len(keys) != len(frames):
        raise ValueError(f"reenact: expected a key for each of {len(frames)} frames.")
    subject = reenactor.adapt(suite, frames, keys=keys)
    drawn = drive_chunks(reenactor, subject, driving, chunk=chunk, progress=progress)
    return np.concatenate(list(drawn))


def read_motion(suite: Suite, images: Any, *, chunk: int = 16) -> Motion:
    """The motion of portraits, by the suite's reconstruction network, as NumPy arrays.

    Args:
      suite: has a reconstruction network; the face model that it reads is the basis.
      images: [T, R, R, 3] in [-1, 1], aligned as FFHQ's.
      chunk: portraits that are read together.

    Raises:
      SuiteError: the suite has no reconstruction network.
    """
    basis = suite_basis(suite)

    def read(part: Any) -> Motion:
        return motion_of_pie(read_parameters(suite, part), basis=basis)

    return by_chunks(read, images, size=chunk)
