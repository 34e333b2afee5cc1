"""The landmark network's training: it learns from images where the points are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.methods import landmark_regression as method
from jaxface.morphable import NUM_FACTORS, landmarks, scene_from_gaussian
from jaxface.nets import LandmarkConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SIZE = 16
SETTINGS = method.LandmarkSettings(
    network=LandmarkConfig(resolution=SIZE, channels=(8, 12, 16)),
    steps=150,
    batch_size=16,
    learning_rate=1e-2,
    warmup_steps=5,
    ema_half_life=100.0,
)


def pictures(rng, count):
    """A bright spot; half of the points lie on it, half on the other side of the centre."""
    spot = rng.uniform(4, 12, (count, 2))
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    squared = (x - spot[:, :1, None]) ** 2 + (y - spot[:, 1:, None]) ** 2
    images = np.tanh(3 * np.exp(-squared / 8) - 1)[..., None].repeat(3, axis=-1)
    points = np.concatenate([spot[:, None].repeat(34, 1), (SIZE - spot)[:, None].repeat(34, 1)], 1)
    return {
        "image": np.asarray((images + 1) * 127.5, np.uint8),
        "landmarks": points.astype(np.float32),
    }


@pytest.mark.slow
def test_learns_where_points_are():
    rng = np.random.default_rng(0)
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    state = recipe.state
    # Unoptimised code compiles in half the time, and this network runs in no time at all.
    step = jax.jit(recipe.stages[0].phases[0].fn)
    losses = []
    for i in range(SETTINGS.steps):
        key = jax.random.fold_in(jax.random.key(1), i)
        state, metrics = step(state, None, pictures(rng, 16), key)
        losses.append(float(metrics["loss"]))
    assert recipe.score is None
    assert losses[-1] < 0.4 * losses[0]
    batch = pictures(np.random.default_rng(1), 16)
    images = jnp.asarray(batch["image"], jnp.float32) / 127.5 - 1
    network = recipe.networks(state)["landmarks"]
    found = jax.jit(lambda network, images: network(images))(network, images)
    distance = np.linalg.norm(found - batch["landmarks"], axis=-1)
    # The mean of the spots' distance from the centre is 3 px.
    assert distance.mean() < 1.5
    assert int(state.items_seen) == 16 * SETTINGS.steps
    given = SETTINGS.recipe(key=jax.random.key(2), networks={"landmarks": network}, held_out=None)
    np.testing.assert_array_equal(given.state.network.heat.bias[...], network.heat.bias[...])
    other = dataclasses.replace(SETTINGS, network=LandmarkConfig(resolution=16, channels=(4, 4)))
    with pytest.raises(UsageError, match="other sizes"):
        other.recipe(key=jax.random.key(2), networks={"landmarks": network}, held_out=None)


def test_scores_of_known_distances():
    factors = jax.random.normal(jax.random.key(0), (32, NUM_FACTORS))
    face = scene_from_gaussian(factors).face
    true = landmarks(face, 64)
    exact = method.landmark_scores(true, true, face.rotation[:, 1])
    assert all(float(value) == 0 for value in exact.values())
    moved = method.landmark_scores(true + jnp.array([3.0, 4.0]), true, face.rotation[:, 1])
    assert float(moved["pixels"]) == pytest.approx(5.0, rel=1e-5)
    eyes = np.linalg.norm(true[:, 36] - true[:, 45], axis=1)
    assert float(moved["nme_inter_ocular"]) == pytest.approx(np.mean(5 / eyes), rel=1e-4)
    frontal = np.abs(face.rotation[:, 1]) <= method.FRONTAL_YAW
    assert 0 < frontal.sum() < 32
    expected = np.mean(5 / eyes[frontal])
    assert float(moved["nme_inter_ocular_frontal"]) == pytest.approx(expected, rel=1e-4)
    assert expected < np.mean(5 / eyes)
    np.testing.assert_allclose(
        method.landmark_distance(true + jnp.array([3.0, 4.0]), true, 64), 5 / 64, rtol=1e-3
    )


@pytest.mark.slow
def test_microbatches_change_nothing():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    batch = pictures(np.random.default_rng(3), 16)
    assert_parts_agree(method.landmark_phase, SETTINGS, recipe.state, None, batch)


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    batch = pictures(np.random.default_rng(3), 1)
    assert_split(method.landmark_phase(SETTINGS), recipe.state, None, batch)
