"""Images of scenes."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.camera import project, rotation_matrix, transform
from jaxface.morphable.glasses import AROUND, PATHS, Frame, build_frame, frame_tubes
from jaxface.morphable.head import COLUMNS, ROWS, build_head
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
    """Everything static that an image is made from."""

    face: FaceModel
    surroundings: Surroundings
    frame: Frame
    triangles: Array  # [T, 3]
    two_sided: Array  # [T]
    skin_patch: Array  # [S] vertices whose mean reflectance is the neck's


@functools.cache
def portrait_model() -> PortraitModel:
    """The embedded world's static arrays; built on the first call, then kept."""
    face = face_model()
    # (rows, columns, whether both sides are drawn) of every surface, in the order of the points.
    grids = [(ROWS, COLUMNS, False), (HAIR_ROWS, HAIR_COLUMNS, True)]
    grids += [(points, AROUND, True) for points in PATHS]
    grids.append((NECK_ROWS, NECK_COLUMNS, False))
    triangles, two_sided, first = [], [], 0
    for rows, columns, both in grids:
        triangles.append(grid_triangles(rows, columns, first))
        two_sided.append(np.full(len(triangles[-1]), both))
        first += rows * columns
    vertices = np.asarray(face.vertices)
    patch = (np.abs(np.abs(vertices[:, 0]) - 0.45) < 0.15) & (np.abs(vertices[:, 1] + 0.3) < 0.12)
    with jax.ensure_compile_time_eval():
        return PortraitModel(
            face,
            build_surroundings(),
            build_frame(build_head()),
            jnp.asarray(np.concatenate(triangles)),
            jnp.asarray(np.concatenate(two_sided)),
            jnp.asarray(np.flatnonzero(patch & (vertices[:, 2] > 0)), jnp.int32),
        )


def shaded_vertices(
    model: PortraitModel, scene: Scene, resolution: int
) -> tuple[Array, Array, Array]:
    """Projected points, radiosity and cover of head, hair, glasses and body."""
    face, style = scene.face, scene.nuisance
    head = face_geometry(model.face, face)
    skin = face_reflectance(model.face, face)
    displacement = identity_displacement(model.face, face)
    hair, hair_colour, cover = hair_shell(model.surroundings, displacement, style)
    tubes, tube_normals, worn = frame_tubes(model.frame, displacement, style)
    neck, neck_colour = neck_and_clothes(
        model.surroundings, skin[:, model.skin_patch].mean(axis=1), style
    )
    tube_points = sum(tube.shape[1] for tube in tubes)
    count = head.shape[0]
    tube_colour = jnp.broadcast_to(style.glasses_colour[:, None], (count, tube_points, 3))

    hair_normals = grid_normals(hair, HAIR_ROWS, HAIR_COLUMNS)
    normals = [face_normals(model.face, head), hair_normals, *tube_normals]
    neck_normals = grid_normals(neck, NECK_ROWS, NECK_COLUMNS)
    body_rotation = _BODY_FOLLOWS * face.rotation

    def turned(normals: Array, rotation: Array) -> Array:
        return jnp.einsum("nvj,nij->nvi", normals, rotation_matrix(rotation))

    light = face.illumination
    colours = jnp.concatenate([skin, hair_colour, tube_colour], axis=1)
    radiosity = [
        shade(colours, turned(jnp.concatenate(normals, axis=1), face.rotation), light),
        shade(neck_colour, turned(neck_normals, body_rotation), light),
    ]
    on_head = jnp.concatenate([head, hair, *tubes], axis=1)
    placed = [
        transform(on_head, face.rotation, face.translation),
        transform(neck, body_rotation, face.translation),
    ]
    covers = [
        jnp.ones(head.shape[:2]),
        cover,
        jnp.broadcast_to(worn, (count, tube_points)),
        jnp.ones(neck.shape[:2]),
    ]
    points = project(jnp.concatenate(placed, axis=1), resolution)
    return points, jnp.concatenate(radiosity, axis=1), jnp.concatenate(covers, axis=1)


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
    """Images of a batch of scenes, in [-1, 1].

    Args:
        scene: N scenes.
        resolution: edge of the images in pixels.
        supersample: samples per pixel and axis.
    """
    return _render(portrait_model(), scene, resolution, supersample)
