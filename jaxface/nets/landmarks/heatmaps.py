"""A small network for the 68 landmarks of iBUG, for suites without an official one.

Heatmaps read by their mean position ("soft-argmax": Nibali et al. 2018, "Numerical Coordinate
Regression with Convolutional Neural Networks"), from an hourglass with skips. Against a dense layer
that gives coordinates: positions keep their place in the image all the way, so that few weights
reach a fraction of a pixel; against FAN (`jaxface.nets.landmarks.fan`), whose maps are read by
their largest pixel: the answer is differentiable, and trained for itself. At the hourglass's bottom
every feature sees the whole face: hidden landmarks, too, are in a place that the visible ones tell.

Points are (x, y) in pixels of the given images, x to the right, y down, the first pixel's centre at
(0.5, 0.5), as `jaxface.morphable.landmarks` has them.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.reconstruction.image_trunk import ResidualBlock
from jaxface.nets.torch_layers import Conv2d, check_images, resize_bilinear

_SLOPE = 0.1  # of the leaky ReLU


@dataclasses.dataclass(frozen=True)
class LandmarkConfig:
    """Sizes.

    Attributes:
      resolution: what images are resized to, a multiple of 2 ** (len(channels) - 1).
      channels: widths on the way down, from full size; each step halves the image. The way up ends
        at half the size, where the heatmaps are.
      num_landmarks: heatmaps.

    Raises:
      ValueError: the resolution cannot be halved so often, or there is no level below full size.
    """

    resolution: int = 64
    channels: tuple[int, ...] = (16, 32, 48, 64, 96)
    num_landmarks: int = 68

    def __post_init__(self):
        if len(self.channels) < 2 or self.resolution % (1 << (len(self.channels) - 1)):
            raise ValueError(
                f"LandmarkConfig: need two channels or more and a resolution that can be halved "
                f"{len(self.channels) - 1} times, got {self.channels} and {self.resolution}."
            )


class LandmarkNet(nnx.Module):
    """Portraits to landmarks; differentiable in the images."""

    def __init__(self, config: LandmarkConfig, *, rngs: nnx.Rngs):
        self.config = config
        widths = config.channels
        self.stem = Conv2d(3, widths[0], 3, padding=1, rngs=rngs)
        self.downs = nnx.List(
            Conv2d(a, b, 4, stride=2, padding=1, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.beside = nnx.List(ResidualBlock(c, rngs=rngs) for c in widths[1:])
        # From the bottom up; 1 x 1, before the image grows, so that they cost little.
        rising = list(reversed(widths[1:]))
        self.ups = nnx.List(Conv2d(a, b, 1, rngs=rngs) for a, b in itertools.pairwise(rising))
        self.merged = nnx.List(ResidualBlock(c, rngs=rngs) for c in rising[1:])
        self.heat = Conv2d(widths[1], config.num_landmarks, 1, rngs=rngs)
        # Flat heatmaps to begin with: every point in the image's centre.
        self.heat.weight[...] = jnp.zeros_like(self.heat.weight[...])

    def heatmaps(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n r r k"]:
        """Logits of where each landmark is, [N, resolution / 2, resolution / 2, num_landmarks].

        Args:
          images: as for `__call__`.
        """
        check_images("LandmarkNet", images)
        size = (self.config.resolution, self.config.resolution)
        if images.shape[1:3] != size:
            images = resize_bilinear(images, size, align_corners=False, antialias=True)
        x, levels = jax.nn.leaky_relu(self.stem(images), _SLOPE), []
        for down, beside in zip(self.downs, self.beside, strict=True):
            x = beside(jax.nn.leaky_relu(down(x), _SLOPE))
            levels.append(x)
        for up, merged, level in zip(self.ups, self.merged, levels[-2::-1], strict=True):
            x = jnp.repeat(jnp.repeat(up(x), 2, axis=1), 2, axis=2)
            x = merged(jax.nn.leaky_relu(x + level, _SLOPE))
        return self.heat(x)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n k 2"]:
        """Landmarks.

        Args:
          images: [N, H, W, 3] in [-1, 1], framed as the training portraits; resized, with
            antialiasing, where they are not `resolution` pixels wide.

        Returns:
          [N, num_landmarks, 2] in pixels of `images`.

        Raises:
          ValueError: the images are not [N, H, W, 3].
        """
        heat = self.heatmaps(images)
        weights = jax.nn.softmax(heat.astype(jnp.float32), axis=(1, 2))
        _, height, width, _ = images.shape
        across, down = (
            (jnp.arange(count, dtype=jnp.float32) + 0.5) * (length / count)
            for count, length in zip(heat.shape[2:0:-1], (width, height), strict=True)
        )
        precision = jax.lax.Precision.HIGHEST
        x = jnp.einsum("nhwk,w->nk", weights, across, precision=precision)
        y = jnp.einsum("nhwk,h->nk", weights, down, precision=precision)
        return jnp.stack([x, y], axis=-1)
