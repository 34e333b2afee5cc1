"""The mapping alone: what it learns, what it leaves as it is, and what that is worth afterwards."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.methods import mapping_regression as method
from jaxface.methods import scene_regression
from jaxface.nets import Generator, GeneratorConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

CONFIG = GeneratorConfig(
    16,
    channel_base=128,
    channel_max=16,
    mapping_layers=0,
    residual_blocks=1,
    residual_width=24,
    z_dim=12,
    w_dim=16,
)
SETTINGS = method.MappingSettings(
    CONFIG, 5, steps=60, batch_size=16, resolution=8, warmup_steps=3, ema_half_life=100.0
)


def batch_of(number, count=16):
    """A world of five factors: a tone and two gradients per image."""
    factors = jax.random.normal(jax.random.key(number), (count, 5))
    axis = jnp.linspace(-1.0, 1.0, 16)
    shade = factors[:, 0, None, None] * axis[:, None] + factors[:, 1, None, None] * axis
    images = jnp.tanh(shade[..., None] + factors[:, None, None, 2:])
    return {"image": np.asarray((images + 1) * 127.5, np.uint8), "factors": np.asarray(factors)}


@pytest.fixture(scope="module")
def trained():
    """The recipe, its state before and after, and the metrics."""
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=batch_of(1000))
    step, state = jax.jit(recipe.stages[0].phases[0].fn), recipe.state
    found = []
    for i in range(SETTINGS.steps):
        state, metrics = step(state, None, batch_of(i), jax.random.key(i))
        found.append(float(metrics["psnr"]))
    return recipe, state, found


def test_a_small_render_becomes_linear_in_w(trained):
    recipe, state, found = trained
    assert np.mean(found[-5:]) > np.mean(found[:5]) + 8
    before, after = (recipe.score(s)["psnr"] for s in (recipe.state, state))
    assert after > before + 8
    assert recipe.sample_images(state).shape == (32, 8, 8, 3)


def test_only_the_mapping_is_trained_and_it_reads_factors_alone(trained):
    recipe, state, _ = trained
    begun, finished = (recipe.networks(s)["generator"] for s in (recipe.state, state))
    assert isinstance(finished, Generator)
    for old, new in zip(
        jax.tree.leaves(begun.synthesis), jax.tree.leaves(finished.synthesis), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    first = finished.mapping.residual.first.weight[...]
    assert not first[5:].any()
    assert not np.array_equal(begun.mapping.residual.first.weight[...][:5], first[:5])


def test_begins_with_a_generator_that_is_given(trained):
    recipe, state, _ = trained
    given = recipe.networks(state)["generator"]
    again = SETTINGS.recipe(key=jax.random.key(9), networks={"generator": given}, held_out=None)
    found = again.networks(again.state)["generator"]
    for old, new in zip(jax.tree.leaves(given), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(old, new)
    assert again.score is None


def test_settings_refuse_more_factors_than_z_holds():
    with pytest.raises(ValueError, match="13 factors"):
        dataclasses.replace(SETTINGS, num_factors=13)


def test_the_mapping_s_rate_scales_its_updates_alone():
    updates = []
    for rate in (1.0, 0.25):
        settings = scene_regression.RegressionSettings(
            CONFIG, (scene_regression.Stage(8, 9, 8),), 5, mapping_rate=rate
        )
        state = scene_regression.initial_state(settings, jax.random.key(1))
        step = jax.jit(scene_regression.regression_phase(settings, settings.stages[0]).fn)
        after, _ = step(state, {"perceptual": None}, batch_of(3, 8), jax.random.key(2))
        networks = state.network, after.network
        updates.append(
            [
                np.subtract(*(read(n) for n in networks))
                for read in (
                    lambda n: n.mapping.residual.first.bias[...],
                    lambda n: n.synthesis.blocks[0].conv1.weight[...],
                )
            ]
        )
    (mapping, synthesis), (slower, same) = updates
    assert np.abs(mapping).max() > 0
    np.testing.assert_allclose(slower, 0.25 * mapping, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(same, synthesis, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_microbatches_change_nothing():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    assert_parts_agree(method.mapping_phase, SETTINGS, recipe.state, None, batch_of(3))


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    assert_split(recipe.stages[0].phases[0], recipe.state, None, batch_of(3))
