"""The sixth paper's network."""

import dataclasses

import jax
from flax import nnx

from jaxface.nets.torch_layers import Linear


@dataclasses.dataclass(frozen=True)
class YawNetConfig:
    """Width of W."""

    w_dim: int = 8


class YawNet(nnx.Module):
    """W to one number."""

    def __init__(self, config: YawNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.dense = Linear(config.w_dim, 1, rngs=rngs)

    def __call__(self, w: jax.Array) -> jax.Array:
        return self.dense(w)[:, 0]
