"""The landmark network: where its points begin, soft-argmax, any input size, its file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import LandmarkConfig, LandmarkNet
from jaxface.weights import load_network, save_network

CONFIG = LandmarkConfig(resolution=16, channels=(4, 6, 8), num_landmarks=5)

find = jax.jit(lambda network, images: network(images))


@pytest.fixture(scope="module")
def fresh():
    return LandmarkNet(CONFIG, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def network(fresh):
    network = jax.tree.map(jnp.copy, fresh)
    rng = np.random.default_rng(1)
    network.heat.weight[...] = jnp.asarray(rng.normal(size=network.heat.weight.shape), jnp.float32)
    for block in (*network.beside, *network.merged):
        block.gain[...] = jnp.ones(())
    return network


def pictures(*shape):
    return np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)


def test_begins_in_the_centre(fresh):
    np.testing.assert_allclose(find(fresh, pictures(2, 16, 16, 3)), np.full((2, 5, 2), 8.0))
    wide = find(fresh, pictures(1, 24, 40, 3))
    np.testing.assert_allclose(wide, np.tile([20.0, 12.0], (1, 5, 1)), rtol=1e-6)


def test_points_are_the_heatmaps_means(network):
    images = pictures(2, 16, 16, 3)
    heat = np.asarray(network.heatmaps(jnp.asarray(images)), np.float64)
    assert heat.shape == (2, 8, 8, 5)
    weights = np.exp(heat) / np.exp(heat).sum(axis=(1, 2), keepdims=True)
    centres = 2 * np.arange(8) + 1.0  # in pixels of the image, the first one's centre at 0.5
    x = np.einsum("nhwk,w->nk", weights, centres)
    y = np.einsum("nhwk,h->nk", weights, centres)
    found = find(network, images)
    # Float32 sums over 64 cells, of numbers up to 15.
    np.testing.assert_allclose(found, np.stack([x, y], axis=-1), atol=1e-4)
    assert np.std(found, axis=(0, 1)).min() > 0.05
    alone = find(network, images[1:])
    np.testing.assert_allclose(alone[0], found[1], atol=1e-4)


def test_points_are_in_pixels_of_the_given_images(network):
    images = jnp.asarray(pictures(1, 16, 16, 3))
    smooth = jax.image.resize(images[:, ::8, ::8], (1, 16, 16, 3), "linear")
    large = jax.image.resize(smooth, (1, 32, 32, 3), "linear")
    # A smooth image at twice the size is nearly the same one when it is resized.
    np.testing.assert_allclose(find(network, large), 2 * find(network, smooth), atol=0.4)
    with pytest.raises(ValueError, match=r"\[N, H, W, 3\]"):
        network(images[0])


def test_survives_its_file(network, tmp_path):
    save_network(tmp_path / "landmarks.safetensors", network)
    again = load_network(tmp_path / "landmarks.safetensors")
    images = pictures(2, 16, 16, 3)
    np.testing.assert_array_equal(find(again, images), find(network, images))


@pytest.mark.parametrize("wrong", [{"channels": (4,)}, {"resolution": 18}])
def test_sizes_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="LandmarkConfig"):
        LandmarkConfig(**wrong)
