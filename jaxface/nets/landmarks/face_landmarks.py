"""The landmark network of the face-api package (``faceLandmarkNet`` and ``faceFeatureExtractor``
there): blocks of depthwise separable convolutions whose outputs add up, and a dense layer to 68
points. The tiny one has three blocks of three convolutions, the other four of four.

The input is the project's, [-1, 1] RGB of any size, the crop of a face by its detector's box;
``face_api.py`` prepares it at 112 x 112. Points are (x, y) in pixels of the given images, x to the
right, y down, from the corner of the first pixel, in the 68-point order of iBUG.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.recognition.face_api import network_input, padding
from jaxface.nets.torch_layers import Conv2d, Linear

INPUT_SIZE = 112


@dataclasses.dataclass(frozen=True)
class FaceLandmarkConfig:
    """Size of the network; the defaults are those of ``face_landmark_68_model``.

    Args:
        channels: width of each block; every block halves the size.
        convolutions: of each block.
        num_landmarks: points.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    convolutions: int = 4
    num_landmarks: int = 68

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise ValueError(f"channels: expected one width or more, got {self.channels}")
        if self.convolutions < 1 or self.num_landmarks < 1:
            raise ValueError(
                f"convolutions, num_landmarks: expected at least 1, got {self.convolutions}, "
                f"{self.num_landmarks}"
            )


class SeparableConv(nnx.Module):
    """A 3 x 3 convolution of each channel alone, then a 1 x 1 convolution with bias."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, rngs: nnx.Rngs):
        self.depthwise = Conv2d(
            in_channels, in_channels, 3, stride=stride, groups=in_channels, bias=False, rngs=rngs
        )
        self.pointwise = Conv2d(in_channels, out_channels, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, ceil(H / stride), ceil(W / stride), out]."""
        return self.pointwise(self.depthwise(_same(x, self.depthwise.stride[0])))


class Block(nnx.Module):
    """Convolutions of which each sees the sum of all before it.

    Args:
        whole: the first convolution is an ordinary one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, count: int, *, whole: bool, rngs: nnx.Rngs
    ):
        self.whole = whole
        if whole:
            self.first = Conv2d(in_channels, out_channels, 3, stride=2, rngs=rngs)
        else:
            self.first = SeparableConv(in_channels, out_channels, stride=2, rngs=rngs)
        self.rest = nnx.List(
            [
                SeparableConv(out_channels, out_channels, stride=1, rngs=rngs)
                for _ in range(count - 1)
            ]
        )

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, ceil(H / 2), ceil(W / 2), out]."""
        total = jax.nn.relu(self.first(_same(x, 2) if self.whole else x))
        for layer in self.rest:
            total = total + layer(jax.nn.relu(total))
        return jax.nn.relu(total)


class FaceLandmarkNet(nnx.Module):
    """Landmarks by regression; differentiable in the images."""

    def __init__(self, config: FaceLandmarkConfig, *, rngs: nnx.Rngs):
        self.config = config
        blocks, channels = [], 3
        for index, width in enumerate(config.channels):
            first, count = index == 0, config.convolutions
            blocks.append(Block(channels, width, count, whole=first, rngs=rngs))
            channels = width
        self.blocks = nnx.List(blocks)
        self.linear = Linear(channels, 2 * config.num_landmarks, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n k 2"]:
        """Landmarks.

        Args:
            images: [N, H, W, 3] in [-1, 1], the crop of a face each, of any size.

        Returns:
            [N, num_landmarks, 2] in pixels of `images`.

        Raises:
            ValueError: for images that are not [N, H, W, 3].
        """
        x = network_input("FaceLandmarkNet", images, INPUT_SIZE)
        for block in self.blocks:
            x = block(x)
        # The dense layer gives fractions of the square, x and y in turn.
        found = self.linear(x.mean(axis=(1, 2))).reshape(images.shape[0], -1, 2)
        _, height, width, _ = images.shape
        top, left = padding(height, width)
        return found * max(height, width) - np.array([left, top], found.dtype)


def _same(x: jax.Array, stride: int) -> jax.Array:
    """Zeros around for a 3 x 3 convolution, TensorFlow's "same": the odd one below and right."""
    pads = []
    for length in x.shape[1:3]:
        total = max((-(-length // stride) - 1) * stride + 3 - length, 0)
        pads.append((total // 2, total - total // 2))
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))
