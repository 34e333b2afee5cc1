"""Blocks of few channels in the form for TPUs: the same function, run here on CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import Generator, GeneratorConfig
from jaxface.nets.ops.formulation import one_formulation
from jaxface.nets.stylegan2 import folded

WIDTH = 16  # in place of a TPU's 128 lanes
CONFIG = GeneratorConfig(
    resolution=32, z_dim=8, w_dim=8, mapping_layers=1, channel_base=128, channel_max=16
)


@pytest.fixture(autouse=True)
def narrow_lanes(monkeypatch):
    monkeypatch.setattr(folded, "LANES", WIDTH)


@pytest.fixture(scope="module")
def generator():
    """Blocks of 16 (not folded), 8 and 4 channels, with noise and biases of some size."""
    made = Generator(CONFIG, rngs=nnx.Rngs(0))
    for path, module in nnx.iter_modules(made):
        if hasattr(module, "noise_strength"):
            module.noise_strength[...] = jnp.float32(0.3)
            module.bias[...] = jax.random.normal(jax.random.key(len(path)), module.bias.shape)
    return made


@pytest.fixture(scope="module")
def w_plus():
    return jax.random.normal(jax.random.key(1), (2, CONFIG.num_ws, CONFIG.w_dim))


def features(generator, w_plus, noise, shift=None):
    return generator.synthesis.features(w_plus, noise, style_shift=shift)


def in_form(platform, function, *arguments):
    """The function as it is traced for a platform; a function of its own, so that it is traced."""
    with one_formulation(platform):
        return jax.jit(lambda *each: function(*each))(*arguments)


def largest_difference(found, wanted):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return max(float(jnp.abs(a - b).max() / (jnp.abs(b).max() + 1e-8)) for a, b in pairs)


@pytest.mark.parametrize("noise", ["const", "none", "a key", "keys"])
def test_it_is_the_same_function(generator, w_plus, noise):
    key = jax.random.key(3)
    noise = {"a key": key, "keys": jax.random.split(key, 2)}.get(noise, noise)
    shift = None
    if not isinstance(noise, str):
        shift = jax.random.normal(key, (1, sum(generator.synthesis.style_widths)))

    def run(network, codes):
        return features(network, codes, noise, shift)

    plain = in_form("default", run, generator, w_plus)
    wanted = in_form("tpu", run, generator, w_plus)
    assert 0 < largest_difference(plain, wanted) < 4e-6  # another order of sums


def test_gradients_are_the_same(generator, w_plus):
    def loss(network, codes):
        return jnp.sum(jnp.sin(network.synthesis(codes)))

    gradient = jax.grad(loss, (0, 1))
    plain = in_form("default", gradient, generator, w_plus)
    assert largest_difference(in_form("tpu", gradient, generator, w_plus), plain) < 2e-5


def test_only_few_channels_of_large_images_are_folded():
    assert folded.folds(8, 16, jnp.bfloat16)
    assert not folded.folds(16, 16, jnp.bfloat16)
    assert not folded.folds(8, 8, jnp.float32)
    assert not folded.folds(8, 16, jnp.float16)


def test_unfolding_puts_pixels_back():
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    rows = tuple(folded.fold(image[:, phase::2], 4) for phase in range(2))
    np.testing.assert_array_equal(folded.unfold(rows, 4), image)
    np.testing.assert_array_equal(folded.unfold_colours(rows, 3), image)
    half = tuple(x.astype(jnp.bfloat16) for x in rows)
    np.testing.assert_array_equal(
        folded.unfold_colours(half, 3), jnp.asarray(image).astype(jnp.bfloat16)
    )
