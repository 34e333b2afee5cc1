"""Losses against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.losses import perceptual, photometric
from jaxface.nets import VGG16, VGGConfig

LAYERS = ("conv1_1", "relu2_2", "conv3_2")


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (2, 3, 16, 16, 3)).astype(np.float32)


@pytest.fixture
def network():
    return VGG16(VGGConfig(channels=(4, 4, 8, 8, 8)), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("loss", "pointwise"), [(photometric.l1, np.abs), (photometric.l2, np.square)]
)
def test_pixel_losses_are_means_over_an_item(pair, loss, pointwise):
    a, b = pair
    expected = pointwise(a.astype(np.float64) - b).mean(axis=(1, 2, 3))
    # A float32 mean of 768 numbers.
    np.testing.assert_allclose(loss(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="must both be"):
        loss(jnp.asarray(a), jnp.asarray(b[:1]))


@pytest.mark.parametrize(("side", "resolution", "factor"), [(16, 16, 1), (16, 4, 4), (8, 16, 1)])
def test_downsampling_is_a_box_average(side, resolution, factor):
    images = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    out = np.asarray(perceptual.downsample(jnp.asarray(images), resolution))
    assert out.shape == (2, side // factor, side // factor, 3)
    corner = images[:, :factor, -factor:].astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(out[:, 0, -1], corner, atol=1e-6)  # float32 mean of 16


def test_downsampling_refuses_a_fractional_factor():
    with pytest.raises(ValueError, match="up to 16 or a multiple of it, got 24 x 24"):
        perceptual.downsample(jnp.zeros((1, 24, 24, 3)), 16)


def test_distance_is_the_weighted_sum_of_layer_means(pair, network):
    a, b = map(jnp.asarray, pair)
    weights = {"conv1_1": 1.0, "relu2_2": 0.25, "conv3_2": 3.0}
    found = perceptual.features(network, a, LAYERS, resolution=8)
    wanted = perceptual.features(network, b, LAYERS, resolution=8)
    assert {name: f.shape[1:] for name, f in found.items()} == {
        "conv1_1": (8, 8, 4),
        "relu2_2": (4, 4, 4),
        "conv3_2": (2, 2, 8),
    }
    expected = sum(
        weight * np.square(np.float64(found[name]) - np.float64(wanted[name])).mean(axis=(1, 2, 3))
        for name, weight in weights.items()
    )
    # Float32 means of at most 256 squares.
    np.testing.assert_allclose(perceptual.distance(found, wanted, weights), expected, rtol=1e-5)
    np.testing.assert_array_equal(perceptual.distance(found, found, weights), 0)


def test_distance_has_a_gradient_for_its_own_item_only(pair, network):
    a, b = map(jnp.asarray, pair)
    weights = dict.fromkeys(LAYERS, 1.0)
    wanted = perceptual.features(network, b, LAYERS, resolution=16)

    def second(images):
        found = perceptual.features(network, images, LAYERS, resolution=16)
        return perceptual.distance(found, wanted, weights)[1]

    gradient = np.asarray(jax.jit(jax.grad(second))(a))
    assert np.abs(gradient[1]).max() > 0
    np.testing.assert_array_equal(gradient[[0, 2]], 0)


def test_distance_refuses_layers_that_disagree():
    features = {"conv1_1": jnp.zeros((1, 2, 2, 1))}
    with pytest.raises(ValueError, match=r"weights for \['conv1_2'\]"):
        perceptual.distance(features, features, {"conv1_2": 1.0})
    with pytest.raises(ValueError, match="layers must agree"):
        perceptual.distance({}, {}, {})
