"""Blur and noise for renders, so that networks trained on them also read synthesised images."""

import jax
import jax.numpy as jnp


def blur_and_noise(images: jax.Array, key: jax.Array, *, noise: float, blur: float) -> jax.Array:
    """Images with a random share of their finest detail removed, and Gaussian noise added.

    A generator's images are softer than renders; a network that has seen only sharp ones could
    take that for a trait of what it reads.

    Args:
      images: [N, H, W, C].
      key: typed key.
      noise: standard deviation of the noise of each pixel.
      blur: the largest share, 0 to 1, of an image's difference from its 3 x 3 binomial mean that
        goes; the share is sampled for each image, uniformly.
    """
    blur_key, noise_key = jax.random.split(key)
    share = jax.random.uniform(blur_key, (images.shape[0], 1, 1, 1), maxval=blur)
    return (
        images
        + share * (_binomial(images) - images)
        + noise * jax.random.normal(noise_key, images.shape)
    )


def _binomial(x: jax.Array) -> jax.Array:
    for axis in (1, 2):
        pads = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded, size = jnp.pad(x, pads, mode="edge"), x.shape[axis]
        before, middle, after = (
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)
        )
        x = 0.25 * before + 0.5 * middle + 0.25 * after
    return x
