"""Layers shared by StyleGAN2's networks, with the equalised learning rate of the reference.

Parameters are stored raw and scaled at run time, so a checkpoint's numbers are the
reference's numbers and Adam sees weights of unit variance (Karras et al. 2018, section 4.1).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.ops import bias_act, conv_resample
from jaxface.nets.ops.activation import Activation


class Dense(nnx.Module):
    """Fully connected layer with equalised learning rate.

    Args:
        lr_multiplier: weights are stored divided by it and used multiplied by it.
        bias_init: value of the bias in effect (stored divided by ``lr_multiplier``).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
        rngs: nnx.Rngs,
    ):
        self.activation: Activation = activation
        self.weight_gain = lr_multiplier / np.sqrt(in_features).item()
        self.bias_gain = lr_multiplier
        weight = jax.random.normal(rngs.params(), (in_features, out_features))
        self.weight = nnx.Param(weight / lr_multiplier)
        self.bias = nnx.Param(jnp.full((out_features,), bias_init / lr_multiplier, jnp.float32))

    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """[..., in_features] to [..., out_features], in the dtype of ``x``."""
        y = x @ (self.weight[...] * self.weight_gain).astype(x.dtype)
        return bias_act(y, self.bias[...] * self.bias_gain, activation=self.activation)


class Conv(nnx.Module):
    """Convolution with equalised learning rate, optional resampling, bias and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        bias: bool = True,
        activation: Activation = "linear",
        up: int = 1,
        down: int = 1,
        taps: tuple[float, ...],
        clamp: float | None = None,
        rngs: nnx.Rngs,
    ):
        self.activation: Activation = activation
        self.up, self.down, self.clamp = up, down, clamp
        self.taps = taps
        self.weight_gain = (in_channels * kernel_size**2) ** -0.5
        shape = (kernel_size, kernel_size, in_channels, out_channels)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.bias = nnx.Param(jnp.zeros((out_channels,))) if bias else None

    def __call__(
        self, x: Float[Array, "n h w i"], *, gain: float = 1.0
    ) -> Float[Array, "n h2 w2 o"]:
        """[N, H, W, in] to [N, H * up / down, W * up / down, out], in the dtype of ``x``."""
        kernel = self.weight[...] * self.weight_gain
        x = conv_resample(x, kernel, taps=np.asarray(self.taps), up=self.up, down=self.down)
        bias = None if self.bias is None else self.bias[...]
        return bias_act(x, bias, activation=self.activation, gain=gain, clamp=self.clamp)
