"""Motion of version 2's people: head and face go smoothly from one key pose to the next.

Light, hair, clothes, backdrop and place stay. Version 3's people speak, blink and look instead, see
`behaviour`. A key is drawn as the world's portraits are, with a wider turn of the head; between two
keys the factors follow half a cosine.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.scenes import FACTORS

WIDER = 1.6
"""Factor of the deviation of the keys' rotations over the world's portraits': heads that turn."""

_MOVING = ("rotation", "expression", "fine_expression")

PLACES: np.ndarray = np.concatenate([np.r_[FACTORS[name]] for name in _MOVING])
"""Of the factors that move, in version 2's Gaussian vector."""


def key_poses(key: Array, count: int) -> Array:
    """`count` key poses drawn together, [count, len(PLACES)]."""
    return jax.random.normal(key, (count, len(PLACES))) * _wide()


def numbered_key_poses(key: Array, first: int, count: int) -> Array:
    """Key poses `first` onwards of an endless row, each of its number alone."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(first, first + count))
    return jax.vmap(lambda each: jax.random.normal(each, (len(PLACES),)))(keys) * _wide()


def through_key_poses(u: Array, poses: Array, at: Array) -> Array:
    """Whitened factors of T frames.

    Args:
        u: of the person and the occasion, [NUM_FACTORS].
        poses: [K, len(PLACES)], K >= 2.
        at: where each frame is among the poses, [T] in 0 to K - 1.

    Returns:
        [T, NUM_FACTORS], for `scenes.scene_from_gaussian`.
    """
    before = jnp.minimum(at.astype(int), len(poses) - 2)
    share = (1 - jnp.cos(jnp.pi * (at - before))) / 2
    path = poses[before] + share[:, None] * (poses[before + 1] - poses[before])
    return jnp.broadcast_to(u, (len(at), len(u))).at[:, PLACES].set(path)


def _wide() -> np.ndarray:
    wide = np.ones(len(PLACES), np.float32)
    wide[: FACTORS["rotation"].stop - FACTORS["rotation"].start] = WIDER
    return wide
