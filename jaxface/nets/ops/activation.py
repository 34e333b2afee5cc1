"""Bias, activation, gain and clamp in one expression, as StyleGAN2 uses them."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Literal["linear", "lrelu"]

# Default gains of stylegan2-ada-pytorch torch_utils/ops/bias_act.py: sqrt(2) keeps the variance
# of a leaky ReLU of slope 0.2.
ACTIVATION_GAIN = {"linear": 1.0, "lrelu": 2.0**0.5}


def bias_act(
    x: Float[Array, "*n c"],
    bias: Float[Array, " c"] | None = None,
    *,
    activation: Activation = "linear",
    gain: float = 1.0,
    clamp: float | None = None,
) -> Float[Array, "*n c"]:
    """Add a bias over the last axis, activate, scale and clamp.

    Args:
        x: [..., C].
        bias: [C] or None.
        activation: ``linear`` or ``lrelu`` (slope 0.2).
        gain: factor on top of the activation's own gain (1 and sqrt(2)).
        clamp: bound on the output's magnitude; it is scaled by ``gain``, as in the reference.

    Returns:
        [..., C] in the dtype of ``x``.
    """
    if bias is not None:
        x = x + bias.astype(x.dtype)
    total = ACTIVATION_GAIN[activation] * gain
    if activation == "lrelu":
        # One factor for slope and gain: its gradient is one product, with no zeros to select.
        x = x * jnp.where(x >= 0, jnp.asarray(total, x.dtype), jnp.asarray(0.2 * total, x.dtype))
    else:
        x = x * jnp.asarray(total, x.dtype)
    if clamp is not None:
        x = jnp.clip(x, -clamp * gain, clamp * gain)
    return x
