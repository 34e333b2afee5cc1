"""Images of version 3's scenes: an anatomical head with hair, glasses and clothes."""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.anatomical import anatomical_model
from jaxface.morphable.anatomy import anatomy
from jaxface.morphable.camera import project, rotation_matrix, transform
from jaxface.morphable.complexion import front_teeth
from jaxface.morphable.finish import (
    GLINT_POINTS,
    glint,
    glint_triangles,
    irradiance,
    lid_shadow,
    light_in_head,
    sheen,
)
from jaxface.morphable.glasses import AROUND, PATHS, frame_tubes
from jaxface.morphable.illumination import encode, shade
from jaxface.morphable.model import (
    FaceModel,
    face_geometry,
    face_normals,
    face_reflectance,
    grid_normals,
    grid_triangles,
    identity_displacement,
)
from jaxface.morphable.outfit import GARMENT_LIFT, Outfit, build_outfit, drawn_triangles, dress
from jaxface.morphable.parameters import PortraitNuisance, Scene
from jaxface.morphable.rasterise import interpolate, rasterise
from jaxface.morphable.surroundings import HAIR_COLUMNS, HAIR_ROWS, background, hair_shell

# The body follows the head's turn only in part.
BODY_FOLLOWS = 0.35
_HAIR_GLOSS = 0.6
# How far inside the edge of hair or cloth the skin beneath is still drawn, in head units.
_UNDER_HAIR, _UNDER_CLOTH = 0.30, 0.12


def portrait_capacity(triangles: int, resolution: int) -> int:
    """Length of the rasteriser's work list for portraits drawn at a resolution.

    The most blocks a triangle among 256 scenes was 1.04 at 128 px, where many small triangles miss
    every pixel's centre, 1.21 at 256 px and 1.28 at 512 px.
    """
    share = 1.15 if resolution <= 128 else 1.30 if resolution <= 256 else 1.38
    return math.ceil(share * triangles)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PortraitModel:
    """Everything static that an image is made from."""

    face: FaceModel
    outfit: Outfit
    triangles: Array  # [T, 3]
    two_sided: Array  # [T]
    rigid: Array  # [V] share of the head's motion
    shadow: Array  # [V, 9]
    oil: Array  # [V]
    brow: Array  # [B] int32 vertices of the brows
    brow_across: Array  # [B]


@functools.cache
def portrait_model() -> PortraitModel:
    """Version 3's static arrays; built on the first call (a second or two), then kept."""
    head = anatomy()
    outfit, garment = build_outfit(head)
    own = drawn_triangles(head)
    strips = head.parts["lashes"].start
    triangles, two_sided = [own], [(own >= strips).all(axis=1)]
    first = len(head.vertices)

    def add(faces: np.ndarray, points: int, both: bool) -> None:
        nonlocal first
        triangles.append(faces + first)
        two_sided.append(np.full(len(faces), both))
        first += points

    add(grid_triangles(HAIR_ROWS, HAIR_COLUMNS, 0), HAIR_ROWS * HAIR_COLUMNS, True)
    for points in PATHS:
        add(grid_triangles(points, AROUND, 0), points * AROUND, True)
    add(garment, len(outfit.garment), False)
    for _ in range(2):
        add(glint_triangles(), GLINT_POINTS, True)
    brows = head.parts["brows"]
    # Shadows are those of a closed mouth: teeth and tongue are seen when it is open.
    seen_open = 0.75 * front_teeth(head) + 0.2 * head.masks["tongue"]
    # Single hairs reach out of a brow's edge.
    ragged = head.brow_across + 0.14 * np.where(np.arange(brows.stop - brows.start) % 2, 1, -1)
    with jax.ensure_compile_time_eval():
        return PortraitModel(
            face=anatomical_model(),
            outfit=outfit,
            triangles=jnp.asarray(np.concatenate(triangles), jnp.int32),
            two_sided=jnp.asarray(np.concatenate(two_sided)),
            rigid=jnp.asarray(head.rigid, jnp.float32),
            shadow=jnp.asarray(head.shadow * (1.0 - seen_open)[:, None], jnp.float32),
            oil=jnp.asarray(head.masks["oil"], jnp.float32),
            brow=jnp.arange(brows.start, brows.stop, dtype=jnp.int32),
            brow_across=jnp.asarray(ragged, jnp.float32),
        )


def _skin_light(model: PortraitModel, scene: Scene, head: Array, normals: Array) -> Array:
    """Light on the head's vertices, with their own shadows and the lids' on the eyeballs."""
    face, style = scene.face, scene.nuisance
    assert isinstance(style, PortraitNuisance)
    lit = irradiance(
        normals,
        face.illumination,
        model.shadow,
        light_in_head(face.illumination, face.rotation),
        style.shadow_depth,
    )
    eyes = model.face.eyes
    assert eyes is not None
    for start in eyes.first:
        ball = slice(start, start + eyes.count)
        arm = head[:, ball] - head[:, start : start + 1]
        arm = arm / jnp.sqrt((arm**2).sum(axis=-1, keepdims=True) + 1e-8)
        lit = lit.at[:, ball].multiply(lid_shadow(arm)[..., None])
    return lit


def shaded_vertices(
    model: PortraitModel, scene: Scene, resolution: int
) -> tuple[Array, Array, Array]:
    """Projected points, radiosity and cover of head, hair, glasses, garment and catchlights."""
    face, style = scene.face, scene.nuisance
    assert isinstance(style, PortraitNuisance)
    head = face_geometry(model.face, face)
    count, total = head.shape[:2]
    light, turn = face.illumination, face.rotation
    body_turn = BODY_FOLLOWS * turn

    # The neck goes from the head's motion to the body's.
    width = 1.0 + (1.0 - model.rigid) * (style.neck_width - 1.0)
    neck = head * jnp.stack([width, jnp.ones_like(width), width], axis=-1)
    with_head = transform(neck, turn, face.translation)
    with_body = transform(neck, body_turn, face.translation)
    placed = with_body + model.rigid[:, None] * (with_head - with_body)
    normals = face_normals(model.face, placed)

    lit = _skin_light(model, scene, head, normals)
    skin = face_reflectance(model.face, face) * lit
    skin = skin + sheen(placed, normals, light, model.oil * style.gloss)

    displacement = identity_displacement(model.face, face)
    at_roots = displacement[:, model.outfit.hair_roots].mean(axis=2)
    hair, hair_colour, hair_cover = hair_shell(model.outfit.hair, at_roots, style)
    tubes, tube_normals, worn = frame_tubes(model.outfit.frame, displacement, style)
    on_head = transform(jnp.concatenate([hair, *tubes], axis=1), turn, face.translation)
    hair_placed = on_head[:, : hair.shape[1]]
    tube_points = sum(tube.shape[1] for tube in tubes)
    turned = jnp.einsum(
        "nvj,nij->nvi", jnp.concatenate(tube_normals, axis=1), rotation_matrix(turn)
    )
    tube_colour = jnp.broadcast_to(style.glasses_colour[:, None], (count, tube_points, 3))
    hair_normals = grid_normals(hair_placed, HAIR_ROWS, HAIR_COLUMNS)
    garment = model.outfit.garment
    cloth_colour, cloth_cover = dress(model.outfit, style)
    cloth = placed[:, garment] + GARMENT_LIFT * normals[:, garment]

    radiosity = [
        skin,
        shade(hair_colour, hair_normals, light)
        + (0.15 + hair_colour) * sheen(hair_placed, hair_normals, light, _HAIR_GLOSS),
        shade(tube_colour, turned, light),
        cloth_colour * lit[:, garment],
    ]
    brow_cover = style.brow_thickness - jnp.abs(model.brow_across)
    cover = jnp.ones((count, total)).at[:, model.brow].set(brow_cover)
    # Skin that lies deep under hair or cloth is left out, which spares the rasteriser its blocks.
    deep = hair_cover[:, model.outfit.scalp_hair]
    cover = cover.at[:, model.outfit.scalp].set(_UNDER_HAIR - deep)
    cover = cover.at[:, garment].set(jnp.minimum(1.0, _UNDER_CLOTH - cloth_cover))
    covers = [cover, hair_cover, jnp.broadcast_to(worn, (count, tube_points)), cloth_cover]
    points = [placed, on_head, cloth]
    eyes = model.face.eyes
    assert eyes is not None
    for start in eyes.first:
        disc, bright, shown = glint(placed[:, start], placed[:, start + 1], light)
        points.append(disc)
        radiosity.append(bright)
        covers.append(shown)
    return (
        project(jnp.concatenate(points, axis=1), resolution),
        jnp.concatenate(radiosity, axis=1),
        jnp.concatenate(covers, axis=1),
    )


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
        capacity=portrait_capacity(model.triangles.shape[0], fine),
    )
    colour = encode(interpolate(identity, points, radiosity, model.triangles, fine))
    backdrop = 2.0 * background(scene.nuisance, fine) - 1.0
    hit = (identity >= 0).reshape(*backdrop.shape[:-1], 1)
    image = jnp.where(hit, colour.reshape(backdrop.shape), backdrop)
    image = image.reshape(-1, resolution, supersample, resolution, supersample, 3)
    return image.mean(axis=(2, 4))


def render_portraits(scene: Scene, resolution: int, *, supersample: int = 2) -> Array:
    """Images of a batch of version 3's scenes, [N, R, R, 3] in [-1, 1].

    Args:
        scene: N scenes whose nuisance is `PortraitNuisance`.
        resolution: edge of the images in pixels.
        supersample: samples per pixel and axis.
    """
    return _render(portrait_model(), scene, resolution, supersample)
