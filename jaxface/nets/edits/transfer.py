"""Transfer's trained networks (Jahoda and Cech 2023, section 3.1): motion encoder E_m and mapper M.

A driving frame s becomes a motion code of W+'s shape, and one linear layer makes the latent that is
drawn from it and the identity's code:

    w_plus = M(E_i(t), E_m(s))

The identity encoder E_i is any encoder of portraits, ReStyle-pSp in the paper; it is frozen, and no
part of this network. Layers and order of the inputs are the authors' code's (the paper writes E_m
first): an IR-SE50 trunk, whose last map is normalised, averaged to 7 x 7 and goes through two dense
layers, the second with equalised learning rate; M's input is identity before motion, and the mean
of W is not added to its output.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from jaxface.latents import check_w_plus
from jaxface.nets.encoders.styles import read_portraits
from jaxface.nets.equalized_layers import Dense
from jaxface.nets.recognition.irse import BODY_STRIDE, IRSEBody, IRSEBodyConfig
from jaxface.nets.torch_layers import BatchNorm, Linear, adaptive_average_pool

# The published initial values of M, the same for every weight and for every bias.
WEIGHT, BIAS = 1e-5, 1e-3

MOTION_DEVIATION = 1e-3
"""Of M's weights of the motion code where it begins as the identity."""


@dataclasses.dataclass(frozen=True)
class TransferConfig(IRSEBodyConfig):
    """Sizes of both networks. The defaults are the published ones for FFHQ at 1024.

    Raises:
        ValueError: for sizes that are not positive, or a resolution below 16.
    """

    num_ws: int = 18
    """Styles in W+, ``2 log2(the generator's resolution) - 2``."""
    w_dim: int = 512
    resolution: int = 256
    """Side of the portraits that E_m reads."""
    pool: int = 7
    """Side that E_m's last map is averaged to."""
    hidden: int = 512
    """Width between E_m's two dense layers."""
    rank: int | None = None
    """None: M is one matrix, as published. Else M is the identity's code and a matrix of this rank,
    which is not the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rank = 1 if self.rank is None else self.rank
        if min(self.num_ws, self.w_dim, self.pool, self.hidden, rank) < 1:
            raise ValueError(
                "TransferConfig: expected a positive num_ws, w_dim, pool, hidden and rank, got "
                f"{self.num_ws}, {self.w_dim}, {self.pool}, {self.hidden} and {self.rank}"
            )
        if self.resolution < BODY_STRIDE:
            raise ValueError(
                f"TransferConfig.resolution: expected at least {BODY_STRIDE}, got {self.resolution}"
            )

    @property
    def code_size(self) -> int:
        """Numbers of a code of W+."""
        return self.num_ws * self.w_dim


class MotionEncoder(nnx.Module):
    """E_m: trunk, norm, mean over ``pool`` x ``pool`` windows, two dense layers."""

    def __init__(self, config: TransferConfig, *, rngs: nnx.Rngs):
        self.config = config
        width = config.channels[3]
        self.body = IRSEBody(config, rngs=rngs)
        self.norm = BatchNorm(width, rngs=rngs)
        self.dense = Linear(config.pool**2 * width, config.hidden, rngs=rngs)
        self.styles = Dense(config.hidden, config.code_size, rngs=rngs)

    def __call__(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Motion codes of portraits.

        Args:
            images: [N, S, S, 3] RGB in [-1, 1], aligned as FFHQ's, of any size.

        Returns:
            [N, num_ws, w_dim]. While the network is in ``train()`` its norms take the statistics of
            these N images.

        Raises:
            ValueError: if the images are not [N, S, S, 3].
        """
        images = read_portraits("MotionEncoder", images, self.config.resolution)
        x = self.norm(self.body(images)[-1])
        if x.shape[1] != self.config.pool:
            x = adaptive_average_pool(x, self.config.pool)
        x = self.styles(self.dense(x.reshape(x.shape[0], -1)))
        return x.reshape(-1, self.config.num_ws, self.config.w_dim)


class CodeMapper(nnx.Module):
    """M: one dense layer from two codes, identity before motion, to one.

    It begins as published, with all weights 1e-5 and all biases 1e-3; `start_as_identity` is the
    other beginning. Of low rank it always begins as the identity.
    """

    def __init__(self, config: TransferConfig, *, rngs: nnx.Rngs):
        self.config = config
        size = config.code_size
        if config.rank is None:
            self.weight = nnx.Param(jnp.full((2 * size, size), WEIGHT, jnp.float32))
            self.bias = nnx.Param(jnp.full((size,), BIAS, jnp.float32))
            self.down = self.up = None
        else:
            self.weight = None
            self.down = Linear(2 * size, config.rank, bias=False, rngs=rngs)
            self.up = nnx.Param(jnp.zeros((config.rank, size)))
            self.bias = nnx.Param(jnp.zeros((size,)))

    def __call__(
        self, identity: Float[Array, "n l d"], motion: Float[Array, "n l d"]
    ) -> Float[Array, "n l d"]:
        """[N, num_ws, w_dim] each, to absolute codes [N, num_ws, w_dim]."""
        size = self.config.code_size
        x = jnp.concatenate([code.reshape(-1, size) for code in (identity, motion)], axis=1)
        if self.weight is not None:
            y = x @ self.weight[...].astype(x.dtype)
        elif self.down is not None and self.up is not None:
            y = x[:, :size] + self.down(x) @ self.up[...].astype(x.dtype)
        else:
            raise TypeError("CodeMapper: neither a matrix nor one of low rank")
        return (y + self.bias[...].astype(x.dtype)).reshape(identity.shape)

    def start_as_identity(self, key: Key[Array, ""]) -> None:
        """Begin where the identity's code comes out, and the motion code hardly counts.

        Not the paper's: at the first step the result is then the inversion of t.

        Args:
            key: of the motion code's weights, normal with deviation 1e-3.
        """
        if self.weight is not None:
            size = self.config.code_size
            motion = MOTION_DEVIATION * jax.random.normal(key, (size, size))
            self.weight[...] = jnp.concatenate([jnp.eye(size), motion])
            self.bias[...] = jnp.zeros((size,))


class TransferNetwork(nnx.Module):
    """E_m and M: `encoder` and `mapper`."""

    def __init__(self, config: TransferConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = MotionEncoder(config, rngs=rngs)
        self.mapper = CodeMapper(config, rngs=rngs)

    def motion(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n l d"]:
        """Motion codes E_m(s) [N, num_ws, w_dim] of driving frames; see ``MotionEncoder``."""
        return self.encoder(images)

    def mix(
        self, identity: Float[Array, "n l d"], motion: Float[Array, "n l d"]
    ) -> Float[Array, "n l d"]:
        """The latents M(identity, motion) to draw.

        Args:
            identity: E_i(t), [N, num_ws, w_dim].
            motion: E_m(s), [N, num_ws, w_dim].

        Returns:
            w_plus, [N, num_ws, w_dim].

        Raises:
            ValueError: if the codes have another shape.
        """
        rows, width = self.config.num_ws, self.config.w_dim
        check_w_plus("TransferNetwork", identity, num_ws=rows, w_dim=width)
        check_w_plus("TransferNetwork", motion, num_ws=rows, w_dim=width)
        if len(identity) != len(motion):
            raise ValueError(
                f"TransferNetwork: expected as many identities as motions, got {len(identity)} and "
                f"{len(motion)}"
            )
        return self.mapper(identity, motion)

    def __call__(
        self, identity: Float[Array, "n l d"], images: Float[Array, "n s s 3"]
    ) -> Float[Array, "n l d"]:
        """``mix(identity, motion(images))``: latents of N identities that move as N frames do."""
        return self.mix(identity, self.motion(images))


def low_rank(network: TransferNetwork, rank: int) -> TransferNetwork:
    """The network with the nearest M that is the identity's code and a matrix of low rank.

    By the singular values of the published matrix less the identity: an M that keeps the identity's
    code mostly as it is needs few of them. Takes minutes for full widths. What it loses is to be
    measured.

    Args:
        network: whose M is one matrix.
        rank: of the new one, up to ``num_ws * w_dim``.

    Raises:
        ValueError: M has a low rank already, or none so large.
    """
    size = network.config.code_size
    if network.mapper.weight is None or not 1 <= rank <= size:
        raise ValueError(
            f"low_rank: expected a whole matrix and a rank in 1..{size}, got rank {rank} of a "
            f"network of rank {network.config.rank or size}"
        )
    rest = network.mapper.weight[...].at[:size].add(-jnp.eye(size))
    left, values, right = jnp.linalg.svd(rest, full_matrices=False)
    config = dataclasses.replace(network.config, rank=rank)
    found = nnx.eval_shape(lambda: TransferNetwork(config, rngs=nnx.Rngs(0)))
    found.encoder = network.encoder
    root = jnp.sqrt(values[:rank])
    if found.mapper.down is None:
        raise TypeError("low_rank: the new mapper has no factors")
    found.mapper.down.weight = nnx.Param(left[:, :rank] * root)
    found.mapper.up = nnx.Param(root[:, None] * right[:rank])
    found.mapper.bias = nnx.Param(network.mapper.bias[...])
    return found
