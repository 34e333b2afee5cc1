"""Linear modes of identity, expression and reflectance about the mean head (NumPy, run once).

Identity and reflectance modes are orthonormal rows in the space of stacked vertex coordinates
(colours), each with a standard deviation; face parameters are in units of it. Expression modes
are displacement fields at coefficient 1. The first are semantic and named; the others are small
smooth local motions. Fields are smooth functions of the material coordinates, hence free of folds
at moderate strengths.
"""

import numpy as np

from jaxface.morphable.curves import Array, bump2, smoothstep
from jaxface.morphable.head import (
    BROW_Y,
    EYE_X,
    EYE_Y,
    MOUTH_HALF_WIDTH,
    MOUTH_INNER,
    MOUTH_Y,
    NOSE_Y,
    Head,
    eye_coordinates,
    mouth_offset,
)

IDENTITY_MODES, EXPRESSION_MODES, REFLECTANCE_MODES = 80, 64, 80

SAG = 19
"""The identity mode that age moves: jowls, tip of the nose and outer brows sink."""

# Coefficients of these reflectance modes, in order of `_semantic_reflectance`.
REFLECTANCE_NAMES = (
    "tone",
    "warmth",
    "lip_colour",
    "brow_colour",
    "iris_blue",
    "iris_green",
    "beard",
    "blush",
    "eye_shadow",
    "folds",
)


def _field(weight: Array, x: Array | float, y: Array | float, z: Array | float) -> Array:
    """Displacement field [V, 3] of `weight` [V] times a direction (constant or per vertex)."""
    return weight[:, None] * np.stack(np.broadcast_arrays(x * np.ones_like(weight), y, z), axis=-1)


def _near(head: Head, centre: Array, width: float) -> Array:
    return np.exp(-0.5 * ((head.vertices - centre) ** 2).sum(axis=1) / width**2)


def _semantic_identity(head: Head) -> list[Array]:
    x, y, _ = head.vertices.T
    ax, side, front = np.abs(head.x), np.sign(head.x), head.front
    offset = mouth_offset(y)
    eye = front * bump2(ax, head.y, (EYE_X, EYE_Y), (0.19, 0.14))
    mouth = front * bump2(head.x, head.y, (0.0, MOUTH_Y), (0.28, 0.13))
    nose = front * bump2(head.x, head.y, (0.0, NOSE_Y), (0.17, 0.10))
    one = np.ones_like(x)
    return [
        _field(one, x, 0.0, 0.0),
        _field(one, 0.0, y + 0.2, 0.0),
        _field(smoothstep(-0.1, -0.85, y), x, 0.0, 0.0),
        _field(smoothstep(-0.60, -1.0, y), 0.0, 1.0, 0.0),
        _field(nose, 0.0, 0.25, 1.0),
        _field(nose, 6.0 * x, 0.0, 0.0),
        _field(front * bump2(head.x, y, (0.0, -0.24), (0.15, 0.13)), 0.0, 1.0, 0.0),
        _field(eye, side, 0.0, 0.0),
        _field(eye, side * (ax - EYE_X), y - EYE_Y, 0.0),
        _field(eye, 0.0, 1.0, 0.0),
        _field(eye, 0.0, ax - EYE_X, 0.0),
        _field(mouth, x, 0.0, 0.0),
        _field(mouth, 0.0, offset, 0.3 * np.abs(offset)),
        _field(mouth, 0.0, 1.0, 0.0),
        _field(front * bump2(ax, y, (0.34, BROW_Y), (0.26, 0.09)), 0.0, 1.0, 0.4),
        _field(front * bump2(ax, y, (0.52, -0.25), (0.2, 0.25)), side, 0.0, 0.5),
        _field(smoothstep(0.3, 1.0, y), 0.0, 1.0, 0.0),
        _field(smoothstep(0.25, 0.7, y) * front, 0.0, 0.0, 1.0),
        _field(smoothstep(-0.65, -0.95, y) * front, 0.0, 0.0, 1.0),
        _field(front * bump2(ax, y, (0.50, -0.68), (0.17, 0.17)), 0.7 * side, -0.6, 0.3)
        + _field(nose, 0.0, -0.3, 0.0)
        + _field(front * bump2(ax, y, (0.44, EYE_Y + 0.14), (0.16, 0.07)), 0.0, -0.35, 0.0),
    ]


def _orthonormal(fields: list[Array]) -> Array:
    """Gram-Schmidt in the given order: [modes, 3V] with orthonormal rows of unchanged sign."""
    stacked = np.stack([field.ravel() for field in fields])
    q, r = np.linalg.qr(stacked.T)
    return (q * np.sign(np.diag(r))).T


def identity_modes(head: Head) -> tuple[Array, Array]:
    """Orthonormal modes [80, 3V] and standard deviations [80] of the geometry."""
    rng = np.random.default_rng(1)
    fields = _semantic_identity(head)
    semantic = len(fields)
    on_face = np.flatnonzero(head.front > 0.9)
    mirror = np.array([-1.0, 1.0, 1.0])
    while len(fields) < IDENTITY_MODES:
        index = len(fields)
        width = max(0.17, 0.55 * (20 / index) ** 0.9)
        centre = head.vertices[rng.choice(on_face)]
        direction = rng.normal(size=3) * (0.7, 0.7, 1.0)
        # Every fourth mode is mostly one-sided, as real faces are slightly asymmetric.
        other = 0.25 if index % 4 == 0 else 1.0
        field = _field(_near(head, centre, width), *direction)
        field += other * _field(_near(head, centre * mirror, width), *(direction * mirror))
        fields.append(field)
    modes = _orthonormal(fields)
    order = np.arange(IDENTITY_MODES)
    # The largest displacement of any vertex at one standard deviation.
    largest = np.where(
        order < semantic, 0.034, 0.019 * (20 / (20 + np.maximum(order - semantic, 0))) ** 0.7
    )
    # Eye size, eye slant and lip thickness stand out more than their displacement suggests.
    largest[[8, 10, 12]] *= 0.6
    peak = np.linalg.norm(modes.reshape(IDENTITY_MODES, -1, 3), axis=2).max(axis=1)
    return modes, largest / peak


def _semantic_expression(head: Head) -> list[Array]:
    x, y = head.x, head.y
    ax, side, front = np.abs(x), np.sign(x), head.front
    offset = mouth_offset(y)
    # Inside the mouth's width the jaw's weight rises from the upper to the lower lip through the
    # rows of the interior; beside it, smoothly down the cheek.
    within = smoothstep(MOUTH_HALF_WIDTH + 0.10, MOUTH_HALF_WIDTH - 0.07, ax) * front
    lips = smoothstep(MOUTH_INNER, -MOUTH_INNER - 0.005, offset) ** 1.6
    cheek = smoothstep(-0.36, -0.82, y) * smoothstep(1.75, 1.0, np.abs(head.azimuth))
    jaw = within * lips + (1.0 - within) * cheek
    corner = front * bump2(ax, y, (0.27, MOUTH_Y), (0.11, 0.12))
    mouth = front * bump2(x, y, (0.0, MOUTH_Y), (0.26, 0.14))
    upper_lip = (
        within * smoothstep(-MOUTH_INNER, MOUTH_INNER, offset) * smoothstep(0.24, 0.06, offset)
    )
    lower_lip = within * lips * smoothstep(-0.28, -0.10, offset)
    brow = front * bump2(ax, y, (0.34, BROW_Y + 0.02), (0.22, 0.10))
    across, up, _, bottom = eye_coordinates(x, y)
    rise = up + 0.85 * bottom
    # The lid sinks to the lower lid line, fading out at the brow, slower than one for one.
    lid = front * smoothstep(1.45, 0.85, np.abs(across)) * smoothstep(-0.02, 0.02, rise)
    close = -0.94 * np.minimum(rise, 0.135) * np.clip((0.31 - rise) / 0.175, 0.0, 1.0)
    widen = front * bump2(across, up, (0.0, 0.07), (0.75, 0.05))
    nose = front * bump2(x, y, (0.0, NOSE_Y), (0.16, 0.08))
    puff = front * bump2(ax, y, (0.47, -0.48), (0.16, 0.16))
    lift = front * bump2(ax, y, (0.42, -0.20), (0.13, 0.11))
    left, right = smoothstep(0.02, -0.02, x), smoothstep(-0.02, 0.02, x)
    return [
        _field(jaw, -0.06 * x, -0.24, -0.05),
        _field(corner, 0.085 * side, 0.075, -0.03)
        + _field(lift, 0.0, 0.025, 0.035)
        + _field(lower_lip, 0.0, -0.02, 0.0),
        _field(brow, 0.0, 0.085, 0.0),
        _field(lid * left, 0.0, close, 0.0),
        _field(lid * right, 0.0, close, 0.0),
        _field(corner, 0.01 * side, -0.065, 0.0),
        _field(mouth, -0.38 * x, 0.0, 0.085),
        _field(brow * smoothstep(0.50, 0.20, ax), -0.04 * side, -0.065, 0.01),
        _field(mouth, -0.075, 0.0, 0.0),
        _field(cheek, -0.08, 0.0, 0.0),
        _field(upper_lip, 0.0, 0.055, 0.01),
        _field(nose, 0.2 * x, 0.035, 0.0) + _field(brow, -0.02 * side, -0.02, 0.0),
        _field(puff, 0.05 * side, 0.0, 0.07),
        _field(widen, 0.0, 0.05, 0.0) + _field(brow, 0.0, 0.02, 0.0),
    ]


def expression_modes(head: Head) -> Array:
    """Displacements [64, 3V] at coefficient 1; the first are `EXPRESSION_NAMES`."""
    rng = np.random.default_rng(2)
    fields = _semantic_expression(head)
    mirror = np.array([-1.0, 1.0, 1.0])
    regions = ((0.27, MOUTH_Y), (0.0, MOUTH_Y), (0.34, BROW_Y), (0.42, -0.12), (0.0, -0.90))
    while len(fields) < EXPRESSION_MODES:
        index = len(fields)
        u, v = np.array(regions[index % len(regions)]) + rng.normal(size=2) * (0.06, 0.05)
        width = rng.uniform(0.13, 0.24)
        direction = rng.normal(size=3) * 0.010 * (14 / index) ** 0.5
        right = head.front * bump2(head.x, head.y, (u, v), (width, width))
        left = head.front * bump2(head.x, head.y, (-u, v), (width, width))
        sign = 1.0 if index % 3 else -1.0
        fields.append(_field(right, *direction) + sign * _field(left, *(direction * mirror)))
    return np.stack([field.ravel() for field in fields])


def _semantic_reflectance(head: Head) -> list[tuple[Array, float]]:
    """Colour fields with the standard deviation of the reflectance where the field is 1."""
    masks = head.masks
    skin = (1.0 - masks["eye"]) * (1.0 - masks["interior"]) * (1.0 - 0.75 * masks["brow"])
    skin = (
        skin
        * (1.0 - 0.9 * masks["lash"])
        * (1.0 - 0.5 * masks["lips"])
        * (1 - 0.6 * masks["nostril"])
    )
    lips = masks["lips"] * (1.0 - masks["interior"])
    brow = masks["brow"]
    iris = masks["iris"] * (1.0 - masks["pupil"]) * (1.0 - masks["glint"])
    beard = masks["beard"] * (1.0 - masks["interior"])
    return [
        (_field(skin, 1.0, 0.72, 0.56), 0.16),
        (_field(skin, 0.25, -0.05, -0.55), 0.035),
        (_field(lips, 0.5, -0.75, -0.5), 0.04),
        (_field(brow, 1.0, 0.75, 0.45), 0.08),
        (_field(iris, -0.45, 0.22, 0.85), 0.12),
        (_field(iris, 0.0, 0.8, -0.25), 0.07),
        (_field(beard, -1.0, -0.8, -0.65), 0.10),
        (_field(masks["blush"] * skin, 0.2, -0.5, -0.4), 0.035),
        (_field(masks["socket"] * (1.0 - masks["eye"]), -0.6, -0.55, -0.4), 0.05),
        (_field(masks["folds"] * skin, -0.8, -0.62, -0.5), 0.07),
    ]


def reflectance_modes(head: Head) -> tuple[Array, np.ndarray]:
    """Orthonormal modes [80, 3V] and standard deviations [80] of the reflectance."""
    rng = np.random.default_rng(3)
    masks = head.masks
    plain = (1.0 - masks["eye"]) * (1.0 - masks["interior"]) * (1.0 - 0.8 * masks["brow"])
    plain = plain * (1.0 - 0.9 * masks["lash"])
    mirror = np.array([-1.0, 1.0, 1.0])
    on_face = np.flatnonzero(head.front > 0.9)
    semantic = _semantic_reflectance(head)
    fields = [field for field, _ in semantic]
    deviation = [strength * np.linalg.norm(field) for field, strength in semantic]
    while len(fields) < REFLECTANCE_MODES:
        index = len(fields)
        width = max(0.10, 0.5 * (12 / index) ** 0.7)
        centre = head.vertices[rng.choice(on_face)]
        colour = np.array([1.0, 0.9, 0.8]) + 0.15 * rng.normal(size=3)
        other = 1.0 if index % 3 else 0.0
        weight = _near(head, centre, width) + other * _near(head, centre * mirror, width)
        field = _field(weight * plain, *(colour / np.linalg.norm(colour)))
        fields.append(field)
        deviation.append(0.017 * (12 / index) ** 0.5 * np.linalg.norm(field))
    return _orthonormal(fields), np.array(deviation)
