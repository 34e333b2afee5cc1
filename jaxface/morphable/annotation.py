"""The 68 facial landmarks of iBUG 300-W, as vertices of the head.

Order and sides are those of the 300-W mark-up, seen in the image: contour from the image's left
ear over the chin (0-16), left and right brow (17-26), bridge and base of the nose (27-35), left
and right eye (36-47), outer lips (48-59), inner lips (60-67). Being vertices, they follow every
mode: the contour is that of the face in three dimensions, not the visible silhouette.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.camera import EMBEDDED_CAMERA, Camera, project, transform
from jaxface.morphable.head import (
    BROW_Y,
    EYE_X,
    EYE_Y,
    MOUTH_HALF_WIDTH,
    MOUTH_INNER,
    MOUTH_Y,
    build_head,
    eye_coordinates,
)
from jaxface.morphable.model import face_model
from jaxface.morphable.parameters import FaceParameters

NUM_LANDMARKS = 68

INNER_MOUTH_CORNERS = (60, 64)
"""The two landmarks that the 66-point mark-up leaves out."""

LANDMARKS_66 = tuple(i for i in range(NUM_LANDMARKS) if i not in INNER_MOUTH_CORNERS)
"""Indices of the 66-point mark-up among the 68."""

FEATURES: Mapping[str, slice] = MappingProxyType(
    {"left_eye": slice(36, 42), "right_eye": slice(42, 48), "mouth": slice(48, 68)}
)
"""Landmarks of the features that `feature_boxes` frames, in its order; sides are the image's."""

_MARGIN = 0.25
"""Room around a feature's landmarks on every side, as a share of their longer side."""

# Contour from the left ear to the chin: azimuth and height in material coordinates.
_CONTOUR = (
    (1.38, 0.06),
    (1.36, -0.15),
    (1.33, -0.36),
    (1.27, -0.55),
    (1.16, -0.72),
    (0.97, -0.85),
    (0.68, -0.94),
    (0.34, -1.00),
)


def _half_positions() -> dict[int, tuple[float, float]]:
    """Material (x, y) of the landmarks of the image's left half but the contour; x <= 0."""
    _, _, top, bottom = (
        float(v[0]) for v in eye_coordinates(np.array([EYE_X + 0.06]), np.array([EYE_Y]))
    )
    tilt = 0.004
    return {
        17: (-0.565, BROW_Y - 0.012),
        18: (-0.47, BROW_Y + 0.015),
        19: (-0.37, BROW_Y + 0.035),
        20: (-0.26, BROW_Y + 0.04),
        21: (-0.15, BROW_Y + 0.02),
        31: (-0.16, -0.33),
        32: (-0.085, -0.35),
        36: (-0.495, EYE_Y + 0.012),
        37: (-0.39, EYE_Y + top + tilt),
        38: (-0.27, EYE_Y + top - tilt),
        39: (-0.165, EYE_Y - 0.012),
        40: (-0.27, EYE_Y - bottom - tilt),
        41: (-0.39, EYE_Y - bottom + tilt),
        48: (-MOUTH_HALF_WIDTH - 0.005, MOUTH_Y),
        49: (-0.17, MOUTH_Y + MOUTH_INNER + 0.055),
        50: (-0.065, MOUTH_Y + MOUTH_INNER + 0.076),
        58: (-0.075, MOUTH_Y - MOUTH_INNER - 0.090),
        59: (-0.17, MOUTH_Y - MOUTH_INNER - 0.068),
        60: (-MOUTH_HALF_WIDTH + 0.035, MOUTH_Y),
        61: (-0.10, MOUTH_Y + MOUTH_INNER),
        67: (-0.10, MOUTH_Y - MOUTH_INNER),
    }


_MIDDLE = {
    27: EYE_Y + 0.03,
    28: -0.04,
    29: -0.13,
    30: -0.225,
    33: -0.36,
    51: MOUTH_Y + MOUTH_INNER + 0.064,
    57: MOUTH_Y - MOUTH_INNER - 0.092,
    62: MOUTH_Y + MOUTH_INNER,
    66: MOUTH_Y - MOUTH_INNER,
}

# The landmark of the image's right half that mirrors one of the left.
_MIRRORED = (
    {i: 16 - i for i in range(8)}
    | {17 + i: 26 - i for i in range(5)}
    | {31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}
    | {48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65}
)


@functools.cache
def landmark_vertices() -> tuple[int, ...]:
    """Indices of the 68 vertices of the head, in iBUG order."""
    head = build_head()
    frontal = np.abs(head.azimuth) < 1.2

    def nearest(x: float, y: float) -> int:
        distance = (head.x - x) ** 2 + (head.y - y) ** 2
        return int(np.where(frontal, distance, np.inf).argmin())

    def nearest_on_side(azimuth: float, y: float) -> int:
        return int(((head.azimuth - azimuth) ** 2 + (head.y - y) ** 2).argmin())

    found = {8: nearest_on_side(0.0, -1.035)}
    for index, (azimuth, y) in enumerate(_CONTOUR):
        found[index] = nearest_on_side(-azimuth, y)
        found[_MIRRORED[index]] = nearest_on_side(azimuth, y)
    for index, (x, y) in _half_positions().items():
        found[index] = nearest(x, y)
        found[_MIRRORED[index]] = nearest(-x, y)
    for index, y in _MIDDLE.items():
        found[index] = nearest(0.0, y)
    return tuple(found[index] for index in range(NUM_LANDMARKS))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LandmarkModel:
    """The part of the face model that moves the landmarks: 68 vertices and their modes."""

    vertices: Array  # [68, 3]
    identity_basis: Array  # [80, 68, 3], times the standard deviations
    expression_basis: Array  # [64, 68, 3]
    camera: Camera = field(default=EMBEDDED_CAMERA, metadata={"static": True})


@functools.cache
def landmark_model() -> LandmarkModel:
    """The landmarks' part of the face model; built on the first call, then kept."""
    model, vertices = face_model(), np.array(landmark_vertices())

    def rows(basis: Array) -> Array:
        return basis.reshape(basis.shape[0], -1, 3)[:, vertices]

    with jax.ensure_compile_time_eval():
        return LandmarkModel(
            vertices=model.vertices[vertices],
            identity_basis=rows(model.identity_basis) * model.identity_deviation[:, None, None],
            expression_basis=rows(model.expression_basis),
        )


@functools.partial(jax.jit, static_argnames="resolution")
def project_landmarks(model: LandmarkModel, face: FaceParameters, resolution: int) -> Array:
    """`landmarks` with the model as an argument, for use inside compiled programs."""
    points = model.vertices
    points = points + jnp.einsum("nk,kvi->nvi", face.identity, model.identity_basis)
    points = points + jnp.einsum("nk,kvi->nvi", face.expression, model.expression_basis)
    placed = transform(points, face.rotation, face.translation)
    return project(placed, resolution, model.camera)[..., :2]


def landmarks(face: FaceParameters, resolution: int) -> Array:
    """The 68 landmarks of N faces, [N, 68, 2]: pixels (x right, y down).

    The centre of the image's first pixel is at (0.5, 0.5). Differentiable in pose, identity and
    expression. Index with `LANDMARKS_66` for the 66-point mark-up.
    """
    return project_landmarks(landmark_model(), face, resolution)


def feature_boxes(landmarks: Array) -> Array:
    """Where eyes and mouth are, [N, 3, 4]: left, top, right and bottom, in the landmarks' unit.

    The rows are those of `FEATURES`. A box is the landmarks' own, grown by a quarter of its longer
    side all around: of a closed eye as of an open one.

    Args:
        landmarks: [N, 68, 2].
    """
    boxes = []
    for part in FEATURES.values():
        points = landmarks[:, part]
        low, high = points.min(axis=1), points.max(axis=1)
        margin = _MARGIN * (high - low).max(axis=-1, keepdims=True)
        boxes.append(jnp.concatenate([low - margin, high + margin], axis=-1))
    return jnp.stack(boxes, axis=1)
