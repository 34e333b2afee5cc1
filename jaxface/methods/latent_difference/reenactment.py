"""Reenactment by landmarks: each driving frame is a wish of landmarks for one embedded portrait.

Identity leaks through landmarks, since their shape is the driver's. `LandmarkReenactment` moves the
subject's own landmarks by the driver's motion, so that shape and place stay the subject's;
`DriverLandmarks` takes the driver's landmarks as they are, as the paper does, to see what
that costs.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxface.methods import encoder
from jaxface.methods.latent_difference.landmarks import normalised
from jaxface.methods.latent_difference.redrawing import (
    ROLES,
    Redrawing,
    redraw,
    redrawing_of,
    see,
)
from jaxface.methods.latent_subjects import check_settings, embedded, subject_latent
from jaxface.methods.reenactment import Driving, Moved, Subject
from jaxface.morphable import FaceParameters
from jaxface.morphable.motion import (
    MOTION_GROUPS,
    Motion,
    motion_of_pie,
    pie_group,
    pie_group_given,
)
from jaxface.nets import Generator
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class _ByLandmarks:
    """What both share.

    Attributes:
      inversion: how the subject is embedded: as in training.
    """

    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)

    def roles(self) -> dict[str, str]:
        """What embeds, reads and redraws."""
        return {**self.inversion.roles(), **self.driving_roles()}

    def driving_roles(self) -> dict[str, str]:
        """What reads and redraws."""
        return {"generator": "It draws", **ROLES}

    def networks(self, suite: Suite) -> Redrawing:
        """See `jaxface.methods.reenactment.LatentReenactor`."""
        return redrawing_of(suite)

    def draw(self, generator: Generator, w_plus: Any, *, noise: Literal["const", "none"]) -> Any:
        """See `jaxface.methods.reenactment.LatentReenactor`."""
        return generator.synthesis(w_plus, noise)

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Subject:
        """The subject of one frame, embedded as `inversion` says.

        Args:
          suite: has the networks of `roles`.
          frames: [1, R, R, 3] in [-1, 1] with R the generator's resolution.
          keys: [1] typed keys; nothing is sampled.

        Raises:
          ValueError: wrong shapes, or more than one frame.
        """
        name = type(self).__name__
        return self.subject(suite, embedded(name, self.inversion, suite, frames, keys=keys).w_plus)

    def subject(self, suite: Suite, w_plus: Any) -> Subject:
        """The subject of a latent that there is already, [1, L, w_dim].

        Raises:
          ValueError: wrong shapes.
        """
        generator = suite.generator
        w_plus = subject_latent(type(self).__name__, generator, w_plus)
        networks = redrawing_of(suite)
        motion = _motion(networks, _draw(generator, w_plus))
        return Subject(suite, w_plus, motion, generator)


@dataclasses.dataclass(frozen=True)
class LandmarkReenactment(_ByLandmarks):
    """The subject's own landmarks move as the driver does; a `BatchReenactor`.

    Attributes:
      groups: that follow the driver, out of "pose" and "expression".
    """

    groups: tuple[str, ...] = MOTION_GROUPS

    def __post_init__(self):
        check_settings("LandmarkReenactment", groups=self.groups, feedback=0, relative_to=None)

    @property
    def requires(self) -> tuple[str, ...]:
        """Motion alone."""
        return ("motion",)

    def following(self, groups: tuple[str, ...]) -> "LandmarkReenactment":
        """See `jaxface.methods.reenactment.BatchReenactor`."""
        return dataclasses.replace(self, groups=tuple(g for g in self.groups if g in groups))

    def read(self, networks: Redrawing, images: Any) -> Motion:
        """See `BatchReenactor.read`."""
        face = FaceParameters.from_flat(networks.reconstruction(images))
        return motion_of_pie(face, basis=networks.basis)

    def move(
        self,
        networks: Redrawing,
        generator: Generator,
        w_plus: Any,
        own: Motion,
        wanted: Motion,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """See `BatchReenactor.move`; what the subject shows is read off its image."""
        seen = see(networks, generator.synthesis(w_plus, noise))
        face = seen.face
        rotation, expression = face.rotation, face.expression
        if "pose" in self.groups:
            rotation = wanted.rotation
        if "expression" in self.groups:
            given = pie_group_given("expression", driver=wanted.basis, face=networks.basis)
            values = pie_group(wanted, "expression", face=networks.basis)
            expression = jnp.where(jnp.asarray(given), values, expression)
        other = dataclasses.replace(face, rotation=rotation, expression=expression)
        size = generator.resolution
        points = normalised(networks.model, seen.points, face, other, size)
        return Moved(*redraw(networks, generator, w_plus, points, noise=noise))

    def drive(self, subject: Subject, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor`; motion is absolute.

        Raises:
          ValueError: the frames have no motion, or one that says nothing of the face's.
        """
        driving.check("LandmarkReenactment", self.requires)
        networks = redrawing_of(subject.suite)
        return _drive(self, networks, subject, driving.motion).images


@dataclasses.dataclass(frozen=True)
class DriverLandmarks(_ByLandmarks):
    """The driver's landmarks as they are; an `ImageReenactor`."""

    @property
    def requires(self) -> tuple[str, ...]:
        """Images alone."""
        return ("image",)

    def read(self, networks: Redrawing, images: Any) -> jax.Array:
        """Landmarks in shares of the side, [N, 136]; see `ImageReenactor.read`."""
        points = networks.landmarks(images) / images.shape[1]
        return points.reshape(len(points), -1)

    def move(
        self,
        networks: Redrawing,
        generator: Generator,
        w_plus: Any,
        codes: Any,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """See `ImageReenactor.move`."""
        points = codes.reshape(len(codes), -1, 2) * generator.resolution
        return Moved(*redraw(networks, generator, w_plus, points, noise=noise))

    def drive(self, subject: Subject, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor`.

        Raises:
          ValueError: the frames are no images.
        """
        driving.check("DriverLandmarks", self.requires)
        networks = redrawing_of(subject.suite)
        codes = _read(self, networks, jnp.asarray(driving.images))
        return _drive(self, networks, subject, codes).images


def _read_fn(method: Any, networks: Redrawing, images: jax.Array) -> Any:
    return method.read(networks, images)


def _drive_fn(method: Any, networks: Redrawing, subject: Any, wanted: Any) -> Moved:
    generator, code, own = subject
    count = len(jax.tree.leaves(wanted)[0])
    w_plus = jnp.repeat(code, count, axis=0)
    if isinstance(method, DriverLandmarks):
        return method.move(networks, generator, w_plus, wanted, noise="const")
    return method.move(networks, generator, w_plus, own, wanted, noise="const")


_read = jax.jit(_read_fn, static_argnums=0)
_driven = jax.jit(_drive_fn, static_argnums=0)


def _drive(method: Any, networks: Redrawing, subject: Subject, wanted: Any) -> Moved:
    return _driven(method, networks, (subject.generator, subject.w_plus, subject.motion), wanted)


@jax.jit
def _draw(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus, "const")


@jax.jit
def _motion(networks: Redrawing, images: jax.Array) -> Motion:
    face = FaceParameters.from_flat(networks.reconstruction(images))
    return motion_of_pie(face, basis=networks.basis)
