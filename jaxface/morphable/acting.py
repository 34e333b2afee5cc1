"""How the people of either world go through a clip.

Version 3's behave as `jaxface.morphable.behaviour` says; version 2's go from one key pose to the
next, one every half second (`jaxface.morphable.key_poses`).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.behaviour import FPS, behave, clip_scenes
from jaxface.morphable.key_poses import numbered_key_poses, through_key_poses
from jaxface.morphable.parameters import Scene
from jaxface.morphable.worlds import World

KEY_SECONDS = 0.5
"""Time from one key pose of version 2's people to the next."""


def act(
    of: World, key: Array, u: Array, *, frames: int, first: int = 0, fps: float = FPS
) -> tuple[Scene, dict[str, np.ndarray]]:
    """The frames `first` to `first + frames - 1` of somebody's clip.

    Args:
        of: the world.
        key: typed key of what they do; a longer clip begins as a shorter one.
        u: whitened factors of the person on the occasion, [of.num_factors].
        frames: how many, T.
        first: number of the first one.
        fps: frames a second.

    Returns:
        T scenes, and what is known of version 3's beside them: ``speaking`` and ``blink``, float32
        [T], see `behaviour.Behaviour`.
    """
    if of.version == "3.0.0":
        rotation = np.asarray(of.scenes(u[None]).face.rotation[0])
        behaviour = behave(key, rotation, frames=frames, first=first, fps=fps)
        known = {name: getattr(behaviour, name).astype(np.float32) for name in _KNOWN}
        return clip_scenes(u, behaviour, rotation), known
    at = np.arange(first, first + frames) / (fps * KEY_SECONDS)
    start = int(at[0])
    poses = numbered_key_poses(key, start, int(at[-1]) - start + 2, of)
    return of.scenes(through_key_poses(u, poses, jnp.asarray(at - start, jnp.float32), of)), {}


_KNOWN = ("speaking", "blink")
