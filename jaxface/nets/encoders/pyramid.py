"""Encoders with a feature pyramid: pSp (Richardson et al. 2021) and e4e (Tov et al. 2021).

Both are an IR-SE50 trunk, a pyramid over its last three stages, and a block for each style:
``GradualStyleEncoder`` and ``Encoder4Editing`` of encoder4editing (``models/encoders/
psp_encoders.py``), which have the same weights and differ in what a block's output means.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.encoders.styles import (
    EncoderConfig,
    StyleBlock,
    progressive,
    read_portraits,
    stacked,
    styles_at,
)
from jaxface.nets.recognition.irse import IRSEBody
from jaxface.nets.torch_layers import Conv2d, resize_bilinear
from jaxface.nets.variables import Buffer

# Styles from this one on are read off the middle and the finest map.
MIDDLE, FINE = 3, 7


class PyramidEncoder(nnx.Module):
    """Trunk, pyramid and style blocks.

    ``w_start`` [num_ws, w_dim] is what the codes are added to: the mean of W+, or zeros where an
    encoder was trained without one.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        width = config.channels[3]
        self.body = IRSEBody(config, rngs=rngs)
        self.lateral1 = Conv2d(config.channels[2], width, 1, rngs=rngs)
        self.lateral2 = Conv2d(config.channels[1], width, 1, rngs=rngs)
        self.styles = nnx.List(
            StyleBlock(config, side=config.last_side << _level(style), rngs=rngs)
            for style in range(config.num_ws)
        )
        self.w_start = Buffer(jnp.zeros((config.num_ws, config.w_dim)))

    def offsets(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Codes before ``w_start`` is added: [N, S, S, 3] to [N, num_ws, w_dim]."""
        raise NotImplementedError

    def __call__(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Embed portraits.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.

        Returns:
            w_plus: [N, num_ws, w_dim].

        Raises:
            ValueError: if the images are not [N, S, S, 3].
        """
        return self.w_start[...] + self.offsets(images)

    def _codes(self, images: jax.Array, count: int) -> list[jax.Array]:
        """The first ``count`` style blocks' outputs, [N, w_dim] each."""
        images = read_portraits(type(self).__name__, images, self.config.resolution)
        _, fine, middle, coarse = self.body(images)
        maps = [coarse]
        for lateral, finer in ((self.lateral1, middle), (self.lateral2, fine)):
            raised = resize_bilinear(maps[-1], finer.shape[1:3], align_corners=True)
            maps.append(raised + lateral(finer))
        return [self.styles[style](maps[_level(style)]) for style in range(count)]


class PSPEncoder(PyramidEncoder):
    """pSp's encoder: each style is its block's output."""

    def offsets(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Codes before ``w_start`` is added; see ``__call__``."""
        return stacked(self._codes(images, self.config.num_ws))


class E4EEncoder(PyramidEncoder):
    """e4e's encoder: one w, and for each later style what it deviates from it."""

    def offsets(
        self, images: Float[Array, "n s s 3"], stage: int | None = None
    ) -> Float[Array, "n l d"]:
        """Codes before ``w_start`` is added; see ``__call__``.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1].
            stage: of the progressive training: styles after this one are the first. None for all.

        Returns:
            [N, num_ws, w_dim].

        Raises:
            ValueError: if the images are not [N, S, S, 3], or for a stage outside 0 ... num_ws.
        """
        codes = self._codes(images, styles_at(stage, self.config.num_ws))
        return progressive(codes, self.config.num_ws)


def _level(style: int) -> int:
    """Which map a style is read off: 0 the coarsest, each further one twice as large."""
    return 0 if style < MIDDLE else 1 if style < FINE else 2
