"""HopeNet's head pose (Ruiz et al. 2018): a ResNet-50 whose angles are expectations over bins.

The input convention is that of the published ``test_hopenet.py``: the shorter side resized to 224
pixels (bilinear, antialiased: ``transforms.Scale`` of a PIL image), the middle 224 x 224 of it, in
[0, 1] RGB minus ImageNet's mean over its standard deviation. PIL rounds the resized image to 8
bits, which is not repeated here. Faces are cropped loosely: the detector's box, one half of its
width added on both sides, three quarters of its height above and a quarter below.

Angles are yaw, pitch and roll as annotated in 300W-LP and drawn by the published ``draw_axis``:
positive yaw turns the face to the image's left, positive pitch up, positive roll clockwise in the
image. All three have the opposite sign of `jaxface.morphable.FaceParameters.rotation`, and the
order in which they apply is another one, so that only small angles convert by a change of sign.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.resnet import (
    RESNET50_BLOCKS,
    RESNET50_WIDTH,
    ResNet,
    check_trunk,
    trunk_channels,
)
from jaxface.nets.torch_layers import Linear, check_images, resize_bilinear

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Bin i begins at 3 i - 99 degrees (datasets.py).
DEGREES_PER_BIN = 3.0
FIRST_DEGREE = -99.0


@dataclasses.dataclass(frozen=True)
class HopeNetConfig:
    """Sizes; the defaults are those of the published models.

    Attributes:
        blocks: of the trunk's stages.
        width: channels of the trunk's stem.
        bins: of each angle, three degrees each from -99 on.
        side: of the images inside the network, in pixels.
    """

    blocks: tuple[int, ...] = RESNET50_BLOCKS
    width: int = RESNET50_WIDTH
    bins: int = 66
    side: int = 224

    def __post_init__(self) -> None:
        check_trunk("HopeNetConfig", self.blocks, self.width)


class HopeNet(nnx.Module):
    """Yaw, pitch and roll of heads."""

    def __init__(self, config: HopeNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNet(config.blocks, config.width, rngs=rngs)
        channels = trunk_channels(config.blocks, config.width)
        self.yaw = Linear(channels, config.bins, rngs=rngs)
        self.pitch = Linear(channels, config.bins, rngs=rngs)
        self.roll = Linear(channels, config.bins, rngs=rngs)

    def logits(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 3 bins"]:
        """Of the bins of yaw, pitch and roll, [N, 3, 66]; arguments as of the call."""
        check_images("HopeNet", images)
        x = (_middle(images, self.config.side) + 1) / 2
        mean, std = (jnp.asarray(each, images.dtype) for each in (IMAGENET_MEAN, IMAGENET_STD))
        features = self.trunk((x - mean) / std)
        return jnp.stack([head(features) for head in (self.yaw, self.pitch, self.roll)], axis=1)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n 3"]:
        """The angles of heads.

        Args:
            images: [N, H, W, 3] in [-1, 1] RGB, cropped loosely around the face.

        Returns:
            [N, 3], yaw, pitch and roll in radians, signs as stated above.

        Raises:
            ValueError: if the images are not [N, H, W, 3].
        """
        share = jax.nn.softmax(self.logits(images), axis=-1)
        bins = jnp.arange(self.config.bins, dtype=share.dtype)
        degrees = (share * bins).sum(axis=-1) * DEGREES_PER_BIN + FIRST_DEGREE
        return jnp.deg2rad(degrees)


def _middle(images: jax.Array, side: int) -> jax.Array:
    """The shorter side resized to `side`, then the middle square."""
    height, width = images.shape[1:3]
    short = min(height, width)
    size = (side * height // short, side * width // short)  # torchvision rounds down
    if size != (height, width):
        images = resize_bilinear(images, size, align_corners=False, antialias=True)
    # round, half to even, is torchvision's too (CenterCrop).
    top, left = (round((length - side) / 2) for length in size)
    return images[:, top : top + side, left : left + side]
