"""VGG-16's features against a float64 loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

from jaxface.nets import VGG16, VGGConfig

CONFIG = VGGConfig(channels=(2, 3, 4, 4, 4), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def test_features_match_a_float64_loop():
    vgg = VGG16(CONFIG, rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).uniform(-1, 1, (2, 18, 16, 3)).astype(np.float32)
    layers = ("conv1_1", "relu2_2", "conv5_3")
    got = vgg.features(jnp.asarray(images), layers)
    x = ((images.astype(np.float64) + 1) / 2 - CONFIG.mean) / CONFIG.std
    index = 0
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        if stage > 1:
            h, w = x.shape[1] // 2, x.shape[2] // 2
            corners = [x[:, i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)]
            x = np.max(corners, axis=0)
        for number in range(1, count + 1):
            layer = vgg.layers[index]
            x = reference.correlate(x, np.asarray(layer.weight[...]), pad=1)
            x = x + np.asarray(layer.bias[...])
            before, x = x, np.maximum(x, 0)
            for name, value in ((f"conv{stage}_{number}", before), (f"relu{stage}_{number}", x)):
                if name in layers:
                    # Thirteen layers of float32 sums.
                    np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5)
            index += 1
    assert list(got) == list(layers)


def test_unknown_layers_and_shapes_are_refused():
    vgg = VGG16(CONFIG, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expected layers out of"):
        vgg.features(jnp.zeros((1, 16, 16, 3)), ("conv9_1",))
    with pytest.raises(ValueError, match=r"expected images \[N, H, W, 3\]"):
        vgg.features(jnp.zeros((1, 16, 16)), ("conv1_1",))


def test_images_too_small_for_a_layer_are_refused():
    vgg = nnx.eval_shape(lambda: VGG16(CONFIG, rngs=nnx.Rngs(0)))

    def shape(layer: str, height: int, width: int) -> tuple[int, ...]:
        images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        found = jax.eval_shape(lambda net, x: net.features(x, ("conv1_1", layer)), vgg, images)
        return found[layer].shape

    assert shape("conv3_3", 4, 5) == (1, 1, 1, 4)
    with pytest.raises(ValueError, match="conv4_1 needs images of at least 8 x 8, got 7 x 9"):
        shape("conv4_1", 7, 9)


def test_an_image_s_features_do_not_depend_on_its_batch(random_network):
    vgg = random_network("VGG16", CONFIG)
    features = jax.jit(lambda images: vgg.features(images, ("relu5_3",))["relu5_3"])
    images = np.random.default_rng(1).uniform(-1, 1, (3, 18, 16, 3)).astype(np.float32)
    # Another batch size may sum in another order: some roundings.
    np.testing.assert_allclose(features(images)[1:2], features(images[1:2]), rtol=1e-5)
