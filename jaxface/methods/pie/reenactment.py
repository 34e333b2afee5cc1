"""Reenactment by PIE's RigNets: a driver's motion is what the subject's portrait is edited to.

StyleRig and PIE take over the pose or the expression of a reference portrait (PIE, section 5); here
each frame of a driver is one. The subject is embedded once; every frame edits that latent anew, so
that nothing accumulates from frame to frame.

What is chosen here: motion is absolute, the driver's own rotation and expression, as PIE transfers
them; or relative, the change since a neutral of the driver added to what the subject had, as
Finding Directions and PVP need for drivers who do not begin as the subject does. The subject keeps
its place in the image, since portraits are aligned.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from jaxface.methods.latent_subjects import (
    RelativeTo,
    check_settings,
    embedded,
    neutral_of,
    subject_latent,
)
from jaxface.methods.pie.editing import (
    EditingNetworks,
    Target,
    apply_edits,
    edit_groups,
    read_parameters,
    rignet_of,
)
from jaxface.methods.pie.settings import EMBEDDED, EMBEDDED_ALL, Settings
from jaxface.methods.reenactment import Driving, Moved, Subject
from jaxface.methods.suite_basis import suite_basis
from jaxface.morphable.motion import (
    MOTION_GROUPS,
    Basis,
    Motion,
    motion_of_pie,
    pie_group,
    pie_group_given,
)
from jaxface.morphable.parameters import FaceParameters
from jaxface.nets import Generator
from jaxface.suite import Suite, drawn_by


@struct.dataclass
class RigNetworks:
    """What moves subjects, but for the generator.

    Attributes:
      reconstruction: reads them.
      rignets: by group.
      basis: of the parameters that are read.
    """

    reconstruction: Any
    rignets: dict[str, Any]
    basis: Basis = struct.field(pytree_node=False)


@dataclasses.dataclass(frozen=True)
class RigNetReenactment:
    """Settings, and the `Reenactor` that they are.

    Attributes:
      groups: of face parameters that follow the driver, out of "pose" and "expression".
      relative_to: None: absolute, the subject takes the driver's values. Else relative: the change
        since this frame of the driver's clip, or since the clip's "mean", is added to the
        subject's.
      feedback: rounds of PIE's feedback for each group.
      inversion: how the subject is inverted; its `noise` also draws the frames.
    """

    groups: tuple[str, ...] = MOTION_GROUPS
    relative_to: RelativeTo = None
    feedback: int = 1
    inversion: Settings = EMBEDDED_ALL

    def __post_init__(self):
        check_settings(
            "RigNetReenactment",
            groups=self.groups,
            feedback=self.feedback,
            relative_to=self.relative_to,
        )
        if self.inversion.noise == "random":
            raise ValueError(
                "RigNetReenactment: inversion.noise must be 'const' or 'none', so that frames do "
                "not flicker; got 'random'."
            )

    @property
    def requires(self) -> tuple[str, ...]:
        """Motion alone."""
        return ("motion",)

    def roles(self) -> dict[str, str]:
        """What the edits need, and what the subject's inversion does."""
        return {**self.inversion.roles(), **self.driving_roles()}

    def driving_roles(self) -> dict[str, str]:
        """What the edits need."""
        rignets = {f"rignet_{group}": f"Driving the {group} needs it" for group in self.groups}
        reading = {"reconstruction": "Reading the subject's motion needs it"}
        return {"generator": "It draws", **reading, **rignets}

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Subject:
        """The subject of one frame, inverted as `inversion` says.

        Args:
          suite: has the networks of `roles`.
          frames: [1, R, R, 3] in [-1, 1] with R the generator's resolution.
          keys: [1] typed keys; what the inversion samples beforehand is drawn from it too.

        Raises:
          ValueError: wrong shapes, or more than one frame.
          JaxfaceError: the inversion diverged.
        """
        result = embedded("RigNetReenactment", self.inversion, suite, frames, keys=keys)
        return self.subject(suite, result.w_plus)

    def subject(self, suite: Suite, w_plus: Any, *, generator: Generator | None = None) -> Subject:
        """The subject of a latent that there is already, [1, L, w_dim].

        Args:
          suite: has the networks of `roles` but for the inversion's.
          w_plus: as `jaxface.methods.pie.invert` gives it.
          generator: one tuned to the subject at this latent, as PTI tunes it; None: the suite's.

        Raises:
          ValueError: wrong shapes.
        """
        generator = suite.generator if generator is None else generator
        w_plus = subject_latent("RigNetReenactment", generator, w_plus)
        images = _draw(generator, w_plus, self._noise)
        motion = motion_of_pie(read_parameters(suite, images), basis=suite_basis(suite))
        return Subject(suite, w_plus, motion, generator)

    def drive(self, subject: Subject, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor.drive`.

        Raises:
          ValueError: the frames have no motion, no frame `relative_to`, or motion that says nothing
            of one of the groups.
        """
        driving.check("RigNetReenactment", self.requires)
        assert driving.motion is not None
        assert driving.whole is not None
        motion, face = driving.motion, subject.motion.basis
        if self.relative_to is not None:
            neutral = neutral_of("RigNetReenactment", driving.whole, self.relative_to)
            motion = subject.motion.plus(motion.relative(to=neutral))
        targets = {
            group: Target(
                values=pie_group(motion, group, face=face),
                given=jnp.asarray(pie_group_given(group, driver=driving.motion.basis, face=face)),
                relative=jnp.zeros(()),
            )
            for group in self.groups
        }
        suite = drawn_by(subject.suite, subject.generator)
        w_plus = jnp.repeat(subject.w_plus, len(driving), axis=0)
        edits = edit_groups(suite, w_plus, targets, feedback=self.feedback, noise=self._noise)
        return list(edits.values())[-1].images

    def following(self, groups: tuple[str, ...]) -> "RigNetReenactment":
        """See `jaxface.methods.reenactment.BatchReenactor.following`."""
        kept = tuple(group for group in self.groups if group in groups)
        return dataclasses.replace(self, groups=kept)

    def networks(self, suite: Suite) -> RigNetworks:
        """See `BatchReenactor.networks`."""
        rignets = {group: rignet_of(suite, group) for group in self.groups}
        return RigNetworks(suite.reconstruction, rignets, suite_basis(suite))

    def read(self, networks: RigNetworks, images: Any) -> Motion:
        """See `BatchReenactor.read`."""
        read = FaceParameters.from_flat(networks.reconstruction(images))
        return motion_of_pie(read, basis=networks.basis)

    def draw(self, generator: Generator, w_plus: Any, *, noise: Literal["const", "none"]) -> Any:
        """See `BatchReenactor.draw`."""
        return generator.synthesis(w_plus, noise=noise)

    def move(
        self,
        networks: RigNetworks,
        generator: Generator,
        w_plus: Any,
        own: Motion,
        wanted: Motion,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """See `BatchReenactor.move`; motion is absolute here, `relative_to` is of no effect."""
        targets = {
            group: Target(
                values=pie_group(wanted, group, face=networks.basis),
                given=jnp.asarray(pie_group_given(group, driver=own.basis, face=networks.basis)),
                relative=jnp.zeros(()),
            )
            for group in self.groups
        }
        editing = {
            group: EditingNetworks(generator, networks.reconstruction, rignet)
            for group, rignet in networks.rignets.items()
        }
        edits = apply_edits(editing, w_plus, targets, feedback=self.feedback, noise=noise)
        last = list(edits.values())[-1]
        return Moved(last.w_plus, last.images)

    @property
    def _noise(self) -> Literal["const", "none"]:
        return "none" if self.inversion.noise == "none" else "const"


@functools.partial(jax.jit, static_argnames="noise")
def _draw(generator: Generator, w_plus: jax.Array, noise: Literal["const", "none"]) -> jax.Array:
    return generator.synthesis(w_plus, noise=noise)


EMBEDDED_ENCODER = RigNetReenactment(
    inversion=dataclasses.replace(EMBEDDED, w_steps=0, w_plus_steps=200, start="encoder")
)
"""For the embedded suite, in a fraction of the time: from the encoder's codes, and the synthesis
term alone, where the method's own inversion also has the terms that keep a portrait editable."""
