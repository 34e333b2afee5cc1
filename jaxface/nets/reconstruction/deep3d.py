"""Deep3DFaceRecon's network (Deng et al. 2019, the PyTorch version): BFM coefficients of a face.

The network sees crops of 224 x 224 in [0, 1], RGB, without ImageNet's statistics. A crop is
aligned by five landmarks (``align_img``: a scaled orthographic fit of the mean face's to them, then
a square of 224 / 102 of the model's units around its origin), which is the caller's; crops of
another size are resized as the original does it, bicubic and antialiased (PIL's), clipped to
[0, 1].

A portrait framed as FFHQ's shows more than such a crop. `Deep3DConfig.portrait_square` says which
part of it the crop is, `jaxface.nets.recognition.crops.DEEP3D` for converted weights: then calls
take portraits, the network sees its crop (black beyond the portrait, as in the original, which
resizes with the same kernel and cuts at whole pixels), and the translation is turned into the one
that draws the same face in the portrait, see `in_portrait`. Without it calls take the caller's
crops.

What comes out is in PIE's order and in the conventions of `jaxface.morphable.FaceParameters`, which
`from_flat` makes of it. The original's angles and translation are those conventions already (Rz Ry
Rx, x right, y up, z to the camera, whose distance is 10 and focal length 1015 / 224 image widths).
Its light is not: it has its own factors and signs for each harmonic, RGB outermost, and 0.8 added
to the constant one. The same light, exactly, is returned as coefficients of the orthonormal
harmonics of `jaxface.morphable.illumination`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.resnet import (
    RESNET50_BLOCKS,
    RESNET50_WIDTH,
    ResNet,
    check_crops,
    check_trunk,
    trunk_channels,
)
from jaxface.nets.torch_layers import Linear

# Widths of the heads in the order of the original's final_layers: identity, expression,
# reflectance, angles, light, translation in the image plane and along the view.
HEADS = (80, 64, 80, 3, 27, 2, 1)

# bfm.py, class SH and compute_color: factors of the bands 0, 1 and 2, and the signs of
# 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2, relative to the orthonormal harmonics.
_FACTORS = np.array(
    [np.pi] + [2 * np.pi / np.sqrt(3)] * 3 + [2 * np.pi / np.sqrt(8)] * 5, np.float32
)
_SIGNS = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1], np.float32)
_FIRST_LIGHT = np.array([0.8] + [0.0] * 8, np.float32)

# bfm.py: the camera's distance in decimetres, its focal length in image widths.
_DISTANCE, _FOCAL_LENGTH = 10.0, 1015.0 / 224.0
# Of `in_portrait`, in decimetres before the head's origin.
_DEPTH = 0.2


@dataclasses.dataclass(frozen=True)
class Deep3DConfig:
    """Sizes; the defaults are those of ``epoch_20.pth``.

    Attributes:
        blocks: of the trunk's stages.
        width: channels of the trunk's stem.
        side: of the images inside the network, in pixels.
        portrait_square: (left, top, side) of the crop in units of the portrait's side; None: what
            is given is the crop.

    Raises:
        ValueError: for sizes that are no network's, or a square without an area.
    """

    blocks: tuple[int, ...] = RESNET50_BLOCKS
    width: int = RESNET50_WIDTH
    side: int = 224
    portrait_square: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        check_trunk("Deep3DConfig", self.blocks, self.width)
        if self.portrait_square is not None and not self.portrait_square[2] > 0:
            raise ValueError(
                "Deep3DConfig.portrait_square: expected left, top and a side above 0, got "
                f"{self.portrait_square}"
            )


class Deep3D(nnx.Module):
    """ResNet-50 and a linear head for each kind of coefficient (``ReconNetWrapper``)."""

    def __init__(self, config: Deep3DConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNet(config.blocks, config.width, rngs=rngs)
        channels = trunk_channels(config.blocks, config.width)
        self.heads = nnx.List([Linear(channels, width, rngs=rngs) for width in HEADS])

    def coefficients(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 257"]:
        """The heads' outputs side by side, [N, 257], in the original's order and conventions.

        Args:
            images: crops [N, H, H, 3] in [-1, 1] RGB, aligned as the original aligns.
        """
        check_crops("Deep3D", images)
        side = self.config.side
        x = (images + 1) / 2
        if images.shape[1] != side:
            size = (images.shape[0], side, side, 3)
            precision = jax.lax.Precision.HIGHEST
            x = jax.image.resize(x, size, "cubic", antialias=True, precision=precision)
            x = jnp.clip(x, 0.0, 1.0)
        features = self.trunk(x)
        return jnp.concatenate([head(features) for head in self.heads], axis=-1)

    def crop(self, portraits: Float[Array, "n r r 3"]) -> Float[Array, "n h w 3"]:
        """The part [N, side, side, 3] that ``portrait_square`` names, in [-1, 1]."""
        check_crops("Deep3D", portraits)
        square, side = self.config.portrait_square, self.config.side
        if square is None:
            return portraits
        left, top, width = (x * portraits.shape[1] for x in square)
        scale = side / width
        cut = jax.image.scale_and_translate(
            (portraits + 1) / 2,
            (len(portraits), side, side, 3),
            (1, 2),
            scale=jnp.full(2, scale),
            translation=-scale * jnp.array([top, left]),
            method="cubic",
            antialias=True,
            precision=jax.lax.Precision.HIGHEST,
        )
        return 2 * jnp.clip(cut, 0.0, 1.0).astype(portraits.dtype) - 1

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 257"]:
        """The parameters of faces.

        Args:
            images: [N, H, H, 3] in [-1, 1] RGB: portraits aligned as FFHQ's where the configuration
                has a ``portrait_square``, otherwise crops, aligned as the original aligns.

        Returns:
            [N, 257], PIE's order: rotation 3, translation 3, identity 80, reflectance 80,
            expression 64, illumination 27; of the face in `images`.

        Raises:
            ValueError: if the images are not square, or not [N, H, W, 3].
        """
        parameters = pie_parameters(self.coefficients(self.crop(images)))
        square = self.config.portrait_square
        return parameters if square is None else in_portrait(parameters, square)


def in_portrait(
    parameters: Float[Array, "n 257"], square: tuple[float, float, float]
) -> Float[Array, "n 257"]:
    """Parameters of a face in a crop as those of the face in the portrait.

    A shift and a scale of the image are a translation in front of a pinhole camera for points of
    one depth, here those 0.2 decimetres before the head's origin, in the middle of the face's
    landmarks. Other depths are off by perspective: the 68 landmarks of the standard face, seen from
    the front, by 0.15% of the portrait's side on average.

    Args:
        parameters: [N, 257], PIE's.
        square: (left, top, side) of the crop in units of the portrait's side.

    Returns:
        [N, 257].
    """
    left, top, side = square
    x, y, z = jnp.moveaxis(parameters[:, 3:6], 1, 0)
    depth = (_DISTANCE - _DEPTH - z) / side  # of that plane from the camera, in the portrait
    across = left + side / 2 - 0.5
    down = top + side / 2 - 0.5
    translation = [
        x + across * depth / _FOCAL_LENGTH,
        y - down * depth / _FOCAL_LENGTH,
        _DISTANCE - _DEPTH - depth,
    ]
    return parameters.at[:, 3:6].set(jnp.stack(translation, axis=1))


def pie_parameters(coefficients: Float[Array, "n 257"]) -> Float[Array, "n 257"]:
    """The original's coefficients as PIE's parameters.

    Args:
        coefficients: [N, 257], in the original's order (`HEADS`) and conventions.

    Returns:
        [N, 257], see `Deep3D.__call__`.
    """
    parts = jnp.split(coefficients, np.cumsum(HEADS)[:-1], axis=-1)
    identity, expression, reflectance, angles, light, *translation = parts
    light = light.reshape(-1, 3, 9) + _FIRST_LIGHT
    light = (light * (_FACTORS * _SIGNS)).swapaxes(1, 2).reshape(-1, 27)
    return jnp.concatenate(
        [angles, *translation, identity, reflectance, expression, light], axis=-1
    )
