"""What an avatar is driven by: head pose and expression as numbers, their range, their statistics.

Pose is pitch, yaw and roll with the signs of `jaxface.morphable.motion`. Avatars as published read
the first two of it (`jaxface.nets.AvatarConfig.angles`): FFHQ's alignment takes roll out of
portraits, and where squares only follow the head, as here without ``--align``, it is there. The
authors' pitch is this one, and the tangent of their yaw is -tan(yaw) /
cos(pitch) (``compute_pitch_yaw``); their scripts that choose key frames transpose the rotation
first, which gives other angles, and is not followed.

Expression is the jaw, where the face model has one, and the coefficients of its basis; then gaze in
radians, where the reader knows it.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxface.morphable.motion import Motion

ANGLES = ("pitch", "yaw", "roll")
"""Of a head, as poses have them."""

MatchPose = Literal["none", "mean", "deviation"]
"""What is taken over of the person's own head poses when another drives: nothing, their mean, or
their mean and standard deviation."""


class Features(NamedTuple):
    """Of T frames.

    Attributes:
      pose: [T, 3], pitch, yaw and roll in radians.
      expression: [T, E].
    """

    pose: Any
    expression: Any


def features_of(motion: Motion) -> Features:
    """The numbers of T frames."""
    parts = [motion.jaw, motion.expression]
    if motion.gaze is not None:
        parts.append(jnp.deg2rad(motion.gaze))
    expression = jnp.concatenate([part for part in parts if part is not None], axis=-1)
    return Features(motion.rotation, expression)


class Layout(NamedTuple):
    """How many of an expression's numbers are the jaw's, its first, and gaze, its last."""

    jaw: int
    gaze: int

    @classmethod
    def of(cls, motion: Motion) -> "Layout":
        """Of what is read of a face."""
        return cls(0 if motion.jaw is None else 3, 0 if motion.gaze is None else 2)

    def split(self, expression: Any) -> tuple[Any, Any, Any]:
        """Jaws, coefficients and gaze of expressions [T, E]; absent ones are [T, 0]."""
        end = expression.shape[-1] - self.gaze
        return expression[:, : self.jaw], expression[:, self.jaw : end], expression[:, end:]


def renormalised(driver: Motion, *, clip: Motion, own: Motion, pose: MatchPose = "none") -> Motion:
    """A driver's motion in the person's own proportions (appendix B).

    Jaw, expression and gaze are standardised by the driver's clip and rescaled with the person's,
    number by number, deviations no less than `jaxface.morphable.motion.STD_FLOOR`. Head poses are
    the driver's own where nothing is said, since who drives mostly means them.

    Args:
      driver: frames of the driver.
      clip: all of the driver's clip.
      own: all of the person's clip.
      pose: see `MatchPose`.

    Raises:
      ValueError: the motions have different bases, or there is no such word.
    """
    if pose not in ("none", "mean", "deviation"):
        raise ValueError(f"renormalised: pose must be 'none', 'mean' or 'deviation', got {pose!r}.")
    matched = driver.rescaled(driver=clip, subject=own)
    rotation = matched.rotation
    if pose == "none":
        rotation = driver.rotation
    elif pose == "mean":
        rotation = driver.rotation - clip.rotation.mean(axis=0) + own.rotation.mean(axis=0)
    return dataclasses.replace(matched, rotation=rotation)


@dataclasses.dataclass(frozen=True)
class Range:
    """The least and the largest of each number over the training frames.

    Attributes:
      pose: [2, A], radians: rows are least and largest, columns the angles that an avatar reads, of
        `ANGLES`.
      expression: [2, E].
    """

    pose: np.ndarray
    expression: np.ndarray

    @classmethod
    def of(cls, features: Features, *, angles: int) -> "Range":
        """Of the training frames; of the head's first so many angles."""
        read = Features(features.pose[:, :angles], features.expression)
        found = [
            np.stack([np.asarray(each).min(axis=0), np.asarray(each).max(axis=0)]) for each in read
        ]
        return cls(*found)

    def outside(self, features: Features) -> list[dict[str, Any]]:
        """What of each frame lies beyond the training frames; nothing is clamped.

        Returns:
          T dictionaries: of `ANGLES` those that do, in degrees, ``expressions``, how many
          coefficients do, and ``furthest``, by what share of its range the furthest does; empty for
          a frame that was trained for.
        """
        rows = []
        width = np.maximum(self.expression[1] - self.expression[0], 1e-6)
        for pose, expression in zip(*map(np.asarray, features), strict=True):
            row: dict[str, Any] = {}
            for name, value, low, high in zip(ANGLES, pose, *self.pose, strict=False):
                if not low - SLACK <= value <= high + SLACK:
                    row[name] = round(float(np.rad2deg(value)), 2)
            beyond = np.maximum(self.expression[0] - expression, expression - self.expression[1])
            if (beyond > SLACK).any():
                row["expressions"] = int((beyond > SLACK).sum())
                row["furthest"] = round(float((beyond / width).max()), 3)
            rows.append(row)
        return rows


SLACK = 1e-5
"""By how much a number may pass its range through rounding."""


def standard(features: Features, *, floor: float) -> tuple[np.ndarray, ...]:
    """Mean and scale of poses, and of expressions: [3], [3], [E], [E].

    Args:
      features: of the training frames.
      floor: least scale of an expression, as a share of the largest one's: a number that hardly
        moves is noise.
    """
    found = []
    for values, least in zip(map(np.asarray, features), (1e-3, floor), strict=True):
        deviation = values.std(axis=0)
        bound = max(least * float(deviation.max()), 1e-6)
        found += [values.mean(axis=0), np.maximum(deviation, bound)]
    return tuple(np.asarray(each, np.float32) for each in found)
