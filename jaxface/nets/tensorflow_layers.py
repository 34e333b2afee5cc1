"""Layers of networks that were published for TensorFlow: zeros around such that the output has
``ceil(side / stride)`` pixels a side, the odd one below and to the right ("SAME").
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxface.nets.ops.depthwise import depthwise_conv
from jaxface.nets.ops.strided import DIMENSION_NUMBERS


class SameConv(nnx.Module):
    """Convolution with bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        rngs: nnx.Rngs,
    ):
        self.stride = stride
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        std = np.sqrt(2 / np.prod(shape[:3])).item()  # He initialisation for ReLU
        self.weight = nnx.Param(std * jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_channels,)))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ _"]:
        """[N, H, W, in] to [N, ceil(H / stride), ceil(W / stride), out]."""
        weight, bias = self.weight[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        if weight.shape[:2] == (1, 1) and self.stride == 1:
            return x @ weight[0, 0] + bias
        strides = (self.stride, self.stride)
        y = lax.conv_general_dilated(
            x, weight, strides, "SAME", dimension_numbers=DIMENSION_NUMBERS
        )
        return y + bias


class SameDepthwise(nnx.Module):
    """3 x 3 convolution of each channel alone, with bias."""

    def __init__(self, channels: int, *, stride: int = 1, rngs: nnx.Rngs):
        self.stride = stride
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (3, 3, channels)) / 3)
        self.bias = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ _"]:
        """[N, H, W, C] to [N, ceil(H / stride), ceil(W / stride), C]."""
        weight, bias = self.weight[...].astype(x.dtype), self.bias[...].astype(x.dtype)
        if self.stride == 1:
            return depthwise_conv(x, weight) + bias
        y = lax.conv_general_dilated(
            x,
            weight[:, :, None],
            (self.stride, self.stride),
            "SAME",
            dimension_numbers=DIMENSION_NUMBERS,
            feature_group_count=x.shape[-1],
        )
        return y + bias


def widened(x: Float[Array, "n h w c"], channels: int) -> Float[Array, "n h w _"]:
    """[..., C] with further channels of zeros."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])])
