"""Glasses: thin tubes along two rims, a bridge and two temples, worn on the head.

A path is a row of points in head coordinates, fixed to anchors on the head whose identity
displacement it shares; a tube around it is a grid of points like every other surface. A radius of
zero is a face without glasses.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.head import EYE_X, EYE_Y, Head
from jaxface.morphable.parameters import Nuisance

RIM_POINTS, BRIDGE_POINTS, TEMPLE_POINTS = 29, 6, 8
AROUND = 7
"""Points around a tube; the last is the first again."""

PATHS = (RIM_POINTS, RIM_POINTS, BRIDGE_POINTS, TEMPLE_POINTS, TEMPLE_POINTS)
"""Points of each tube's path: left and right rim, bridge, left and right temple."""

# Where the frame hangs on the procedural head: the middle of the bridge, the middle of the lens,
# the hinge, and the ear.
_BRIDGE, _LENS_Y, _HINGE_Y = (0.065, 0.985), EYE_Y - 0.035, EYE_Y + 0.04
_TEMPLE = ((0.80, _HINGE_Y, 0.40), (0.90, _HINGE_Y + 0.015, -0.12))
_HALF_WIDTH, _HALF_HEIGHT = 0.212, 0.150

# A path counts as drawn from this radius on, in head units.
_THINNEST = 0.004


@dataclass(frozen=True)
class Fit:
    """Where the frame hangs on a head, in head units of the image's right half."""

    bridge: tuple[float, float] = _BRIDGE  # height and depth of its middle
    lens: tuple[float, float] = (EYE_X + 0.012, _LENS_Y)
    depth: tuple[float, float] = (0.950, 0.42)  # of the lens at x = 0.1, and how it falls off
    temple: tuple[tuple[float, float, float], ...] = _TEMPLE  # from behind the hinge to the ear


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frame:
    """Vertices of the head that carry the frame, by place: lens, bridge and ear."""

    lenses: Array  # [2, A] int32, the image's left and right
    bridge: Array  # [A]
    ears: Array  # [2, A]
    sides: tuple[float, float] = field(default=(-1.0, 1.0), metadata={"static": True})
    fit: Fit = field(default=Fit(), metadata={"static": True})


def build_frame(head: Head) -> Frame:
    """The anchors on the mean head; NumPy, milliseconds."""

    def anchors(distance: np.ndarray, count: int = 6) -> Array:
        return jnp.asarray(np.argsort(distance)[:count], jnp.int32)

    def on_face(x: float, y: float) -> Array:
        return anchors((head.x - x) ** 2 + (head.y - y) ** 2 + 9.0 * (head.front < 0.9))

    def on_side(azimuth: float, y: float) -> Array:
        return anchors((head.azimuth - azimuth) ** 2 + (head.y - y) ** 2)

    return Frame(
        lenses=jnp.stack([on_face(side * EYE_X, EYE_Y - 0.15) for side in (-1.0, 1.0)]),
        bridge=on_face(0.0, EYE_Y),
        ears=jnp.stack([on_side(side * 1.5, EYE_Y) for side in (-1.0, 1.0)]),
    )


def frame_tubes(
    frame: Frame, displacement: Array, style: Nuisance
) -> tuple[list[Array], list[Array], Array]:
    """Points and outward normals of each tube, and the cover of all of them.

    Args:
        frame: from `build_frame`.
        displacement: [N, V, 3] of the head's vertices by identity.
        style: reads the fields ``glasses_*``.

    Returns:
        points and normals of the tubes in the order of `PATHS`, [N, P * AROUND, 3] each; cover
        [N, 1], negative where no glasses are worn.
    """
    bridge_move = displacement[:, frame.bridge].mean(axis=1)[:, None]
    radius = style.glasses_thickness
    rims, temples, inner = [], [], []
    for index, side in enumerate(frame.sides):
        lens_move = displacement[:, frame.lenses[index]].mean(axis=1)[:, None]
        rim = _rim(side, style, frame.fit) + lens_move
        rims.append(rim)
        # The rim starts at the hinge's side and comes to the bridge half way round.
        hinge, nose = rim[:, :1], rim[:, RIM_POINTS // 2]
        inner.append(nose)
        ear_move = displacement[:, frame.ears[index]].mean(axis=1)[:, None]
        back = np.array([[side * x, y, z] for x, y, z in frame.fit.temple], np.float32) + ear_move
        temples.append(_polyline(jnp.concatenate([hinge, back], axis=1), TEMPLE_POINTS))
    middle = jnp.array([0.0, *frame.fit.bridge], jnp.float32) + bridge_move
    lift = jnp.maximum(middle, 0.5 * (inner[0] + inner[1])[:, None])
    bridge = _polyline(
        jnp.concatenate([inner[0][:, None], lift, inner[1][:, None]], axis=1), BRIDGE_POINTS
    )
    ahead, up = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
    tubes = [_tube(path, radius, ahead, closed=True) for path in rims]
    tubes.append(_tube(bridge, radius, ahead))
    tubes += [_tube(path, radius, up) for path in temples]
    points, normals = zip(*tubes, strict=True)
    return list(points), list(normals), radius - _THINNEST


def _rim(side: float, style: Nuisance, fit: Fit) -> Array:
    """A superellipse around the eye, in a plane that follows the face's curve: [N, P, 3]."""
    angle = np.linspace(0.0, 2.0 * np.pi, RIM_POINTS)
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    exponent = 2.0 + 2.5 * style.glasses_squareness
    length = (np.abs(cosine) + 1e-6) ** exponent + (np.abs(sine) + 1e-6) ** exponent
    reach = length ** (-1.0 / exponent)
    size = 1.0 + 0.16 * style.glasses_size
    x = fit.lens[0] + _HALF_WIDTH * size * reach * cosine
    y = fit.lens[1] + _HALF_HEIGHT * (size + 0.1 * style.glasses_size) * reach * sine
    z = fit.depth[0] - fit.depth[1] * (x - 0.1)
    return jnp.stack([side * x, y, z], axis=-1)


def _polyline(corners: Array, count: int) -> Array:
    """`count` points along the corners [N, C, 3], evenly by corner: [N, count, 3]."""
    place = np.linspace(0.0, corners.shape[1] - 1.0, count)
    before = np.minimum(place.astype(int), corners.shape[1] - 2)
    share = (place - before).astype(np.float32)[:, None]
    return corners[:, before] * (1.0 - share) + corners[:, before + 1] * share


def _tube(
    path: Array, radius: Array, reference: tuple[float, float, float], *, closed: bool = False
) -> tuple[Array, Array]:
    """Grid of points around a path [N, P, 3], and its outward normals: [N, P * AROUND, 3]."""
    if closed:
        # The last point is the first again.
        around = jnp.concatenate([path[:, -2:-1], path, path[:, 1:2]], axis=1)
    else:
        around = jnp.concatenate([path[:, :1], path, path[:, -1:]], axis=1)
    tangent = _unit(around[:, 2:] - around[:, :-2])
    first = _unit(jnp.cross(jnp.asarray(reference), tangent))
    second = jnp.cross(tangent, first)
    angle = np.linspace(0.0, 2.0 * np.pi, AROUND).astype(np.float32)[:, None]
    normals = first[:, :, None] * np.cos(angle) + second[:, :, None] * np.sin(angle)
    points = path[:, :, None] + radius[:, :, None, None] * normals
    shape = (path.shape[0], -1, 3)
    return points.reshape(shape), normals.reshape(shape)


def _unit(vectors: Array) -> Array:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
