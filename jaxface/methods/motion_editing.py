"""Edits of photographs in degrees and ARKit's units, along directions that were fitted to them.

As PIE's edits with a RigNet (`jaxface.methods.pie.editing`): the portrait's motion is read, the
latent moves by what is asked less what is there, and rounds of feedback correct what was asked for
by what was missed. Here the latent moves along `jaxface.methods.motion_directions`, and MediaPipe
reads. An expression saturates where an angle does not, so corrections follow the secant method, one
motion at a time. Motions that were not asked for get no correction: the directions leave them to
first order, and to chase the rest would cost the person's identity.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.errors import UsageError, did_you_mean
from jaxface.latents import check_w_plus
from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_reading import MotionReader, read_motion, reader_of
from jaxface.methods.pie.attributes import Attribute
from jaxface.methods.pie.editing import Noise, Target
from jaxface.morphable.motion import measured
from jaxface.nets import Generator, LatentDirections
from jaxface.suite import Suite

GAINS = (0.5, 5.0)
"""Of a direction, over what it was fitted to: beyond these it is the reading that errs."""


class MotionNetworks(NamedTuple):
    """What an edit needs of a suite.

    Attributes:
      generator: w_plus to images.
      reader: what reads motion from them.
      directions: the suite's of the name `DIRECTIONS`.
    """

    generator: Generator
    reader: MotionReader
    directions: LatentDirections


@struct.dataclass
class MotionEdit:
    """Edited portraits; motions in the units of `jaxface.morphable.motion.measured`.

    Attributes:
      w_plus: [N, L, w_dim].
      images: [N, R, R, 3], as the generator gives them, not clipped to [-1, 1].
      wanted: what was asked for, [N, K].
      unedited: [N, R, R, 3], of the latents that were edited.
      before: the motions of the portraits that were edited, [N, K].
      after: the motions of `images`, [N, K].
    """

    w_plus: jax.Array
    images: jax.Array
    wanted: jax.Array
    unedited: jax.Array
    before: jax.Array
    after: jax.Array


def corrected(
    wanted: jax.Array,
    last: tuple[jax.Array, jax.Array],
    before_last: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """What to change next, [N, K]: by the secant through two attempts, of a slope within `GAINS`.

    Args:
      wanted: [N, K].
      last: what was changed last, and what was read then, [N, K] each.
      before_last: the same of the attempt before, or nothing and the portrait as it was.
    """
    (change, after), (earlier, seen) = last, before_last
    step = change - earlier
    moved = jnp.abs(step) > 1e-3
    gain = jnp.where(moved, (after - seen) / jnp.where(moved, step, 1.0), 1.0)
    return change + (wanted - after) / jnp.clip(gain, *GAINS)


def motion_target(
    names: Sequence[str], values: Mapping[str, float], *, relative: bool = False
) -> Target:
    """The target of some motions by name, the same for all portraits.

    Args:
      names: of the suite's directions.
      values: by name, angles in degrees, expressions in ARKit's units.
      relative: they are added to what the portraits have.

    Returns:
      PIE's kind of target: values [1, K] and which are given [K], of the K names.

    Raises:
      UsageError: the suite has no direction of a name.
    """
    wanted, given = np.zeros(len(names), np.float32), np.zeros(len(names), bool)
    for name, value in values.items():
        if name not in names:
            raise UsageError(
                f"the suite has no direction of {name}; {did_you_mean(name, names)} It has "
                f"{', '.join(names)}."
            )
        wanted[names.index(name)], given[names.index(name)] = value, True
    return Target(jnp.asarray(wanted)[None], jnp.asarray(given), jnp.asarray(float(relative)))


def edits_motion(suite: Suite) -> bool:
    """Whether angles and expressions are edited by directions of motion: where a suite has them,
    and what reads motion is MediaPipe's networks, or at least no other network.
    """
    reads = "canonical_face" in suite or "reconstruction" not in suite
    return f"direction_{DIRECTIONS}" in suite and reads


def named_motion(
    suite: Suite, values: Mapping[str, float], *, relative: bool
) -> tuple[Target, list[Attribute]]:
    """`motion_target` of a suite's directions, and the motions that it is of, for captions.

    Raises:
      UsageError: the suite has no direction of a name.
      SuiteError: or none of motion.
    """
    names = suite.network(f"direction_{DIRECTIONS}").names
    target = motion_target(names, values, relative=relative)
    return target, [Attribute(name, (names.index(name),), (1.0,)) for name in values]


def motion_networks(suite: Suite) -> MotionNetworks:
    """What an edit needs.

    Raises:
      SuiteError: the suite lacks a network.
    """
    directions = suite.network(f"direction_{DIRECTIONS}")
    return MotionNetworks(suite.generator, reader_of(suite), directions)


def edit_motion(
    suite: Suite,
    w_plus: jax.Array | np.ndarray,
    target: Target,
    *,
    feedback: int = 1,
    noise: Noise = "const",
) -> MotionEdit:
    """Gives embedded portraits another pose and expression.

    Args:
      suite: has a generator, MediaPipe's networks and directions of motion.
      w_plus: [N, L, w_dim].
      target: see `motion_target`.
      feedback: rounds of feedback; 0 is none.
      noise: "const": the generator's stored maps; "none".

    Raises:
      ValueError: wrong shapes or a negative number of rounds.
      SuiteError: the suite lacks a network.
    """
    generator = suite.generator
    check_w_plus("edit_motion", w_plus, num_ws=generator.num_ws, w_dim=generator.config.w_dim)
    if feedback < 0:
        raise ValueError(f"edit_motion: feedback must be >= 0, got {feedback}.")
    codes = jnp.asarray(w_plus, jnp.float32)
    return apply_motion(motion_networks(suite), codes, target, feedback=feedback, noise=noise)


@functools.partial(jax.jit, static_argnames=("feedback", "noise"))
def apply_motion(
    networks: MotionNetworks,
    w_plus: jax.Array,
    target: Target,
    *,
    feedback: int,
    noise: Any,
    before: jax.Array | None = None,
) -> MotionEdit:
    """`edit_motion` with networks at hand; traceable.

    Args:
      networks, w_plus, target, feedback, noise: see `edit_motion`.
      before: the motions of the portraits, [N, K], where they are known; None: they are read.
    """
    generator, reader, directions = networks

    def read(images: jax.Array) -> jax.Array:
        return measured(read_motion(reader, images), directions.names)

    def attempt(change: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        edited = w_plus
        for place, name in enumerate(directions.names):
            edited = directions.move(edited, name, change[:, place])
        images = generator.synthesis(edited, noise=noise)
        return edited, images, read(images)

    unedited = generator.synthesis(w_plus, noise=noise)
    before = read(unedited) if before is None else before
    wanted = target.of(before)
    change, attempts = wanted - before, [(jnp.zeros_like(before), before)]
    edited, images, after = attempt(change)
    for _ in range(feedback):
        attempts.append((change, after))
        change = jnp.where(target.given, corrected(wanted, attempts[-1], attempts[-2]), change)
        edited, images, after = attempt(change)
    return MotionEdit(edited, images, wanted, unedited, before, after)
