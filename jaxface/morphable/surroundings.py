"""Hair, neck, clothes and background: the nuisance of a portrait.

Hair is a shell that continues the scalp. Each of its vertices has a root on the head, whose
identity displacement it shares, and below the ears it hangs. A per-vertex *cover* tells how far
inside the hairline it lies; where the interpolated cover is negative there is no hair.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.curves import graded_samples
from jaxface.morphable.head import COLUMNS, arc_at, face_columns, face_rows, plain_surface
from jaxface.morphable.parameters import Nuisance

HAIR_COLUMNS, HAIR_SCALP_ROWS, HAIR_HANGING_ROWS = 53, 17, 15
HAIR_ROWS = HAIR_SCALP_ROWS + HAIR_HANGING_ROWS
NECK_ROWS, NECK_COLUMNS = 34, 33
HANGING_START, HANGING_END = 0.02, -1.75


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Surroundings:
    """Static arrays of the hair shell and of the neck."""

    hair_base: Array  # [H, 3]
    hair_out: Array  # [H, 3] unit direction in which hair stands off the head
    hair_azimuth: Array  # [H]
    hair_root: Array  # [H] int32 index of the head vertex whose displacement is shared
    neck_angle: Array  # [K]
    neck_down: Array  # 0 inside the head, 1 at the lower end
    hair_level: Array | None = None  # [H] height that styles are drawn by; None: the base's own


def build_surroundings() -> Surroundings:
    """The static arrays; NumPy, milliseconds."""
    azimuth = np.linspace(-np.pi, np.pi, HAIR_COLUMNS)
    arcs = graded_samples(
        HAIR_SCALP_ROWS, 0.012, arc_at(HANGING_START), ((arc_at(0.62), 0.2, 0.8),)
    )
    scalp = plain_surface(arcs, azimuth)
    drop = np.linspace(0.0, 1.0, HAIR_HANGING_ROWS + 1)[1:, None]
    below = np.repeat(scalp[-1:], HAIR_HANGING_ROWS, axis=0)
    below[..., 1] += (HANGING_END - HANGING_START) * drop
    out = scalp - np.array([0.0, 0.25, -0.1])
    out = np.concatenate([out, np.repeat(out[-1:], HAIR_HANGING_ROWS, axis=0) * (1.0, 0.0, 1.0)])
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    rows = np.abs(face_rows()[None] - np.append(arcs, [arcs[-1]] * HAIR_HANGING_ROWS)[:, None])
    columns = np.abs(face_columns()[None] - azimuth[:, None])
    root = rows.argmin(axis=1)[:, None] * COLUMNS + columns.argmin(axis=1)[None]

    down, angle = np.meshgrid(
        np.linspace(0.0, 1.0, NECK_ROWS), np.linspace(-1.9, 1.9, NECK_COLUMNS), indexing="ij"
    )
    return Surroundings(
        hair_base=jnp.asarray(np.concatenate([scalp, below]).reshape(-1, 3), jnp.float32),
        hair_out=jnp.asarray(out.reshape(-1, 3), jnp.float32),
        hair_azimuth=jnp.asarray(np.tile(azimuth, HAIR_ROWS), jnp.float32),
        hair_root=jnp.asarray(root.ravel(), jnp.int32),
        neck_angle=jnp.asarray(angle.ravel(), jnp.float32),
        neck_down=jnp.asarray(down.ravel(), jnp.float32),
    )


def _step(start: float, stop: float, x: Array) -> Array:
    t = jnp.clip((x - start) / (stop - start), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _hair_edge(azimuth: Array, style: Nuisance) -> Array:
    """Height of the hair's lower edge at each azimuth, [N, H]."""
    around = jnp.abs(azimuth)
    hairline = 0.70 + 0.05 * jnp.exp(-0.5 * ((around - 0.50) / 0.18) ** 2)
    temple = _step(0.58, 1.16, around)
    short = hairline + (0.02 - hairline) * temple
    short = short + 0.19 * jnp.exp(-0.5 * ((around - 1.6) / 0.24) ** 2)
    short = short - 0.50 * _step(1.75, 2.15, around)
    curtain = _step(0.66, 1.10, around)
    long = hairline + (-1.50 - hairline) * curtain
    edge = short + style.hair_length * (long - short)
    brow = _step(1.05, 0.55, around)
    side = style.hair_part * azimuth
    edge = edge - style.hair_fringe * brow * (0.30 + 0.10 * side)
    edge = edge + 0.07 * style.hair_part * jnp.sin(1.6 * azimuth) * _step(1.2, 0.7, around)
    edge = edge + style.hair_recession * (0.42 * _step(1.15, 0.75, around) + 0.12)
    return edge + 0.035 * style.hair_wave * jnp.sin(8.0 * azimuth + style.hair_phase)


def hair_shell(
    static: Surroundings, displacement: Array, style: Nuisance
) -> tuple[Array, Array, Array]:
    """Positions, reflectance and cover of the hair on heads displaced by `displacement`."""
    azimuth, height = static.hair_azimuth, static.hair_base[:, 1]
    if static.hair_level is not None:
        height = static.hair_level
    cover = height - _hair_edge(azimuth, style)
    around = jnp.abs(azimuth)
    hanging = jnp.clip((HANGING_START - height) / (HANGING_START - HANGING_END), 0.0, 1.0)
    top = _step(0.3, 1.0, height)
    body = (0.055 + 0.11 * style.hair_volume) * (1.0 + 0.45 * top)
    body = body * (1.0 - 0.55 * style.hair_recession)
    body = body + style.hair_length * (0.05 * _step(0.6, -0.2, height) - 0.05 * hanging)
    waves = jnp.sin(7.0 * height + 2.0 * azimuth + style.hair_phase)
    body = body + 0.022 * style.hair_wave * waves * _step(0.9, 0.3, height)
    # Thin at the hairline, so that the shell grows out of the skin.
    stand_off = 0.014 + body * (0.15 + 0.85 * _step(-0.02, 0.24, cover))
    position = static.hair_base + displacement[:, static.hair_root]
    position = position + stand_off[..., None] * static.hair_out
    # Behind the ears hanging hair leans towards the nape.
    position = position.at[..., 2].add(-0.12 * hanging * _step(1.0, 1.6, around))
    strands = 1.0 + 0.20 * jnp.sin(19.0 * azimuth + 3.0 * height + style.hair_phase)
    strands = strands + 0.12 * jnp.sin(31.0 * azimuth - 2.0 * height + 2.0 * style.hair_phase)
    depth = 0.62 + 0.38 * _step(0.0, 0.18, cover)
    inside = 1.0 - 0.45 * _step(0.1, -0.5, height) * _step(1.7, 2.3, around)
    reflectance = style.hair_colour[:, None] * (strands * depth * inside)[..., None]
    return position, reflectance, cover


def neck_and_clothes(static: Surroundings, skin: Array, style: Nuisance) -> tuple[Array, Array]:
    """Positions and reflectance of neck, shoulders and garment."""
    angle, down = static.neck_angle, static.neck_down
    shoulder = _step(0.42, 0.98, down)
    radius_x = (0.50 - 0.05 * _step(0.0, 0.4, down)) * style.neck_width + 1.30 * shoulder
    radius_z = 0.44 * style.neck_width + 0.20 * shoulder
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    height = -0.50 - 1.40 * down**0.9 + 0.26 * shoulder * cosine**2
    position = jnp.stack(
        jnp.broadcast_arrays(radius_x * sine, height, radius_z * cosine - 0.26), axis=-1
    )
    edge = 0.475 + 0.26 * style.neckline * jnp.exp(-0.5 * (angle / 0.45) ** 2)
    cloth = _step(-0.02, 0.02, down - edge)[..., None]
    collar = 1.0 - 0.25 * jnp.exp(-0.5 * ((down - edge - 0.035) / 0.02) ** 2)[..., None]
    # Shadow of the head, which spherical harmonics light does not cast.
    shadow = (0.50 + 0.42 * _step(0.18, 0.52, down))[:, None]
    garment = (
        style.cloth_colour[:, None] * collar * (0.75 + 0.25 * _step(0.40, 0.62, down))[:, None]
    )
    reflectance = (1.0 - cloth) * skin[:, None] * shadow + cloth * garment
    return position, reflectance


def background(style: Nuisance, resolution: int) -> Array:
    """A two-coloured backdrop, plain, shaded or patterned, sRGB in [0, 1].

    Entries of ``style.background``: two colours; slope in x and y; frequency and phase of a ripple
    in x, then in y; strength of a pattern, its direction, fineness and phase, and whether it is of
    stripes or of checks.
    """
    grid = (jnp.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
    y, x = jnp.meshgrid(grid, grid, indexing="ij")
    p = style.background[:, :, None, None]
    ripple = jnp.sin(1.6 * p[:, 8] * x + p[:, 9]) * jnp.cos(1.6 * p[:, 10] * y + p[:, 11])
    cosine, sine = jnp.cos(p[:, 13]), jnp.sin(p[:, 13])
    along, across = cosine * x + sine * y, cosine * y - sine * x
    wave, other = jnp.sin(p[:, 14] * along + p[:, 15]), jnp.sin(p[:, 14] * across + p[:, 15])
    pattern = p[:, 12] * wave * (1.0 - p[:, 16] + p[:, 16] * other)
    level = 1.5 * (p[:, 6] * x + p[:, 7] * y) + 1.1 * ripple + pattern
    mix = jax.nn.sigmoid(level)[..., None]
    first, second = style.background[:, None, None, 0:3], style.background[:, None, None, 3:6]
    return first + (second - first) * mix
