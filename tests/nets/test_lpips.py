"""LPIPS against its definition in float64, and what a loss needs of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import LPIPS, LPIPSConfig
from jaxface.nets.features.lpips import LAYERS

WIDTHS = {"vgg": (3, 4, 5, 6, 7), "alex": (4, 5, 6, 7, 8)}
RNG = np.random.default_rng(0)
IMAGES, OTHERS = RNG.uniform(-1, 1, (2, 2, 40, 36, 3)).astype(np.float32)


shares = jax.jit(lambda lpips, x, y: lpips.layer_distances(lpips.features(x), lpips.features(y)))
trunk_features = jax.jit(
    lambda lpips, images: lpips.trunk.features(images, LAYERS[lpips.config.trunk])
)
distance_and_gradient = jax.jit(jax.value_and_grad(lambda x, lpips, y: lpips(x, y).sum()))


@pytest.fixture(params=["vgg", "alex"])
def lpips(request, random_network):
    network = random_network("LPIPS", LPIPSConfig(request.param, WIDTHS[request.param]))
    for layer in network.trunk.layers:
        layer.weight[...] *= np.sqrt(2 / np.prod(layer.weight.shape[:3]))
    for head in network.heads:
        head[...] = jnp.abs(head[...])
    return network


def test_distance_follows_its_definition(lpips):
    """From the trunk's features on; the trunks have tests of their own."""
    layers = LAYERS[lpips.config.trunk]
    features = []
    for images in (IMAGES, OTHERS):
        found = trunk_features(lpips, images)
        found = {layer: np.asarray(x, np.float64) for layer, x in found.items()}
        lengths = {x: np.linalg.norm(f, axis=-1, keepdims=True) for x, f in found.items()}
        features.append({layer: x / (lengths[layer] + 1e-10) for layer, x in found.items()})
    found = shares(lpips, IMAGES, OTHERS)
    total = 0
    for layer, head in zip(layers, lpips.heads, strict=True):
        squares = (features[0][layer] - features[1][layer]) ** 2
        expected = (squares * np.asarray(head[...], np.float64)).sum(axis=-1).mean(axis=(1, 2))
        # Float32 sums over channels and positions, of squares of rounded differences: an error of
        # a few 1e-8 in each difference.
        limit = 1e-5 * expected + 2e-7 * np.sqrt(expected)
        np.testing.assert_array_less(np.abs(found[layer] - expected), limit, err_msg=layer)
        total = total + expected
    distance, _ = distance_and_gradient(IMAGES, lpips, OTHERS)
    np.testing.assert_allclose(distance, total.sum(), rtol=1e-5)


def test_the_trunk_s_normalisation_is_the_package_s_scaling_layer(lpips):
    """(x - shift) / scale on [-1, 1], the published numbers, against ours on [0, 1]."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    config = lpips.trunk.config
    np.testing.assert_allclose((shift + 1) / 2, config.mean, atol=1e-12)
    np.testing.assert_allclose(scale / 2, config.std, atol=1e-12)


def test_a_pair_s_distance_does_not_depend_on_its_batch(lpips):
    batch, alone = shares(lpips, IMAGES, OTHERS), shares(lpips, IMAGES[1:], OTHERS[1:])
    for layer, share in batch.items():
        # Another batch size may sum in another order: some roundings.
        np.testing.assert_allclose(share[1:], alone[layer], rtol=1e-5, err_msg=layer)


def test_equal_images_have_no_distance_and_no_gradient(lpips):
    distance, gradient = distance_and_gradient(IMAGES, lpips, IMAGES)
    _, usual = distance_and_gradient(IMAGES, lpips, OTHERS)
    # The compiler fuses the two sides differently: roundings of 1e-7, squared in the distance.
    assert float(distance) < 1e-12
    assert np.abs(gradient).max() < 1e-5 * np.abs(usual).max()


def test_the_gradient_is_finite_where_every_unit_is_off(lpips):
    """Flat grey images and zero biases leave positions at which a layer is zero."""
    for layer in lpips.trunk.layers:
        layer.bias[...] = jnp.full_like(layer.bias[...], -100)
    distance, gradient = distance_and_gradient(np.zeros_like(IMAGES), lpips, OTHERS)
    assert np.isfinite(distance)
    assert np.isfinite(gradient).all()


def test_differing_shapes_and_unknown_trunks_are_refused(lpips):
    with pytest.raises(ValueError, match="both sides must have the same shape"):
        jax.eval_shape(lpips, IMAGES, OTHERS[:, :32])
    with pytest.raises(ValueError, match="needs images of at least"):
        lpips(IMAGES[:, :15], OTHERS[:, :15])
    with pytest.raises(ValueError, match="expected 'vgg' or 'alex', got 'squeeze'"):
        LPIPSConfig(trunk="squeeze")  # pyright: ignore


def test_published_widths_are_the_default():
    for trunk, count in (("vgg", 14714688 + 1472), ("alex", 2469696 + 1152)):
        network = nnx.eval_shape(lambda t=trunk: LPIPS(LPIPSConfig(t), rngs=nnx.Rngs(0)))
        assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network))) == count
