"""The losses of StyleGAN2's four phases: networks and latents in, one value per item out.

`training/loss.py` of stylegan2-ada-pytorch, its ``Gmain``, ``Greg``, ``Dmain`` and ``Dreg``. Each
returns (losses, what the phase needs besides: means over the items).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.losses import adversarial
from jaxface.methods.scene_regression import reconstruction_loss, targets_at
from jaxface.methods.stylegan2.augmentation import augment
from jaxface.methods.stylegan2.settings import StyleGAN2Settings, training_noise
from jaxface.nets import Discriminator, Generator

Aux = dict[str, Any]


def mix_styles(
    generator: Generator, z: jax.Array, key: jax.Array, *, probability: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """W+ of z, in a share of the batches with the rows from a random cut on replaced.

    One cut for the batch, as in the reference. A second latent gives the other rows.

    Returns:
      (w_plus [N, L, D], the running mean of W after this batch [D], the cut: rows before it are
      z's own; L where nothing is mixed).
    """
    rows = generator.num_ws
    w = generator.mapping.to_w(z)
    w_mean = generator.mapping.updated_w_mean(w)
    own = jnp.broadcast_to(w[:, None], (w.shape[0], rows, w.shape[1]))
    if probability == 0:
        return own, w_mean, jnp.int32(rows)
    z_key, cut_key, mix_key = jax.random.split(key, 3)
    cut = jax.random.randint(cut_key, (), 1, rows)
    cut = jnp.where(jax.random.uniform(mix_key) < probability, cut, rows)
    other = generator.mapping.to_w(jax.random.normal(z_key, z.shape))[:, None]
    return jnp.where(jnp.arange(rows)[:, None] < cut, own, other), w_mean, cut


def discriminate(
    discriminator: Discriminator,
    images: jax.Array,
    p: jax.Array,
    key: jax.Array,
    settings: StyleGAN2Settings,
) -> jax.Array:
    """Logits [N, 1] of the augmented images."""
    if settings.augment is not None:
        images = augment(images, p, key, settings.augment)
    return discriminator(images)


def generator_loss(
    generator: Generator,
    discriminator: Discriminator,
    z: jax.Array,
    *,
    p: jax.Array,
    key: jax.Array,
    settings: StyleGAN2Settings,
    reconstruct: Mapping[str, Any] | None = None,
) -> tuple[jax.Array, Aux]:
    """``Gmain``: the images of z should look real, [N].

    Args:
      p: the augmentation's probability.
      reconstruct: ``{"image": renders of z, "perceptual": VGG16 or None}`` where the loss keeps
        some reconstruction; batches with mixed styles are not those scenes and skip it.
    """
    mix_key, noise_key, augment_key = jax.random.split(key, 3)
    w_plus, w_mean, cut = mix_styles(generator, z, mix_key, probability=settings.style_mixing_prob)
    images = generator.synthesis(w_plus, training_noise(settings, noise_key))
    logits = discriminate(discriminator, images, p, augment_key, settings)
    losses = adversarial.nonsaturating_real(logits)
    aux = {"w_mean": w_mean, "adversarial": jnp.mean(losses), "fake_score": jnp.mean(logits)}
    if reconstruct is not None:
        distance = reconstruction_loss(
            images,
            targets_at(reconstruct["image"], images.shape[1]),
            settings.reconstruction,
            network=reconstruct["perceptual"],
        )
        unmixed = cut == generator.num_ws
        losses += settings.reconstruction_weight * jnp.where(unmixed, distance, 0.0)
        aux["reconstruction"] = jnp.mean(distance)
    return losses, aux


def path_length_loss(
    generator: Generator,
    z: jax.Array,
    mean: jax.Array,
    *,
    key: jax.Array,
    settings: StyleGAN2Settings,
) -> tuple[jax.Array, Aux]:
    """``Greg``: equal path lengths everywhere, [N] for the z given."""
    mix_key, noise_key, direction_key = jax.random.split(key, 3)
    w_plus, w_mean, _ = mix_styles(generator, z, mix_key, probability=settings.style_mixing_prob)
    noise = training_noise(settings, noise_key)
    side, channels = generator.resolution, generator.config.image_channels
    direction = jax.random.normal(direction_key, (z.shape[0], side, side, channels))
    lengths = adversarial.path_lengths(
        lambda w_plus: generator.synthesis(w_plus, noise), w_plus, direction
    )
    penalty, mean = adversarial.path_length_penalty(lengths, mean, decay=settings.path_length_decay)
    aux = {"w_mean": w_mean, "mean": mean, "penalty": jnp.mean(penalty)}
    return settings.path_length_weight * penalty, aux


def discriminator_loss(
    discriminator: Discriminator,
    generator: Generator,
    images: jax.Array,
    z: jax.Array,
    *,
    p: jax.Array,
    key: jax.Array,
    settings: StyleGAN2Settings,
) -> tuple[jax.Array, Aux]:
    """``Dmain``: real images [N, R, R, 3] should look real and those of z [N, z_dim] fake, [N]."""
    mix_key, noise_key, fake_key, real_key = jax.random.split(key, 4)
    w_plus, w_mean, _ = mix_styles(generator, z, mix_key, probability=settings.style_mixing_prob)
    fakes = generator.synthesis(w_plus, training_noise(settings, noise_key))
    fake_logits = discriminate(discriminator, fakes, p, fake_key, settings)
    real_logits = discriminate(discriminator, images, p, real_key, settings)
    losses = adversarial.nonsaturating_fake(fake_logits) + adversarial.nonsaturating_real(
        real_logits
    )
    return losses, {
        "w_mean": w_mean,
        "fake_score": jnp.mean(fake_logits),
        "real_score": jnp.mean(real_logits),
        "real_sign": jnp.mean(jnp.sign(real_logits)),
    }


def r1_loss(
    discriminator: Discriminator,
    images: jax.Array,
    *,
    p: jax.Array,
    key: jax.Array,
    settings: StyleGAN2Settings,
) -> tuple[jax.Array, Aux]:
    """``Dreg``: flat logits around real images [N, R, R, 3], [N].

    The gradient is taken with respect to the images before their augmentation.
    """
    penalty, logits = adversarial.r1_penalty(
        lambda images: discriminate(discriminator, images, p, key, settings), images
    )
    aux = {"penalty": jnp.mean(penalty), "real_sign": jnp.mean(jnp.sign(logits))}
    return settings.r1_gamma / 2 * penalty, aux
