"""Judges that know the true face, in place of a network: pose and light of an edited image.

A held-out portrait of the embedded world has known identity, reflectance, expression and light. An
edit of its pose is to leave all of these alone, so the true face with nothing free but its pose is
fitted to the edited image (`fit_pose`): where it fits best is the image's pose, and the colours
that then still differ are what the edit changed of the person. An edit of the light leaves shape,
reflectance and pose alone, so its face can be compared with that of a render, point by point
(`shading_error`).

No network takes part. The error of the pose's judge is measured on renders of known pose
(`jaxface.evaluation.pie`), and stands beside what it measures.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.morphable.camera import CAMERA_DISTANCE, project, rotation_matrix, transform
from jaxface.morphable.illumination import (
    SH_BANDS,
    decode,
    encode,
    shade,
    spherical_harmonics,
)
from jaxface.morphable.model import FaceModel, face_geometry, face_normals, face_reflectance
from jaxface.morphable.parameters import FaceParameters
from jaxface.morphable.photometric import GRAZING, bilinear_samples

_ROUGH = 0.15
"""RGB distance, in the image range, where a vertex begins to count less: hair and glasses cover
some, and no pose explains those."""

_STEPS = 20
"""Of Levenberg and Marquardt; a step that does not help is not taken."""


class PoseFit(NamedTuple):
    """The poses at which faces fit images best.

    Attributes:
      rotation: [N, 3], radians.
      translation: [N, 3], head units.
      residual: [N], mean RGB distance, in [-1, 1], of visible vertices there.
    """

    rotation: Array
    translation: Array
    residual: Array


class _Head(NamedTuple):
    """What does not change with the pose: [N, V, 3] each, and light [N, 27].

    `offset` is what a render shows at a vertex beside the vertex's own colour: the mean over a
    pixel, hair and glasses in front of it.
    """

    points: Array
    normals: Array
    reflectance: Array
    offset: Array
    light: Array


def _head(model: FaceModel, face: FaceParameters, renders: Array) -> _Head:
    """Faces as their renders show them."""
    points = face_geometry(model, face)
    plain = _Head(
        points,
        face_normals(model, points),
        face_reflectance(model, face),
        jnp.zeros_like(points),
        face.illumination,
    )
    pose = jnp.concatenate([face.rotation, face.translation], axis=1)
    difference, visible = _difference(model, plain, renders, pose)
    return plain._replace(offset=-visible[..., None] * difference)


def _turned(
    points: Array, normals: Array, rotation: Array, translation: Array, size: int, region: Array
) -> tuple[Array, Array, Array]:
    """Normals, positions in the image and visibility of vertices at a pose."""
    normals = jnp.einsum("nvj,nij->nvi", normals, rotation_matrix(rotation))
    placed = transform(points, rotation, translation)
    positions = project(placed, size)[..., :2]
    towards = jnp.array([0.0, 0.0, CAMERA_DISTANCE], placed.dtype) - placed
    facing = (normals * towards).sum(-1) > GRAZING * jnp.linalg.norm(towards, axis=-1)
    inside = ((positions >= 0.5) & (positions <= size - 0.5)).all(axis=-1)
    return normals, positions, jax.lax.stop_gradient((facing & inside) * region)


def _difference(model: FaceModel, head: _Head, images: Array, pose: Array) -> tuple[Array, Array]:
    """Colours of the face less those of the image, [N, V, 3], and visibility [N, V]."""
    normals, positions, visible = _turned(
        head.points, head.normals, pose[:, :3], pose[:, 3:], images.shape[1], model.region
    )
    colours = encode(shade(head.reflectance, normals, head.light)) + head.offset
    return colours - bilinear_samples(images, positions), visible


def _robust(difference: Array, visible: Array) -> tuple[Array, Array]:
    """Geman and McClure's cost of the RGB distance, mean over visible vertices, and its weights."""
    squared = jnp.sum(jnp.square(difference), axis=-1) / _ROUGH**2
    weight = visible / jnp.maximum(visible.sum(axis=1, keepdims=True), 1.0)
    return jnp.sum(weight * squared / (1.0 + squared), axis=1), weight / jnp.square(1.0 + squared)


@jax.jit
def fit_pose(
    model: FaceModel, face: FaceParameters, renders: Array, images: Array, starts: Array
) -> PoseFit:
    """Fits the pose of known faces to images: the best of several starts.

    A vertex is compared by its own shaded colour and what the render adds to it. Minimises a robust
    photometric cost over the visible vertices by Levenberg-Marquardt. Starting from the wanted pose
    alone would favour it, so start from the unedited pose and from others too: the lowest cost
    decides.

    Args:
      model: `jaxface.morphable.model.region_model`.
      face: N faces.
      renders: of their scenes, [N, R, R, 3] in [-1, 1].
      images: what is judged, [N, R, R, 3] in [-1, 1].
      starts: [S, N, 6], rotation and translation.
    """
    head = _head(model, face, renders)

    def residuals(pose: Array) -> Array:
        return _difference(model, head, images, pose)[0]

    def jacobian(pose: Array) -> Array:
        """[N, V, 3, 6]: items do not mix, so one tangent serves all of them."""
        tangents = jnp.broadcast_to(jnp.eye(6)[:, None], (6, *pose.shape))
        columns = jax.vmap(lambda tangent: jax.jvp(residuals, (pose,), (tangent,))[1])(tangents)
        return jnp.moveaxis(columns, 0, -1)

    def step(_, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        pose, cost, damping = state
        difference, visible = _difference(model, head, images, pose)
        _, weight = _robust(difference, visible)
        slopes = jacobian(pose)
        hessian = jnp.einsum("nv,nvci,nvcj->nij", weight, slopes, slopes)
        gradient = jnp.einsum("nv,nvci,nvc->ni", weight, slopes, difference)
        diagonal = jnp.eye(6) * (jnp.diagonal(hessian, axis1=1, axis2=2) + 1e-6)[:, None]
        damped = hessian + damping[:, None, None] * diagonal
        moved = pose - jnp.linalg.solve(damped, gradient[..., None])[..., 0]
        tried, _ = _robust(*_difference(model, head, images, moved))
        better = tried < cost
        return (
            jnp.where(better[:, None], moved, pose),
            jnp.where(better, tried, cost),
            jnp.where(better, damping / 3, damping * 4),
        )

    def fitted(start: Array) -> tuple[Array, Array]:
        cost, _ = _robust(*_difference(model, head, images, start))
        state = (start, cost, jnp.full(len(start), 1e-2))
        pose, cost, _ = jax.lax.fori_loop(0, _STEPS, step, state)
        return pose, cost

    poses, costs = jax.lax.map(fitted, starts)
    best = jnp.argmin(costs, axis=0)
    pose = jnp.take_along_axis(poses, best[None, :, None], axis=0)[0]
    difference, visible = _difference(model, head, images, pose)
    distance = jnp.linalg.norm(difference, axis=-1)
    residual = jnp.sum(visible * distance, axis=1) / jnp.maximum(visible.sum(axis=1), 1.0)
    return PoseFit(pose[:, :3], pose[:, 3:], residual)


@jax.jit
def shading_error(model: FaceModel, face: FaceParameters, images: Array, renders: Array) -> Array:
    """Scale-invariant relative difference of faces under their lights, [N].

    min_s |s a - b| / |b| with a and b the linear colours of images and renders at the visible
    vertices of the face.

    Args:
      model: `jaxface.morphable.model.region_model`.
      face: N faces, in the pose of both.
      images: [N, R, R, 3] in [-1, 1].
      renders: what they should show, [N, R, R, 3].
    """
    points = face_geometry(model, face)
    normals, size = face_normals(model, points), images.shape[1]
    _, positions, visible = _turned(
        points, normals, face.rotation, face.translation, size, model.region
    )
    here, there = (
        decode(bilinear_samples(each, positions)) * visible[..., None] for each in (images, renders)
    )
    return _relative(here.reshape(len(images), -1), there.reshape(len(images), -1))


@jax.jit
def light_error(model: FaceModel, measured: Array, true: Array) -> Array:
    """Scale-invariant relative error of lights, [N], on what a face shows of them.

    min_s |s E(measured) - E(true)| / |E(true)| with E the light that arrives at the vertices of the
    average face that look at the camera: harmonics times coefficients. The coefficients themselves
    hold directions behind the head, which no portrait determines.

    Args:
      model: `jaxface.morphable.model.region_model`.
      measured: [N, 27].
      true: [N, 27].
    """
    normals = face_normals(model, model.vertices[None])[0]
    front = model.region * (normals[:, 2] > GRAZING)
    harmonics = spherical_harmonics(normals) * front[:, None]

    def arriving(light: Array) -> Array:
        return (harmonics @ light.reshape(-1, SH_BANDS, 3)).reshape(len(light), -1)

    return _relative(arriving(measured), arriving(true))


def _relative(measured: Array, true: Array) -> Array:
    scale = jnp.sum(measured * true, axis=1) / jnp.maximum(jnp.sum(measured**2, axis=1), 1e-12)
    missed = jnp.linalg.norm(scale[:, None] * measured - true, axis=1)
    return missed / jnp.linalg.norm(true, axis=1)


@jax.jit
def rotation_angle(measured: Array, wanted: Array) -> Array:
    """Angle between rotations of Euler angles [N, 3], in radians: [N]."""
    between = jnp.einsum("nij,nkj->nik", rotation_matrix(measured), rotation_matrix(wanted))
    # |R - I|_F = 2 sqrt(2) sin(angle / 2), which is exact at small angles, unlike the trace.
    chord = jnp.linalg.norm(between - jnp.eye(3), axis=(1, 2)) / (2 * jnp.sqrt(2.0))
    return 2 * jnp.arcsin(jnp.clip(chord, 0.0, 1.0))


@jax.jit
def procrustes_distance(measured: Array, wanted: Array) -> Array:
    """Mean distance of points after the best turn, shift and scale in the plane: [N].

    Args:
      measured: [N, K, 2], what is moved.
      wanted: [N, K, 2].

    Returns:
      In units of the size of `wanted`: the root of the area of its bounding box.
    """
    mean = jnp.mean(wanted, axis=1, keepdims=True)
    a, b = measured - jnp.mean(measured, axis=1, keepdims=True), wanted - mean
    # As complex numbers, the least squares turn and scale is one complex factor.
    x, y = jax.lax.complex(a[..., 0], a[..., 1]), jax.lax.complex(b[..., 0], b[..., 1])
    factor = jnp.sum(jnp.conj(x) * y, axis=1) / jnp.sum(jnp.abs(x) ** 2, axis=1)
    box = jnp.max(wanted, axis=1) - jnp.min(wanted, axis=1)
    return jnp.mean(jnp.abs(factor[:, None] * x - y), axis=1) / jnp.sqrt(box[:, 0] * box[:, 1])
