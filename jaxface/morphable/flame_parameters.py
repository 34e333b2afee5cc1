"""DECA's parameters of a face: FLAME's coefficients, a camera and a light; 236 numbers.

Not to be mixed with PIE's 257 (`parameters.FaceParameters`): the bases, the pose, the camera and
the light are other ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import Array

from jaxface.morphable.parameters import split_flat

FLAME_WIDTHS: Mapping[str, int] = MappingProxyType(
    {"shape": 100, "texture": 50, "expression": 50, "pose": 6, "camera": 3, "light": 27}
)
"""Width of every field of `FlameParameters`, in DECA's flat order (``param_list``, config.py)."""

NUM_FLAME_PARAMETERS = sum(FLAME_WIDTHS.values())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FlameParameters:
    """A batch of faces, as DECA's encoder estimates them.

    Attributes:
        shape: FLAME's identity coefficients.
        texture: coefficients of the albedo model, which is not part of FLAME.
        expression: FLAME's expression coefficients.
        pose: axis-angle vectors in radians, the head's, then the jaw's (positive about x opens).
        camera: scale, then the translation that is added before scaling, see `orthographic`.
        light: spherical harmonics coefficients, band by band and RGB within a band, see
            `flame_light`.
    """

    shape: Array  # [N, 100]
    texture: Array  # [N, 50]
    expression: Array  # [N, 50]
    pose: Array  # [N, 6]
    camera: Array  # [N, 3]
    light: Array  # [N, 27]

    @property
    def flat(self) -> Array:
        """All parameters side by side, in DECA's order."""
        return jnp.concatenate([getattr(self, name) for name in FLAME_WIDTHS], axis=-1)

    @classmethod
    def from_flat(cls, flat: Array) -> "FlameParameters":
        """The inverse of `flat`.

        Raises:
            ValueError: if the last axis is not 236 wide.
        """
        return cls(**split_flat("FlameParameters", flat, FLAME_WIDTHS))
