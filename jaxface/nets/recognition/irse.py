"""Improved residual networks for faces: ArcFace's IR-50 and IR-SE50, and the trunk of encoders.

The architecture of TreB1eN/InsightFace_Pytorch (``model.py``, ``Backbone``) after Deng et al. 2019
("ArcFace"): a stem, four stages of bottlenecks that each halve the sides, and an
output layer. pSp, e4e and ReStyle put heads of their own on the same stem and stages
(``jaxface.nets.encoders``), so these are a module by themselves.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import BatchNorm, Conv2d, Linear, PReLU, adaptive_average_pool

# Each stage's first unit has stride 2.
STAGES = 4
BODY_STRIDE = 2**STAGES


@dataclasses.dataclass(frozen=True)
class IRSEBodyConfig:
    """Widths and depths of stem and stages. The defaults are IR-SE50's.

    Raises:
        ValueError: if a size is not positive.
    """

    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Feature maps of each stage; the stem has the first stage's."""
    units: tuple[int, int, int, int] = (3, 4, 14, 3)
    """Bottlenecks of each stage."""
    reduction: int | None = 16
    """Squeeze-and-excitation narrows by this, to one at least; None has none (IR-50)."""

    def __post_init__(self) -> None:
        sizes = (*self.channels, *self.units, 1 if self.reduction is None else self.reduction)
        if len(self.channels) != STAGES or len(self.units) != STAGES or min(sizes) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected {STAGES} positive channels and units and a "
                f"positive reduction, got {self.channels}, {self.units} and {self.reduction}"
            )


@dataclasses.dataclass(frozen=True)
class IRSEConfig(IRSEBodyConfig):
    """Sizes of the recognition network and its reading of portraits.

    The defaults are ``model_ir_se50.pth``'s, read as pSp's and e4e's identity loss reads it
    (``criteria/id_loss.py``).

    Raises:
        ValueError: if a size is not positive, the resolution no multiple of 16, or the crop not
            inside the portrait.
    """

    embedding_dim: int = 512
    resolution: int = 112
    """Side of the face crops."""
    output_affine: bool = True
    """Whether the last normalisation has weight and bias of its own."""
    portrait_size: int = 256
    """Aligned portraits are averaged to this side before the face is cut out."""
    crop: tuple[int, int, int, int] = (35, 223, 32, 220)
    """The face in such a portrait: first row, the row after its last, and its columns so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        top, bottom, left, right = self.crop
        if self.resolution < BODY_STRIDE or self.resolution % BODY_STRIDE or self.embedding_dim < 1:
            raise ValueError(
                f"IRSEConfig: expected a resolution that is a multiple of {BODY_STRIDE} and a "
                f"positive embedding_dim, got {self.resolution} and {self.embedding_dim}"
            )
        inside = 0 <= top < bottom <= self.portrait_size and 0 <= left < right <= self.portrait_size
        if not inside:
            raise ValueError(
                f"IRSEConfig.crop: expected rows and columns inside {self.portrait_size} px, got "
                f"{self.crop}"
            )


class Unit(nnx.Module):
    """A bottleneck: norm, 3 x 3, PReLU, 3 x 3 with the stride, norm, squeeze; plus a shortcut."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        reduction: int | None,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        wider = in_channels != channels
        self.shortcut = (
            Conv2d(in_channels, channels, 1, stride=stride, bias=False, rngs=rngs)
            if wider
            else None
        )
        self.shortcut_norm = BatchNorm(channels, rngs=rngs) if wider else None
        self.norm1 = BatchNorm(in_channels, rngs=rngs)
        self.conv1 = Conv2d(in_channels, channels, 3, padding=1, bias=False, rngs=rngs)
        self.prelu = PReLU(channels, rngs=rngs)
        self.conv2 = Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False, rngs=rngs)
        self.norm2 = BatchNorm(channels, rngs=rngs)
        narrow = 0 if reduction is None else max(1, channels // reduction)
        self.squeeze = Linear(channels, narrow, bias=False, rngs=rngs) if narrow else None
        self.excite = Linear(narrow, channels, bias=False, rngs=rngs) if narrow else None

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in_channels] to [N, ceil(H / stride), ceil(W / stride), channels]."""
        y = self.prelu(self.conv1(self.norm1(x)))
        y = self.norm2(self.conv2(y))
        if self.squeeze is not None and self.excite is not None:
            gate = self.excite(jax.nn.relu(self.squeeze(jnp.mean(y, axis=(1, 2)))))
            y = y * jax.nn.sigmoid(gate)[:, None, None]
        if self.shortcut is not None and self.shortcut_norm is not None:
            return y + self.shortcut_norm(self.shortcut(x))
        # The reference's 1 x 1 maximum pooling.
        return y + x[:, :: self.stride, :: self.stride]


class IRSEBody(nnx.Module):
    """Stem and stages.

    Args:
        in_channels: 3 for an image, 6 for two.
    """

    def __init__(self, config: IRSEBodyConfig, *, in_channels: int = 3, rngs: nnx.Rngs):
        self.counts = config.units
        width = config.channels[0]
        self.conv = Conv2d(in_channels, width, 3, padding=1, bias=False, rngs=rngs)
        self.norm = BatchNorm(width, rngs=rngs)
        self.prelu = PReLU(width, rngs=rngs)
        units = []
        for channels, count in zip(config.channels, config.units, strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                units.append(
                    Unit(width, channels, stride=stride, reduction=config.reduction, rngs=rngs)
                )
                width = channels
        self.units = nnx.List(units)

    def stem(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """[N, H, W, in_channels] in [-1, 1] to [N, H, W, channels[0]]."""
        return self.prelu(self.norm(self.conv(x)))

    def __call__(self, x: Float[Array, "n h w i"]) -> list[Float[Array, "n _ _ _"]]:
        """The four stages' outputs, [N, H / 2 ** s, W / 2 ** s, channels[s - 1]] for s = 1 ... 4.

        Args:
            x: [N, H, W, in_channels] in [-1, 1].
        """
        x, outputs = self.stem(x), []
        ends = set(itertools.accumulate(self.counts))
        for number, unit in enumerate(self.units, 1):
            x = unit(x)
            if number in ends:
                outputs.append(x)
        return outputs


class IRSE(nnx.Module):
    """Face recognition: portraits or face crops to embeddings of unit length.

    ``network(portraits)`` takes images aligned as FFHQ's, of any size: averaged to 256 px (the
    ``AdaptiveAvgPool2d`` that pSp's and e4e's training apply to what the generator makes), the face
    cut out at rows 35 to 222 and columns 32 to 219, and averaged to 112 px.
    ``network.embed(crops)`` takes 112 px crops aligned as ArcFace's training data. Both are RGB in
    [-1, 1], the network's own range (``config.py``: mean 0.5 and deviation 0.5 of [0, 1]).
    """

    def __init__(self, config: IRSEConfig, *, rngs: nnx.Rngs):
        self.config = config
        width, side = config.channels[-1], config.resolution // BODY_STRIDE
        self.body = IRSEBody(config, rngs=rngs)
        self.norm = BatchNorm(width, rngs=rngs)
        self.dense = Linear(side * side * width, config.embedding_dim, rngs=rngs)
        self.output_norm = BatchNorm(config.embedding_dim, affine=config.output_affine, rngs=rngs)

    def __call__(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n d"]:
        """Embeddings of aligned portraits.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's.

        Returns:
            [N, embedding_dim] of unit length.

        Raises:
            ValueError: if the images are not [N, S, S, 3].
        """
        return self.embed(self.crop(images))

    def crop(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n r r 3"]:
        """Face crops [N, resolution, resolution, 3] of aligned portraits; see ``__call__``."""
        check_portraits("IRSE", images)
        size = self.config.portrait_size
        if images.shape[1] != size:
            images = adaptive_average_pool(images, size)
        top, bottom, left, right = self.config.crop
        return adaptive_average_pool(images[:, top:bottom, left:right], self.config.resolution)

    def embed(self, crops: Float[Array, "n r r 3"]) -> Float[Array, "n d"]:
        """Embeddings of face crops.

        Args:
            crops: [N, resolution, resolution, 3] RGB in [-1, 1], aligned as ArcFace's.

        Returns:
            [N, embedding_dim] of unit length.

        Raises:
            ValueError: if the crops have another shape.
        """
        x = self.features(crops)
        # Without an epsilon, as the reference's l2_norm.
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    def features(self, crops: Float[Array, "n r r 3"]) -> Float[Array, "n d"]:
        """What ``embed`` scales to unit length: [N, embedding_dim]."""
        side = self.config.resolution
        if crops.ndim != 4 or crops.shape[1:] != (side, side, 3):
            raise ValueError(
                f"IRSE.embed: expected face crops [N, {side}, {side}, 3], got {list(crops.shape)}"
            )
        x = self.norm(self.body(crops)[-1])
        return self.output_norm(self.dense(x.reshape(x.shape[0], -1)))


def check_portraits(name: str, images: jax.Array) -> None:
    """Refuse what is no batch of square RGB images.

    Raises:
        ValueError: naming the network and the shape.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(
            f"{name}: expected aligned portraits [N, S, S, 3], got {list(images.shape)}"
        )
