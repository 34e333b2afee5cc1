"""Close-ups of eyes and mouth: what is cut out, where, and how the network begins."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import FaceReconstruction, ReconstructionConfig
from jaxface.nets.reconstruction import close_ups
from jaxface.weights import load_network, save_network

CONFIG = ReconstructionConfig(resolution=16, channels=(4, 6), hidden=8, close_ups=True)


@pytest.fixture
def network():
    return FaceReconstruction(CONFIG, rngs=nnx.Rngs(0))


@pytest.fixture
def images():
    return jax.random.uniform(jax.random.key(1), (3, 16, 16, 3), minval=-1.0)


def test_a_square_on_the_pixels_is_a_slice(images):
    centres, half_sides = jnp.array([[6.0, 5.0], [8.0, 10.0]]) / 16, jnp.array([2.0, 4.0]) / 16
    small = close_ups.cut_out(images[:1], centres[:1], half_sides[:1], 4)
    np.testing.assert_allclose(small[0], images[0, 3:7, 4:8], atol=1e-6)
    large = close_ups.cut_out(images[1:2], centres[1:], half_sides[1:], 8)
    np.testing.assert_allclose(large[0], images[1, 6:14, 4:12], atol=1e-6)


def test_between_pixels_it_is_bilinear_and_beyond_the_edge_nothing(images):
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, :, None], (16, 16, 3))[None]  # x of the pixel
    cut = close_ups.cut_out(ramp, jnp.array([[0.5, 0.5]]), jnp.array([0.25]), 16)
    # Sixteen pixels over eight: their centres, counted from the first pixel's.
    np.testing.assert_allclose(cut[0, 0, :, 0], 4 + (np.arange(16) + 0.5) / 2 - 0.5, rtol=1e-5)
    outside = close_ups.cut_out(images, jnp.full((3, 2), -1.0), jnp.full(3, 0.1), 4)
    np.testing.assert_array_equal(outside, 0)
    slope = jax.grad(
        lambda x: close_ups.cut_out(ramp, jnp.array([[x, 0.5]]), jnp.array([0.1]), 4).mean()
    )(0.5)
    assert float(slope) == pytest.approx(16.0, rel=1e-4)  # the ramp rises by 16 over a side


def test_places_are_centres_and_half_of_the_longer_side():
    boxes = jnp.tile(jnp.array([0.2, 0.3, 0.4, 0.4]), (2, 3, 1))
    np.testing.assert_allclose(
        close_ups.feature_places(boxes), np.tile([0.3, 0.35, 0.1], (2, 3, 1)), rtol=1e-5
    )
    there = close_ups.feature_places(boxes)
    np.testing.assert_allclose(close_ups.place_loss(there, boxes), 0)
    off = there.at[0, 1].add(jnp.array([0.3, 0.0, 0.0]))
    np.testing.assert_allclose(close_ups.place_loss(off, boxes), [0.03, 0], rtol=1e-5)


def test_a_fresh_network_is_its_trunk(network, images):
    features, (read, places) = network.encode(images), network.read(images)
    np.testing.assert_array_equal(network.features(images), features)
    np.testing.assert_array_equal(read, network(images))
    # Before it has learned, it looks where faces usually are.
    np.testing.assert_array_equal(places, np.broadcast_to(places[:1], places.shape))
    assert places[0, 0, 0] < places[0, 2, 0] < places[0, 1, 0]
    assert places[0, 2, 1] > places[0, 0, 1]
    plain = FaceReconstruction(dataclasses.replace(CONFIG, close_ups=False), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(plain.features(images), features)
    assert plain.read(images)[1] is None


def test_it_reads_what_is_in_the_cut_outs_alone(network, images):
    """With the trunk's own features ignored."""
    looks = network.close_ups
    looks.outer.weight[...] = jax.random.normal(jax.random.key(2), looks.outer.weight.shape)
    looks.inner.weight[...] = looks.inner.weight[...].at[:8].set(0.0)
    network.out.weight[...] = jax.random.normal(jax.random.key(3), network.out.weight.shape)

    def closer(images):
        return looks(jnp.zeros((len(images), 8)), images)[0]

    corner = images.at[:, :2, :2].set(1.0)
    np.testing.assert_array_equal(closer(corner), closer(images))
    eye, mouth = images.at[:, 7, 6].add(0.5), images.at[:, 11, 8].add(0.5)
    for changed in (eye, mouth):
        assert np.abs(closer(changed) - closer(images)).max() > 1e-3


def test_both_eyes_are_read_alike(network, images):
    """A mirrored portrait has its eyes exchanged: features that do not tell them apart stay."""
    looks = network.close_ups
    looks.places.bias[...] = jnp.array([0.4, 0.5, 0.1, 0.6, 0.5, 0.1, 0.5, 0.7, 0.1])
    weight = jax.random.normal(jax.random.key(4), looks.inner.weight.shape)
    width = (len(weight) - 8) // 3
    weight = weight.at[8 + width : 8 + 2 * width].set(weight[8 : 8 + width])
    looks.inner.weight[...] = weight.at[8 + 2 * width :].set(0.0)
    looks.outer.weight[...] = jax.random.normal(jax.random.key(5), looks.outer.weight.shape)
    features = jnp.zeros((len(images), 8))
    here, there = (looks(features, x)[0] for x in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)
    assert np.abs(here).max() > 1e-2


def test_survives_its_file(network, images, tmp_path):
    network.close_ups.outer.weight[...] = jnp.ones_like(network.close_ups.outer.weight[...])
    save_network(tmp_path / "reconstruction.safetensors", network)
    again = load_network(tmp_path / "reconstruction.safetensors")
    np.testing.assert_array_equal(again.features(images), network.features(images))
