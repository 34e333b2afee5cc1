"""An avatar: a person's generator, anchors and mappers, and all that they can be driven by.

`Avatar` is the subject of reenactment that many frames give. It is drawn for any `Motion` of its
basis: the clip's own (replay), chosen head poses, another person's in the avatar's proportions;
with edits, directions of W+ that are added to every latent before it is drawn, so that they stay
while head and face move. What was not in the clip's range is told by frame (`Avatar.outside`).
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError, did_you_mean
from jaxface.latents import blend, nearest_hull_weights
from jaxface.methods.direction_matrix.columns import direction_sets
from jaxface.methods.pvp.features import MatchPose, Range, features_of, renormalised
from jaxface.methods.reenactment import Subject
from jaxface.morphable.motion import Motion
from jaxface.nets import AvatarMappers, Generator
from jaxface.runtime.chunks import by_chunks


@dataclasses.dataclass(frozen=True)
class Avatar(Subject):
    """Who is drawn. As a `Subject` its `w_plus` are the anchors and `motion` is the key frames'.

    Attributes:
      mappers: F_rot and F_expr over the anchors.
      clip: the motion of all frames of the clip in which the face was found.
      training: [N] rows of `clip` that were learned from.
    """

    mappers: AvatarMappers
    clip: Motion
    training: np.ndarray

    @property
    def range(self) -> Range:
        """Of the training frames."""
        features = features_of(self.clip[self.training])
        return Range.of(features, angles=self.mappers.config.angles)

    def own(self, driver: Motion, *, clip: Motion, pose: MatchPose = "none") -> Motion:
        """Another person's motion in the avatar's proportions; its own clip's is unchanged.

        Args:
          driver: frames of the driver.
          clip: all of the driver's clip.
          pose: what of head poses is matched, see `MatchPose`.

        Raises:
          UsageError: the driver's expressions are of another basis.
        """
        if driver.basis != self.clip.basis:
            raise UsageError(
                f"an avatar of expressions of {self.clip.basis!r} cannot be driven by "
                f"{driver.basis!r}; read both with one suite"
            )
        return renormalised(driver, clip=clip, own=self.clip, pose=pose)

    def outside(self, motion: Motion) -> list[dict[str, Any]]:
        """What of each frame lies beyond the training frames; see `Range.outside`."""
        return self.range.outside(features_of(motion))

    def posed(self, pitch: Any, yaw: Any) -> Motion:
        """The face of the training frames' mean expression in head poses.

        Args:
          pitch, yaw: [T], degrees.
        """
        angles = np.deg2rad(np.stack([pitch, yaw, np.zeros(len(pitch))], axis=1))
        mean = self.clip[self.training].mean()
        still = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), len(pitch), axis=0), mean)
        return dataclasses.replace(still, rotation=np.asarray(angles, np.float32))

    def latents(
        self, motion: Motion, *, edits: Sequence["Edit"] = (), project: bool = False
    ) -> jax.Array:
        """The latents of T frames, [T, L, w_dim].

        Args:
          motion: of T frames, in the clip's basis.
          edits: directions that are added to w_rot.
          project: whether the edited w_rot is brought back to the nearest point of the person's
            manifold, as MyStyle does, before F_expr's offsets are added; much of an edit that the
            clip does not show is lost.

        Raises:
          UsageError: the suite has no such direction.
        """
        turned, offsets = _parts(self.mappers, *features_of(motion))
        for edit in edits:
            turned = edit.move(self, turned)
        if edits and project:
            turned = _projected(turned, self.mappers.anchors[...], self.mappers.config.beta)
        return self.mappers.moved(turned, offsets)

    def draw(self, w_plus: jax.Array) -> jax.Array:
        """Images [T, R, R, 3] of latents, not clipped to [-1, 1]."""
        return _draw(self.generator, w_plus)

    def drawn(
        self,
        motion: Motion,
        *,
        edits: Sequence["Edit"] = (),
        project: bool = False,
        chunk: int = 16,
    ) -> np.ndarray:
        """Images of T frames, [T, R, R, 3], a chunk at a time; see `latents`."""

        def images(part: Motion) -> jax.Array:
            return self.draw(self.latents(part, edits=edits, project=project))

        return by_chunks(images, motion, size=chunk)


class Edit(NamedTuple):
    """A linear edit of the avatar's suite.

    Attributes:
      directions: the set, such as "pose" or "age".
      name: of the direction in it; "": its first.
      amount: in the direction's unit.
    """

    directions: str
    name: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> "Edit":
        """Of SET.NAME=AMOUNT or SET=AMOUNT.

        Raises:
          UsageError: it is neither.
        """
        path, equals, amount = text.partition("=")
        directions, _, name = path.partition(".")
        try:
            value = float(amount)
        except ValueError:
            value = float("nan")
        if not (equals and directions and np.isfinite(value)):
            raise UsageError(f"--direction: expected SET.NAME=AMOUNT, got {text!r}")
        return cls(directions, name, value)

    def move(self, avatar: Avatar, w_plus: jax.Array) -> jax.Array:
        """Latents [T, L, w_dim] with the direction added.

        Raises:
          UsageError: the suite has no such direction.
        """
        sets = direction_sets(avatar.suite)
        if self.directions not in sets:
            hint = did_you_mean(self.directions, sets)
            raise UsageError(f"the suite has no directions {self.directions!r}; {hint}")
        found = sets[self.directions]
        name = self.name or found.names[0]
        if name not in found.names:
            hint = did_you_mean(name, found.names)
            raise UsageError(f"{self.directions} has no direction {name!r}; {hint}")
        return found.move(w_plus, name, self.amount)


def sweep(start: float, stop: float, frames: int) -> np.ndarray:
    """Degrees of a turn from one to another and back, slow at both ends: [frames]."""
    share = (1 - np.cos(2 * np.pi * np.arange(frames) / frames)) / 2
    return start + share * (stop - start)


@jax.jit
def _parts(
    mappers: AvatarMappers, pose: jax.Array, expression: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """w_rot and F_expr's offsets."""
    return mappers.turned(pose), mappers.offsets(expression)


@jax.jit
def _rendered(
    mappers: AvatarMappers, generator: Generator, pose: jax.Array, expression: jax.Array
) -> jax.Array:
    return generator.synthesis(mappers(pose, expression))


@jax.jit
def _projected(w_plus: jax.Array, anchors: jax.Array, beta: float) -> jax.Array:
    return blend(nearest_hull_weights(w_plus, anchors, beta=beta), anchors)


@jax.jit
def _draw(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


def render_rate(avatar: Avatar, *, batch: int, seconds: float = 2.0) -> float:
    """Frames a second from motion to images, once compiled, in batches of `batch`."""
    motion = avatar.clip[np.arange(batch) % len(avatar.clip)]
    features = [jnp.asarray(each) for each in features_of(motion)]
    networks = (avatar.mappers, avatar.generator)
    _rendered(*networks, *features).block_until_ready()
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        _rendered(*networks, *features).block_until_ready()
        done += batch
    return done / (time.perf_counter() - begun)
