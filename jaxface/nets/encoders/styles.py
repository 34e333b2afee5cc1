"""What the encoders share: sizes, their reading of portraits, and the way from a map to a style."""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.equalized_layers import Dense
from jaxface.nets.recognition.irse import BODY_STRIDE, IRSEBodyConfig, check_portraits
from jaxface.nets.torch_layers import Conv2d, adaptive_average_pool, resize_bilinear

# torch.nn.LeakyReLU's default, unlike the 0.2 of StyleGAN2.
SLOPE = 0.01


@dataclasses.dataclass(frozen=True)
class EncoderConfig(IRSEBodyConfig):
    """Sizes of an encoder. The defaults are the published ones for FFHQ at 1024.

    Raises:
        ValueError: for sizes that are not positive or a resolution that is no power of two from 32.
    """

    num_ws: int = 18
    """Styles in W+, ``2 log2(the generator's resolution) - 2``."""
    w_dim: int = 512
    resolution: int = 256
    """Side of the portraits that the trunk reads."""
    style_channels: int | None = None
    """Width of the convolutions between a map and its style; None for ``w_dim``, as published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.num_ws, self.w_dim, self.style_width) < 1:
            raise ValueError(
                f"EncoderConfig: expected a positive num_ws, w_dim and style_channels, got "
                f"{self.num_ws}, {self.w_dim} and {self.style_channels}"
            )
        if self.resolution not in [2**k for k in range(5, 12)]:
            raise ValueError(
                "EncoderConfig.resolution: expected a power of two in 32..2048, got "
                f"{self.resolution}"
            )

    @property
    def style_width(self) -> int:
        """Width of the style blocks' convolutions."""
        return self.w_dim if self.style_channels is None else self.style_channels

    @property
    def last_side(self) -> int:
        """Side of the last stage's maps."""
        return self.resolution // BODY_STRIDE


class StyleBlock(nnx.Module):
    """A feature map to one style: 3 x 3 convolutions of stride 2 down to a point, then dense.

    ``GradualStyleBlock`` of pSp (Richardson et al. 2021), map2style in the paper.

    Args:
        config: of the encoder.
        side: of the map, a power of two from 2.
    """

    def __init__(self, config: EncoderConfig, *, side: int, rngs: nnx.Rngs):
        width = config.style_width
        widths = [config.channels[3]] + [width] * (side.bit_length() - 1)
        self.convs = nnx.List(
            Conv2d(a, b, 3, stride=2, padding=1, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.dense = Dense(width, config.w_dim, rngs=rngs)

    def __call__(self, x: Float[Array, "n h h c"]) -> Float[Array, "n d"]:
        """[N, side, side, channels[3]] to [N, w_dim]."""
        for conv in self.convs:
            x = jax.nn.leaky_relu(conv(x), SLOPE)
        return self.dense(x[:, 0, 0])


def stacked(codes: Sequence[Float[Array, "n d"]]) -> Float[Array, "n l d"]:
    """pSp's codes: each style is its block's. [N, len(codes), w_dim]."""
    return jnp.stack(codes, axis=1)


def progressive(codes: Sequence[Float[Array, "n d"]], num_ws: int) -> Float[Array, "n {num_ws} d"]:
    """e4e's codes: the first style is w, each later one w plus its block's.

    Args:
        codes: the first block's output and those of the styles that differ from it so far.

    Returns:
        [N, num_ws, w_dim].
    """
    w, *deltas = codes
    rows = [w, *(w + delta for delta in deltas)]
    return jnp.stack(rows + [w] * (num_ws - len(rows)), axis=1)


def styles_at(stage: int | None, num_ws: int) -> int:
    """How many styles have a block of their own at a progressive stage; None for all.

    Raises:
        ValueError: for a stage outside 0 ... num_ws.
    """
    if stage is None:
        return num_ws
    if not 0 <= stage <= num_ws:
        raise ValueError(f"e4e: expected a progressive stage in 0..{num_ws}, got {stage}")
    return min(stage + 1, num_ws)


def read_portraits(
    name: str, images: Float[Array, "n s s 3"], resolution: int
) -> Float[Array, "n {resolution} {resolution} 3"]:
    """Portraits at the trunk's resolution, as the originals' transforms give them.

    They read files with torchvision's ``Resize((256, 256))`` of a PIL image, which is bilinear and
    antialiased where it shrinks, and scale to [-1, 1]. PIL rounds to 8 bits afterwards; this does
    not.

    Args:
        images: [N, S, S, 3] RGB in [-1, 1].

    Returns:
        [N, resolution, resolution, 3].

    Raises:
        ValueError: if the images are not [N, S, S, 3].
    """
    check_portraits(name, images)
    if images.shape[1] == resolution:
        return images
    return resize_bilinear(images, (resolution, resolution), align_corners=False, antialias=True)


def read_generated(
    name: str, images: Float[Array, "n s s 3"], resolution: int
) -> Float[Array, "n {resolution} {resolution} 3"]:
    """A generator's images at the trunk's resolution: the originals' ``face_pool``, which averages.

    Args:
        images: [N, S, S, 3] in [-1, 1].

    Returns:
        [N, resolution, resolution, 3].

    Raises:
        ValueError: if the images are not [N, S, S, 3].
    """
    check_portraits(name, images)
    if images.shape[1] == resolution:
        return images
    return adaptive_average_pool(images, resolution)
