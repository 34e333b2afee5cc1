"""The assembled face model: vertices, normals and reflectance of a batch of faces."""

import functools
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.camera import EMBEDDED_CAMERA, Camera
from jaxface.morphable.gaze import Eyeballs, turn_eyes
from jaxface.morphable.head import COLUMNS, ROWS, build_head
from jaxface.morphable.illumination import DISPLAY_GAMMA
from jaxface.morphable.mesh import stencil_normals, vertex_normals
from jaxface.morphable.modes import expression_modes, identity_modes, reflectance_modes
from jaxface.morphable.parameters import FaceParameters


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceModel:
    """Mean and modes; rows of bases are modes over stacked xyz (RGB) of all vertices.

    The one form that every energy takes: the embedded world's (`face_model`) and a Basel Face
    Model's (`jaxface.morphable.basel`) differ in their numbers only.
    """

    vertices: Array  # [V, 3]
    reflectance: Array  # [V, 3]
    identity_basis: Array  # [80, 3v]
    identity_deviation: Array  # [80]
    expression_basis: Array  # [64, 3v]
    reflectance_basis: Array  # [80, 3v]
    reflectance_deviation: Array  # [80]
    region: Array  # [V], 1 from chin to forehead and ear to ear, where a face is rarely covered
    triangles: Array | None = None  # [T, 3], anticlockwise from outside; None where it is a grid
    grid: tuple[int, int] | None = field(default=None, metadata={"static": True})  # rows, columns
    camera: Camera = field(default=EMBEDDED_CAMERA, metadata={"static": True})
    gamma: float = field(default=DISPLAY_GAMMA, metadata={"static": True})  # of the reflectance
    stencil: Array | None = None  # [V, 4], see `stencil_normals`; None where it has none
    eyes: Eyeballs | None = field(default=None, metadata={"static": True})  # that turn


@functools.cache
def face_model() -> FaceModel:
    """The procedural face model. Built on the first call (under a second), then kept."""
    head = build_head()
    identity, identity_deviation = identity_modes(head)
    reflectance, reflectance_deviation = reflectance_modes(head)
    with jax.ensure_compile_time_eval():
        return FaceModel(
            *(
                jnp.asarray(array, jnp.float32)
                for array in (
                    head.vertices,
                    head.reflectance,
                    identity,
                    identity_deviation,
                    expression_modes(head),
                    reflectance,
                    reflectance_deviation,
                    (np.abs(head.azimuth) < 1.25) & (np.abs(head.y + 0.25) < 0.75),
                )
            ),
            grid=(ROWS, COLUMNS),
        )


@functools.cache
def region_model() -> FaceModel:
    """The part of the face model that its region needs: the region and the ring around it.

    Vertices of the region have the same positions, normals and colours as in the whole model; the
    ring's normals are one-sided differences.
    """
    model = face_model()
    inside = np.asarray(model.region).reshape(ROWS, COLUMNS) > 0
    rows, columns = (
        slice(max(found[0] - 1, 0), found[-1] + 2)
        for found in (np.flatnonzero(inside.any(axis=other)) for other in (1, 0))
    )

    def cut(array: Array, *lead: int, width: int = 3) -> Array:
        grid = array.reshape(*lead, ROWS, COLUMNS, width)[..., rows, columns, :]
        return grid.reshape(*lead, -1)

    with jax.ensure_compile_time_eval():
        return replace(
            model,
            vertices=cut(model.vertices).reshape(-1, 3),
            reflectance=cut(model.reflectance).reshape(-1, 3),
            identity_basis=cut(model.identity_basis, len(model.identity_basis)),
            expression_basis=cut(model.expression_basis, len(model.expression_basis)),
            reflectance_basis=cut(model.reflectance_basis, len(model.reflectance_basis)),
            region=cut(model.region, width=1),
            grid=inside[rows, columns].shape,
        )


def identity_displacement(model: FaceModel, face: FaceParameters) -> Array:
    """Displacement of the head's vertices by identity, in head units."""
    flat = (face.identity * model.identity_deviation) @ model.identity_basis
    return flat.reshape(flat.shape[0], -1, 3)


def face_geometry(model: FaceModel, face: FaceParameters) -> Array:
    """Vertices in head coordinates: mean + identity + expression, as in PIE.

    Eyeballs, where the model has them, then turn to where the expression looks.
    """
    expression = (face.expression @ model.expression_basis).reshape(-1, *model.vertices.shape)
    points = model.vertices + identity_displacement(model, face) + expression
    return points if model.eyes is None else turn_eyes(model.eyes, points, face.expression)


def face_reflectance(model: FaceModel, face: FaceParameters) -> Array:
    """RGB reflectance of the head's vertices, at least 0.005; linear where gamma is 2.2."""
    flat = (face.reflectance * model.reflectance_deviation) @ model.reflectance_basis
    return jnp.maximum(model.reflectance + flat.reshape(flat.shape[0], -1, 3), 0.005)


def grid_normals(points: Array, rows: int, columns: int) -> Array:
    """Outward unit normals of a grid surface, from central differences along rows and columns."""
    grid = points.reshape(-1, rows, columns, 3)
    down = jnp.concatenate(
        [grid[:, 1:2] - grid[:, :1], grid[:, 2:] - grid[:, :-2], grid[:, -1:] - grid[:, -2:-1]], 1
    )
    across = jnp.concatenate(
        [
            grid[:, :, 1:2] - grid[:, :, :1],
            grid[:, :, 2:] - grid[:, :, :-2],
            grid[:, :, -1:] - grid[:, :, -2:-1],
        ],
        axis=2,
    )
    normal = jnp.cross(down, across)
    # The floor keeps the gradient finite where rows collapse at the crown.
    length = jnp.sqrt((normal**2).sum(axis=-1, keepdims=True) + 1e-14)
    return (normal / length).reshape(points.shape)


def face_normals(model: FaceModel, points: Array) -> Array:
    """Outward unit normals of heads, in the coordinates of `points`.

    Raises:
        ValueError: if the model has neither a grid nor a stencil nor triangles.
    """
    if model.grid is not None:
        return grid_normals(points, *model.grid)
    if model.stencil is not None:
        return stencil_normals(points, model.stencil)
    if model.triangles is None:
        raise ValueError("FaceModel: expected a grid, a stencil or triangles, got none of them")
    return vertex_normals(points, model.triangles)


def grid_triangles(rows: int, columns: int, first: int) -> np.ndarray:
    """Both triangles of every cell of a grid whose vertices are numbered from `first`: [T, 3]."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel() + first
    b = a + columns
    return np.concatenate([np.stack([a, b, a + 1], 1), np.stack([a + 1, b, b + 1], 1)]).astype(
        np.int32
    )
