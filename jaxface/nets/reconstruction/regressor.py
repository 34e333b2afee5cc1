"""A convolutional encoder from portraits to face parameters, for suites without an official one.

MoFA (Tewari et al. 2017, section 4) takes AlexNet or VGG-Face for this; at 64 px a narrow residual
network of the same purpose does.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.reconstruction.close_ups import CloseUps
from jaxface.nets.reconstruction.image_trunk import ImageTrunk
from jaxface.nets.torch_layers import Linear, resize_bilinear
from jaxface.nets.variables import Buffer
from jaxface.vocabulary import Basis


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
      close_ups: whether the network finds the eyes and the mouth and reads those once more, cut out
        and enlarged; see `jaxface.nets.reconstruction.close_ups`.
    """

    resolution: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    hidden: int = 256
    outputs: int = 257
    basis: Basis = "embedded"
    close_ups: bool = False

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


class FaceReconstruction(ImageTrunk, ParameterRegressor):
    """Portraits to flat face parameters, PIE's 257 (`jaxface.morphable.FaceParameters`)."""

    def __init__(self, config: ReconstructionConfig, *, rngs: nnx.Rngs):
        self.config = config
        ImageTrunk.__init__(self, config.resolution, config.channels, config.hidden, rngs=rngs)
        ParameterRegressor.__init__(self, config.hidden, config.outputs, rngs=rngs)
        self.close_ups = CloseUps(config.hidden, rngs=rngs) if config.close_ups else None

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
        return self._seen(images)[0]

    def read(
        self, images: Float[Array, "n h w 3"]
    ) -> tuple[Float[Array, "n p"], Float[Array, "n 3 3"] | None]:
        """The parameters, and where the network looked closer; see `__call__`.

        Returns:
          [N, outputs]; and `jaxface.nets.reconstruction.close_ups.feature_places` as it takes them
          to be, None of a network without close-ups.
        """
        features, places = self._seen(images)
        return self.parameters(features), places

    def _seen(self, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"FaceReconstruction: expected [N, H, W, 3], got {images.shape}.")
        size = (self.config.resolution, self.config.resolution)
        if images.shape[1:3] != size:
            images = resize_bilinear(images, size, align_corners=False, antialias=True)
        features = self.encode(images)
        if self.close_ups is None:
            return features, None
        return self.close_ups(features, images)
