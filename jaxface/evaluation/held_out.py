"""Held-out portraits of the embedded world, and the poses that edits are to give them.

Portraits are renders of scenes that no training draws, so that every true parameter is known. Each
is to be turned to some poses; a render of the same scene in such a pose is what a perfect edit
shows. Portraits and poses are drawn one by one: more of them leave the first ones as they are.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.judges import judged_pose
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.suite_world import suite_world
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pie
from jaxface.morphable import Scene
from jaxface.morphable.worlds import World
from jaxface.suite import Suite

SEED = 30_000_001
"""Of the portraits; training counts its seeds from 0, a generator is evaluated with another."""

LARGEST_EDIT = 0.4
"""Radians between a portrait's rotation and a wanted one."""

# Pitch, yaw and roll: shares of the edits, after the world's deviations of 0.14, 0.38 and 0.07 rad,
# and how far from frontal they may lead, some 2.2 deviations.
_SHARES = (0.36, 1.0, 0.17)
_FARTHEST = (0.30, 0.83, 0.14)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
      portraits: held-out scenes.
      edits: of each portrait's pose.
      iterations: factor of the numbers of steps of an inversion, and of its decay.
      batch_size: portraits at a time.
    """

    portraits: int = 100
    edits: int = 4
    iterations: float = 1.0
    batch_size: int = 20


class Batch(NamedTuple):
    """A batch of B held-out portraits, filled up to the batch size with its first one.

    Attributes:
      start: number of the first portrait.
      count: how many of the B count.
      scenes: their scenes.
      images: their renders, rounded to 8 bits, [B, R, R, 3] in [-1, 1].
      rotations: wanted Euler angles in radians, [B, E, 3].
      targets: renders of the scenes in the wanted poses, uint8 [B, E, R, R, 3].
      judges: the judges' own errors in rad, [B, E]: `network` on the renders in the wanted poses;
        `truth` on the portraits, as if they were what an edit gave.
    """

    start: int
    count: int
    scenes: Scene
    images: jax.Array
    rotations: jax.Array
    targets: np.ndarray
    judges: dict[str, np.ndarray]


def held_out(protocol: Protocol, of: World) -> tuple[Scene, jax.Array]:
    """The scenes of a world's portraits, and the wanted rotations.

    Returns:
      N scenes, and Euler angles in radians [N, E, 3]: each up to about `LARGEST_EDIT` from the
      scene's own, mostly in yaw.
    """
    scene_key, edit_key = jax.random.split(jax.random.key(SEED))
    numbers = jnp.arange(protocol.portraits)
    factors = jax.vmap(
        lambda i: jax.random.normal(jax.random.fold_in(scene_key, i), (of.num_factors,))
    )
    scenes = of.scenes(factors(numbers))

    def wanted(number: jax.Array, rotation: jax.Array) -> jax.Array:
        keys = jax.vmap(lambda e: jax.random.fold_in(jax.random.fold_in(edit_key, number), e))
        return jax.vmap(lambda key: _wanted(key, rotation))(keys(jnp.arange(protocol.edits)))

    return scenes, jax.vmap(wanted)(numbers, scenes.face.rotation)


def _wanted(key: jax.Array, rotation: jax.Array) -> jax.Array:
    """A rotation up to `LARGEST_EDIT` from a portrait's; inwards where it would lead too far."""
    size_key, direction_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, (3,)) * jnp.array(_SHARES)
    size = jax.random.uniform(size_key, maxval=LARGEST_EDIT)
    change = size * direction / jnp.linalg.norm(direction)
    far = jnp.array(_FARTHEST)
    outward = jnp.abs(rotation + change) > far
    return jnp.where(outward, rotation - change, rotation + change)


def batches(
    suite: Suite, protocol: Protocol, parts: Parts, say: Callable[[str], None]
) -> Iterator[Batch]:
    """The held-out portraits, batch by batch, with what a perfect edit of them shows.

    Args:
      suite: has a generator, whose resolution the renders have, and a reconstruction network.
      protocol: how many portraits and edits, and the batch size.
      parts: finished renders, which are not made again: ``portraits-<start>``.
      say: receives a line before each batch that is made.
    """
    of = suite_world(suite)
    scenes, rotations = held_out(protocol, of)
    region, size = of.parts().region, suite.generator.resolution
    for start in range(0, protocol.portraits, protocol.batch_size):
        count = min(protocol.batch_size, protocol.portraits - start)
        rows = np.arange(start, start + protocol.batch_size)
        rows = np.where(rows < start + count, rows, start)
        batch_scenes, wanted = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (scenes, rotations))

        def make(batch_scenes=batch_scenes, wanted=wanted, start=start) -> dict[str, Any]:
            say(f"rendering portraits from {start}, and what their edits should show")
            face, nuisance = batch_scenes.face, batch_scenes.nuisance
            images = to_uint8(of.render(batch_scenes, size))
            own = pie.read_parameters(suite, from_uint8(images))
            made: dict[str, list[Any]] = {"targets": [], "network": [], "truth": []}
            for rotation in jnp.moveaxis(wanted, 1, 0):
                turned = dataclasses.replace(face, rotation=rotation)
                target = to_uint8(of.render(Scene(turned, nuisance), size))
                read = pie.read_parameters(suite, from_uint8(target))
                # The portrait itself, judged as if it were the edit, is the hardest case: it is as
                # far from the wanted pose as edits go.
                fit = judged_pose(region, face, turned, own, from_uint8(target), from_uint8(images))
                made["targets"].append(target)
                made["network"].append(rotation_angle(read.rotation, rotation))
                made["truth"].append(rotation_angle(fit.rotation, face.rotation))
            return {"images": images, **{k: np.stack(v, axis=1) for k, v in made.items()}}

        stored = parts.get(f"portraits-{start:05d}", make)
        yield Batch(
            start,
            count,
            batch_scenes,
            from_uint8(jnp.asarray(stored["images"])),
            wanted,
            stored["targets"],
            {name: stored[name] for name in ("network", "truth")},
        )


def rotation_target(rotation: jax.Array) -> pie.Target:
    """Absolute rotations [N, 3] as a target of the pose; the translation stays."""
    values = jnp.pad(rotation, ((0, 0), (0, 3)))
    given = jnp.arange(6) < 3
    return pie.Target(values, given, jnp.zeros(()))
