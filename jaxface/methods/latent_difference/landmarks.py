"""Landmarks as wishes: read, normalised to a person's proportions, and made the network's input.

Landmarks of another person carry that person's shape, which is the method's known weakness: the
paper wishes them all the same. Normalised, a wish is what the portrait's own face shows with the
other's rotation and expression: the face model moves the own landmarks.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.media.landmark_images import Outside, landmark_images
from jaxface.morphable import FaceParameters
from jaxface.morphable.annotation import LandmarkModel, project_landmarks
from jaxface.nets import KeypointEncoder


def normalised(
    model: LandmarkModel,
    points: jax.Array,
    face: FaceParameters,
    other: FaceParameters,
    size: int,
) -> jax.Array:
    """Landmarks of N faces with the rotation and expression of others.

    What the face model does not explain of the own landmarks stays with them, so that a face whose
    motion is its own keeps its landmarks exactly.

    Args:
      model: of the landmarks.
      points: the own landmarks, [N, 68, 2] in pixels.
      face: the faces.
      other: whose rotation and expression they take.
      size: pixels per side.

    Returns:
      [N, 68, 2].
    """
    moved = dataclasses.replace(face, rotation=other.rotation, expression=other.expression)
    shown = project_landmarks(model, moved, size) - project_landmarks(model, face, size)
    return points + shown


def conditioned(
    network: Any, points: jax.Array, size: int, *, outside: Outside = "clip"
) -> jax.Array:
    """What a network is told of landmarks: their image, or coordinates.

    Args:
      network: of the role ``latent_difference``.
      points: [N, 68, 2] in pixels of a portrait of `size` a side.
      size: of those.
      outside: see `jaxface.media.landmark_images`.
    """
    side = network.config.resolution
    points = points * (side / size)
    if isinstance(network, KeypointEncoder):
        return points
    return landmark_images(points, side, outside=outside)


def other_of(rows: Any) -> Any:
    """Of each item of a batch another one: the rows of a pytree, one place further."""
    return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), rows)
