"""The residual trunk of the networks that read faces from small images."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import Conv2d, Linear

SLOPE = 0.1
"""Of the leaky ReLU."""


class ResidualBlock(nnx.Module):
    """x + f(x) with two 3 x 3 convolutions."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv0 = Conv2d(channels, channels, 3, padding=1, rngs=rngs)
        self.conv1 = Conv2d(channels, channels, 3, padding=1, rngs=rngs)
        # The block begins as the identity: no normalisation is needed.
        self.gain = nnx.Param(jnp.zeros(()))

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, channels]."""
        y = self.conv1(jax.nn.leaky_relu(self.conv0(x), SLOPE))
        return jax.nn.leaky_relu(x + self.gain[...].astype(x.dtype) * y, SLOPE)


class ImageTrunk(nnx.Module):
    """A convolution, halvings of the image with a residual block each, and a dense layer.

    Args:
      resolution: of the images, a multiple of 2 ** (len(channels) - 1).
      channels: of the stages; each but the first begins by halving the image.
      features: width of the dense layer.
      rngs: of the first weights.
    """

    def __init__(self, resolution: int, channels: Sequence[int], features: int, *, rngs: nnx.Rngs):
        self.stem = Conv2d(3, channels[0], 3, padding=1, rngs=rngs)
        self.downs = nnx.List(
            Conv2d(a, b, 4, stride=2, padding=1, rngs=rngs) for a, b in itertools.pairwise(channels)
        )
        self.residuals = nnx.List(ResidualBlock(c, rngs=rngs) for c in channels[1:])
        side = resolution >> (len(channels) - 1)
        self.hidden = Linear(side * side * channels[-1], features, rngs=rngs)

    def encode(self, images: Float[Array, "n r r 3"]) -> Float[Array, "n d"]:
        """Images [N, resolution, resolution, 3] in [-1, 1] to [N, features]."""
        x = jax.nn.leaky_relu(self.stem(images), SLOPE)
        for down, residual in zip(self.downs, self.residuals, strict=True):
            x = residual(jax.nn.leaky_relu(down(x), SLOPE))
        return jax.nn.leaky_relu(self.hidden(x.reshape(x.shape[0], -1)), SLOPE)
