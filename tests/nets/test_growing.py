"""A grown generator draws what the smaller one did, and all of it can be trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import Generator, GeneratorConfig
from jaxface.nets.ops import upsample
from jaxface.nets.stylegan2 import grown

SMALL = GeneratorConfig(
    16, channel_base=128, channel_max=12, mapping_layers=2, z_dim=10, w_dim=16, conv_clamp=256.0
)
LARGE = dataclasses.replace(SMALL, resolution=32, channel_base=512, channel_max=24)


@pytest.fixture(scope="module")
def pair():
    """A generator with nothing left at its initial zeros, and the one grown from it."""
    small = Generator(SMALL, rngs=nnx.Rngs(0))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    for path, leaf in nnx.to_flat_state(nnx.state(small)):
        if path[-1] in ("bias", "noise_strength", "w_mean"):
            leaf[...] = leaf[...] + 0.3 * jax.random.normal(next(keys), leaf.shape)
    return small, jax.jit(lambda x: grown(x, LARGE, rngs=nnx.Rngs(2)))(small)


@jax.jit
def pictures(generator, z):
    """Images at every resolution."""
    w_plus = generator.mapping(z, truncation=0.7)
    return [image for _, image in generator.synthesis.features(w_plus, "const")]


@pytest.mark.slow
def test_draws_the_same_at_every_old_resolution_and_upsampled_beyond(pair):
    z = jax.random.normal(jax.random.key(3), (4, 10))
    before, after = (pictures(generator, z) for generator in pair)
    assert [x.shape[1] for x in after] == [4, 8, 16, 32]
    for old, new in zip(before, after, strict=False):
        np.testing.assert_allclose(new, old, atol=1e-5 * float(jnp.abs(old).max()))
    np.testing.assert_allclose(after[-1], upsample(before[-1], np.asarray(SMALL.taps)), atol=1e-4)


@pytest.mark.slow
def test_every_new_weight_can_learn(pair):
    """After one step no weight is without a gradient, whatever began at zero."""
    _, large = pair
    z = jax.random.normal(jax.random.key(4), (4, 10))
    wanted = jax.random.normal(jax.random.key(5), (4, 32, 32, 3))
    graphdef, params, rest = nnx.split(large, nnx.Param, ...)

    @jax.jit
    def gradient(params):
        def loss(params):
            return jnp.mean((pictures(nnx.merge(graphdef, params, rest), z)[-1] - wanted) ** 2)

        return jax.grad(loss)(params)

    first = gradient(params)
    params = jax.tree.map(lambda p, g: p - 0.1 * g, params, first)
    for path, leaf in nnx.to_flat_state(gradient(params)):
        if leaf.ndim == 4:  # a kernel
            assert (np.abs(leaf[...]).max(axis=(0, 1)) > 0).all(), path


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(SMALL, resolution=8),
        dataclasses.replace(LARGE, channel_max=8),
        dataclasses.replace(LARGE, w_dim=32),
        dataclasses.replace(LARGE, architecture="resnet"),
    ],
)
def test_refuses_what_is_not_larger(pair, config):
    with pytest.raises(ValueError, match="grown"):
        grown(pair[0], config, rngs=nnx.Rngs(0))


def test_a_residual_mapping_adds_nothing_at_first(pair):
    small, _ = pair
    config = dataclasses.replace(SMALL, residual_blocks=1, residual_width=20)
    new = jax.jit(lambda x: grown(x, config, rngs=nnx.Rngs(2)))(small)
    z = jax.random.normal(jax.random.key(3), (4, 10))
    np.testing.assert_array_equal(new.mapping.to_w(z), small.mapping.to_w(z))
    assert new.mapping.residual.first.weight[...].shape == (10, 20)
    assert [layer.weight[...].shape[0] for layer in new.mapping.first_layers] == [10, 10]
    with pytest.raises(ValueError, match="at least 1, got 0 and 0"):
        dataclasses.replace(SMALL, mapping_layers=0)
    with pytest.raises(ValueError, match="reads no labels"):
        dataclasses.replace(config, c_dim=2)
