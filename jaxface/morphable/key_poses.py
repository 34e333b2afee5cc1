"""Motion by key poses: head and face go smoothly from one to the next.

Light, hair, clothes, backdrop and place stay. So move the people of version 2 in its clips, and
those of both versions where a few frames are to show much of somebody; in version 3's clips they
speak, blink and look (`jaxface.morphable.acting`). A key is drawn as the world's portraits are,
with a wider turn of the head; between two keys the factors follow half a cosine.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.worlds import World

WIDER = 1.6
"""Factor of the deviation of the keys' rotations over the world's portraits': heads that turn."""

_MOVING = ("rotation", "gaze", "units", "expression", "fine_expression")


def moving_factors(of: World) -> np.ndarray:
    """Places in a world's Gaussian vector of the factors that move; the rotation's come first."""
    return np.concatenate([np.r_[of.factors[name]] for name in _MOVING if name in of.factors])


def key_poses(key: Array, count: int, of: World) -> Array:
    """`count` key poses drawn together, [count, M]; M of `moving_factors`."""
    wide = _wide(of)
    return jax.random.normal(key, (count, len(wide))) * wide


def numbered_key_poses(key: Array, first: int, count: int, of: World) -> Array:
    """Key poses `first` onwards of an endless row, each of its number alone."""
    wide = _wide(of)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(first, first + count))
    return jax.vmap(lambda each: jax.random.normal(each, (len(wide),)))(keys) * wide


def through_key_poses(u: Array, poses: Array, at: Array, of: World) -> Array:
    """Whitened factors of T frames.

    Args:
        u: of the person and the occasion, [of.num_factors].
        poses: [K, M], K >= 2; M of `moving_factors`.
        at: where each frame is among the poses, [T] in 0 to K - 1.
        of: the world.

    Returns:
        [T, of.num_factors], for `World.scenes`.
    """
    before = jnp.minimum(at.astype(int), len(poses) - 2)
    share = (1 - jnp.cos(jnp.pi * (at - before))) / 2
    path = poses[before] + share[:, None] * (poses[before + 1] - poses[before])
    return jnp.broadcast_to(u, (len(at), len(u))).at[:, moving_factors(of)].set(path)


def _wide(of: World) -> np.ndarray:
    wide = np.ones(len(moving_factors(of)), np.float32)
    wide[: of.factors["rotation"].stop - of.factors["rotation"].start] = WIDER
    return wide
