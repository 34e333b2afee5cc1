"""Mean geometry and mean reflectance of the procedural head (NumPy, run once).

Head coordinates: x to the image's right, y up, z towards the camera. One unit is about 9 cm: the
face is 1.6 wide, the chin lies at y = -1.08 and the crown at y = 1.13. The surface is a grid of
rows (crown to throat) and columns (azimuth, 0 at the nose). Features are drawn in the *material*
coordinates (x, y) that a vertex has before features displace it, so every mode of variation can
be written in the same coordinates.

Reflectance is linear RGB. Mean skin is a medium tone; reflectance modes take it either way.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxface.morphable.curves import Array, bump, bump2, graded_samples, smoothstep

ROWS, COLUMNS = 76, 65
EYE_X, EYE_Y = 0.33, 0.07
EYE_HALF_WIDTH, EYE_TOP, EYE_BOTTOM = 0.165, 0.078, 0.058
MOUTH_Y, MOUTH_HALF_WIDTH = -0.56, 0.27
BROW_Y = 0.315
NOSE_Y = -0.27
EAR_Y = -0.02
# Half height of the mouth's interior in material coordinates, and once the lips are closed.
MOUTH_INNER, MOUTH_CLOSED = 0.035, 0.005

# Cross-sections from crown to throat: height, half width, centre depth, front and back radius.
_SECTIONS = np.array(
    [
        (1.130, 0.00, -0.10, 0.00, 0.00),
        (1.105, 0.25, -0.10, 0.28, 0.28),
        (1.03, 0.47, -0.10, 0.54, 0.52),
        (0.89, 0.650, -0.10, 0.755, 0.72),
        (0.70, 0.755, -0.10, 0.875, 0.86),
        (0.46, 0.805, -0.08, 0.915, 0.89),
        (0.20, 0.815, -0.06, 0.895, 0.87),
        (-0.05, 0.800, -0.04, 0.865, 0.78),
        (-0.30, 0.765, 0.00, 0.830, 0.62),
        (-0.55, 0.695, 0.06, 0.785, 0.50),
        (-0.74, 0.595, 0.14, 0.720, 0.45),
        (-0.89, 0.465, 0.24, 0.630, 0.42),
        (-0.995, 0.335, 0.33, 0.530, 0.40),
        (-1.060, 0.215, 0.41, 0.400, 0.36),
        (-1.085, 0.100, 0.44, 0.220, 0.20),
        (-1.090, 0.0, 0.44, 0.00, 0.00),
    ]
)


@dataclass(frozen=True)
class Head:
    """The mean head and the material coordinates and masks that the modes are written in.

    Vertices are rows times columns, row by row. Masks lie in [0, 1].
    """

    vertices: Array  # [V, 3]
    reflectance: Array  # [V, 3], linear RGB
    x: Array  # [V] material coordinates
    y: Array
    azimuth: Array
    front: Array  # [V] 1 on the face's front, 0 from the ears backwards
    masks: dict[str, Array]


def mouth_offset(y: Array) -> Array:
    """Height above the line between the lips, in material coordinates."""
    return y - MOUTH_Y


def eye_coordinates(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Position in the nearer eye: across (-1..1), up, and the height of both lids there."""
    across = (np.abs(x) - EYE_X) / EYE_HALF_WIDTH
    arch = np.clip(1.0 - across**2, 0.0, 1.0)
    return across, y - EYE_Y - 0.012 * across, EYE_TOP * arch**0.8, EYE_BOTTOM * arch**0.9


_ARC = np.concatenate(
    [[0.0], np.cumsum(np.linalg.norm(np.diff(_SECTIONS[:, [0, 3]], axis=0), axis=1))]
)


@functools.cache
def _section() -> Callable[[Array], Array]:
    """The profile's sections by the length along it."""
    from scipy.interpolate import PchipInterpolator  # half a second

    return PchipInterpolator(_ARC, _SECTIONS, axis=0)


def arc_at(height: float) -> float:
    """Length along the profile, from the crown, at which a height is reached."""
    fine = np.linspace(0.0, _ARC[-1], 4001)
    return float(np.interp(-height, -_section()(fine)[:, 0], fine))


def plain_surface(arc: Array, azimuth: Array) -> Array:
    """The head without features at rows `arc` [R] and columns `azimuth` [C]: [R, C, 3]."""
    height, width, centre, depth_front, depth_back = _section()(arc).T[:, :, None]
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    # A superellipse of this exponent is slightly boxier than an ellipse: a flatter face.
    exponent = 2.25
    radius = (np.abs(sine) ** exponent + np.abs(cosine) ** exponent) ** (-1.0 / exponent)
    depth = np.where(cosine > 0.0, depth_front, depth_back)
    x = width * radius * sine
    return np.stack([x, height + 0.0 * x, centre + depth * radius * cosine], axis=-1)


def face_rows() -> Array:
    """Row positions of the head's grid along the profile, dense where features lie."""
    return graded_samples(
        ROWS,
        0.012,
        _ARC[-1] - 0.004,
        (
            (arc_at(EYE_Y + 0.01), 0.085, 2.6),
            (arc_at(BROW_Y), 0.07, 0.8),
            (arc_at(NOSE_Y), 0.10, 0.7),
            (arc_at(MOUTH_Y), 0.045, 5.5),
            (arc_at(MOUTH_Y), 0.15, 1.4),
        ),
    )


def face_columns() -> Array:
    """Azimuths of the head's grid, dense at eyes, nose and ears; the back is left out."""
    return graded_samples(
        COLUMNS,
        -2.55,
        2.55,
        (
            (-1.62, 0.16, 1.1),
            (-0.40, 0.20, 1.5),
            (0.0, 0.16, 1.4),
            (0.40, 0.20, 1.5),
            (1.62, 0.16, 1.1),
        ),
    )


def _close_mouth(x: Array, y: Array) -> Array:
    """Heights after the rows of the mouth's interior are folded between closed lips."""
    offset = mouth_offset(y)
    size = np.abs(offset)
    reach = 0.13
    folded = np.interp(size, [0.0, MOUTH_INNER, reach, 9.0], [0.0, MOUTH_CLOSED, reach, 9.0])
    inside = smoothstep(MOUTH_HALF_WIDTH + 0.05, MOUTH_HALF_WIDTH - 0.03, np.abs(x))
    return MOUTH_Y + np.sign(offset) * (size + inside * (folded - size))


def _relief(x: Array, y: Array) -> Array:
    """Forward displacement by nose, eyes, lips, brow, cheeks and chin."""
    ax, offset = np.abs(x), mouth_offset(y)
    ridge = np.interp(
        y,
        [-0.40, -0.335, -0.28, -0.22, -0.10, 0.05, 0.18, 0.30, 0.45],
        [0.0, 0.06, 0.20, 0.265, 0.205, 0.125, 0.06, 0.02, 0.0],
    )
    ridge_width = np.interp(y, [-0.36, -0.24, -0.10, 0.08, 0.3], [0.115, 0.105, 0.078, 0.062, 0.10])
    relief = ridge * np.exp(-0.5 * (x / ridge_width) ** 2)
    relief += 0.085 * bump2(ax, y, (0.125, NOSE_Y - 0.005), (0.045, 0.055))
    relief -= 0.085 * bump2(ax, y, (EYE_X - 0.03, EYE_Y + 0.01), (0.155, 0.105))
    relief += 0.045 * bump2(ax, y, (EYE_X, EYE_Y), (0.09, 0.06))
    relief += 0.045 * bump(y, BROW_Y - 0.01, 0.06) * smoothstep(0.62, 0.38, ax)
    relief += 0.045 * bump2(ax, y, (0.47, -0.13), (0.14, 0.13))
    relief -= 0.03 * bump2(ax, y, (0.50, -0.55), (0.12, 0.13))
    lips = smoothstep(0.36, 0.14, ax)
    relief += 0.055 * lips * bump(offset, 0.0, 0.13)
    relief += 0.035 * lips * bump(offset, 0.075, 0.035) * (1.0 - 0.25 * bump(x, 0.0, 0.03))
    relief += 0.042 * lips * bump(offset, -0.08, 0.04)
    relief -= 0.05 * lips * bump(offset, 0.0, 0.022)
    relief -= 0.035 * bump(y, MOUTH_Y - 0.19, 0.05) * smoothstep(0.32, 0.1, ax)
    relief += 0.075 * bump2(x, y, (0.0, -0.90), (0.18, 0.12))
    return relief


def _ear(azimuth: Array, y: Array) -> Array:
    """Height in [0, 1] of the auricle above the side of the head."""
    a = np.abs(azimuth)
    rim = smoothstep(1.42, 1.60, a) * smoothstep(1.98, 1.80, a)
    return rim * smoothstep(-0.30, -0.16, y) * smoothstep(0.26, 0.12, y)


def _paint(reflectance: Array, mask: Array, colour: tuple[float, float, float]) -> Array:
    mask = np.clip(mask, 0.0, 1.0)[:, None]
    return reflectance * (1.0 - mask) + mask * np.asarray(colour)


def _masks(x: Array, y: Array, azimuth: Array, front: Array) -> dict[str, Array]:
    ax, offset = np.abs(x), mouth_offset(y)
    across, up, top, bottom = eye_coordinates(x, y)
    inside = smoothstep(1.06, 0.94, np.abs(across))
    soft = 0.012
    eye = front * inside
    eye = (
        eye * smoothstep(top + soft, top - soft, up) * smoothstep(bottom + soft, bottom - soft, -up)
    )
    radius = np.hypot(ax - EYE_X, up - 0.012)
    near_eye = smoothstep(1.25, 1.0, np.abs(across))
    upper_lash = near_eye * bump(up, 0.0, 1.0) * bump(up - top, 0.012, 0.017)
    lower_lash = near_eye * bump(-up - bottom, 0.012, 0.012)
    lip_reach = np.clip(1.0 - (ax / MOUTH_HALF_WIDTH) ** 2, 0.0, 1.0)
    cupid = 1.0 - 0.18 * bump(x, 0.0, 0.035)
    upper = MOUTH_INNER + 0.078 * lip_reach**0.7 * cupid
    lower = MOUTH_INNER + 0.092 * lip_reach**0.6
    open_mouth = smoothstep(MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH - 0.04, ax)
    lips = front * smoothstep(MOUTH_HALF_WIDTH + 0.02, MOUTH_HALF_WIDTH - 0.02, ax)
    lips = lips * np.where(
        offset >= 0.0,
        smoothstep(upper + 0.014, upper - 0.014, offset),
        smoothstep(lower + 0.014, lower - 0.014, -offset),
    )
    interior = (
        front * open_mouth * smoothstep(MOUTH_INNER + 0.004, MOUTH_INNER - 0.012, np.abs(offset))
    )
    teeth = interior * smoothstep(-0.006, 0.004, offset) * smoothstep(0.23, 0.16, ax)
    line = front * smoothstep(0.30, 0.25, ax) * bump(offset, 0.0, 0.042)
    bx = (ax - 0.345) / 0.225
    brow_line = BROW_Y + 0.035 * (1.0 - bx**2) - 0.012 * bx
    thickness = np.interp(bx, [-1.0, -0.5, 0.2, 1.0], [0.036, 0.046, 0.040, 0.020])
    brow = smoothstep(1.06, 0.8, np.abs(bx)) * smoothstep(
        thickness + 0.022, thickness - 0.012, np.abs(y - brow_line)
    )
    nostril = bump2(ax, y, (0.072, -0.335), (0.030, 0.020))
    nose_shadow = bump2(x, y, (0.0, -0.355), (0.13, 0.028)) * 0.6
    nose_shadow += bump2(ax, y, (0.185, NOSE_Y - 0.01), (0.022, 0.05)) * 0.45
    blush = 0.5 * bump2(ax, y, (0.45, -0.20), (0.15, 0.14)) + 0.35 * bump2(
        x, y, (0, -0.24), (0.11, 0.07)
    )
    socket = bump2(ax, y, (EYE_X - 0.02, EYE_Y + 0.035), (0.16, 0.10))
    beard = smoothstep(-0.36, -0.52, y) * smoothstep(1.25, 0.95, np.abs(azimuth))
    beard = beard * (1.0 - 0.5 * bump2(ax, y, (0.42, -0.38), (0.12, 0.12)))
    moustache = bump2(x, y, (0.0, -0.425), (0.19, 0.035))
    fold_x = np.interp(y, [-0.70, -0.56, -0.36], [0.345, 0.325, 0.185])
    folds = bump(ax, fold_x, 0.026) * smoothstep(-0.74, -0.62, y) * smoothstep(-0.28, -0.38, y)
    for height, strength in ((0.44, 0.6), (0.53, 0.8), (0.62, 0.6)):
        line = bump(y, height + 0.03 * ax, 0.014) * smoothstep(0.46, 0.30, ax)
        folds = folds + strength * line
    bag = bump(up, -bottom - 0.075, 0.022) * smoothstep(1.1, 0.6, np.abs(across))
    crow = bump2(ax, y, (0.55, EYE_Y - 0.01), (0.03, 0.05)) * (0.5 + 0.5 * np.cos(160.0 * y))
    folds = np.clip(folds + 0.7 * bag + 0.6 * crow, 0.0, 1.0)
    ear_inner = bump2(np.abs(azimuth), y, (1.62, EAR_Y), (0.07, 0.09))
    ear_crease = bump(np.abs(azimuth), 1.46, 0.045) * bump(y, EAR_Y, 0.13)
    return {
        "eye": eye,
        "iris": eye * smoothstep(0.079, 0.066, radius),
        "pupil": eye * smoothstep(0.042, 0.030, radius),
        "glint": eye * bump2(ax - EYE_X, up, (0.0, 0.045), (0.016, 0.016)),
        "lash": front * np.clip(1.25 * upper_lash + 0.35 * lower_lash, 0.0, 1.0),
        "lips": lips,
        "interior": interior,
        "teeth": teeth,
        "lip_line": line,
        "brow": front * brow,
        "nostril": front * nostril,
        "nose_shadow": front * np.clip(nose_shadow, 0.0, 1.0),
        "blush": front * blush,
        "socket": front * socket,
        "beard": front * beard * (1.0 - lips)
        + 0.8 * front * moustache * (1.0 - lips) * (1 - beard),
        "folds": front * folds,
        "ear_shadow": np.clip(0.7 * ear_inner + 0.6 * ear_crease, 0.0, 1.0),
        "under_jaw": smoothstep(-0.98, -1.08, y) + (1 - front) * smoothstep(-0.55, -0.75, y),
    }


def build_head() -> Head:
    """The mean head; deterministic, takes milliseconds."""
    columns = face_columns()
    x, y, z = plain_surface(face_rows(), columns).reshape(-1, 3).T
    azimuth = np.tile(columns, ROWS)
    front = smoothstep(1.30, 1.00, np.abs(azimuth))
    masks = _masks(x, y, azimuth, front)

    ear = _ear(azimuth, y)
    vertices = np.stack(
        [
            x + np.sign(x) * (0.10 + 0.05 * (np.abs(azimuth) - 1.5)) * ear,
            _close_mouth(x, y) + 0.06 * ear * (y - EAR_Y),
            z + front * _relief(x, y) - 0.06 * ear,
        ],
        axis=-1,
    )

    skin = np.tile([0.560, 0.365, 0.275], (len(x), 1))
    skin = _paint(skin, masks["blush"], (0.56, 0.27, 0.21))
    skin = _paint(skin, 0.42 * masks["socket"], (0.33, 0.19, 0.14))
    skin = _paint(skin, 0.55 * masks["nose_shadow"], (0.30, 0.16, 0.11))
    skin = _paint(skin, 0.60 * masks["ear_shadow"], (0.30, 0.15, 0.11))
    skin = _paint(skin, 0.45 * masks["under_jaw"], (0.30, 0.18, 0.13))
    skin = _paint(skin, 0.92 * masks["lips"], (0.46, 0.16, 0.14))
    skin = _paint(skin, 0.60 * masks["lip_line"], (0.20, 0.06, 0.05))
    skin = _paint(skin, masks["interior"], (0.05, 0.015, 0.015))
    skin = _paint(skin, masks["teeth"], (0.62, 0.58, 0.52))
    skin = _paint(skin, 0.92 * masks["brow"], (0.075, 0.045, 0.03))
    skin = _paint(skin, 0.80 * masks["nostril"], (0.10, 0.035, 0.025))
    skin = _paint(skin, masks["eye"], (0.88, 0.86, 0.83))
    skin = _paint(skin, masks["iris"], (0.115, 0.078, 0.052))
    skin = _paint(skin, masks["pupil"], (0.012, 0.012, 0.012))
    skin = _paint(skin, 0.9 * masks["lash"] * (1.0 - masks["iris"]), (0.045, 0.028, 0.022))
    skin = _paint(skin, 0.9 * masks["glint"], (1.0, 1.0, 1.0))
    return Head(vertices, skin, x, y, azimuth, front, masks)
