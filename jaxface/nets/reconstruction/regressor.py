"""A convolutional encoder from portraits to face parameters, for suites without an official one.

MoFA (Tewari et al. 2017, section 4) takes AlexNet or VGG-Face for this; at 64 px a narrow residual
network of the same purpose does.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import Conv2d, Linear, resize_bilinear
from jaxface.nets.variables import Buffer
from jaxface.vocabulary import Basis

_SLOPE = 0.1  # of the leaky ReLU


@dataclasses.dataclass(frozen=True)
class ReconstructionConfig:
    """Sizes.

    Attributes:
      resolution: what images are resized to, a multiple of 2 ** (len(channels) - 1).
      channels: of the stages; each but the first begins by halving the image.
      hidden: width of the layer before the parameters.
      outputs: number of parameters.
      basis: whose face model they are of, the embedded world's version 2, "embedded", or version
        3, "anatomical".
    """

    resolution: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    hidden: int = 256
    outputs: int = 257
    basis: Basis = "embedded"

    def __post_init__(self):
        if self.basis not in ("embedded", "anatomical"):
            raise ValueError(
                f"ReconstructionConfig: basis must be 'embedded' or 'anatomical', got "
                f"{self.basis!r}."
            )
        if not self.channels or self.resolution % (1 << (len(self.channels) - 1)):
            raise ValueError(
                f"ReconstructionConfig: {self.resolution} px cannot be halved "
                f"{len(self.channels) - 1} times."
            )


class ResidualBlock(nnx.Module):
    """x + f(x) with two 3 x 3 convolutions."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv0 = Conv2d(channels, channels, 3, padding=1, rngs=rngs)
        self.conv1 = Conv2d(channels, channels, 3, padding=1, rngs=rngs)
        # The block begins as the identity: no normalisation is needed.
        self.gain = nnx.Param(jnp.zeros(()))

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, channels]."""
        y = self.conv1(jax.nn.leaky_relu(self.conv0(x), _SLOPE))
        return jax.nn.leaky_relu(x + self.gain[...].astype(x.dtype) * y, _SLOPE)


class ParameterRegressor(nnx.Module):
    """The end of a reconstruction network: features to parameters.

    The last layer's output is in units of `scale` around `mean`: stored arrays, set to the
    parameters' distribution when the network is made. It begins at zero.
    """

    def __init__(self, features: int, outputs: int, *, rngs: nnx.Rngs):
        self.out = Linear(features, outputs, rngs=rngs)
        self.out.weight[...] = jnp.zeros_like(self.out.weight[...])
        self.mean = Buffer(jnp.zeros((outputs,)))
        self.scale = Buffer(jnp.ones((outputs,)))

    def parameters(self, x: Float[Array, "n i"]) -> Float[Array, "n p"]:
        """[N, features] to [N, outputs]."""
        return self.mean[...] + self.scale[...] * self.out(x)


class FaceReconstruction(ParameterRegressor):
    """Portraits to flat face parameters, PIE's 257 (`jaxface.morphable.FaceParameters`)."""

    def __init__(self, config: ReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.stem = Conv2d(3, config.channels[0], 3, padding=1, rngs=rngs)
        self.downs = nnx.List(
            Conv2d(a, b, 4, stride=2, padding=1, rngs=rngs)
            for a, b in itertools.pairwise(config.channels)
        )
        self.residuals = nnx.List(ResidualBlock(c, rngs=rngs) for c in config.channels[1:])
        side = config.resolution >> (len(config.channels) - 1)
        self.hidden = Linear(side * side * config.channels[-1], config.hidden, rngs=rngs)
        super().__init__(config.hidden, config.outputs, rngs=rngs)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n p"]:
        """Estimates the parameters.

        Args:
          images: [N, H, W, 3] in [-1, 1], framed as the training portraits; resized, with
            antialiasing, where they are not `resolution` pixels wide.

        Returns:
          [N, outputs].

        Raises:
          ValueError: the images are not [N, H, W, 3].
        """
        return self.parameters(self.features(images))

    @property
    def basis(self) -> Basis:
        """Of the face model that the parameters are of, see `jaxface.morphable.bases.basis_of`."""
        return self.config.basis

    def features(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """What the parameters are read from, [N, hidden]; see `__call__`."""
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"FaceReconstruction: expected [N, H, W, 3], got {images.shape}.")
        size = (self.config.resolution, self.config.resolution)
        if images.shape[1:3] != size:
            images = resize_bilinear(images, size, align_corners=False, antialias=True)
        x = jax.nn.leaky_relu(self.stem(images), _SLOPE)
        for down, residual in zip(self.downs, self.residuals, strict=True):
            x = residual(jax.nn.leaky_relu(down(x), _SLOPE))
        return jax.nn.leaky_relu(self.hidden(x.reshape(x.shape[0], -1)), _SLOPE)
