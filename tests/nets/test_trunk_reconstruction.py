"""Reconstruction networks on published trunks against float64 forwards of their definitions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_alexnet
import test_resnet_networks
import test_vgg_face
from basel_sheet import sheet_model
from flax import nnx
from seeded import seeded_network

from jaxface.morphable import FaceParameters
from jaxface.nets import (
    AlexNetReconstructionConfig,
    ReconstructionConfig,
    ResNetReconstruction,
    ResNetReconstructionConfig,
    VGGFaceConfig,
    VGGFaceReconstructionConfig,
)
from jaxface.nets.reconstruction.backbones import load_backbone, make_reconstruction
from jaxface.suite import load_suite
from jaxface.weights import load_network, network_arrays, save_network

# Widths and statistics of the tests whose forwards are used here.
CONFIGS = {
    "AlexNetReconstruction": AlexNetReconstructionConfig(
        **dataclasses.asdict(test_alexnet.CONFIG), width=6, resolution=64
    ),
    "VGGFaceReconstruction": VGGFaceReconstructionConfig(
        **dataclasses.asdict(test_vgg_face.CONFIG)
    ),
    "ResNetReconstruction": ResNetReconstructionConfig(blocks=(2, 1), width=3, resolution=32),
}
TRUNKS = {
    "AlexNetReconstruction": "AlexNet",
    "VGGFaceReconstruction": "VGGFace",
    "ResNetReconstruction": "ResNetFeatures",
}
NETWORKS = {name: seeded_network(name, config) for name, config in CONFIGS.items()}
run = jax.jit(lambda network, images: network(images))


def images_of(count, side):
    return np.random.default_rng(0).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def dense(x, layer):
    return x @ np.asarray(layer.weight[...], np.float64) + np.asarray(layer.bias[...])


def features_of(name, images):
    """What the last layer sees."""
    network = NETWORKS[name]
    if name == "AlexNetReconstruction":
        x = test_alexnet.forward(network.trunk, images)["relu5"]
        x = x[:, :3, :3].max(axis=(1, 2))  # 64 px leave three positions, which one pooling takes
        return np.maximum(dense(np.maximum(dense(x, network.fc6), 0), network.fc7), 0)
    if name == "VGGFaceReconstruction":
        return test_vgg_face.forward(network.trunk, images)["relu7"]
    x = (images.astype(np.float64) + 1) / 2
    x = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    arrays = network_arrays(network.trunk)
    return test_resnet_networks.reference_trunk(
        x, {key: np.asarray(value, np.float64) for key, value in arrays.items()}
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_networks_match_a_float64_forward(name):
    network = NETWORKS[name]
    images = images_of(2, CONFIGS[name].resolution)
    expected = dense(features_of(name, images), network.out)
    expected = np.asarray(network.mean[...]) + np.asarray(network.scale[...]) * expected
    assert expected.shape == (2, 257)
    found = run(network, images)
    # At most fifteen layers of float32 sums.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(found[0] - found[1]).max() > 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_a_fresh_network_answers_its_mean_and_can_learn():
    """The deepest: its blocks begin as their shortcuts, since nothing normalises them yet."""
    config = CONFIGS["ResNetReconstruction"]
    network = jax.jit(lambda key: make_reconstruction(config, rngs=nnx.Rngs(key)))(
        jax.random.key(0)
    )
    network.mean[...] = jnp.arange(257.0)
    images = images_of(2, config.resolution)
    np.testing.assert_array_equal(run(network, images), np.tile(np.arange(257.0), (2, 1)))
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    loss = jax.jit(jax.grad(lambda p: (nnx.merge(graphdef, p, rest)(images) ** 2).mean()))
    assert float(jnp.abs(loss(params)["out"]["weight"][...]).max()) > 0


def test_published_sizes():
    for config, parameters in (
        # Convolutions and fc6, fc7 of torchvision's alexnet, 61,100,840 less its last layer's
        # 4,097,000; of VGG-16's 138,357,544 the same; of resnet50's 25,557,032 less 2,049,000.
        (AlexNetReconstructionConfig(), 61_100_840 - 4_097_000),
        (VGGFaceReconstructionConfig(), 138_357_544 - 4_097_000),
        (ResNetReconstructionConfig(), 25_557_032 - 2_049_000),
    ):
        network = nnx.eval_shape(
            lambda config=config: make_reconstruction(config, rngs=nnx.Rngs(0))
        )
        end = 257 * (network.out.weight.shape[0] + 1)
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
        assert count == parameters + end
        images = jax.ShapeDtypeStruct((5, 300, 300, 3), jnp.float32)
        assert jax.eval_shape(lambda n, x: n(x), network, images).shape == (5, 257)


@pytest.mark.parametrize("name", [*CONFIGS, "Deep3D"])
def test_one_call_whichever_network_plays_reconstruction(name, tmp_path):
    """A suite's reconstruction gives PIE's parameters; Deep3D's own tests say what they mean."""
    network = NETWORKS.get(name) or test_resnet_networks.NETWORKS[name]
    save_network(tmp_path / "reconstruction.safetensors", network)
    reconstruction = load_suite(tmp_path).reconstruction
    assert type(reconstruction).__name__ == name
    images = images_of(2, 32 if name == "Deep3D" else CONFIGS[name].resolution)
    found = run(reconstruction, images)
    np.testing.assert_array_equal(found, run(network, images))
    assert FaceParameters.from_flat(found).illumination.shape == (2, 27)
    with pytest.raises(ValueError, match=r"square"):
        jax.eval_shape(reconstruction, jnp.zeros((1, 80, 70, 3)))


def test_a_suite_holds_the_face_model_that_parameters_belong_to(tmp_path):
    save_network(tmp_path / "face_model.safetensors", sheet_model())
    found = load_suite(tmp_path).face_model
    np.testing.assert_array_equal(found.vertices[...], sheet_model().vertices[...])


def test_images_of_another_size_are_resized():
    """A plain image is the same in every size."""
    network, plain = NETWORKS["ResNetReconstruction"], jnp.full((2, 48, 48, 3), 0.3)
    small = run(network, plain[:, :32, :32])
    # Weights of the antialiasing filter add up to one within float32.
    np.testing.assert_allclose(run(network, plain), small, atol=1e-4 * np.abs(small).max())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_trunk_brings_its_weights(name, tmp_path):
    config = CONFIGS[name]
    own = type(NETWORKS[name].trunk.config).__mro__[1]  # the trunk's configuration, ours extends it
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(own)}
    save_network(tmp_path / "trunk", seeded_network(TRUNKS[name], own(**fields), seed=9))
    trunk = load_network(tmp_path / "trunk")
    network = seeded_network(name, config)
    load_backbone(network, trunk)
    for found, expected in zip(
        jax.tree.leaves(nnx.state(network.trunk)), jax.tree.leaves(nnx.state(trunk)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(network.out.weight[...], NETWORKS[name].out.weight[...])


def test_a_trunk_that_does_not_fit_is_refused():
    network = seeded_network("VGGFaceReconstruction", CONFIGS["VGGFaceReconstruction"])
    with pytest.raises(ValueError, match="its trunk is VGGFace, got AlexNet"):
        load_backbone(network, seeded_network("AlexNet", test_alexnet.CONFIG))
    other = VGGFaceConfig(channels=(2, 3, 4, 4, 5), width=6, resolution=32, mean=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"resolution 64 \(the trunk's is 32\), mean .* 3\.0\)\)"):
        load_backbone(network, seeded_network("VGGFace", other))
    narrow = seeded_network(
        "FaceReconstruction", ReconstructionConfig(resolution=8, channels=(2, 2), hidden=2)
    )
    with pytest.raises(ValueError, match="FaceReconstruction: its trunk is none"):
        load_backbone(narrow, network.trunk)


def test_sizes_are_refused():
    with pytest.raises(ValueError, match="at least 63, got 62"):
        AlexNetReconstructionConfig(resolution=62)
    with pytest.raises(ValueError, match="ResNetReconstructionConfig: expected stages"):
        ResNetReconstructionConfig(blocks=())
    with pytest.raises(TypeError, match=r"ReconstructionConfig, .* got VGGFaceConfig"):
        make_reconstruction(VGGFaceConfig(), rngs=nnx.Rngs(0))
    fresh = nnx.eval_shape(
        lambda: ResNetReconstruction(CONFIGS["ResNetReconstruction"], rngs=nnx.Rngs(0))
    )
    with pytest.raises(ValueError, match=r"ResNetReconstruction: expected images \[N, H, W, 3\]"):
        jax.eval_shape(lambda n, x: n(x), fresh, jnp.zeros((2, 8, 8)))
