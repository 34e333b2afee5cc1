"""Parameters of a face and of an image of one.

The flat layout is that of PIE (Tewari et al. 2020): rotation 3, translation 3,
identity 80, reflectance 80, expression 64, illumination 27; 257 numbers in this order.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.morphable.illumination import SH_BANDS
from jaxface.morphable.modes import EXPRESSION_MODES, IDENTITY_MODES, REFLECTANCE_MODES

WIDTHS: Mapping[str, int] = MappingProxyType(
    {
        "rotation": 3,
        "translation": 3,
        "identity": IDENTITY_MODES,
        "reflectance": REFLECTANCE_MODES,
        "expression": EXPRESSION_MODES,
        "illumination": 3 * SH_BANDS,
    }
)
"""Width of every field of `FaceParameters`, in the flat order."""

NUM_PARAMETERS = sum(WIDTHS.values())

SEMANTIC_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pose": ("rotation", "translation"),
        "identity": ("identity", "reflectance"),
        "expression": ("expression",),
        "illumination": ("illumination",),
    }
)
"""Groups of parameters as the fields they are made of. PIE's tau is a pose (there the rotation
alone), an expression or an illumination (section 4); identity is what edits keep."""


def group_width(group: str) -> int:
    """Numbers in a semantic group: pose 6, identity 160, expression 64, illumination 27.

    Raises:
        ValueError: if `group` is not in `SEMANTIC_GROUPS`.
    """
    return sum(WIDTHS[name] for name in _fields_of("group_width", group))


def _fields_of(owner: str, group: str) -> tuple[str, ...]:
    if group not in SEMANTIC_GROUPS:
        raise ValueError(
            f"{owner}: unknown group {group!r}; the groups are {', '.join(SEMANTIC_GROUPS)}"
        )
    return SEMANTIC_GROUPS[group]


def split_flat(owner: str, flat: Array, widths: Mapping[str, int]) -> dict[str, Array]:
    """Fields that lie side by side on the last axis, by name.

    Raises:
        ValueError: if the last axis is not as wide as all of them; it begins with `owner`.
    """
    total = sum(widths.values())
    if flat.shape[-1] != total:
        raise ValueError(
            f"{owner}.from_flat: expected a last axis of {total} "
            f"({', '.join(f'{name} {width}' for name, width in widths.items())}), "
            f"got shape {flat.shape}"
        )
    ends = list(itertools.accumulate(widths.values()))
    parts = jnp.split(flat, ends[:-1], axis=-1)
    return dict(zip(widths, parts, strict=True))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceParameters:
    """A batch of faces.

    Attributes:
        rotation: Euler angles in radians about x (pitch, positive looks down), y (yaw, positive
            looks to the image's right) and z (roll, positive turns anticlockwise in the image).
        translation: head position in head units, x right, y up, z towards the camera.
        identity: geometry coefficients in standard deviations.
        reflectance: skin coefficients in standard deviations.
        expression: coefficients of the modes; 1 is a full semantic expression.
        illumination: spherical harmonics coefficients, band by band and RGB within a band.
    """

    rotation: Array  # [N, 3]
    translation: Array  # [N, 3]
    identity: Array  # [N, 80]
    reflectance: Array  # [N, 80]
    expression: Array  # [N, 64]
    illumination: Array  # [N, 27]

    @property
    def flat(self) -> Array:
        """All parameters side by side, in PIE's order."""
        return jnp.concatenate([getattr(self, name) for name in WIDTHS], axis=-1)

    @classmethod
    def from_flat(cls, flat: Array) -> "FaceParameters":
        """The inverse of `flat`.

        Raises:
            ValueError: if the last axis is not 257 wide.
        """
        return cls(**split_flat("FaceParameters", flat, WIDTHS))

    def with_group(self, group: str, other: "FaceParameters") -> "FaceParameters":
        """These faces with one semantic group taken from `other`: PIE's edit of parameters.

        Raises:
            ValueError: if `group` is not in `SEMANTIC_GROUPS`.
        """
        names = _fields_of("FaceParameters.with_group", group)
        return replace(self, **{name: getattr(other, name) for name in names})

    def group(self, group: str) -> Array:
        """One semantic group's fields side by side, [N, `group_width`]: what a RigNet reads.

        Raises:
            ValueError: if `group` is not in `SEMANTIC_GROUPS`.
        """
        names = _fields_of("FaceParameters.group", group)
        return jnp.concatenate([getattr(self, name) for name in names], axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nuisance:
    """What an image shows beside the face. Colours are linear RGB unless said otherwise.

    Attributes:
        hair_colour: reflectance.
        hair_length: 0 is cropped, 1 falls below the shoulders.
        hair_volume: thickness of the hair, 0 to 1.
        hair_fringe: 0 leaves the forehead free, 1 covers it to the brows.
        hair_part: side of the parting, -1 to 1.
        hair_recession: 0 is a full hairline, 1 is a bald crown.
        hair_wave: amplitude of waves, 0 to 1.
        hair_phase: where waves and strands lie, radians.
        neck_width: relative to the mean.
        neckline: depth of the garment's opening, 0 is high and 1 a wide V.
        cloth_colour: reflectance.
        background: two sRGB colours in [0, 1], a direction, a ripple's frequencies and phases, and
            a pattern's strength, direction, fineness, phase and squareness, see `background`.
        glasses_thickness: radius of the frame in head units, 0 without glasses.
        glasses_size: of the lenses, -1 to 1.
        glasses_squareness: of the lenses, 0 to 1.
        glasses_colour: reflectance.
    """

    hair_colour: Array  # [N, 3]
    hair_length: Array  # [N, 1]
    hair_volume: Array  # [N, 1]
    hair_fringe: Array  # [N, 1]
    hair_part: Array  # [N, 1]
    hair_recession: Array  # [N, 1]
    hair_wave: Array  # [N, 1]
    hair_phase: Array  # [N, 1]
    neck_width: Array  # [N, 1]
    neckline: Array  # [N, 1]
    cloth_colour: Array  # [N, 3]
    background: Array  # [N, 17]
    glasses_thickness: Array  # [N, 1]
    glasses_size: Array  # [N, 1]
    glasses_squareness: Array  # [N, 1]
    glasses_colour: Array  # [N, 3]

    @property
    def flat(self) -> Array:
        """All fields side by side, in the order of declaration."""
        return jnp.concatenate([getattr(self, f.name) for f in fields(self)], axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PortraitNuisance(Nuisance):
    """What an image of version 3 shows beside the face.

    Attributes:
        gloss: sheen of the skin, 0 is matt and 1 is wet.
        shadow_depth: how far the head's own soft shadows are drawn, 0 to 1.
        brow_thickness: relative to the mean.
    """

    gloss: Array  # [N, 1]
    shadow_depth: Array  # [N, 1]
    brow_thickness: Array  # [N, 1]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Scene:
    """A batch of images to render: faces and what surrounds them."""

    face: FaceParameters
    nuisance: Nuisance
