"""The running average of a network's weights, which is the network that is used afterwards."""

from typing import Any

import jax
from flax import nnx

from jaxface.train import update_ema


def average_weights(average: Any, network: Any, decay: float | jax.Array) -> Any:
    """The average after one more step: parameters move, buffers are the network's.

    As `G_ema` in stylegan2-ada-pytorch's `training/training_loop.py`.

    Args:
      average: the average so far, a module like `network`.
      network: the network after its step.
      decay: weight of the average so far, see `jaxface.train.ema_decay`.
    """
    _, old, _ = nnx.split(average, nnx.Param, ...)
    graphdef, new, buffers = nnx.split(network, nnx.Param, ...)
    return nnx.merge(graphdef, update_ema(old, new, decay), buffers)
