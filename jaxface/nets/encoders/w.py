"""The encoder into W: one style for all layers, from the mean of the trunk's last map.

``BackboneEncoderUsingLastLayerIntoW`` of pSp, ``SingleStyleCodeEncoder`` in e4e's options.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.latents import broadcast_w
from jaxface.nets.encoders.styles import EncoderConfig, read_portraits
from jaxface.nets.equalized_layers import Dense
from jaxface.nets.recognition.irse import IRSEBody
from jaxface.nets.variables import Buffer


class WEncoder(nnx.Module):
    """Trunk, mean over the map, dense.

    ``w_start`` [w_dim] is what the code is added to: the mean of W, or zeros where an encoder was
    trained without one.
    """

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.body = IRSEBody(config, rngs=rngs)
        self.dense = Dense(config.channels[3], config.w_dim, rngs=rngs)
        self.w_start = Buffer(jnp.zeros((config.w_dim,)))

    def offsets(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n d"]:
        """Codes before ``w_start`` is added: [N, S, S, 3] to [N, w_dim]; see ``__call__``."""
        images = read_portraits("WEncoder", images, self.config.resolution)
        return self.dense(jnp.mean(self.body(images)[-1], axis=(1, 2)))

    def to_w(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n d"]:
        """Embed portraits into W, [N, w_dim]; see ``__call__``."""
        return self.w_start[...] + self.offsets(images)

    def __call__(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Embed portraits.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.

        Returns:
            w_plus: [N, num_ws, w_dim], whose rows are equal.

        Raises:
            ValueError: if the images are not [N, S, S, 3].
        """
        return broadcast_w(self.to_w(images), self.config.num_ws)
