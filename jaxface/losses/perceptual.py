"""Perceptual distances: squared differences of a recognition network's features.

The form of Johnson et al. 2016 ("Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", equation 2), as Image2StyleGAN and PIE use it:

    sum_j  lambda_j / N_j * || F_j(I) - F_j(I_w) ||_2^2

with F_j the output of layer j and N_j its number of scalars, so each layer's share is a mean and
does not depend on the image size. A target's features do not change while an embedding is
optimised: compute them once (`features`) and pass them to `distance`.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxface.nets.features.vgg import VGG16
from jaxface.nets.ops.averaging import downsample as downsample  # part of this module's surface

Features = dict[str, jax.Array]


def features(
    network: VGG16, images: Float[Array, "n r r 3"], layers: Sequence[str], *, resolution: int
) -> Features:
    """Features of the images at the network's working resolution.

    Args:
      network: takes [-1, 1] RGB and normalises inside.
      images: [N, R, R, 3] in [-1, 1].
      layers: names such as "conv1_1" (before ReLU) or "relu1_1" (after).
      resolution: images larger than this are box-averaged down to it first (see `downsample`).

    Returns:
      {layer: [N, h, w, channels]}.
    """
    return network.features(downsample(images, resolution), layers=tuple(layers))


def distance(
    features: Mapping[str, Float[Array, "n _ _ _"]],
    targets: Mapping[str, Float[Array, "n _ _ _"]],
    weights: Mapping[str, float],
) -> Float[Array, " n"]:
    """Weighted sum over layers of the mean squared feature difference, per item.

    Args:
      features: {layer: [N, h, w, channels]}.
      targets: the same layers and shapes.
      weights: {layer: lambda_j}; exactly the layers of `features` and `targets`.

    Returns:
      [N], >= 0.

    Raises:
      ValueError: the three name different layers.
    """
    if not (set(features) == set(targets) == set(weights)) or not weights:
        raise ValueError(
            f"perceptual.distance: the layers must agree; got features of {sorted(features)}, "
            f"targets of {sorted(targets)} and weights for {sorted(weights)}."
        )
    terms = [
        weight * jnp.mean(jnp.square(features[layer] - targets[layer]), axis=(1, 2, 3))
        for layer, weight in weights.items()
    ]
    return jnp.sum(jnp.stack(terms), axis=0)
