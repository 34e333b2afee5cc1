"""The judge of small details: what is true of a scene, and how far readings are from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.methods import attribute_regression as method
from jaxface.morphable.worlds import world
from jaxface.nets import ReconstructionConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SIZE = 16
SETTINGS = method.AttributeSettings(
    network=ReconstructionConfig(resolution=SIZE, channels=(8, 16), hidden=32, outputs=4),
    steps=150,
    batch_size=16,
    learning_rate=3e-3,
    warmup_steps=5,
    ema_half_life=100.0,
)


def batch_of(count, key):
    """Images whose three channels are what is true: an easy reading."""
    factors = jax.random.normal(key, (count, world("3.0.0").num_factors))
    true = np.asarray(method.attributes(factors))
    shown = np.stack([true[:, 0] / 40, true[:, 2] * 2 - 0.5, true[:, 3] - 0.5], axis=1)
    images = np.clip(shown[:, None, None], -1, 1) * np.ones((1, SIZE, SIZE, 1))
    return {"image": ((images + 1) * 127.5).astype(np.uint8), "factors": np.asarray(factors)}


def test_what_is_true_of_a_scene():
    of = world("3.0.0")
    factors = jnp.zeros((4, of.num_factors))
    wide, worn = of.factors["gaze"].start, of.factors["glasses"].start
    factors = factors.at[1, wide].set(2.0).at[2, worn].set(4.0).at[3, worn].set(-4.0)
    yaw, _, jaw, glasses = np.asarray(method.attributes(factors)).T
    scenes = of.scenes(factors)
    assert yaw[1] - yaw[0] > 10
    np.testing.assert_allclose(jaw, scenes.face.expression[:, of.expression_names.index("jawOpen")])
    assert glasses.tolist()[2:] == [1, 0]
    radii = scenes.nuisance.glasses_thickness[:, 0]
    assert radii[2] > 2 * method.WORN * 0.9 > 0.01 > radii[3] > 0


def test_errors_of_known_readings():
    rng = np.random.default_rng(0)
    true = np.stack([*rng.normal(size=(2, 200)), np.linspace(0, 1, 200), np.arange(200) % 4 == 0])
    true = jnp.asarray(true.T, jnp.float32)
    exact = method.attribute_errors(true, true)
    assert (float(exact["gaze_degrees"]), float(exact["glasses_accuracy"])) == (0, 1)
    off = true + jnp.array([3.0, 4.0, 0.1, 0.0])
    off = off.at[:, 3].set(jnp.where(jnp.arange(200) < 100, 0.0, true[:, 3]))
    errors = method.attribute_errors(off, true)
    assert float(errors["gaze_degrees"]) == pytest.approx(5.0, rel=1e-5)
    assert float(errors["jaw_open"]) == pytest.approx(0.1 / 0.98, rel=1e-3)
    assert float(errors["glasses_accuracy"]) == pytest.approx(0.75)  # half of those who wear some


@pytest.mark.slow
def test_learns_what_images_show():
    held_out = batch_of(64, jax.random.key(7))
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=held_out)
    state, step = recipe.state, jax.jit(recipe.stages[0].phases[0].fn)
    before = recipe.score(state)
    for i in range(SETTINGS.steps):
        key = jax.random.fold_in(jax.random.key(1), i)
        state, _ = step(state, None, batch_of(16, key), key)
    after = recipe.score(state)
    assert after["jaw_open"] < 0.5 * before["jaw_open"]
    assert after["glasses_accuracy"] > 0.95
    network = recipe.networks(state)["attributes"]
    given = SETTINGS.recipe(key=jax.random.key(2), networks={"attributes": network}, held_out=None)
    np.testing.assert_array_equal(given.state.network.out.bias[...], network.out.bias[...])
    wide = dataclasses.replace(SETTINGS.network, hidden=8)
    other = dataclasses.replace(SETTINGS, network=wide)
    with pytest.raises(UsageError, match="other sizes"):
        other.recipe(key=jax.random.key(2), networks={"attributes": network}, held_out=None)


def test_outputs_that_are_not_the_attributes_are_refused():
    with pytest.raises(ValueError, match="outputs must be 4"):
        method.AttributeSettings(network=ReconstructionConfig(), steps=1)


@pytest.mark.slow
def test_close_ups_learn_from_landmarks_where_to_look():
    network = dataclasses.replace(SETTINGS.network, close_ups=True)
    settings = dataclasses.replace(SETTINGS, network=network)
    recipe = settings.recipe(key=jax.random.key(0), networks={}, held_out=None)
    assert recipe.fields == ("image", "factors", "landmarks")
    state, step = recipe.state, jax.jit(recipe.stages[0].phases[0].fn)
    # Wherever the image is bright, there is the whole face: a pixel in sixteen.
    batch = batch_of(16, jax.random.key(5)) | {"landmarks": np.zeros((16, 68, 2), np.float32)}
    batch["landmarks"] += np.linspace(3.0, 13.0, 16)[:, None, None]
    batch["image"] = (batch["landmarks"][:, :1, :1, None] * np.full((SIZE, SIZE, 3), 16.0)).astype(
        np.uint8
    )

    def off(state):
        places = state.network.read(jnp.asarray(batch["image"]) / 127.5 - 1)[1]
        return np.abs(places[:, :, 0] * SIZE - batch["landmarks"][:, :1, 0]).mean()

    before = off(state)
    for i in range(60):
        state, metrics = step(state, None, batch, jax.random.key(i))
    assert np.isfinite(float(metrics["loss"]))
    assert off(state) < 0.3 * before


@pytest.mark.slow
def test_microbatches_change_nothing():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    batch = batch_of(16, jax.random.key(3))
    assert_parts_agree(method.attribute_phase, SETTINGS, recipe.state, None, batch)


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    batch = batch_of(1, jax.random.key(3))
    assert_split(method.attribute_phase(SETTINGS), recipe.state, None, batch)
