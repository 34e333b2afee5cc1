"""What reenactment methods share whose subject is one embedded portrait, moved by motion alone.

`owner`, the name of the method's class, begins the errors.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxface.errors import JaxfaceError
from jaxface.methods.inversion import Inversion, Inverter, invert
from jaxface.morphable.motion import MOTION_GROUPS, Motion
from jaxface.nets import Generator
from jaxface.solving.solver import Status
from jaxface.suite import Suite

_SAMPLES = 0  # folded into the subject's key

RelativeTo = int | Literal["mean"] | None
"""None: absolute, the subject takes the driver's values. Else relative: the change since this frame
of the driver's clip, or since the clip's "mean"."""


def check_settings(
    owner: str, *, groups: tuple[str, ...], feedback: int, relative_to: RelativeTo
) -> None:
    """Insist on groups that motion has, on rounds of feedback, and on a neutral that there can be.

    Raises:
      ValueError: naming the first setting that is none.
    """
    if not groups or set(groups) - set(MOTION_GROUPS):
        raise ValueError(
            f"{owner}: groups must be out of {', '.join(MOTION_GROUPS)}, one or more; got "
            f"{groups!r}."
        )
    if isinstance(relative_to, str) and relative_to != "mean":
        raise ValueError(
            f"{owner}: relative_to must be a frame's number, 'mean' or None, got {relative_to!r}."
        )
    if feedback < 0:
        raise ValueError(f"{owner}: feedback must be >= 0, got {feedback}.")


def embedded(
    owner: str, inversion: Inverter, suite: Suite, frames: Any, *, keys: jax.Array
) -> Inversion:
    """The inversion of a subject's one frame.

    Args:
      owner: see the module.
      inversion: the method.
      suite: has the networks that it needs.
      frames: [1, R, R, 3] in [-1, 1] with R the generator's resolution.
      keys: [1] typed keys; what the inversion samples beforehand is drawn from it too.

    Raises:
      ValueError: wrong shapes, or more than one frame.
      JaxfaceError: the inversion diverged.
    """
    if len(frames) != 1:
        raise ValueError(
            f"{owner}: a subject is one frame, got {len(frames)}; choose one, best a frontal and "
            "neutral one."
        )
    networks_key = jax.random.fold_in(keys[0], _SAMPLES)
    result = invert(inversion, suite, frames, keys=keys, networks_key=networks_key)
    if result.status[0] == Status.DIVERGED:
        raise JaxfaceError(
            f"{owner}: the subject's inversion diverged after {result.steps[0]} steps; try another "
            "frame of the subject or smaller step sizes."
        )
    return result


def subject_latent(owner: str, generator: Generator, w_plus: Any) -> jax.Array:
    """A subject's latent as float32, [1, L, w_dim].

    Raises:
      ValueError: wrong shapes.
    """
    rows = (1, generator.num_ws, generator.config.w_dim)
    if w_plus.shape != rows:
        raise ValueError(f"{owner}: w_plus must be {list(rows)}, got {list(w_plus.shape)}.")
    return jnp.asarray(w_plus, jnp.float32)


def neutral_of(owner: str, clip: Motion, frame: int | Literal["mean"]) -> Motion:
    """The motion of a driver's clip that its change is counted from, one frame.

    Raises:
      ValueError: the clip has no such frame.
    """
    if frame == "mean":
        return clip.mean()
    if not 0 <= frame < len(clip):
        raise ValueError(f"{owner}: relative_to is frame {frame}, and the clip has {len(clip)}.")
    return clip[frame]
