"""`personalise`: an avatar of the person in a clip."""

from fractions import Fraction
from typing import Any

import jax
import numpy as np

from jaxface.api.shared import changed, opened, read_images
from jaxface.jobs.personalisation import tell_unknown_gaze
from jaxface.media.images import to_uint8
from jaxface.methods import pvp
from jaxface.methods.pvp import pvp_preset
from jaxface.portraits import Person
from jaxface.runtime.devices import compute_dtype
from jaxface.suite import Suite


def personalise(
    frames: Any,
    *,
    suite: Suite | str = "embedded",
    preset: str = "embedded",
    fps: float = 25.0,
    seed: int = 0,
    **settings: Any,
) -> Person:
    """An avatar of the person in a clip (PVP).

    Args:
      frames: [T, H, H, 3], uint8 or float in [-1, 1], aligned frames in their order; or paths of T
        files, of which the central square is taken. `jaxface personalise --align` finds and
        follows the face in a clip.
      suite: or a shipped one's name, or a folder.
      preset: one of `jaxface.methods.pvp.PVP_PRESETS`.
      fps: frames a second.
      seed: of everything random.
      settings: changes of the preset; dots of nested ones are two underscores,
        ``mappers__steps=500``.

    Returns:
      Who can be drawn: ``person.images`` is the clip replayed, ``person.turned(yaw=20)`` turns the
      head, `reenact` drives them, and ``person.save(DIR)`` keeps them for ``jaxface reenact DIR``.

    Raises:
      ImageError: a file is no usable image.
      UsageError: an unknown preset or setting; too few frames.
      SuiteError: the suite lacks a network.
      ValueError: no batch of square images.
    """
    suite = opened(suite)
    images, _ = read_images(frames, suite.generator.config.resolution)
    method = changed(pvp_preset(preset), settings).computing_in(compute_dtype())
    if "mappers__gaze_weight" in settings:
        tell_unknown_gaze(suite, method)
    found = pvp.personalise(
        method,
        suite,
        np.asarray(to_uint8(images)),
        seconds=np.arange(len(images)) / fps,
        key=jax.random.key(seed),
    )
    times = tuple(Fraction(row) / Fraction(fps) for row in range(len(images)))
    return Person(found.avatar, times, tuple(int(row) for row in found.key_frames.frames))
