"""PVP behind the common seam of reenactment: many frames of a person make the subject."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.media.images import to_uint8
from jaxface.methods.pvp.avatar import Avatar
from jaxface.methods.pvp.features import MatchPose
from jaxface.methods.pvp.personalise import personalise
from jaxface.methods.pvp.settings import PAPER, PVPSettings
from jaxface.methods.reenactment import Driving
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class PVPReenactment:
    """Settings, and the `jaxface.methods.reenactment.Reenactor` that they are.

    Attributes:
      settings: of the avatar; nothing is held out of the frames that are given.
      match_pose: what of a driver's head poses is brought to the person's.
      own_proportions: whether a driver's expressions are (appendix B); without, motion is taken as
        it is, which is right for frames of the person's own.
      fps: frames a second of the person's frames.
    """

    settings: PVPSettings = PAPER
    match_pose: MatchPose = "none"
    own_proportions: bool = True
    fps: float = 25.0

    @property
    def requires(self) -> tuple[str, ...]:
        """Motion alone."""
        return ("motion",)

    def roles(self) -> dict[str, str]:
        """What the settings need; faces are read by DECA or by the reconstruction network."""
        return self.settings.roles()

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Avatar:
        """The avatar of K frames in their order.

        Args:
          suite: has the networks of `roles` and what reads faces.
          frames: [K, R, R, 3] in [-1, 1] with R the generator's resolution.
          keys: [K] typed keys, of which the first decides everything random.

        Raises:
          UsageError: fewer frames than `jaxface.methods.pvp.personalise.LEAST`.
          ValueError: wrong shapes.
        """
        whole = dataclasses.replace(self.settings, held_out=0.0, selection=0.0)
        seconds = np.arange(len(frames)) / self.fps
        images = np.asarray(to_uint8(np.asarray(frames)))
        return personalise(whole, suite, images, seconds=seconds, key=keys[0]).avatar

    def drive(self, subject: Avatar, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor.drive`.

        Raises:
          ValueError: the frames have no motion.
          UsageError: it is of another basis than the avatar's, or one frame, which has no
            proportions of its own.
        """
        driving.check("PVPReenactment", self.requires)
        assert driving.motion is not None
        assert driving.whole is not None
        motion = driving.motion
        if self.own_proportions:
            if len(driving.whole) < 2:
                raise UsageError(
                    "PVPReenactment: one driving frame has no proportions of its own; set "
                    "own_proportions=False"
                )
            motion = subject.own(motion, clip=driving.whole, pose=self.match_pose)
        return subject.draw(subject.latents(motion))
