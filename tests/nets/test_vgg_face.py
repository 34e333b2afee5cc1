"""VGG-Face's descriptor against a float64 loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

from jaxface.nets import VGGFace, VGGFaceConfig
from jaxface.nets.recognition.vgg_face import FULLY_CONNECTED
from jaxface.nets.torch_layers import resize_bilinear

CONFIG = VGGFaceConfig(channels=(2, 3, 4, 4, 5), width=6, resolution=64)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
LAYERS = ("conv5_3", *FULLY_CONNECTED)


@pytest.fixture(scope="module")
def face(random_network) -> VGGFace:
    network = random_network("VGGFace", CONFIG)
    for layer in network.trunk.layers:
        layer.weight[...] *= np.sqrt(2 / np.prod(layer.weight.shape[:3]))
    for number, layer in enumerate((*network.trunk.layers, network.fc6, network.fc7)):
        layer.bias[...] = np.random.default_rng(number).normal(size=layer.bias.shape)
    return network


@jax.jit
def features(face: VGGFace, images: jax.Array) -> dict[str, jax.Array]:
    return face.features(images, LAYERS)


def forward(face: VGGFace, images: np.ndarray) -> dict[str, np.ndarray]:
    """From values of 0 to 255 minus the mean, in float64."""
    x = (images.astype(np.float64) + 1) * 127.5 - CONFIG.mean
    values, layers = {}, iter(face.trunk.layers)
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        for number in range(1, count + 1):
            layer = next(layers)
            x = reference.correlate(x, np.asarray(layer.weight[...]), pad=1)
            values[f"conv{stage}_{number}"] = x = x + np.asarray(layer.bias[...])
            x = np.maximum(x, 0)
        x = np.max([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=0)
    x = x.reshape(len(x), -1)
    for number, dense in ((6, face.fc6), (7, face.fc7)):
        x = x @ np.asarray(dense.weight[...], np.float64) + np.asarray(dense.bias[...])
        values[f"fc{number}"], values[f"relu{number}"] = x, np.maximum(x, 0)
        x = values[f"relu{number}"]
    return values


def test_features_match_a_float64_loop(face):
    found, expected = features(face, IMAGES), forward(face, IMAGES)
    assert set(found) == set(LAYERS)
    for name in LAYERS:
        scale = np.abs(expected[name]).max()
        # Fifteen layers of float32 sums, of values up to some hundreds.
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5 * scale, err_msg=name)


def test_the_layer_of_the_descriptor_is_chosen(face):
    found = features(face, IMAGES)
    for layer in FULLY_CONNECTED:
        descriptor = jax.jit(lambda net, x, layer=layer: net(x, layer=layer))(face, IMAGES)
        np.testing.assert_allclose(descriptor, found[layer], rtol=1e-5, atol=1e-5)
    default = jax.eval_shape(lambda net, x: net(x), face, IMAGES)
    assert default.shape == (2, CONFIG.width)
    np.testing.assert_array_equal(jax.jit(lambda net, x: net(x))(face, IMAGES) >= 0, True)
    assert (np.asarray(found["fc7"]) < 0).any()


def test_other_sizes_are_resized_with_antialiasing(face):
    large = np.random.default_rng(1).uniform(-1, 1, (1, 160, 160, 3)).astype(np.float32)
    small = resize_bilinear(jnp.asarray(large), (64, 64), align_corners=False, antialias=True)
    found, expected = features(face, large), features(face, small)
    for name in LAYERS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-3)


def test_a_face_s_descriptor_does_not_depend_on_its_batch(face):
    batch, alone = features(face, IMAGES)["fc7"], features(face, IMAGES[1:])["fc7"]
    # Another batch size may sum in another order: some roundings.
    np.testing.assert_allclose(batch[1:], alone, rtol=1e-5, atol=1e-5 * np.abs(alone).max())


def test_the_published_network_s_size():
    """The paper's table 3 without fc8: VGG-16's convolutions, 25088 to 4096, 4096 to 4096."""
    face = nnx.eval_shape(lambda: VGGFace(VGGFaceConfig(), rngs=nnx.Rngs(0)))
    count = 14714688 + 25089 * 4096 + 4097 * 4096
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(face))) == count


def test_what_cannot_be_used_is_refused(face):
    with pytest.raises(ValueError, match="expected square images of a face, got 64 x 60"):
        face(IMAGES[:, :, :60])
    with pytest.raises(ValueError, match="expected a layer out of"):
        face(IMAGES, layer="fc8")
    with pytest.raises(ValueError, match="expected layers out of"):
        face.features(IMAGES, ("pool5",))
    with pytest.raises(ValueError, match="expected floats in"):
        face(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="expected a multiple of 32, got 200"):
        VGGFaceConfig(resolution=200)
