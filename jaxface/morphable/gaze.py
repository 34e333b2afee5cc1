"""Eyes that look: eyeballs turned by ARKit's eyeLook units, and gaze in degrees.

Angles are relative to the head, as its own rotation is named: yaw positive to the image's right,
pitch positive downwards. A unit at 1 turns its eye by the degrees of `FULL_LOOK`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.arkit import unit_index
from jaxface.morphable.camera import rotation_matrix

FULL_LOOK: Mapping[str, float] = MappingProxyType(
    {"In": 28.0, "Out": 28.0, "Up": 18.0, "Down": 22.0}
)
"""Degrees that an eye turns at a coefficient of 1."""

SIDES = ("Left", "Right")
"""The person's eyes, in the order in which both are listed everywhere."""


def _mixing() -> np.ndarray:
    """Degrees of (left yaw, left pitch, right yaw, right pitch) per expression coefficient."""
    found = np.zeros((52, 2, 2), np.float32)
    for eye, (side, nose) in enumerate(zip(SIDES, (-1.0, 1.0), strict=True)):
        for way, (axis, sign) in {
            "In": (0, nose),
            "Out": (0, -nose),
            "Up": (1, -1.0),
            "Down": (1, 1.0),
        }.items():
            found[unit_index(f"eyeLook{way}{side}"), eye, axis] = sign * FULL_LOOK[way]
    return found.reshape(52, 4)


_MIXING = _mixing()


@dataclass(frozen=True)
class Eyeballs:
    """Where both eyeballs lie among the vertices; the first vertex of each is its centre."""

    first: tuple[int, int]  # of SIDES
    count: int


def eye_degrees(expression: Array) -> Array:
    """Yaw and pitch of both eyes, [N, 2, 2] in degrees, of expressions [N, 64]: linear."""
    return (expression[:, :52] @ _MIXING).reshape(-1, 2, 2)


def gaze_degrees(expression: Array) -> Array:
    """Where both eyes look on average, [N, 2]: yaw and pitch in degrees."""
    return eye_degrees(expression).mean(axis=1)


def looking(expression: Array, gaze: Array) -> Array:
    """Expressions [N, 64] with both eyes looking at yaw and pitch [N, 2] in degrees."""
    yaw, pitch = gaze[:, 0], gaze[:, 1]
    right, left = jnp.maximum(yaw, 0.0), jnp.maximum(-yaw, 0.0)
    amounts = {
        "OutLeft": right / FULL_LOOK["Out"],
        "InRight": right / FULL_LOOK["In"],
        "InLeft": left / FULL_LOOK["In"],
        "OutRight": left / FULL_LOOK["Out"],
    }
    for side in SIDES:
        amounts[f"Down{side}"] = jnp.maximum(pitch, 0.0) / FULL_LOOK["Down"]
        amounts[f"Up{side}"] = jnp.maximum(-pitch, 0.0) / FULL_LOOK["Up"]
    for name, amount in amounts.items():
        expression = expression.at[:, unit_index("eyeLook" + name)].set(amount)
    return expression


def turn_eyes(eyes: Eyeballs, points: Array, expression: Array) -> Array:
    """Vertices [N, V, 3] with the eyeballs turned about their centres."""
    angles = jnp.deg2rad(eye_degrees(expression))
    for eye, first in enumerate(eyes.first):
        yaw, pitch = angles[:, eye, 0], angles[:, eye, 1]
        rotation = rotation_matrix(jnp.stack([pitch, yaw, jnp.zeros_like(yaw)], axis=-1))
        ball = points[:, first : first + eyes.count]
        centre = ball[:, :1]
        turned = centre + jnp.einsum("nvj,nij->nvi", ball - centre, rotation)
        points = points.at[:, first : first + eyes.count].set(turned)
    return points
