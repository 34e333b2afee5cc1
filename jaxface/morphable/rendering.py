"""Pictures of scenes."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.camera import project, rotation_matrix, transform
from jaxface.morphable.head import COLUMNS, ROWS
from jaxface.morphable.illumination import encode, shade
from jaxface.morphable.model import (
    FaceModel,
    face_geometry,
    face_model,
    face_normals,
    face_reflectance,
    grid_normals,
    grid_triangles,
    identity_displacement,
)
from jaxface.morphable.parameters import Scene
from jaxface.morphable.rasterise import block_capacity, interpolate, rasterise
from jaxface.morphable.surroundings import (
    HAIR_COLUMNS,
    HAIR_ROWS,
    NECK_COLUMNS,
    NECK_ROWS,
    Surroundings,
    background,
    build_surroundings,
    hair_shell,
    neck_and_clothes,
)

# The body follows the head's turn only in part.
_BODY_FOLLOWS = 0.35


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PortraitModel:
    """Everything static that a picture is made from."""

    face: FaceModel
    surroundings: Surroundings
    triangles: Array  # [T, 3]
    two_sided: Array  # [T]
    skin_patch: Array  # [S] vertices whose mean reflectance is the neck's


@functools.cache
def portrait_model() -> PortraitModel:
    """The embedded world's static arrays; built on the first call, then kept."""
    face = face_model()
    head = grid_triangles(ROWS, COLUMNS, 0)
    hair = grid_triangles(HAIR_ROWS, HAIR_COLUMNS, ROWS * COLUMNS)
    neck = grid_triangles(NECK_ROWS, NECK_COLUMNS, ROWS * COLUMNS + HAIR_ROWS * HAIR_COLUMNS)
    two_sided = np.repeat([False, True, False], [len(head), len(hair), len(neck)])
    vertices = np.asarray(face.vertices)
    patch = (np.abs(np.abs(vertices[:, 0]) - 0.45) < 0.15) & (np.abs(vertices[:, 1] + 0.3) < 0.12)
    with jax.ensure_compile_time_eval():
        return PortraitModel(
            face,
            build_surroundings(),
            jnp.asarray(np.concatenate([head, hair, neck])),
            jnp.asarray(two_sided),
            jnp.asarray(np.flatnonzero(patch & (vertices[:, 2] > 0)), jnp.int32),
        )


def shaded_vertices(
    model: PortraitModel, scene: Scene, resolution: int
) -> tuple[Array, Array, Array]:
    """Projected points, radiosity and cover of head, hair and body."""
    face, style = scene.face, scene.nuisance
    head = face_geometry(model.face, face)
    skin = face_reflectance(model.face, face)
    displacement = identity_displacement(model.face, face)
    hair, hair_colour, cover = hair_shell(model.surroundings, displacement, style)
    neck, neck_colour = neck_and_clothes(
        model.surroundings, skin[:, model.skin_patch].mean(axis=1), style
    )

    hair_normals = grid_normals(hair, HAIR_ROWS, HAIR_COLUMNS)
    normals = jnp.concatenate([face_normals(model.face, head), hair_normals], axis=1)
    neck_normals = grid_normals(neck, NECK_ROWS, NECK_COLUMNS)
    body_rotation = _BODY_FOLLOWS * face.rotation
    turned = jnp.einsum("nvj,nij->nvi", normals, rotation_matrix(face.rotation))
    neck_turned = jnp.einsum("nvj,nij->nvi", neck_normals, rotation_matrix(body_rotation))
    light = face.illumination
    radiosity = jnp.concatenate(
        [
            shade(jnp.concatenate([skin, hair_colour], axis=1), turned, light),
            shade(neck_colour, neck_turned, light),
        ],
        axis=1,
    )
    placed = jnp.concatenate(
        [
            transform(jnp.concatenate([head, hair], axis=1), face.rotation, face.translation),
            transform(neck, body_rotation, face.translation),
        ],
        axis=1,
    )
    covered = jnp.pad(cover, ((0, 0), (head.shape[1], neck.shape[1])), constant_values=1.0)
    return project(placed, resolution), radiosity, covered


@functools.partial(jax.jit, static_argnames=("resolution", "supersample"))
def _render(model: PortraitModel, scene: Scene, resolution: int, supersample: int) -> Array:
    fine = resolution * supersample
    points, radiosity, cover = shaded_vertices(model, scene, fine)

    identity = rasterise(
        jax.lax.stop_gradient(points),
        cover,
        model.triangles,
        model.two_sided,
        fine,
        capacity=block_capacity(model.triangles.shape[0]),
    )
    colour = encode(interpolate(identity, points, radiosity, model.triangles, fine))
    hit = identity >= 0
    backdrop = 2.0 * background(scene.nuisance, fine) - 1.0
    count = points.shape[0]
    image = jnp.where(hit.reshape(count, fine, fine, 1), colour.reshape(backdrop.shape), backdrop)
    image = image.reshape(count, resolution, supersample, resolution, supersample, 3)
    return image.mean(axis=(2, 4))


def render(scene: Scene, resolution: int, *, supersample: int = 2) -> Array:
    """Pictures of a batch of scenes, in [-1, 1].

    Args:
        scene: N scenes.
        resolution: edge of the pictures in pixels.
        supersample: samples per pixel and axis.
    """
    return _render(portrait_model(), scene, resolution, supersample)
