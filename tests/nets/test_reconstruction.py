"""The face reconstruction network: sizes, its prior, any input size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import FaceReconstruction, ReconstructionConfig
from jaxface.weights import load_network, save_network

CONFIG = ReconstructionConfig(resolution=16, channels=(4, 6, 8), hidden=10)


@pytest.fixture
def network():
    network = FaceReconstruction(CONFIG, rngs=nnx.Rngs(0))
    network.out.weight[...] = jax.random.normal(jax.random.key(1), network.out.weight.shape)
    for block in network.residuals:
        block.gain[...] = jnp.ones(())
    return network


def test_begins_at_its_mean():
    network = FaceReconstruction(CONFIG, rngs=nnx.Rngs(0))
    network.mean[...] = jnp.arange(257.0)
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    np.testing.assert_array_equal(network(images), np.tile(np.arange(257.0), (2, 1)))


def test_answers_in_units_of_its_scale(network):
    images = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    plain = network(images)
    network.scale[...], network.mean[...] = 2.0 * network.scale[...], network.mean[...] + 1.0
    np.testing.assert_allclose(network(images), 2.0 * plain + 1.0, rtol=1e-5)


def test_a_row_does_not_depend_on_its_batch(network):
    images = jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
    together = network(images)
    # 1e-5: sums in another order.
    np.testing.assert_allclose(network(images[1:2])[0], together[1], rtol=1e-5, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_resizes_what_has_another_size(network):
    images = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    # Every pixel doubled: with antialiasing the edges mix a little, the answer is near.
    large = jnp.repeat(jnp.repeat(images, 2, axis=1), 2, axis=2)
    assert network(large).shape == (1, 257)
    constant = jnp.full((1, 40, 24, 3), 0.3)
    np.testing.assert_allclose(network(constant), network(constant[:, :16, :16]), atol=1e-4)
    with pytest.raises(ValueError, match=r"\[N, H, W, 3\]"):
        network(images[0])


def test_survives_its_file(network, tmp_path):
    save_network(tmp_path / "reconstruction.safetensors", network)
    images = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    again = load_network(tmp_path / "reconstruction.safetensors")
    np.testing.assert_array_equal(again(images), network(images))


def test_refuses_sizes_that_cannot_be_halved():
    with pytest.raises(ValueError, match="halved 2 times"):
        ReconstructionConfig(resolution=18, channels=(4, 4, 4))
