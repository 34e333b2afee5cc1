"""DECA's coarse encoder (Feng et al. 2021): from an image of a face to FLAME's parameters.

The network was trained on square crops of 224 x 224 in [0, 1], RGB, without ImageNet's statistics
(``datasets.py``): a face's box, its side the mean of width and height (times 1.1 and centred on
them for the box of 68 landmarks), enlarged by 1.25. The crop is the caller's; crops of another
size are resampled as DECA's ``skimage.transform.warp`` does: bilinear, corner pixels on corner
pixels, not antialiased.
"""

import dataclasses

import jax
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
from jaxface.nets.torch_layers import Linear, resize_bilinear


@dataclasses.dataclass(frozen=True)
class DECAEncoderConfig:
    """Sizes; the defaults are those of ``deca_model.tar``.

    Attributes:
        blocks: of the trunk's stages.
        width: channels of the trunk's stem.
        hidden: width of the layer between the trunk and the parameters.
        parameters: numbers out: 236 are shape 100, texture 50, expression 50, pose 6, camera 3
            and light 27 (`jaxface.morphable.FlameParameters.from_flat` takes them apart).
        side: of the images inside the network, in pixels.
    """

    blocks: tuple[int, ...] = RESNET50_BLOCKS
    width: int = RESNET50_WIDTH
    hidden: int = 1024
    parameters: int = 236
    side: int = 224

    def __post_init__(self) -> None:
        check_trunk("DECAEncoderConfig", self.blocks, self.width)


class DECAEncoder(nnx.Module):
    """ResNet-50 and two dense layers with a ReLU between them (``ResnetEncoder``)."""

    def __init__(self, config: DECAEncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNet(config.blocks, config.width, rngs=rngs)
        channels = trunk_channels(config.blocks, config.width)
        self.hidden = Linear(channels, config.hidden, rngs=rngs)
        self.out = Linear(config.hidden, config.parameters, rngs=rngs)

    def features(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n c"]:
        """What the trunk sees, [N, 2048]; arguments as of the call."""
        check_crops("DECAEncoder", images)
        side = self.config.side
        if images.shape[1] != side:
            images = resize_bilinear(images, (side, side), align_corners=True)
        return self.trunk((images + 1) / 2)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p"]:
        """The parameters of faces.

        Args:
            images: [N, H, H, 3] in [-1, 1] RGB, cropped as DECA crops.

        Returns:
            [N, 236], in DECA's order.

        Raises:
            ValueError: if the images are not square, or not [N, H, W, 3].
        """
        return self.out(jax.nn.relu(self.hidden(self.features(images))))
