"""The convolutional trunk of the in-domain and latent difference encoders: images to one vector.

Of the code of Zhu et al. 2020 ("In-Domain GAN Inversion") as Herrmann and Zengerle 2020 use it: a
3 x 3 convolution, then residual blocks down to 4 x 4, each after a mean over 2 x 2. Convolutions
have no bias, norms no gain, and the leaky ReLU keeps a fifth of what is negative.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import BatchNorm, Conv2d, Linear, average_pool
from jaxface.nets.variables import Buffer

SLOPE = 0.2
LAST_SIDE = 4
"""Side of the last map."""

DEVIATION = 0.02
"""Of initial weights (the code computes a gain after He and does not use it)."""


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """Sizes. The defaults are the published ones for images of 128 px.

    Raises:
        ValueError: for a resolution that is no power of two from 8, or widths below 1.
    """

    resolution: int = 128
    """Side of the images that are read."""
    width: int = 64
    """Channels at full size (``filter``); they double with each halving of the side."""
    max_width: int = 1024
    """Channels at most (``filter_max``)."""

    def __post_init__(self) -> None:
        if self.resolution not in [2**k for k in range(3, 12)]:
            raise ValueError(
                f"{type(self).__name__}.resolution: expected a power of two in 8..2048, got "
                f"{self.resolution}"
            )
        if min(self.width, self.max_width) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected a positive width and max_width, got "
                f"{self.width} and {self.max_width}"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps, from full size to 4 x 4."""
        halvings = (self.resolution // LAST_SIDE).bit_length() - 1
        return tuple(min(self.width << k, self.max_width) for k in range(halvings + 1))

    @property
    def flat_size(self) -> int:
        """Numbers of the last map."""
        return LAST_SIDE**2 * self.channels[-1]


def small_normal(linear: Conv2d | Linear, rngs: nnx.Rngs) -> None:
    """Gives a layer the published initial weights."""
    weight = linear.weight
    weight[...] = DEVIATION * jax.random.normal(rngs.params(), weight.shape)


def activated(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Leaky ReLU of slope 0.2."""
    return jax.nn.leaky_relu(x, SLOPE)


class ConvNorm(nnx.Module):
    """Convolution without bias, norm without gain, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, rngs: nnx.Rngs):
        self.conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            bias=False,
            rngs=rngs,
        )
        small_normal(self.conv, rngs)
        self.norm = BatchNorm(out_channels, gain=False, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """[N, H, W, in] to [N, H, W, out]."""
        return activated(self.norm(self.conv(x)))


class ResidualBlock(nnx.Module):
    """Two 3 x 3 convolutions beside the input, or its 1 x 1 convolution where widths differ."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        inner = min(in_channels, out_channels)
        self.shortcut = (
            ConvNorm(in_channels, out_channels, 1, rngs=rngs)
            if in_channels != out_channels
            else None
        )
        self.first = ConvNorm(in_channels, inner, 3, rngs=rngs)
        self.second = ConvNorm(inner, out_channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """[N, H, W, in] to [N, H, W, out]; no activation after the sum."""
        beside = x if self.shortcut is None else self.shortcut(x)
        return beside + self.second(self.first(x))


class ResidualTrunk(nnx.Module):
    """Images of any number of channels to a flat vector."""

    def __init__(self, config: TrunkConfig, in_channels: int, *, rngs: nnx.Rngs):
        self.config = config
        widths = config.channels
        self.stem = ConvNorm(in_channels, widths[0], 3, rngs=rngs)
        self.blocks = nnx.List(
            ResidualBlock(a, b, rngs=rngs) for a, b in itertools.pairwise(widths)
        )

    def __call__(self, images: Float[Array, "n r r c"]) -> Float[Array, "n f"]:
        """[N, resolution, resolution, C] in [-1, 1] to [N, ``config.flat_size``].

        While the network is in ``train()`` its norms take the statistics of these N images.
        """
        x = self.stem(images)
        for block in self.blocks:
            x = block(average_pool(x, 2, stride=2))
        return x.reshape(len(x), -1)


def check_square(name: str, images: Float[Array, "..."], side: int, *, channels: int = 3) -> None:
    """Refuse images of another size.

    Raises:
        ValueError: unless the images are [N, side, side, channels].
    """
    if images.ndim != 4 or images.shape[1:] != (side, side, channels):
        raise ValueError(
            f"{name}: expected images [N, {side}, {side}, {channels}], got {list(images.shape)}"
        )


class StyleHead(nnx.Module):
    """The trunk's vector to codes of W+.

    Args:
        start: whether codes are added to ``w_start`` and begin there; else they are normalised over
            the batch without a gain, as in the code, whose codes so have a variance of 1.
    """

    def __init__(self, in_features: int, num_ws: int, w_dim: int, *, start: bool, rngs: nnx.Rngs):
        size = num_ws * w_dim
        self.shape = (num_ws, w_dim)
        self.dense = Linear(in_features, size, bias=start, rngs=rngs)
        self.w_start = Buffer(jnp.zeros((w_dim,))) if start else None
        self.norm = None if start else BatchNorm(size, gain=False, rngs=rngs)
        if start:
            self.dense.weight[...] = jnp.zeros((in_features, size))
        else:
            small_normal(self.dense, rngs)

    def __call__(self, x: Float[Array, "n f"]) -> Float[Array, "n l d"]:
        """[N, in_features] to [N, num_ws, w_dim]."""
        y = self.dense(x)
        if self.norm is not None:
            return self.norm(y).reshape(-1, *self.shape)
        assert self.w_start is not None
        return self.w_start[...] + y.reshape(-1, *self.shape)
