"""Key frames as codes: each embedded for itself, as published, or one of them moved to the others.

An encoder's code says little of what the face does: on the embedded suite codes of frames that
follow a head's roll do so with a slope of 0.2, and their expressions are the encoder's mean. What
tuning then teaches the generator to draw of such a code cannot be told from pose and expression.
Codes of one frame that the suite's RigNets moved (`jaxface.methods.pie`) differ by pose and
expression alone, and as smoothly as these do. The second choice is not the paper's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxface.methods.pie.reenactment import RigNetReenactment, RigNetworks
from jaxface.morphable.motion import Motion
from jaxface.nets import Generator
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite

MOVER = RigNetReenactment()
"""Moves codes to the pose and expression of a frame, with PIE's one round of feedback."""

MOVING_ROLES = {**MOVER.driving_roles(), "reconstruction": "It says where pivots are moved to"}
"""Roles of a suite that moved codes need."""

CHUNK = 16
"""Codes that are moved together."""


def moved(
    suite: Suite,
    w_plus: Any,
    motion: Motion,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Codes in the poses and expressions of T frames.

    Args:
      suite: has the networks of `MOVING_ROLES`.
      w_plus: [T, L, w_dim], or [1, L, w_dim] for all frames.
      motion: of the frames, in the suite's basis.
      progress: called with the frames done and all frames.

    Returns:
      [T, L, w_dim].
    """
    codes = np.broadcast_to(np.asarray(w_plus), (len(motion), *w_plus.shape[1:]))
    move = partial(_move, MOVER.networks(suite), suite.generator)
    return by_chunks(move, codes, motion, size=CHUNK, progress=progress)


@jax.jit
def _move(networks: RigNetworks, generator: Generator, w_plus: Any, motion: Motion) -> jax.Array:
    # Of the codes' own motion a mover reads the basis alone, which is that of the wanted one.
    return MOVER.move(networks, generator, w_plus, motion, motion, noise="const").w_plus
