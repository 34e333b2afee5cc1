"""ResNet-50's trunk (He et al. 2016), in the form of torchvision.

The stride of a stage is in the 3 x 3 convolution of its first block, as torchvision has it, not in
the 1 x 1 before it. Networks that share the trunk size it and normalise their own input;
`ResNetFeatures` is the trunk alone, with ImageNet's statistics.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import BatchNorm, Conv2d, check_images, max_pool

# Blocks a stage of ResNet-50, and the channels of its stem.
RESNET50_BLOCKS = (3, 4, 6, 3)
RESNET50_WIDTH = 64

# A block's output is this many times as wide as its 3 x 3 convolution.
EXPANSION = 4


class Bottleneck(nnx.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut.

    Args:
        project: whether the shortcut is a convolution, as it is where sizes change.
    """

    def __init__(self, in_channels: int, width: int, *, stride: int, project: bool, rngs: nnx.Rngs):
        out = EXPANSION * width
        self.conv1 = Conv2d(in_channels, width, 1, bias=False, rngs=rngs)
        self.norm1 = BatchNorm(width, rngs=rngs)
        self.conv2 = Conv2d(width, width, 3, stride=stride, padding=1, bias=False, rngs=rngs)
        self.norm2 = BatchNorm(width, rngs=rngs)
        self.conv3 = Conv2d(width, out, 1, bias=False, rngs=rngs)
        self.norm3 = BatchNorm(out, rngs=rngs)
        self.project = project
        if project:
            self.shortcut = Conv2d(in_channels, out, 1, stride=stride, bias=False, rngs=rngs)
            self.shortcut_norm = BatchNorm(out, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H / stride, W / stride, 4 width]."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = jax.nn.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.project:
            x = self.shortcut_norm(self.shortcut(x))
        return jax.nn.relu(y + x)


class ResNet(nnx.Module):
    """Stem and four stages, up to the mean over the image.

    Args:
        blocks: blocks of each stage.
        width: channels of the stem and of the first stage's 3 x 3 convolutions; they double from
            stage to stage.
    """

    def __init__(self, blocks: tuple[int, ...], width: int, *, rngs: nnx.Rngs):
        self.stem = Conv2d(3, width, 7, stride=2, padding=3, bias=False, rngs=rngs)
        self.stem_norm = BatchNorm(width, rngs=rngs)
        stages, channels = [], width
        for index, count in enumerate(blocks):
            stage = []
            for block in range(count):
                first = block == 0
                stage.append(
                    Bottleneck(
                        channels,
                        width << index,
                        stride=2 if first and index > 0 else 1,
                        project=first,
                        rngs=rngs,
                    )
                )
                channels = EXPANSION * (width << index)
            stages.append(nnx.List(stage))
        self.stages = nnx.List(stages)

    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n c"]:
        """Means of the last stage's features.

        Args:
            x: [N, H, W, 3], normalised as the network was trained.

        Returns:
            [N, 32 width].
        """
        x = jax.nn.relu(self.stem_norm(self.stem(x)))
        x = max_pool(x, 3, stride=2, padding=1)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return x.mean(axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Sizes and input statistics.

    The defaults are torchvision's ``resnet50`` on ImageNet: images in [0, 1], minus ``mean``,
    over ``std``.

    Raises:
        ValueError: if there is no stage, or one without blocks, or no channel.
    """

    blocks: tuple[int, ...] = RESNET50_BLOCKS
    width: int = RESNET50_WIDTH
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        check_trunk(type(self).__name__, self.blocks, self.width)


class ResNetFeatures(nnx.Module):
    """The trunk as ImageNet's networks have it; it neither resizes nor crops."""

    def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNet(config.blocks, config.width, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n c"]:
        """Mean features, [N, `trunk_channels`], of images [N, H, W, 3] in [-1, 1].

        Raises:
            ValueError: if the images are not floats [N, H, W, 3].
        """
        check_images("ResNetFeatures", images)
        mean, std = jnp.asarray(self.config.mean), jnp.asarray(self.config.std)
        return self.trunk(((images + 1) / 2 - mean.astype(images.dtype)) / std.astype(images.dtype))


def trunk_channels(blocks: tuple[int, ...], width: int) -> int:
    """Width of the trunk's output."""
    return EXPANSION * (width << (len(blocks) - 1))


def check_trunk(name: str, blocks: tuple[int, ...], width: int) -> None:
    """Refuse sizes that are no trunk.

    Raises:
        ValueError: if there is no stage, or one without blocks, or no channel.
    """
    if not blocks or min(blocks) < 1 or width < 1:
        raise ValueError(
            f"{name}: expected stages of at least one block and a width of at least 1, got blocks "
            f"{blocks} and width {width}"
        )


def check_crops(name: str, images: jax.Array) -> None:
    """Refuse what is not a batch of square images.

    Raises:
        ValueError: if they are not [N, H, H, 3].
    """
    check_images(name, images)
    if images.shape[1] != images.shape[2]:
        raise ValueError(
            f"{name}: expected square crops of faces, got {images.shape[1]} x {images.shape[2]}; "
            "crop them first, a change of proportions would be read as another face"
        )
