"""What the Inception networks are made of (Szegedy et al. 2016, "Rethinking the Inception
Architecture for Computer Vision"; Szegedy et al. 2017, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning"): parallel branches of convolutions, joined.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import BatchNorm, Conv2d, average_pool, max_pool

# TensorFlow-Slim's, in which these networks were trained.
NORM_EPSILON = 1e-3

Kernel = int | tuple[int, int]


class Spec(NamedTuple):
    """One convolution of a branch; with stride 1 it keeps the size, with 2 it has no padding."""

    channels: int
    kernel: Kernel = 1
    stride: int = 1


class ConvNorm(nnx.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Kernel,
        *,
        stride: int = 1,
        padding: Kernel = 0,
        rngs: nnx.Rngs,
    ):
        self.conv = Conv2d(
            in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False, rngs=rngs
        )
        self.norm = BatchNorm(out_channels, epsilon=NORM_EPSILON, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H', W', out]."""
        return jax.nn.relu(self.norm(self.conv(x)))


def conv_norm(in_channels: int, spec: Spec, *, rngs: nnx.Rngs) -> ConvNorm:
    """The convolution of a branch that a ``Spec`` describes."""
    height, width = (spec.kernel,) * 2 if isinstance(spec.kernel, int) else spec.kernel
    padding = (height // 2, width // 2) if spec.stride == 1 else 0
    channels = spec.channels
    return ConvNorm(
        in_channels, channels, spec.kernel, stride=spec.stride, padding=padding, rngs=rngs
    )


class Branch(nnx.Module):
    """Convolutions in a row; the last ones may stand side by side, their outputs joined.

    Args:
        specs: a convolution each; as last item a pair of them takes the same input.
    """

    def __init__(
        self, in_channels: int, specs: Sequence[Spec | tuple[Spec, Spec]], *, rngs: nnx.Rngs
    ):
        *row, last = specs
        layers = []
        for spec in (*row, *([last] if isinstance(last, Spec) else [])):
            if not isinstance(spec, Spec):
                raise ValueError("Branch: only the last item may be a pair")
            layers.append(conv_norm(in_channels, spec, rngs=rngs))
            in_channels = spec.channels
        self.row = nnx.List(layers)
        self.out_channels = in_channels
        pair = () if isinstance(last, Spec) else last
        self.ends = nnx.List([conv_norm(in_channels, spec, rngs=rngs) for spec in pair])
        if pair:
            self.out_channels = sum(spec.channels for spec in pair)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H', W', out_channels]."""
        for layer in self.row:
            x = layer(x)
        return jnp.concatenate([end(x) for end in self.ends], axis=-1) if self.ends else x


class Mixed(nnx.Module):
    """Branches and a pooled copy of the input, joined in this order.

    Args:
        branches: the specs of each branch.
        pool: ``average`` (3 x 3 of stride 1, over the pixels inside the image only, as in
            TensorFlow) or ``max`` (3 x 3 of stride 1) followed by a 1 x 1 convolution to
            `pooled` channels; ``reduce``: the maximum of 3 x 3 with stride 2, as it is.
        pooled: see `pool`; not for ``reduce``.
    """

    def __init__(
        self,
        in_channels: int,
        branches: Sequence[Sequence[Spec | tuple[Spec, Spec]]],
        *,
        pool: Literal["average", "max", "reduce"],
        pooled: int | None = None,
        rngs: nnx.Rngs,
    ):
        if (pooled is None) != (pool == "reduce"):
            raise ValueError(f"Mixed: pool {pool!r} with pooled={pooled}")
        self.pool: Literal["average", "max", "reduce"] = pool
        self.branches = nnx.List([Branch(in_channels, specs, rngs=rngs) for specs in branches])
        self.after_pool = None if pooled is None else ConvNorm(in_channels, pooled, 1, rngs=rngs)
        own = sum(branch.out_channels for branch in self.branches)
        self.out_channels = own + (in_channels if pooled is None else pooled)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H', W', out_channels]; ``reduce`` halves the size."""
        outputs = [branch(x) for branch in self.branches]
        match self.pool:
            case "average":
                y = average_pool(x, 3, stride=1, padding=1, count_padding=False)
            case "max":
                y = max_pool(x, 3, stride=1, padding=1)
            case "reduce":
                y = max_pool(x, 3, stride=2)
        outputs.append(y if self.after_pool is None else self.after_pool(y))
        return jnp.concatenate(outputs, axis=-1)
