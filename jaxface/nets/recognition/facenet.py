"""FaceNet's Inception-ResNet-v1 (Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning", in the widths of David Sandberg's facenet; the PyTorch
form of ``facenet-pytorch``, ``models/inception_resnet_v1.py``).

The input is the project's, [-1, 1] RGB of any size: the crop of a face. It is resized to 160 x 160
bilinearly with antialiasing, as ``facenet-pytorch`` resizes the boxes of its detector
(``PIL.Image.BILINEAR``; a box need not be square there either), and standardised as there: from
[0, 255] minus 127.5, over 128.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.inception_blocks import NORM_EPSILON, Branch, ConvNorm, Mixed, Spec
from jaxface.nets.torch_layers import (
    BatchNorm,
    Conv2d,
    Linear,
    check_images,
    max_pool,
    resize_bilinear,
)

INPUT_SIZE = 160

# fixed_image_standardization: (x - 127.5) / 128 of an image in [0, 255].
INPUT_GAIN = 127.5 / 128

# What residuals are multiplied by in each row of blocks, and in the last block.
SCALES = (0.17, 0.10, 0.20)
LAST_SCALE = 1.0

# Every width of the official network is a multiple of this.
OFFICIAL_UNIT = 16


@dataclasses.dataclass(frozen=True)
class FaceNetConfig:
    """Size of the network; the defaults are the published one's.

    Args:
        unit: every layer has 1/16 of `unit` times the published width, which are all multiples
            of 16; 1 is the narrowest, 16 the published network.
        blocks: residual blocks at each of the three sizes.
        embedding: length of the result.
    """

    unit: int = OFFICIAL_UNIT
    blocks: tuple[int, int, int] = (5, 10, 5)
    embedding: int = 512

    def __post_init__(self) -> None:
        if self.unit < 1 or self.embedding < 1 or min(self.blocks) < 1:
            raise ValueError(
                f"unit, embedding, blocks: expected at least 1, got {self.unit}, "
                f"{self.embedding}, {self.blocks}"
            )

    def width(self, published: int) -> int:
        """Channels of a layer that has `published` ones in the official network."""
        return published // OFFICIAL_UNIT * self.unit


class ResidualBlock(nnx.Module):
    """x + scale * (branches joined, then a 1 x 1 convolution), then a ReLU.

    Args:
        activate: False leaves the ReLU out.
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[Sequence[Spec]],
        *,
        scale: float,
        activate: bool = True,
        rngs: nnx.Rngs,
    ):
        self.scale, self.activate = scale, activate
        self.branches = nnx.List([Branch(channels, specs, rngs=rngs) for specs in branches])
        joined = sum(branch.out_channels for branch in self.branches)
        self.conv = Conv2d(joined, channels, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """[N, H, W, channels] to the same."""
        y = jnp.concatenate([branch(x) for branch in self.branches], axis=-1)
        x = x + self.scale * self.conv(y)
        return jax.nn.relu(x) if self.activate else x


class FaceNet(nnx.Module):
    """Embeddings of faces: the closer, the likelier the same person."""

    def __init__(self, config: FaceNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        w = config.width
        self.stem1 = nnx.List(
            [
                ConvNorm(3, w(32), 3, stride=2, rngs=rngs),
                ConvNorm(w(32), w(32), 3, rngs=rngs),
                ConvNorm(w(32), w(64), 3, padding=1, rngs=rngs),
            ]
        )
        self.stem2 = nnx.List(
            [
                ConvNorm(w(64), w(80), 1, rngs=rngs),
                ConvNorm(w(80), w(192), 3, rngs=rngs),
                ConvNorm(w(192), w(256), 3, stride=2, rngs=rngs),
            ]
        )
        narrow, middle = (Spec(w(32)), Spec(w(32), 3)), Spec(w(128))
        end, wide, tall = Spec(w(192)), Spec(w(192), (1, 3)), Spec(w(192), (3, 1))
        # Inception-ResNet-A, B and C.
        branches = (
            (narrow[:1], narrow, (*narrow, narrow[1])),
            ((middle,), (middle, Spec(w(128), (1, 7)), Spec(w(128), (7, 1)))),
            ((end,), (end, wide, tall)),
        )
        # Reduction-A and B.
        reductions = (
            ((Spec(w(384), 3, 2),), (Spec(w(192)), Spec(w(192), 3), Spec(w(256), 3, 2))),
            (
                (Spec(w(256)), Spec(w(384), 3, 2)),
                (Spec(w(256)), Spec(w(256), 3, 2)),
                (Spec(w(256)), Spec(w(256), 3), Spec(w(256), 3, 2)),
            ),
        )
        rows, reduce, channels = [], [], w(256)
        for index, count in enumerate(config.blocks):
            options = {"scale": SCALES[index], "rngs": rngs}
            row = [ResidualBlock(channels, branches[index], **options) for _ in range(count)]
            rows.append(nnx.List(row))
            if index < len(reductions):
                reduce.append(Mixed(channels, reductions[index], pool="reduce", rngs=rngs))
                channels = reduce[-1].out_channels
        self.rows, self.reduce = nnx.List(rows), nnx.List(reduce)
        self.last = ResidualBlock(
            channels, branches[2], scale=LAST_SCALE, activate=False, rngs=rngs
        )
        self.linear = Linear(channels, config.embedding, bias=False, rngs=rngs)
        self.norm = BatchNorm(config.embedding, epsilon=NORM_EPSILON, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """Embeddings of length 1.

        Args:
            images: [N, H, W, 3] in [-1, 1], the crop of a face each, of any size.

        Returns:
            [N, embedding].

        Raises:
            ValueError: for images that are not [N, H, W, 3].
        """
        check_images("FaceNet", images)
        size = (INPUT_SIZE, INPUT_SIZE)
        x = resize_bilinear(images, size, align_corners=False, antialias=True) * INPUT_GAIN
        for layer in self.stem1:
            x = layer(x)
        x = max_pool(x, 3, stride=2)
        for layer in self.stem2:
            x = layer(x)
        for index, row in enumerate(self.rows):
            for block in row:
                x = block(x)
            if index < len(self.reduce):
                x = self.reduce[index](x)
        x = self.norm(self.linear(self.last(x).mean(axis=(1, 2))))
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
