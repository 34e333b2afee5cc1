"""AlexNet's features against a float64 loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

from jaxface.nets import AlexNet, AlexNetConfig
from jaxface.nets.features.alexnet import LAYER_NAMES

CONFIG = AlexNetConfig(channels=(4, 5, 6, 7, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 47, 40, 3)).astype(np.float32)


def forward(alexnet: AlexNet, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every layer in float64, from torchvision's description."""
    x = ((images.astype(np.float64) + 1) / 2 - CONFIG.mean) / CONFIG.std
    values = {}
    for index, layer in enumerate(alexnet.layers, 1):
        if index in (2, 3):
            h, w = (x.shape[1] - 3) // 2 + 1, (x.shape[2] - 3) // 2 + 1
            windows = [
                x[:, i:, j:][:, : 2 * h : 2, : 2 * w : 2] for i in range(3) for j in range(3)
            ]
            x = np.max([window[:, :h, :w] for window in windows], axis=0)
        x = reference.correlate(x, np.asarray(layer.weight[...]), pad={1: 2, 2: 2}.get(index, 1))
        if index == 1:
            x = x[:, ::4, ::4]
        values[f"conv{index}"] = x + np.asarray(layer.bias[...])
        values[f"relu{index}"] = x = np.maximum(values[f"conv{index}"], 0)
    return values


@pytest.fixture(name="alexnet", scope="module")
def alexnet_fixture(random_network) -> AlexNet:
    alexnet = random_network("AlexNet", CONFIG)
    for number, layer in enumerate(alexnet.layers):
        layer.bias[...] = np.random.default_rng(number).normal(size=layer.bias.shape)
        layer.weight[...] *= np.sqrt(2 / np.prod(layer.weight.shape[:3]))
    return alexnet


@jax.jit
def features(alexnet: AlexNet, images: jax.Array) -> dict[str, jax.Array]:
    return alexnet.features(images, LAYER_NAMES)


def test_features_match_a_float64_loop(alexnet):
    found = features(alexnet, IMAGES)
    expected = forward(alexnet, IMAGES)
    for name in LAYER_NAMES:
        # Five layers of float32 sums of up to 363 products.
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_an_image_s_features_do_not_depend_on_its_batch(alexnet):
    batch, alone = features(alexnet, IMAGES)["relu5"], features(alexnet, IMAGES[1:])["relu5"]
    # Another batch size may sum in another order: some roundings.
    np.testing.assert_allclose(batch[1:], alone, rtol=1e-5, atol=1e-6)


def shapes(alexnet: AlexNet, layer: str, height: int, width: int) -> tuple[int, ...]:
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    found = jax.eval_shape(lambda net, x: net.features(x, (layer,)), alexnet, images)
    return found[layer].shape


def test_published_sizes():
    """torchvision's alexnet at 224 px, and its parameters, counted from the published shapes."""
    alexnet = nnx.eval_shape(lambda: AlexNet(AlexNetConfig(), rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(alexnet))) == 2469696
    abstract = [shapes(alexnet, f"relu{k}", 224, 224) for k in range(1, 6)]
    sides = (55, 27, 13, 13, 13)
    assert abstract == [(1, n, n, c) for n, c in zip(sides, (64, 192, 384, 256, 256), strict=True)]


@pytest.mark.parametrize(("layer", "side"), [("conv1", 7), ("relu2", 15), ("conv3", 31)])
def test_images_too_small_for_a_layer_are_refused(layer, side, alexnet):
    assert shapes(alexnet, layer, side, side)[1:3] == (1, 1)
    with pytest.raises(ValueError, match=f"{layer} needs images of at least {side} x {side}"):
        shapes(alexnet, layer, side, side - 1)


def test_unknown_layers_and_shapes_are_refused(alexnet):
    with pytest.raises(ValueError, match="expected layers out of"):
        alexnet.features(jnp.zeros((1, 32, 32, 3)), ("conv6",))
    with pytest.raises(ValueError, match=r"expected images \[N, H, W, 3\]"):
        alexnet.features(jnp.zeros((1, 3, 32, 32)), ("conv1",))
