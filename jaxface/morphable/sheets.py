"""Contact sheets of the embedded world: what its modes, lights and styles look like.

Each function returns images [N, R, R, 3] in [-1, 1] and the number of columns to lay them out in,
ready for `jaxface.media.images.grid`.
"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.rendering import render
from jaxface.morphable.scenes import FACTORS, NUM_FACTORS, sample_scenes, scene_from_gaussian
from jaxface.vocabulary import EXPRESSION_NAMES

_SIGMAS = (-2.0, 0.0, 2.0)

SWEEPS = (
    ("rotation", 1),
    ("rotation", 0),
    ("light_direction", 0),
    ("light_direction", 1),
    ("light_strength", 0),
    ("skin", 0),
    ("hair_colour", 0),
    ("hair_style", 0),
    ("age", 0),
    ("glasses", 0),
)
"""Rows of `sweep_sheet`: yaw, pitch, light from the side, from above, its hardness, skin tone, hair
colour, hair length, age and glasses, as (factor, coordinate)."""


def scene_sheet(key: Array, resolution: int, *, count: int = 64) -> tuple[Array, int]:
    """Random scenes, eight to a row."""
    return render(sample_scenes(key, count), resolution), 8


def _mode_sheet(field: str, rows: list[np.ndarray], resolution: int) -> Array:
    scenes = scene_from_gaussian(jnp.zeros((len(rows), NUM_FACTORS)))
    face = replace(scenes.face, **{field: jnp.asarray(np.stack(rows), jnp.float32)})
    return render(replace(scenes, face=face), resolution)


def expression_sheet(resolution: int) -> tuple[Array, int]:
    """Every named expression at coefficients 0, 0.5 and 1, two expressions to a row."""
    width = scene_from_gaussian(jnp.zeros((1, NUM_FACTORS))).face.expression.shape[1]
    rows = [
        strength * np.eye(width)[mode]
        for mode in range(len(EXPRESSION_NAMES))
        for strength in (0.0, 0.5, 1.0)
    ]
    return _mode_sheet("expression", rows, resolution), 6


def identity_sheet(resolution: int, modes: int = 21) -> tuple[Array, int]:
    """The first identity modes at -2, 0 and +2 standard deviations, three modes to a row."""
    width = scene_from_gaussian(jnp.zeros((1, NUM_FACTORS))).face.identity.shape[1]
    rows = [sigma * np.eye(width)[mode] for mode in range(modes) for sigma in _SIGMAS]
    return _mode_sheet("identity", rows, resolution), 9


def sweep_sheet(resolution: int, columns: int = 8) -> tuple[Array, int]:
    """One factor a row (`SWEEPS`), from -2.5 to 2.5 standard deviations."""
    u = np.zeros((len(SWEEPS), columns, NUM_FACTORS), np.float32)
    for row, (factor, coordinate) in enumerate(SWEEPS):
        u[row, :, FACTORS[factor].start + coordinate] = np.linspace(-2.5, 2.5, columns)
    scenes = scene_from_gaussian(jnp.asarray(u.reshape(-1, NUM_FACTORS)))
    return render(scenes, resolution), columns
