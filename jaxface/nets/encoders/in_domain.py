"""The encoder of in-domain inversion (Zhu et al. 2020), as the Latent Difference Encoder's authors
train it: a residual trunk and one dense layer to all rows of W+.
"""

import dataclasses

from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.encoders.residual_trunk import ResidualTrunk, StyleHead, TrunkConfig
from jaxface.nets.encoders.styles import read_portraits


@dataclasses.dataclass(frozen=True)
class InDomainConfig(TrunkConfig):
    """Sizes. The defaults are the published ones for a generator of 128 px.

    Raises:
        ValueError: as `TrunkConfig`, and for an empty W+.
    """

    num_ws: int = 12
    """Rows of W+, ``2 log2(the generator's resolution) - 2``."""
    w_dim: int = 512
    normalised: bool = False
    """Codes are normalised over the batch without a gain, as in the code; else they are what is
    added to the mean of W."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.num_ws, self.w_dim) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected a positive num_ws and w_dim, got {self.num_ws} "
                f"and {self.w_dim}"
            )


class InDomainEncoder(nnx.Module):
    """Portraits to W+; every row has weights of its own."""

    def __init__(self, config: InDomainConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResidualTrunk(config, 3, rngs=rngs)
        self.head = StyleHead(
            config.flat_size, config.num_ws, config.w_dim, start=not config.normalised, rngs=rngs
        )

    def __call__(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Embed portraits.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.

        Returns:
            w_plus: [N, num_ws, w_dim]. While the network is in ``train()`` its norms take the
            statistics of these N images.

        Raises:
            ValueError: if the images are not [N, S, S, 3].
        """
        images = read_portraits("InDomainEncoder", images, self.config.resolution)
        return self.head(self.trunk(images))
