"""ArcFace's training: it learns to tell persons apart whom it has not seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.methods import arcface
from jaxface.nets import IRSEConfig
from jaxface.training.augmentation import blur_and_noise
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

# Unoptimised code compiles in half the time, and these networks run in no time at all.

PERSONS, OCCASIONS, SIZE = 12, 8, 16
SETTINGS = arcface.ArcFaceSettings(
    network=IRSEConfig(
        channels=(8, 8, 16, 16),
        units=(1, 1, 1, 1),
        reduction=4,
        embedding_dim=16,
        resolution=SIZE,
        portrait_size=SIZE,
        crop=(0, SIZE, 0, SIZE),
    ),
    num_identities=PERSONS,
    steps=80,
    batch_size=32,
    s=16.0,
    m=0.2,
    learning_rate=1e-2,
    warmup_steps=5,
    folds=2,
)


def pictures(seed):
    """Persons are coarse coloured patterns; the occasion is the light and pixel noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(PERSONS, 1, 4, 4, 3))
    light = rng.uniform(0.4, 1.0, (PERSONS, OCCASIONS, 1, 1, 1)) * rng.choice(
        [1.0, 0.6], (PERSONS, OCCASIONS, 1, 1, 3)
    )
    images = np.kron(coarse * light, np.ones((SIZE // 4, SIZE // 4, 1)))
    images = np.tanh(images + 0.2 * rng.normal(size=images.shape))
    stored = np.asarray((images + 1) * 127.5, np.uint8).reshape(-1, SIZE, SIZE, 3)
    return {"image": stored, "person": np.repeat(np.arange(PERSONS), OCCASIONS)}


@pytest.fixture(scope="module")
def trained():
    """The recipe, the last state, the metrics, and the first batch with the state after it."""
    recipe = SETTINGS.recipe(
        key=jax.random.key(0), networks={}, held_out=pictures(1) | {"factors": None}
    )
    data, rng = pictures(0), np.random.default_rng(2)
    step = jax.jit(recipe.stages[0].phases[0].fn)
    state, rows, first = recipe.state, [], None
    for i in range(SETTINGS.steps):
        rows_of = rng.choice(len(data["person"]), SETTINGS.batch_size, replace=False)
        batch = {name: data[name][rows_of] for name in recipe.fields}
        state, metrics = step(state, None, batch, jax.random.fold_in(jax.random.key(1), i))
        rows.append({name: float(value) for name, value in metrics.items()})
        first = first or (batch, state)
    return recipe, state, rows, first


@pytest.mark.slow
def test_learns_the_persons_it_sees(trained):
    _, _, rows, _ = trained
    assert np.mean([row["loss"] for row in rows[-8:]]) < 0.5 * rows[0]["loss"]
    assert np.mean([row["accuracy"] for row in rows[-8:]]) > 0.8


@pytest.mark.slow
def test_tells_apart_persons_it_has_not_seen(trained):
    recipe, state, _, _ = trained
    before, after = recipe.score(recipe.state), recipe.score(state)
    assert set(after) == {
        "accuracy",
        "accuracy_deviation",
        "tar_at_far_1e-2",
        "tar_at_far_1e-3",
    }
    assert after["accuracy"] > 0.85
    assert after["tar_at_far_1e-2"] > before["tar_at_far_1e-2"]
    # The network of the last step, its embeddings of unit length by running statistics.
    network = recipe.networks(state)["recognition"]
    embeddings = jax.jit(lambda network, x: network(x))(network, jnp.zeros((2, SIZE, SIZE, 3)))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_the_second_step_does_not_recompile(trained):
    """A step's state looks to the compiler as the one before."""
    recipe, _, _, (batch, _) = trained
    phase = recipe.stages[0].phases[0]
    after, _ = jax.eval_shape(phase.fn, recipe.state, None, batch, jax.random.key(0))
    assert jax.tree.structure(after) == jax.tree.structure(recipe.state)
    for old, new in zip(jax.tree.leaves(recipe.state), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)


@pytest.mark.slow
def test_running_statistics_follow_the_batches(trained):
    recipe, state, _, (_, second) = trained
    norms = [s.network.body.norm for s in (recipe.state, second, state)]
    means = [np.asarray(norm.mean[...]) for norm in norms]
    assert not means[0].any()
    assert means[1].any()
    assert np.abs(means[2] - means[1]).max() > 1e-3
    assert all(norm.use_running_average for norm in norms)


def test_goes_on_with_a_network_of_the_same_sizes():
    recipe = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    given = recipe.networks(recipe.state)
    again = SETTINGS.recipe(key=jax.random.key(3), networks=given, held_out=None)
    found = again.networks(again.state)["recognition"]
    np.testing.assert_array_equal(found.dense.weight[...], given["recognition"].dense.weight[...])
    assert again.score is None
    other = dataclasses.replace(
        SETTINGS, network=dataclasses.replace(SETTINGS.network, embedding_dim=8)
    )
    with pytest.raises(UsageError, match="other sizes"):
        other.recipe(key=jax.random.key(3), networks=given, held_out=None)


def test_degraded_pictures():
    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 3))
    worse = jax.jit(blur_and_noise, static_argnames=("noise", "blur"))
    same = worse(images, jax.random.key(1), noise=0.0, blur=0.0)
    np.testing.assert_array_equal(same, images)
    noisy = worse(images, jax.random.key(1), noise=0.5, blur=0.0) - images
    assert np.std(noisy) == pytest.approx(0.5, rel=0.1)  # of 768 numbers
    blurred = worse(images, jax.random.key(1), noise=0.0, blur=1.0)
    # Every image is a mixture of itself and its mean with its neighbours.
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    mean = sum(weights[i, j] * padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    for picture, sharp, soft in zip(blurred, np.asarray(images), mean, strict=True):
        share = ((picture - sharp) * (soft - sharp)).sum() / ((soft - sharp) ** 2).sum()
        assert 0.0 < share < 1.0
        np.testing.assert_allclose(picture, sharp + share * (soft - sharp), atol=1e-5)
    constant = jnp.full((1, 8, 8, 3), 0.3)
    found = worse(constant, jax.random.key(1), noise=0.0, blur=1.0)
    np.testing.assert_allclose(found, constant, atol=1e-6)


@pytest.mark.slow
def test_microbatches_normalise_by_their_own_statistics(trained):
    """Where both microbatches have the same statistics they change nothing."""
    recipe, _, _, (batch, _) = trained
    settings = dataclasses.replace(SETTINGS, noise=0.0, blur=0.0)
    twice = {name: np.repeat(value[:8], 2, axis=0) for name, value in batch.items()}
    assert_parts_agree(arcface.recognition_phase, settings, recipe.state, None, twice)


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    state = jax.eval_shape(lambda key: arcface.initial_state(SETTINGS, key), jax.random.key(0))
    assert_split(arcface.recognition_phase(SETTINGS), state, None, pictures(0))
