"""StyleGAN2's networks: sizes, noise, truncation, conditioning, precision, independence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.latents import num_ws
from jaxface.nets import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from jaxface.nets.stylegan2.discriminator import minibatch_std
from jaxface.weights import abstract_network

SMALL = GeneratorConfig(16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, mapping_layers=2)


@pytest.fixture(scope="module")
def generator():
    generator = Generator(SMALL, rngs=nnx.Rngs(0))
    generator.mapping.w_mean[...] = jnp.linspace(-1, 1, 8)
    for block in generator.synthesis.blocks:  # noise must matter for its tests to say anything
        for layer in (block.conv0, block.conv1):
            if layer is not None:
                layer.noise_strength[...] = jnp.asarray(0.3)
    return generator


@pytest.fixture(scope="module")
def synthesis():
    return jax.jit(
        lambda g, w_plus, noise=None: g.synthesis(w_plus, "const" if noise is None else noise)
    )


def test_every_resolution_has_its_own_number_of_styles():
    for resolution in (4, 8, 64, 256, 1024, 2048):
        config = GeneratorConfig(resolution)
        assert config.num_ws == num_ws(resolution) == 2 * np.log2(resolution) - 2


@pytest.mark.parametrize("resolution", [0, 2, 48, 4096])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match="power of two"):
        GeneratorConfig(resolution)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("resolution", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_architectures_conditional(architecture, resolution):
    sizes = {"c_dim": 3, "channel_base": 64, "channel_max": 8, "mapping_layers": 1}
    g = Generator(
        GeneratorConfig(resolution, z_dim=8, w_dim=8, architecture=architecture, **sizes),
        rngs=nnx.Rngs(0),
    )
    d = Discriminator(
        DiscriminatorConfig(resolution, architecture=architecture, **sizes), rngs=nnx.Rngs(1)
    )
    z, c = jax.random.normal(jax.random.key(0), (2, 8)), jnp.eye(3)[:2]
    draw, judge = (jax.jit(lambda network, x, c: network(x, c)) for _ in range(2))
    images = draw(g, z, c)
    assert images.shape == (2, resolution, resolution, 3)
    logits = judge(d, images, c)
    assert logits.shape == (2, 1)
    # The label reaches image and logit, and the image the logit.
    assert not np.allclose(images, draw(g, z, c[::-1]), atol=1e-4)
    assert not np.allclose(logits, judge(d, images, c[::-1]), atol=1e-4)
    assert not np.allclose(logits, judge(d, -images, c), atol=1e-4)


def test_a_label_is_required_or_refused(generator):
    with pytest.raises(ValueError, match="takes no c"):
        generator.mapping(jnp.zeros((1, 8)), jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"expected z of shape \[N, 8\]"):
        generator.mapping(jnp.zeros((1, 9)))
    with pytest.raises(ValueError, match="expected w_plus of shape"):
        generator.synthesis(jnp.zeros((1, 4, 8)))


def test_truncation(generator):
    z = jax.random.normal(jax.random.key(1), (3, 8))
    w_plus = generator.mapping(z)
    np.testing.assert_array_equal(w_plus[:, 0], w_plus[:, -1])
    mean = np.asarray(generator.w_mean)
    half = generator.mapping(z, truncation=0.5)
    np.testing.assert_allclose(half, mean + 0.5 * (w_plus - mean), atol=1e-6)
    np.testing.assert_allclose(
        generator.mapping(z, truncation=0.0), np.broadcast_to(mean, w_plus.shape), atol=1e-6
    )
    cut = generator.mapping(z, truncation=0.5, truncation_cutoff=2)
    np.testing.assert_array_equal(cut[:, :2], half[:, :2])
    np.testing.assert_array_equal(cut[:, 2:], w_plus[:, 2:])


def test_w_mean_tracks_the_mean_of_w(generator):
    w = generator.mapping.to_w(jax.random.normal(jax.random.key(2), (16, 8)))
    expected = 0.995 * generator.w_mean + 0.005 * jnp.mean(w, axis=0)
    np.testing.assert_allclose(generator.mapping.updated_w_mean(w), expected, atol=1e-6)


@pytest.mark.slow
def test_noise_modes(generator, synthesis):
    w_plus = jnp.broadcast_to(generator.mapping(jnp.ones((1, 8))), (2, SMALL.num_ws, 8))
    const, none = generator.synthesis(w_plus, "const"), generator.synthesis(w_plus, "none")
    # Some processors sum the rows of a batch in different orders.
    np.testing.assert_allclose(const[0], const[1], atol=1e-5)
    assert not np.allclose(const, none, atol=1e-3)
    keys = jax.random.split(jax.random.key(3), 2)
    own = synthesis(generator, w_plus, keys)
    assert not np.allclose(own[0], own[1], atol=1e-3)
    np.testing.assert_allclose(own[:1], synthesis(generator, w_plus[:1], keys[:1]), atol=1e-5)
    shared = synthesis(generator, w_plus, jax.random.key(3))
    assert not np.allclose(shared[0], shared[1], atol=1e-3)
    for wrong in ("random", keys[:1]):
        with pytest.raises(ValueError, match="noise: expected"):
            generator.synthesis(w_plus, wrong)


def test_an_image_does_not_depend_on_its_batch(generator, synthesis):
    w_plus = generator.mapping(jax.random.normal(jax.random.key(4), (8, 8)))
    keys = jax.random.split(jax.random.key(5), 8)
    together = synthesis(generator, w_plus, keys)
    alone = jnp.concatenate(
        [synthesis(generator, w_plus[i : i + 1], keys[i : i + 1]) for i in range(8)]
    )
    # Other batch sizes may sum in another order: a few float32 roundings.
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.slow
def test_the_image_is_the_sum_of_its_resolutions(generator):
    """The skip generator's partial image at a low resolution is a usable image of its own."""
    w_plus = generator.mapping(jnp.ones((1, 8)))
    stages = generator.synthesis.features(w_plus)
    for (features, image), block in zip(stages, generator.synthesis.blocks, strict=True):
        resolution = block.resolution
        np.testing.assert_array_equal(generator.synthesis(w_plus, resolution=resolution), image)
        assert features.shape[1] == resolution
    with pytest.raises(ValueError, match="expected a resolution of"):
        generator.synthesis(w_plus, resolution=12)
    assert [image.shape[1] for _, image in stages] == [4, 8, 16]
    np.testing.assert_array_equal(stages[-1][1], generator.synthesis(w_plus))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_reduced_precision_stays_close_and_is_clamped(generator, synthesis, dtype):
    config = dataclasses.replace(
        SMALL, num_reduced_precision_res=2, reduced_dtype=dtype, conv_clamp=256.0
    )
    reduced = nnx.merge(nnx.graphdef(abstract_network("Generator", config)), nnx.state(generator))
    w_plus = generator.mapping(jax.random.normal(jax.random.key(6), (2, 8)))
    full, low = (synthesis(network, w_plus) for network in (generator, reduced))
    assert low.dtype == jnp.float32
    features = jax.jit(lambda network, w_plus: network.synthesis.features(w_plus)[-1][0])
    assert features(reduced, w_plus).dtype == jnp.dtype(dtype)
    # Two blocks of five layers at 8 (bfloat16) or 11 bits.
    tolerance = {"bfloat16": 0.05, "float16": 0.01}[dtype] * float(jnp.abs(full).max())
    np.testing.assert_allclose(low, full, atol=tolerance)
    clamped = abstract_network("Generator", dataclasses.replace(SMALL, conv_clamp=0.1))
    clamped = nnx.merge(nnx.graphdef(clamped), nnx.state(generator))
    np.testing.assert_allclose(jnp.abs(features(clamped, w_plus)).max(), 0.1, rtol=1e-6)


def test_minibatch_std_uses_strided_groups():
    """Images 0 and 2 form one group, 1 and 3 the other; checked against a float64 loop."""
    x = np.random.default_rng(8).normal(size=(4, 2, 2, 6)).astype(np.float32)
    y = np.asarray(minibatch_std(x, group_size=2, num_channels=2))
    assert y.shape == (4, 2, 2, 8)
    for image in range(4):
        group = np.float64(x[[image % 2, image % 2 + 2]])
        std = np.sqrt(group.var(axis=0) + 1e-8)
        for channel in range(2):
            expected = std[:, :, 3 * channel : 3 * channel + 3].mean()
            np.testing.assert_allclose(y[image, :, :, 6 + channel], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="multiple of 3"):
        minibatch_std(x, group_size=3, num_channels=1)


def test_the_discriminator_refuses_other_sizes():
    d = Discriminator(DiscriminatorConfig(8, channel_base=32, channel_max=4), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"expected images \[N, 8, 8, 3\]"):
        d(jnp.zeros((1, 16, 16, 3)))
