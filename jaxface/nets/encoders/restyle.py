"""ReStyle's encoders (Alaluf et al. 2021): a portrait and what was made of it so far to a step.

An IR-SE50 trunk with six input channels, and every style read off its last map: ``BackboneEncoder``
over pSp and ``ProgressiveBackboneEncoder`` over e4e of restyle-encoder (``models/encoders/``). The
iteration itself is ``jaxface.methods.restyle``.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.encoders.styles import (
    EncoderConfig,
    StyleBlock,
    progressive,
    read_generated,
    read_portraits,
    stacked,
    styles_at,
)
from jaxface.nets.recognition.irse import IRSEBody
from jaxface.nets.variables import Buffer


class RestyleEncoder(nnx.Module):
    """Trunk of two images, and style blocks.

    ``w_start`` [num_ws, w_dim] is where the iteration begins: the mean of W+.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.body = IRSEBody(config, in_channels=6, rngs=rngs)
        self.styles = nnx.List(
            StyleBlock(config, side=config.last_side, rngs=rngs) for _ in range(config.num_ws)
        )
        self.w_start = Buffer(jnp.zeros((config.num_ws, config.w_dim)))

    def offsets(
        self, images: Float[Array, "n s s 3"], generated: Float[Array, "n r r 3"]
    ) -> Float[Array, "n l d"]:
        """The step from the codes of ``generated``; see ``__call__``. [N, num_ws, w_dim]."""
        raise NotImplementedError

    def __call__(
        self,
        images: Float[Array, "n s s 3"],
        generated: Float[Array, "n r r 3"],
        w_plus: Float[Array, "n l d"],
    ) -> Float[Array, "n l d"]:
        """One iteration.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.
            generated: [N, R, R, 3], what the generator makes of ``w_plus``, of any size.
            w_plus: [N, num_ws, w_dim].

        Returns:
            The next w_plus, [N, num_ws, w_dim].

        Raises:
            ValueError: if the images are not square RGB.
        """
        return w_plus + self.offsets(images, generated)

    def _codes(self, images: jax.Array, generated: jax.Array, count: int) -> list[jax.Array]:
        """The first ``count`` style blocks' outputs, [N, w_dim] each."""
        name, side = type(self).__name__, self.config.resolution
        # What the generator made is float32; the trunk computes in the portraits' dtype.
        generated = generated.astype(images.dtype)
        pair = [read_portraits(name, images, side), read_generated(name, generated, side)]
        last = self.body(jnp.concatenate(pair, axis=-1))[-1]
        return [self.styles[style](last) for style in range(count)]


class RestylePSPEncoder(RestyleEncoder):
    """ReStyle over pSp: each style's step is its block's output."""

    def offsets(
        self, images: Float[Array, "n s s 3"], generated: Float[Array, "n r r 3"]
    ) -> Float[Array, "n l d"]:
        """The step from the codes of ``generated``; see ``__call__``. [N, num_ws, w_dim]."""
        return stacked(self._codes(images, generated, self.config.num_ws))


class RestyleE4EEncoder(RestyleEncoder):
    """ReStyle over e4e: one step for all styles, and what each later one's deviates from it."""

    def offsets(
        self,
        images: Float[Array, "n s s 3"],
        generated: Float[Array, "n r r 3"],
        *,
        stage: int | None = None,
    ) -> Float[Array, "n l d"]:
        """The step from the codes of ``generated``; see ``__call__``.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1].
            generated: [N, R, R, 3].
            stage: of the progressive training: styles after this one are the first. None for all.

        Returns:
            [N, num_ws, w_dim].

        Raises:
            ValueError: if the images are not square RGB, or for a stage outside 0 ... num_ws.
        """
        codes = self._codes(images, generated, styles_at(stage, self.config.num_ws))
        return progressive(codes, self.config.num_ws)
