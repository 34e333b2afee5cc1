"""What methods share that train a network against a discriminator of their own.

The networks' generator is frozen; the discriminator judges what it draws of the trained network's
codes beside real portraits, by the non-saturating logistic loss with R1 (Zhu et al. 2020,
equation 2). A training's state has the fields ``discriminator`` and ``discriminator_optimizer``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.losses import adversarial
from jaxface.nets import (
    Discriminator,
    DiscriminatorConfig,
    StyleGAN1Discriminator,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.training.microbatches import mean_gradients

AnyDiscriminatorConfig = DiscriminatorConfig | StyleGAN1DiscriminatorConfig
Discriminate = Callable[[jax.Array], jax.Array]

BETAS = (0.9, 0.99)
"""Of Adam, for both networks (``loss`` of Zhu et al.'s ``training_loop_encoder.py``)."""

PERCEPTUAL_LAYER = "relu4_3"
"""Of VGG-16: Keras' ``block4_conv3`` after its ReLU, layer 13 of the authors' model."""


def new_discriminator(config: AnyDiscriminatorConfig, key: jax.Array) -> Any:
    """A fresh discriminator of the configuration's kind."""
    kind: Any = StyleGAN1Discriminator
    if isinstance(config, DiscriminatorConfig):
        kind = Discriminator
    return kind(config, rngs=nnx.Rngs(key))


def group_size(config: AnyDiscriminatorConfig, batch_size: int) -> int:
    """What a microbatch must be a multiple of, for the minibatch standard deviation."""
    if isinstance(config, DiscriminatorConfig):
        return min(config.mbstd_group_size or batch_size, batch_size)
    return min(config.group_size, batch_size)


def feature_difference(
    perceptual: Any, images: jax.Array, targets: jax.Array, *, size: int | None
) -> jax.Array:
    """Mean squared difference of VGG-16's features, [N].

    Args:
      perceptual: VGG16.
      images, targets: [N, R, R, 3] in [-1, 1].
      size: side that they are brought to by nearest neighbours, 256 in the code; None for none.
    """
    found = []
    for each in (images, targets):
        if size is not None:
            each = nearest(each, size)
        found.append(perceptual.features(each, (PERCEPTUAL_LAYER,))[PERCEPTUAL_LAYER])
    return jnp.mean(jnp.square(found[0] - found[1]), axis=(1, 2, 3))


def nearest(images: jax.Array, size: int) -> jax.Array:
    """Images [N, R, R, C] brought to [N, size, size, C] by nearest neighbours, as TensorFlow 1 has
    it: pixel i is taken from floor(i R / size)."""
    places = np.arange(size) * images.shape[1] // size
    return images[:, places][:, :, places]


def judged(
    fooled: jax.Array, discriminate: Discriminate, images: jax.Array, *, penalty: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The discriminator's loss.

    Args:
      fooled: its logits of drawn images, [N, 1].
      discriminate: real images [N, R, R, 3] to logits [N, 1].
      images: real ones.
      penalty: R1's factor, gamma / 2 where it is of every step; 0 for none.

    Returns:
      The sum [N], and its terms ``fake``, ``real`` and perhaps ``penalty`` without the factor.
    """
    terms = {"fake": adversarial.nonsaturating_fake(fooled)}
    if penalty:
        terms["penalty"], real = adversarial.r1_penalty(discriminate, images)
    else:
        real = discriminate(images)
    terms["real"] = adversarial.nonsaturating_real(real)
    loss = terms["fake"] + terms["real"]
    return (loss + penalty * terms["penalty"] if penalty else loss), terms


def penalised(
    discriminate: Discriminate, images: jax.Array, *, factor: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """R1 by itself, as `judged`'s result: StyleGAN2's lazy regularisation, every so many steps."""
    penalty, _ = adversarial.r1_penalty(discriminate, images)
    return factor * penalty, {"penalty": penalty}


def discriminator_step(
    state: Any,
    loss_fn: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]],
    batch: Any,
    *,
    optimizer: optax.GradientTransformation,
    microbatches: int,
) -> tuple[Any, dict[str, jax.Array]]:
    """One step of a state's discriminator.

    Args:
      state: see the module.
      loss_fn: (discriminator, part of the batch) -> (losses [n], terms [n] by name).
      batch: leaves [N, ...].
      optimizer: of the discriminator.
      microbatches: see `jaxface.training.microbatches`.

    Returns:
      The state, and the means: ``loss`` and the terms.
    """
    graphdef, params, rest = nnx.split(state.discriminator, nnx.Param, ...)

    def mean_loss(params, part, number):
        del number
        losses, terms = loss_fn(nnx.merge(graphdef, params, rest), part)
        return jnp.mean(losses), {name: jnp.mean(term) for name, term in terms.items()}

    (loss, terms), grads = mean_gradients(mean_loss, params, batch, parts=microbatches)
    updates, optimizer_state = optimizer.update(grads, state.discriminator_optimizer, params)
    discriminator = nnx.merge(graphdef, optax.apply_updates(params, updates), rest)
    state = state.replace(discriminator=discriminator, discriminator_optimizer=optimizer_state)
    return state, {"loss": loss, **terms}
