"""dlib's face recognition network (Davis King's ``dlib_face_recognition_resnet_model_v1``) in the
form that the face-api package ships: a residual network of 29 convolutions with a scale and a shift
after each in place of batch normalisation (``faceRecognitionNet`` there).

The input is the project's, [-1, 1] RGB of any size, the crop of a face; ``face_api.py`` prepares it
at 150 x 150. face-api cuts the crop from the 68 landmarks: a square whose side is the mean distance
from the eyes' centres to the mouth's over 0.45, placed so that the mean of those three centres is
at 0.5 of its width and 0.43 of its height (``FaceLandmarks.alignDlib``).

Compare descriptors by their distance: they are not centred, so that cosines are high throughout.
Of scikit-image's astronaut, other faces were 0.70 to 0.81 away at cosines of 0.84 to 0.88; the same
photograph darkened, blurred, turned or mirrored at most 0.39, at 0.96 and more.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.recognition.face_api import network_input
from jaxface.nets.torch_layers import Conv2d, Linear, average_pool, max_pool

INPUT_SIZE = 150


@dataclasses.dataclass(frozen=True)
class DlibResNetConfig:
    """Size of the network; the defaults are the published one's.

    Args:
        channels: widths of the four sizes of feature maps, none smaller than the one before.
        blocks: residual blocks at each size, beside the one that halves the size.
        embedding: length of the descriptor.
    """

    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    blocks: tuple[int, int, int, int] = (3, 3, 2, 2)
    embedding: int = 128

    def __post_init__(self) -> None:
        if self.channels[0] < 1 or list(self.channels) != sorted(self.channels):
            raise ValueError(f"channels: expected growing widths, got {self.channels}")
        if self.embedding < 1 or min(self.blocks) < 0:
            raise ValueError(
                f"embedding, blocks: expected at least 1 and 0, got {self.embedding}, {self.blocks}"
            )


class ConvScale(nnx.Module):
    """Convolution with bias, then a factor and a shift for each channel."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=padding, rngs=rngs
        )
        self.scale = nnx.Param(jnp.ones((out_channels,)))
        self.shift = nnx.Param(jnp.zeros((out_channels,)))

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H', W', out]."""
        x = self.conv(x)
        return x * self.scale[...].astype(x.dtype) + self.shift[...].astype(x.dtype)


class Residual(nnx.Module):
    """Two convolutions of 3 x 3, plus the input, then a ReLU.

    Args:
        down: the first convolution has stride 2 and no padding, and the input's average over 2 x 2
            takes its place; further channels of it are zero. From an even size the convolution
            gives one row and one column less, which are filled with zeros at the end.
    """

    def __init__(self, in_channels: int, out_channels: int, *, down: bool, rngs: nnx.Rngs):
        self.down = down
        options = {"stride": 2, "padding": 0} if down else {"stride": 1, "padding": 1}
        self.conv1 = ConvScale(in_channels, out_channels, 3, **options, rngs=rngs)
        self.conv2 = ConvScale(out_channels, out_channels, 3, padding=1, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H, W, out], or to half the size."""
        y = self.conv2(jax.nn.relu(self.conv1(x)))
        if self.down:
            x = average_pool(x, 2, stride=2)
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[3] - x.shape[3])))
            missing = [(0, n - m) for n, m in zip(x.shape[1:3], y.shape[1:3], strict=True)]
            y = jnp.pad(y, ((0, 0), *missing, (0, 0)))
        return jax.nn.relu(x + y)


class DlibResNet(nnx.Module):
    """Descriptors of faces: dlib calls two the same person below a distance of 0.6."""

    def __init__(self, config: DlibResNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        channels = config.channels[0]
        self.stem = ConvScale(3, channels, 7, stride=2, rngs=rngs)
        stages = []
        for index, (width, count) in enumerate(zip(config.channels, config.blocks, strict=True)):
            blocks = []
            if index > 0:
                blocks.append(Residual(channels, width, down=True, rngs=rngs))
            blocks += [Residual(width, width, down=False, rngs=rngs) for _ in range(count)]
            stages.append(nnx.List(blocks))
            channels = width
        self.stages = nnx.List(stages)
        self.last = Residual(channels, channels, down=True, rngs=rngs)
        self.linear = Linear(channels, config.embedding, bias=False, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """Descriptors, not normalised: the network was trained for their Euclidean distance.

        Args:
            images: [N, H, W, 3] in [-1, 1], the crop of a face each, of any size.

        Returns:
            [N, embedding].

        Raises:
            ValueError: for images that are not [N, H, W, 3].
        """
        x = network_input("DlibResNet", images, INPUT_SIZE)
        x = max_pool(jax.nn.relu(self.stem(x)), 3, stride=2)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.linear(self.last(x).mean(axis=(1, 2)))
