"""Contact sheets of version 3: heads, ARKit's units, gaze, the jaw and turns of the head.

As in `sheets`, each function returns images in [-1, 1] and the number of columns to lay them out
in, ready for `jaxface.media.images.grid`.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.gaze import looking
from jaxface.morphable.modes import EXPRESSION_MODES
from jaxface.morphable.parameters import Scene
from jaxface.morphable.people import NUM_FACTORS, portrait_from_gaussian, sample_portraits
from jaxface.morphable.portraits import render_portraits
from jaxface.runtime.chunks import by_chunks

_AT_ONCE = 16


def _render(scenes: Scene, resolution: int) -> Array:
    """Images in batches of one size, so that only one program is compiled."""
    return by_chunks(lambda batch: render_portraits(batch, resolution), scenes, size=_AT_ONCE)


def neutral_scenes(expression: Array) -> Scene:
    """The mean person with each row of expressions, [N, 64]."""
    scenes = portrait_from_gaussian(jnp.zeros((len(expression), NUM_FACTORS)))
    return replace(scenes, face=replace(scenes.face, expression=jnp.asarray(expression)))


def portrait_sheet(key: Array, resolution: int, *, count: int = 64) -> tuple[Array, int]:
    """Random scenes, eight to a row."""
    return _render(sample_portraits(key, count), resolution), 8


def unit_sheet(resolution: int) -> tuple[Array, int]:
    """Every ARKit unit at 1, in the order of `ARKIT_UNITS`, thirteen to a row."""
    rows = jnp.eye(len(ARKIT_UNITS), EXPRESSION_MODES)
    return _render(neutral_scenes(rows), resolution), 13


def gaze_sheet(resolution: int, columns: int = 7) -> tuple[Array, int]:
    """Gaze from 26 degrees to the image's left to 26 to its right; up 16, level, down 20."""
    yaw = np.linspace(-26.0, 26.0, columns)
    gaze = jnp.array([(y, p) for p in (-16.0, 0.0, 20.0) for y in yaw], jnp.float32)
    rest = jnp.zeros((len(gaze), EXPRESSION_MODES))
    return _render(neutral_scenes(looking(rest, gaze)), resolution), columns


def jaw_sheet(resolution: int, columns: int = 7) -> tuple[Array, int]:
    """The jaw from closed to open; below, the same with the lips kept closed."""
    amount = jnp.linspace(0.0, 1.0, columns)
    rest = jnp.zeros((columns, EXPRESSION_MODES)).at[:, unit_index("jawOpen")].set(amount)
    closed = rest.at[:, unit_index("mouthClose")].set(amount)
    return _render(neutral_scenes(jnp.concatenate([rest, closed])), resolution), columns


def turn_sheet(resolution: int, columns: int = 7) -> tuple[Array, int]:
    """The head turned from 60 degrees to the image's left to 60 to its right."""
    scenes = neutral_scenes(jnp.zeros((columns, EXPRESSION_MODES)))
    yaw = jnp.deg2rad(jnp.linspace(-60.0, 60.0, columns))
    rotation = jnp.zeros((columns, 3)).at[:, 1].set(yaw)
    return _render(
        replace(scenes, face=replace(scenes.face, rotation=rotation)), resolution
    ), columns
