"""MediaPipe's face mesh: 478 points of a face with irises, and whether there is a face at all.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (2019), in
the form of ``face_landmarks_detector.tflite`` of MediaPipe's face landmarker: seven sizes of four
bottleneck blocks each, and three linear heads over the last 2 x 2.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.tensorflow_layers import SameConv, SameDepthwise, widened
from jaxface.nets.torch_layers import PReLU, check_images, max_pool


@dataclasses.dataclass(frozen=True)
class FaceMeshConfig:
    """Size of the network; the defaults are the published one's.

    Args:
        input_size: side of the images.
        channels: of each size of feature maps, the first at half the input.
        down_channels: between two sizes, inside the step that halves.
        blocks: of each size.
        num_points: of the mesh.

    Raises:
        ValueError: for sizes that do not fit each other.
    """

    input_size: int = 256
    channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128, 128)
    down_channels: tuple[int, ...] = (16, 32, 64, 64, 64, 64)
    blocks: int = 4
    num_points: int = 478

    def __post_init__(self) -> None:
        stages = len(self.channels)
        if not stages or list(self.channels) != sorted(self.channels):
            raise ValueError(f"channels: expected growing widths, got {self.channels}")
        if min(self.channels) < 2 or any(width % 2 for width in self.channels):
            raise ValueError(f"channels: expected even widths, got {self.channels}")
        if len(self.down_channels) != stages - 1:
            raise ValueError(
                f"down_channels: expected {stages - 1} widths, got {self.down_channels}"
            )
        if self.input_size < 2**stages or self.input_size % 2**stages:
            raise ValueError(
                f"input_size: expected a multiple of {2**stages}, got {self.input_size}"
            )
        if self.blocks < 0 or self.num_points < 1:
            raise ValueError(
                f"blocks, num_points: expected at least 0 and 1, got {self.blocks}, "
                f"{self.num_points}"
            )


class Mesh(NamedTuple):
    """Of N images.

    Attributes:
        points: [N, 478, 3]: x to the right and y down in pixels of the given images, from the
            corner of the first pixel; z in the scale of x, smaller towards the camera.
        presence: [N], the logit of there being a face.
    """

    points: jax.Array
    presence: jax.Array


class Bottleneck(nnx.Module):
    """1 x 1 to half the channels, depthwise, 1 x 1 back, plus the input."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        half = channels // 2
        self.reduce = SameConv(channels, half, 1, rngs=rngs)
        self.reduced = PReLU(half, rngs=rngs)
        self.depthwise = SameDepthwise(half, rngs=rngs)
        self.expand = SameConv(half, channels, 1, rngs=rngs)
        self.activation = PReLU(channels, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "..."]:
        """[N, H, W, C] to the same."""
        y = self.reduced(self.reduce(x))
        return self.activation(x + self.expand(self.depthwise(y)))


EYE_CORNERS = (33, 263)
"""The points at the outer corners of the eyes, the image's left one first."""


class Down(nnx.Module):
    """Half the side: a 2 x 2 convolution, depthwise, 1 x 1, plus the largest of each 2 x 2."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, rngs: nnx.Rngs):
        self.reduce = SameConv(in_channels, inner, 2, stride=2, rngs=rngs)
        self.reduced = PReLU(inner, rngs=rngs)
        self.depthwise = SameDepthwise(inner, rngs=rngs)
        self.expand = SameConv(inner, out_channels, 1, rngs=rngs)
        self.activation = PReLU(out_channels, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "..."]:
        """[N, H, W, in] to [N, H / 2, W / 2, out]."""
        y = self.expand(self.depthwise(self.reduced(self.reduce(x))))
        return self.activation(y + widened(max_pool(x, 2, stride=2), y.shape[-1]))


class FaceMesh(nnx.Module):
    """The points of a face that fills the image; differentiable in the images."""

    def __init__(self, config: FaceMeshConfig, *, rngs: nnx.Rngs):
        self.config = config
        channels = config.channels[0]
        self.stem = SameConv(3, channels, 3, stride=2, rngs=rngs)
        self.activation = PReLU(channels, rngs=rngs)
        stages, downs = [], []
        for index, width in enumerate(config.channels):
            if index > 0:
                inner = config.down_channels[index - 1]
                downs.append(Down(channels, inner, width, rngs=rngs))
            stages.append(nnx.List(Bottleneck(width, rngs=rngs) for _ in range(config.blocks)))
            channels = width
        self.stages, self.downs = nnx.List(stages), nnx.List(downs)
        side = config.input_size >> len(config.channels)
        # Beside the presence the file has a second logit of a face, which nothing reads.
        self.presence = WholeConv(side, channels, 1, rngs=rngs)
        self.points = WholeConv(side, channels, 3 * config.num_points, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Mesh:
        """The mesh.

        Args:
            images: [N, input_size, input_size, 3] in [-1, 1]: the face about two thirds of the
                side, its eyes level.

        Raises:
            ValueError: for images of another shape.
        """
        check_images("FaceMesh", images)
        size = self.config.input_size
        if images.shape[1:3] != (size, size):
            raise ValueError(f"FaceMesh: expected {size} px, got {list(images.shape)}")
        x = self.activation(self.stem((images + 1) / 2))
        for index, stage in enumerate(self.stages):
            if index > 0:
                x = self.downs[index - 1](x)
            for block in stage:
                x = block(x)
        points = self.points(x).reshape(len(x), self.config.num_points, 3)
        return Mesh(points.astype(jnp.float32), self.presence(x)[:, 0].astype(jnp.float32))


class WholeConv(nnx.Module):
    """A convolution whose kernel is as large as the image: a linear head."""

    def __init__(self, side: int, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        shape = (side, side, in_channels, out_channels)
        std = (side * side * in_channels) ** -0.5
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_channels,)))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "..."]:
        """[N, side, side, in] to [N, out]."""
        weight = self.weight[...].astype(x.dtype)
        flat = x.reshape(len(x), -1) @ weight.reshape(-1, weight.shape[-1])
        return flat + self.bias[...].astype(x.dtype)
