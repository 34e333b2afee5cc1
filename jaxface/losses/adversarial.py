"""StyleGAN2's adversarial losses and regularisers, one value per batch item.

Non-saturating logistic losses (Goodfellow et al. 2014), the R1 gradient penalty (Mescheder et al.
2018, equation 9) and path-length regularisation (Karras et al. 2020a, section 3.2), as
stylegan2-ada-pytorch's `training/loss.py` combines them. Logits are [N, 1]; larger is more real.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def nonsaturating_real(logits: Float[Array, "n 1"]) -> Float[Array, " n"]:
    """-log sigmoid(logits), [N, 1] to [N]: small where the discriminator says real."""
    return jax.nn.softplus(-logits)[:, 0]


def nonsaturating_fake(logits: Float[Array, "n 1"]) -> Float[Array, " n"]:
    """-log(1 - sigmoid(logits)), [N, 1] to [N]: small where the discriminator says fake."""
    return jax.nn.softplus(logits)[:, 0]


def r1_penalty(
    discriminate: Callable[[jax.Array], jax.Array], images: Float[Array, "n r r c"]
) -> tuple[Float[Array, " n"], Float[Array, "n 1"]]:
    """Squared norm of the logits' gradient with respect to the images.

    Args:
      discriminate: images [N, R, R, 3] to logits [N, 1], everything before the images' pixels
        included (augmentation, say).
      images: real images.

    Returns:
      (penalty [N], logits [N, 1]). The loss is gamma / 2 times the penalty.
    """

    def total(images):
        logits = discriminate(images)
        return jnp.sum(logits), logits

    gradient, logits = jax.grad(total, has_aux=True)(images)
    return jnp.sum(jnp.square(gradient), axis=(1, 2, 3)), logits


def path_lengths(
    synthesize: Callable[[jax.Array], jax.Array],
    w_plus: Float[Array, "n l d"],
    direction: Float[Array, "n r r c"],
) -> Float[Array, " n"]:
    """Length of J^T y for each item: how far a random image direction moves the latent.

    Args:
      synthesize: w_plus [N, L, D] to images [N, R, R, 3].
      w_plus: the latents.
      direction: standard normal, of the images' shape; divided here by R, so that lengths do not
        grow with the resolution.

    Returns:
      [N]: root of the mean over the L rows of the squared norms.
    """
    y = direction / jnp.sqrt(jnp.asarray(direction.shape[1] * direction.shape[2], direction.dtype))
    gradient = jax.grad(lambda w: jnp.sum(synthesize(w) * y))(w_plus)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gradient), axis=2), axis=1))


def path_length_penalty(
    lengths: Float[Array, " n"], mean: Float[Array, ""], *, decay: float
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Squared deviation of path lengths from their running mean.

    The mean takes this batch in before it is compared with, and lets the gradient through, as in
    the reference.

    Args:
      lengths: [N] of `path_lengths`.
      mean: scalar, the running mean so far; 0 to begin with.
      decay: weight of this batch in the mean, 0.01 in the reference.

    Returns:
      (penalty [N], the new mean, without gradient).
    """
    mean = mean + decay * (jnp.mean(lengths) - mean)
    return jnp.square(lengths - mean), jax.lax.stop_gradient(mean)
