"""StyleGAN's first discriminator (Karras et al. 2019) at a fixed size, for any number of channels.

The Latent Difference Encoder's authors judge a portrait and its landmark image, six channels
together, by ``D_basic`` of StyleGAN's ``networks_stylegan.py`` without its growing. Activations are
followed by the square root of two here, as in StyleGAN2's layers, and there by nothing, with that
factor in the weights' scale: the same function, of biases that are divided by it.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.encoders.residual_trunk import check_square
from jaxface.nets.equalized_layers import Conv, Dense
from jaxface.nets.ops import bias_act
from jaxface.nets.ops.depthwise import depthwise_conv
from jaxface.nets.stylegan2.discriminator import minibatch_std
from jaxface.nets.torch_layers import average_pool

BLUR = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16
"""Before a map is halved."""

_NO_TAPS = (1.0,)


@dataclasses.dataclass(frozen=True)
class StyleGAN1DiscriminatorConfig:
    """Sizes. The defaults are those of the Latent Difference Encoder.

    Raises:
        ValueError: for a resolution that is no power of two from 8, or sizes below 1.
    """

    resolution: int = 128
    image_channels: int = 6
    """Portrait, then landmark image."""
    channel_base: int = 8192
    """``fmap_base``: channels at resolution r are ``min(2 channel_base / r, channel_max)``."""
    channel_max: int = 512
    """``fmap_max``."""
    group_size: int = 4
    """Images that a minibatch standard deviation is taken over."""

    def __post_init__(self) -> None:
        if self.resolution not in [2**k for k in range(3, 12)]:
            raise ValueError(
                "StyleGAN1DiscriminatorConfig.resolution: expected a power of two in 8..2048, got "
                f"{self.resolution}"
            )
        sizes = (self.image_channels, self.channel_base, self.channel_max, self.group_size)
        if min(sizes) < 1 or self.channels(self.resolution) < 1:
            raise ValueError(f"StyleGAN1DiscriminatorConfig: expected positive sizes, got {self}")

    def channels(self, resolution: int) -> int:
        """Feature maps at a resolution."""
        return min(2 * self.channel_base // resolution, self.channel_max)


class HalvingBlock(nnx.Module):
    """Two convolutions; the second one's output is halved, its input blurred."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.conv0 = _conv(in_channels, in_channels, 3, rngs)
        self.conv1 = Conv(
            in_channels, out_channels, kernel_size=3, bias=False, taps=_NO_TAPS, rngs=rngs
        )
        self.bias = nnx.Param(jnp.zeros((out_channels,)))

    def __call__(self, x: Float[Array, "n r r i"]) -> Float[Array, "n h h o"]:
        """[N, R, R, in] to [N, R / 2, R / 2, out]."""
        x = self.conv0(x)
        channels = x.shape[-1]
        blur = jnp.broadcast_to(jnp.asarray(BLUR, x.dtype)[..., None], (3, 3, channels))
        # At 128 px and above StyleGAN widens the kernel to 4 x 4 and strides: the same mean.
        x = average_pool(self.conv1(depthwise_conv(x, blur)), 2, stride=2)
        return bias_act(x, self.bias[...], activation="lrelu")


class StyleGAN1Discriminator(nnx.Module):
    """Images to logits."""

    def __init__(self, config: StyleGAN1DiscriminatorConfig, *, rngs: nnx.Rngs):
        self.config = config
        sides = []
        side = config.resolution
        while side > 4:
            sides.append(side)
            side //= 2
        self.from_rgb = _conv(config.image_channels, config.channels(config.resolution), 1, rngs)
        self.blocks = nnx.List(
            HalvingBlock(config.channels(side), config.channels(side // 2), rngs=rngs)
            for side in sides
        )
        width = config.channels(4)
        self.conv = _conv(width + 1, width, 3, rngs)
        self.dense = Dense(16 * width, config.channels(2), activation="lrelu", rngs=rngs)
        self.out = Dense(config.channels(2), 1, rngs=rngs)

    def __call__(self, images: Float[Array, "n r r c"]) -> Float[Array, "n 1"]:
        """Realness of images.

        Args:
            images: [N, resolution, resolution, image_channels] in [-1, 1]; N up to the group's
                size, or a multiple of it.

        Returns:
            logits [N, 1]; larger is more real.

        Raises:
            ValueError: for another shape.
        """
        config = self.config
        check_square(
            "StyleGAN1Discriminator", images, config.resolution, channels=config.image_channels
        )
        x = self.from_rgb(images)
        for block in self.blocks:
            x = block(x)
        x = self.conv(minibatch_std(x, group_size=config.group_size, num_channels=1))
        return self.out(self.dense(x.reshape(len(x), -1)))


def _conv(in_channels: int, out_channels: int, kernel_size: int, rngs: nnx.Rngs) -> Conv:
    return Conv(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        activation="lrelu",
        taps=_NO_TAPS,
        rngs=rngs,
    )
