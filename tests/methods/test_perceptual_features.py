"""The feature network learns to read factors from images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.methods import perceptual_features as method
from jaxface.nets import VGGConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SETTINGS = method.FeatureSettings(
    network=VGGConfig(channels=(4, 8, 8, 8, 8)),
    num_factors=4,
    steps=60,
    batch_size=16,
    learning_rate=5e-3,
    warmup_steps=5,
)


def batch_of(key):
    """Pictures of a tone and a gradient; the fourth factor and those after it leave no trace."""
    factors = jax.random.normal(key, (16, 6))
    axis = jnp.linspace(-1.0, 1.0, 16)[None, :, None, None]
    shade = factors[:, None, None, :1] + factors[:, None, None, 1:3].sum(-1, keepdims=True) * axis
    images = jnp.broadcast_to(jnp.tanh(shade), (16, 16, 16, 3))
    return {"image": np.asarray(images), "factors": np.asarray(factors)}


def test_learns_to_read_what_shows_and_only_that():
    state = jax.jit(lambda key: method.initial_state(SETTINGS, key))(jax.random.key(0))
    step = jax.jit(method.feature_phase(SETTINGS).fn)
    losses = []
    for i in range(SETTINGS.steps):
        key = jax.random.fold_in(jax.random.key(1), i)
        state, metrics = step(state, None, batch_of(key), key)
        losses.append(float(metrics["loss"]))
    batch = batch_of(jax.random.key(2))
    found = jax.jit(lambda reader, images: reader(images))(state.reader, batch["image"])
    error = np.mean(np.square(found - batch["factors"][:, :4]), axis=0)
    variance = batch["factors"][:, :4].var(axis=0)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert error[0] < 0.4 * variance[0]  # the tone is plain to see
    assert error[3] > 0.7 * variance[3]  # the fourth factor is not in the image
    assert metrics["explained"] > 0.6


@pytest.mark.slow
def test_noise_and_images_reach_the_step():
    state = jax.jit(lambda key: method.initial_state(SETTINGS, key))(jax.random.key(0))
    batch = batch_of(jax.random.key(3))
    stored = batch | {"image": np.asarray((batch["image"] + 1) * 127.5, np.uint8)}
    step = jax.jit(method.feature_phase(SETTINGS).fn)
    first, _ = step(state, None, batch, jax.random.key(0))
    second, _ = step(first, None, batch, jax.random.key(1))
    other, _ = step(first, None, batch, jax.random.key(2))
    bytes_, _ = step(first, None, stored, jax.random.key(1))
    weight = second.reader.weight[...]
    assert not np.array_equal(weight, other.reader.weight[...])
    # 8-bit images differ by at most 1/255; Adam's first steps are signs of gradients, so compare
    # the sign where it is certain.
    agreement = np.sign(weight - first.reader.weight[...]) == np.sign(
        bytes_.reader.weight[...] - first.reader.weight[...]
    )
    assert agreement.mean() > 0.9


def test_explained_variance_of_the_best_quarter():
    factors = jax.random.normal(jax.random.key(0), (4096, 8))
    found = factors.at[:, 2:].set(0.0)

    def explained(found):
        return float(method.explained_variance(method.unexplained_share(found, factors)))

    # Variances of 4096 samples are within a few percent of 1.
    assert abs(explained(found) - 1) < 1e-6
    assert abs(explained(0 * found)) < 0.1


@pytest.mark.slow
def test_microbatches_change_nothing():
    state = jax.jit(lambda key: method.initial_state(SETTINGS, key))(jax.random.key(0))
    # The head begins with zeros, and with it everything below has no gradient.
    state.reader.weight[...] = jax.random.normal(jax.random.key(1), state.reader.weight.shape)
    assert_parts_agree(method.feature_phase, SETTINGS, state, None, batch_of(jax.random.key(3)))


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    state = jax.eval_shape(lambda key: method.initial_state(SETTINGS, key), jax.random.key(0))
    assert_split(method.feature_phase(SETTINGS), state, None, batch_of(jax.random.key(3)))
