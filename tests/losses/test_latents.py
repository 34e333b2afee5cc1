"""Regularisers of codes against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.losses import latents

W_PLUS = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def test_distance_from_the_mean_of_w():
    """torch.sum((latent - latent_avg).norm(2, dim=(1, 2))) / N is the mean of these."""
    mean = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    wanted = [np.sqrt(sum((item - mean).ravel() ** 2)) for item in W_PLUS]
    np.testing.assert_allclose(latents.w_norm(W_PLUS, mean), wanted, rtol=1e-6)
    np.testing.assert_allclose(
        latents.w_norm(W_PLUS, mean[0]), latents.w_norm(W_PLUS, np.tile(mean[0], (5, 1)))
    )


@pytest.mark.parametrize("stage", [0, 1, 3, 4])
def test_length_of_deviations(stage):
    wanted = [
        sum(np.linalg.norm(item[style] - item[0]) for style in range(1, stage + 1))
        for item in W_PLUS
    ]
    found = jax.jit(latents.delta_norm)(W_PLUS, jnp.int32(stage))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_equal_styles_have_a_gradient():
    """A length's slope at zero is infinite; where all styles are one, training begins."""
    same = jnp.broadcast_to(W_PLUS[:, :1], W_PLUS.shape)
    for loss in (lambda w: latents.delta_norm(w, 4), lambda w: latents.w_norm(w, same[0])):
        gradient = jax.grad(lambda w, loss=loss: jnp.sum(loss(w)))(same)
        assert np.isfinite(gradient).all()


def test_distance_of_known_codes():
    wanted = [np.mean((a - b) ** 2) for a, b in zip(W_PLUS, W_PLUS[::-1], strict=True)]
    np.testing.assert_allclose(latents.w_plus_l2(W_PLUS, W_PLUS[::-1]), wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="must both be"):
        latents.w_plus_l2(W_PLUS, W_PLUS[:, :4])
