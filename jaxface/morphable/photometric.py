"""The per-vertex photometric path of MoFA (Tewari et al. 2017).

Every visible vertex of the face is projected, shaded, and compared with the image at its
projection. No rasteriser is involved: all of it is differentiable in the 257 parameters, and in
the image, and costs a tenth of drawing pixels.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxface.morphable.camera import project, rotation_matrix, transform
from jaxface.morphable.illumination import encode, shade
from jaxface.morphable.model import (
    FaceModel,
    face_geometry,
    face_model,
    face_normals,
    face_reflectance,
    region_model,
)
from jaxface.morphable.parameters import FaceParameters

GRAZING = 0.15
"""Cosine to the viewing ray below which a vertex counts as hidden: grazing vertices sample the
background as often as the face."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VertexView:
    """The face's vertices as a camera sees them.

    Attributes:
        positions: [N, V, 2] pixels, x right and y down, first pixel's centre at (0.5, 0.5).
        colours: [N, V, 3] in the image range [-1, 1].
        visible: [N, V], 1 where the vertex belongs to the face region, faces the camera and
            projects into the image, else 0. Carries no gradient. Hair, and parts of the face
            in front of others, are not considered, as in MoFA.
    """

    positions: Array
    colours: Array
    visible: Array


@functools.partial(jax.jit, static_argnames="resolution")
def view_of_model(model: FaceModel, face: FaceParameters, resolution: int) -> VertexView:
    """`vertex_view` with the face model as an argument, for use inside compiled programs."""
    positions, turned, visible = placed_vertices(model, face, resolution)
    radiosity = shade(face_reflectance(model, face), turned, face.illumination)
    return VertexView(positions, encode(radiosity, model.gamma), visible)


def placed_vertices(
    model: FaceModel, face: FaceParameters, resolution: int
) -> tuple[Array, Array, Array]:
    """Positions of the vertices, their normals in the camera's axes, and which are visible.

    Returns:
        See `VertexView`; the normals are [N, V, 3].
    """
    points = face_geometry(model, face)
    normals = face_normals(model, points)
    turned = jnp.einsum("nvj,nij->nvi", normals, rotation_matrix(face.rotation))
    placed = transform(points, face.rotation, face.translation)
    positions = project(placed, resolution, model.camera)[..., :2]
    towards = jnp.array([0.0, 0.0, model.camera.distance], placed.dtype) - placed
    facing = (turned * towards).sum(-1) > GRAZING * jnp.linalg.norm(towards, axis=-1)
    inside = ((positions >= 0.5) & (positions <= resolution - 0.5)).all(axis=-1)
    return positions, turned, jax.lax.stop_gradient((facing & inside) * model.region)


def vertex_view(face: FaceParameters, resolution: int) -> VertexView:
    """Project and shade the vertices of N faces for images of a resolution."""
    return view_of_model(face_model(), face, resolution)


def bilinear_samples(images: Array, positions: Array) -> Array:
    """Images [N, H, W, C] at pixel positions [N, V, 2]: [N, V, C], clamped at the border.

    Differentiable in both.
    """
    count, height, width, channels = images.shape
    x = jnp.clip(positions[..., 0] - 0.5, 0.0, width - 1.0)
    y = jnp.clip(positions[..., 1] - 0.5, 0.0, height - 1.0)
    left = jnp.clip(jnp.floor(x), 0, width - 2).astype(jnp.int32)
    top = jnp.clip(jnp.floor(y), 0, height - 2).astype(jnp.int32)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    pixels = images.reshape(count, height * width, channels)

    def at(row: Array, column: Array) -> Array:
        index = (row * width + column)[..., None]
        return jnp.take_along_axis(pixels, index, axis=1, mode="clip")

    upper = at(top, left) * (1.0 - fx) + at(top, left + 1) * fx
    lower = at(top + 1, left) * (1.0 - fx) + at(top + 1, left + 1) * fx
    return upper * (1.0 - fy) + lower * fy


@jax.jit
def photometric_energy(
    model: FaceModel,
    face: FaceParameters,
    images: Array,
    occluded: ArrayLike | None = None,
) -> Array:
    """`vertex_photometric` with the face model as an argument, for use inside compiled programs.

    With `occluded`, a colour distance c, distances d count as Geman and McClure's c d^2 / (c^2 +
    d^2): what lies before the face, hair or glasses, differs by more than c and hardly counts.
    """
    square, visible = _squares(model, face, images, occluded)
    # The floor keeps the norm differentiable where colours agree.
    distance = jnp.sqrt(square + 1e-8) if occluded is None else square / occluded
    return _visible_mean(distance, visible)


@jax.jit
def photometric_square(
    model: FaceModel, face: FaceParameters, images: Array, occluded: ArrayLike | None = None
) -> Array:
    """Mean squared RGB distance between visible vertices and images, [N]: PIE's equation 10.

    Args:
        model: what `region_model` gives, or another.
        face: N faces.
        images: [N, R, R, 3] in [-1, 1].
        occluded: a colour distance c, with which distances d count as c^2 d^2 / (c^2 + d^2), see
            `photometric_energy`.
    """
    return _visible_mean(*_squares(model, face, images, occluded))


def _squares(
    model: FaceModel, face: FaceParameters, images: Array, occluded: ArrayLike | None
) -> tuple[Array, Array]:
    """Squared RGB distances of the vertices from images, and which are visible: [N, V] each.

    With `occluded`, a colour distance c, squares d^2 are c^2 d^2 / (c^2 + d^2).
    """
    view = view_of_model(model, face, images.shape[1])
    square = ((view.colours - bilinear_samples(images, view.positions)) ** 2).sum(axis=-1)
    if occluded is not None:
        square = occluded**2 * square / (occluded**2 + square)
    return square, view.visible


def _visible_mean(values: ArrayLike, visible: Array) -> Array:
    return (visible * values).sum(axis=1) / jnp.maximum(visible.sum(axis=1), 1.0)


def vertex_photometric(face: FaceParameters, images: Array) -> Array:
    """Mean RGB distance between visible vertices and images, [N], as in MoFA.

    Args:
        face: N faces.
        images: [N, R, R, 3] in [-1, 1].

    Raises:
        ValueError: if the images are not [N, R, R, 3] with the faces' N.
    """
    count = face.rotation.shape[0]
    if images.ndim != 4 or images.shape != (count, images.shape[1], images.shape[1], 3):
        raise ValueError(
            f"vertex_photometric: expected square RGB images [{count}, R, R, 3] for {count} "
            f"faces, got {images.shape}"
        )
    return photometric_energy(region_model(), face, images)
