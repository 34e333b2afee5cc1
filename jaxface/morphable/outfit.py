"""Hair, glasses and a garment fitted to version 3's head (NumPy, run once).

Hair and glasses are those of the procedural head (`surroundings`, `glasses`), laid on the new
skull; the garment is the skin of the shoulders, lifted, and cut along a collar by its cover.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.anatomy import Anatomy
from jaxface.morphable.curves import bump, smoothstep
from jaxface.morphable.glasses import Fit, Frame
from jaxface.morphable.parameters import PortraitNuisance
from jaxface.morphable.surroundings import (
    HAIR_COLUMNS,
    HAIR_HANGING_ROWS,
    HAIR_SCALP_ROWS,
    Surroundings,
    build_surroundings,
)

# The point that the procedural hair stands off from.
_CROWN = np.array([0.0, 0.25, -0.1])
_ROOTS = 4
# Radians over which the skull's radius is averaged.
_BLUR = 0.07
GARMENT_LIFT = 0.03
EAR_CLEARANCE = 0.07

_GLASSES = Fit(
    bridge=(0.115, 1.030),
    lens=(0.322, 0.068),
    depth=(1.055, 0.40),
    temple=((0.76, 0.115, 0.38), (0.80, 0.125, 0.02)),
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outfit:
    """Static arrays of what is worn."""

    hair: Surroundings
    hair_roots: Array  # [H, 4] int32 vertices whose mean displacement a hair's vertex shares
    scalp: Array  # [S] int32 vertices of the head that hair may hide
    scalp_hair: Array  # [S] int32, the hair's vertex over each
    frame: Frame
    garment: Array  # [G] int32 vertices of the head that it covers
    garment_level: Array  # [G], head units above the base of the neck
    garment_azimuth: Array  # [G]


def _skull(head: Anatomy) -> np.ndarray:
    """Vertices of the outer skin that the hair may follow: no ears, no throat."""
    masks = head.masks
    above = head.vertices[:, 1] > -0.35
    return np.flatnonzero((masks["skin"] > 0.5) & (masks["ears"] < 0.2) & above)


def _fit_hair(head: Anatomy) -> tuple[Surroundings, np.ndarray]:
    """The hair's shell on the new skull, and its roots."""
    plain = build_surroundings()
    old = np.asarray(plain.hair_base, np.float64)
    skull = head.vertices[_skull(head)]
    arms = skull - _CROWN
    radius = np.linalg.norm(arms, axis=1)
    arms = arms / radius[:, None]
    scalp = old[: HAIR_SCALP_ROWS * HAIR_COLUMNS]
    wanted = scalp - _CROWN
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    near = np.exp((wanted @ arms.T - 1.0) / _BLUR**2)
    reach = (near @ radius) / near.sum(axis=1)
    # An average of a convex surface lies inside it.
    fitted = _CROWN + 1.012 * reach[:, None] * wanted
    hanging = old[HAIR_SCALP_ROWS * HAIR_COLUMNS :].copy()
    last = np.tile(fitted[-HAIR_COLUMNS:], (HAIR_HANGING_ROWS, 1))
    drop = hanging[:, 1] - np.tile(scalp[-HAIR_COLUMNS:, 1], HAIR_HANGING_ROWS)
    hanging = last + np.stack([np.zeros_like(drop), drop, np.zeros_like(drop)], axis=1)
    base = np.concatenate([fitted, hanging])
    # Hair that hangs over the ears stands off from them.
    around = np.abs(np.asarray(plain.hair_azimuth, np.float64))
    over = bump(around, 1.75, 0.32) * smoothstep(0.32, 0.08, old[:, 1])
    base[:, 0] += EAR_CLEARANCE * np.sign(base[:, 0]) * over
    distance = ((np.concatenate([fitted, last])[:, None] - skull[None]) ** 2).sum(axis=-1)
    roots = _skull(head)[np.argsort(distance, axis=1)[:, :_ROOTS]]
    shell = replace(
        plain,
        hair_base=jnp.asarray(base, jnp.float32),
        hair_root=jnp.arange(len(base), dtype=jnp.int32),
        hair_level=jnp.asarray(old[:, 1], jnp.float32),
    )
    return shell, roots


def _fit_frame(head: Anatomy) -> Frame:
    """Anchors of the glasses: under the lenses, on the bridge, at the ears."""
    marks = head.vertices[head.landmarks]
    face = np.where(head.masks["face"] > 0.5, 0.0, 9.0)

    def anchors(place: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        return np.argsort(((head.vertices - place) ** 2).sum(axis=1) + penalty)[:6]

    outside = np.where(head.masks["skin"] > 0.5, 0.0, 9.0)
    lenses = [anchors(marks[[40, 41]].mean(0) - (0.0, 0.1, 0.0), face)]
    lenses.append(anchors(marks[[46, 47]].mean(0) - (0.0, 0.1, 0.0), face))
    ears = [anchors(marks[0], outside), anchors(marks[16], outside)]
    return Frame(
        lenses=jnp.asarray(np.stack(lenses), jnp.int32),
        bridge=jnp.asarray(anchors(marks[27], face), jnp.int32),
        ears=jnp.asarray(np.stack(ears), jnp.int32),
        fit=_GLASSES,
    )


def neck_level(vertices: np.ndarray) -> np.ndarray:
    """Height above the plane from the throat to the nape that the garment's collar follows."""
    return vertices[:, 1] + 1.20 - 0.54 * (0.6 - vertices[:, 2])


def _behind(vertices: np.ndarray, azimuth: float) -> np.ndarray:
    """Which vertices lie farther round than an azimuth, [V]."""
    return np.abs(np.arctan2(vertices[:, 0], vertices[:, 2] + 0.1)) > azimuth


def drawn_triangles(head: Anatomy) -> np.ndarray:
    """The head's triangles but for those that no image shows, [T, 3].

    The back of the head is seen at no turn up to 60 degrees, and every garment covers the chest.
    """
    body = (head.triangles < head.parts["body"].stop).all(axis=1)
    hidden = _behind(head.vertices, 2.5)[head.triangles].all(axis=1)
    hidden |= (neck_level(head.vertices) < -0.95)[head.triangles].all(axis=1)
    return head.triangles[~(body & hidden)]


def build_outfit(head: Anatomy) -> tuple[Outfit, np.ndarray]:
    """The static arrays, and the garment's triangles among its own vertices."""
    hair, roots = _fit_hair(head)
    level = neck_level(head.vertices)
    low = (level < -0.1) & (head.masks["skin"] > 0.5)
    chosen = head.triangles[low[head.triangles].all(axis=1)]
    # The body turns by a third of the head's 60 degrees.
    chosen = chosen[~_behind(head.vertices, 2.2)[chosen].all(axis=1)]
    garment = np.unique(chosen)
    triangles = np.searchsorted(garment, chosen)
    x, _, z = head.vertices[garment].T
    bare = (head.masks["skin"] > 0.5) & (head.masks["ears"] < 0.05) & (head.masks["face"] < 0.5)
    scalp = np.flatnonzero(bare & (head.vertices[:, 1] > -0.2) & (head.masks["scalp"] > 0.3))
    gaps = ((head.vertices[scalp][:, None] - np.asarray(hair.hair_base)[None]) ** 2).sum(axis=-1)
    return (
        Outfit(
            hair=hair,
            hair_roots=jnp.asarray(roots, jnp.int32),
            scalp=jnp.asarray(scalp, jnp.int32),
            scalp_hair=jnp.asarray(gaps.argmin(axis=1), jnp.int32),
            frame=_fit_frame(head),
            garment=jnp.asarray(garment, jnp.int32),
            garment_level=jnp.asarray(level[garment], jnp.float32),
            garment_azimuth=jnp.asarray(np.arctan2(x, z + 0.25), jnp.float32),
        ),
        triangles,
    )


def dress(outfit: Outfit, style: PortraitNuisance) -> tuple[Array, Array]:
    """Reflectance [N, G, 3] and cover [N, G] of the garment."""
    dip = jnp.exp(-0.5 * (outfit.garment_azimuth / 0.5) ** 2)
    edge = -0.34 - 0.46 * style.neckline**1.5 * dip
    depth = edge - outfit.garment_level
    collar = 1.0 - 0.3 * jnp.exp(-0.5 * ((depth - 0.07) / 0.025) ** 2)
    return style.cloth_colour[:, None] * collar[..., None], depth
