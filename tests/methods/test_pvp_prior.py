"""Mappers that are pre-trained over many persons: the closed form, the training, what takes it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import UsageError
from jaxface.evaluation.pvp_protocol import world_clip
from jaxface.methods.pvp import EMBEDDED, PRETRAINED, MapperSettings, personalise
from jaxface.methods.pvp.features import Features
from jaxface.methods.pvp.prior import AvatarPriorSettings, errors, initial_state, prior_phase
from jaxface.methods.pvp.training import prior_mappers
from jaxface.morphable.worlds import world
from jaxface.nets import AvatarPrior, AvatarPriorConfig
from jaxface.suite import load_suite
from jaxface.weights import load_network, save_network
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

ROWS, WIDTH, NUMBERS, ANCHORS = 5, 4, 3, 12
CONFIG = AvatarPriorConfig(ROWS, NUMBERS, w_dim=WIDTH, expression_rows=4, hidden=8)
SETTINGS = AvatarPriorSettings(CONFIG, steps=150, batch_size=4, anchors=ANCHORS, learning_rate=1e-2)
LINES = np.random.default_rng(0).normal(size=(NUMBERS, 4, WIDTH)).astype(np.float32)


def prior(seed=0):
    found = AvatarPrior(CONFIG, rngs=nnx.Rngs(seed))
    last = found.expression.weight2
    last[...] = 0.3 * jax.random.normal(jax.random.key(seed), last.shape)
    found.pose_scale[...] = jnp.array([0.5, 2.0])
    found.expression_scale[...] = jnp.array([1.0, 2.0, 0.5])
    return found


def persons(count, frames=20, seed=1):
    """Clips in whose codes a person's own lines follow pose, and everybody's follow expression."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(size=(count, frames, 2)).astype(np.float32) * 0.3
    expression = rng.normal(size=(count, frames, NUMBERS)).astype(np.float32)
    own = rng.normal(size=(count, 2, ROWS, WIDTH)).astype(np.float32)
    codes = np.einsum("nkp,npld->nkld", pose, own) + rng.normal(size=(count, 1, ROWS, WIDTH))
    codes[:, :, :4] += 0.2 * np.einsum("nke,eld->nkld", expression, LINES)
    return {"w_plus": codes.astype(np.float32), "pose": pose, "expression": expression}


def test_mappers_of_a_person_are_the_priors():
    clip = {name: value[0] for name, value in persons(1).items()}
    anchors = {name: value[:ANCHORS] for name, value in clip.items()}
    features = Features(anchors["pose"], anchors["expression"])
    mappers = prior_mappers(MapperSettings(start="prior"), prior(), anchors["w_plus"], features)
    expected = prior()(anchors["w_plus"], *features, clip["pose"], clip["expression"])
    np.testing.assert_allclose(mappers(clip["pose"], clip["expression"]), expected, atol=1e-5)
    np.testing.assert_allclose(mappers.weights(clip["pose"]).sum(axis=1), 1, atol=1e-6)


def test_the_last_layer_is_that_of_ridge_regression():
    """The weights blend the anchors into what a regression of their codes predicts."""
    clip = {name: value[0, :ANCHORS] for name, value in persons(1).items()}
    network = prior()
    weight, bias = network.last_layer(clip["pose"], clip["expression"])
    hidden = np.asarray(network._hidden(clip["pose"]), np.float64)
    moved = (clip["expression"] - clip["expression"].mean(axis=0)) / np.array([1.0, 2.0, 0.5])
    z = np.concatenate([hidden - hidden.mean(axis=0), moved], axis=1)
    codes = clip["w_plus"].reshape(ANCHORS, -1).astype(np.float64)
    lines = np.linalg.solve(z.T @ z + np.eye(z.shape[1]), z.T @ (codes - codes.mean(axis=0)))
    asked = hidden[:3]
    wanted = codes.mean(axis=0) + (asked - hidden.mean(axis=0)) @ lines[:8]
    alpha = 1 / ANCHORS + asked @ np.asarray(weight) + np.asarray(bias)
    np.testing.assert_allclose(alpha @ codes, wanted, atol=1e-3)


def test_training_gives_codes_of_persons_it_has_not_seen():
    held_out = persons(4, seed=9)
    state = initial_state(SETTINGS, jax.random.key(0), None, held_out)
    step = jax.jit(prior_phase(SETTINGS).fn)
    before = errors(SETTINGS, state.network, held_out)["share"]
    for number in range(SETTINGS.steps):
        state, told = step(state, None, persons(4, seed=100 + number), jax.random.key(number))
    after = errors(SETTINGS, state.network, held_out)["share"]
    assert float(before) > 0.3
    assert float(after) < 0.4 * float(before)
    assert set(told) == {"loss", "share"}


@pytest.mark.slow  # its batch is read, as others' are
def test_microbatches_agree_and_the_step_is_split():
    batch = persons(4)
    state = initial_state(SETTINGS, jax.random.key(0), prior(), None)
    assert_parts_agree(prior_phase, SETTINGS, state, None, batch)
    wide = dataclasses.replace(CONFIG, hidden=32, w_dim=16)
    settings = dataclasses.replace(SETTINGS, network=wide)
    network = AvatarPrior(wide, rngs=nnx.Rngs(0))
    batch = batch | {"w_plus": np.zeros((4, 20, ROWS, 16), np.float32)}
    state = initial_state(settings, jax.random.key(0), network, None)
    assert_split(prior_phase(settings), state, None, batch)


def test_inputs_are_standardised_by_held_out_clips():
    held_out = persons(4)
    held_out["pose"] = held_out["pose"] * 3 + 1
    network = initial_state(SETTINGS, jax.random.key(0), None, held_out).network
    flat = held_out["pose"].reshape(-1, 2)
    np.testing.assert_allclose(network.pose_mean[...], flat.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(network.pose_scale[...], flat.std(axis=0), rtol=1e-5)
    assert initial_state(SETTINGS, jax.random.key(0), network, held_out).network is network
    other = AvatarPrior(dataclasses.replace(CONFIG, hidden=4), rngs=nnx.Rngs(0))
    with pytest.raises(UsageError, match="other sizes"):
        initial_state(SETTINGS, jax.random.key(0), other, held_out)


def test_it_is_stored(tmp_path):
    save_network(tmp_path / "avatar_prior.safetensors", prior())
    again = load_network(tmp_path / "avatar_prior.safetensors")
    clip = {name: value[0] for name, value in persons(1).items()}
    arguments = (*(clip[n][:ANCHORS] for n in ("w_plus", "pose", "expression")),)
    asked = (clip["pose"], clip["expression"])
    np.testing.assert_array_equal(again(*arguments, *asked), prior()(*arguments, *asked))


def test_a_prior_of_another_suite_is_refused():
    features = Features(np.zeros((ANCHORS, 2)), np.zeros((ANCHORS, NUMBERS + 1)))
    with pytest.raises(UsageError, match=r"of 3 numbers, the clip has 5 x 4 and 4"):
        prior_mappers(MapperSettings(), prior(), np.zeros((ANCHORS, ROWS, WIDTH)), features)
    with pytest.raises(ValueError, match="rotation='blend'"):
        MapperSettings(start="prior", rotation="direct")


def test_the_role_is_needed_where_it_is_asked_for():
    asked = dataclasses.replace(
        EMBEDDED, mappers=dataclasses.replace(EMBEDDED.mappers, start="prior")
    )
    assert "mappers.start=zero" in asked.roles()["avatar_prior"]
    assert "avatar_prior" not in EMBEDDED.roles()


def test_more_frames_than_anchors_are_needed():
    class Data:
        frames = ANCHORS

    with pytest.raises(UsageError, match=r"data\.frames=12: expected more"):
        SETTINGS.check_data(Data())
    with pytest.raises(ValueError, match="anchors >= 2"):
        dataclasses.replace(SETTINGS, anchors=1)


@pytest.mark.slow  # personalises: tunes a generator and trains mappers
def test_a_person_begins_with_the_shipped_prior():
    suite = load_suite("embedded")
    settings = dataclasses.replace(
        PRETRAINED,
        held_out=0.0,
        key_frames=dataclasses.replace(PRETRAINED.key_frames, count=8),
        tuning=dataclasses.replace(PRETRAINED.tuning, steps=1),
        mappers=dataclasses.replace(PRETRAINED.mappers, steps=1),
    )
    images = world_clip(3, 12, size=64, of=world("2.0.0")).images
    seconds = np.arange(12) / 25
    found = personalise(settings, suite, images, seconds=seconds, key=jax.random.key(0))
    ours, theirs = found.avatar.mappers.expression, suite.avatar_prior.expression
    moved = np.abs(np.asarray(ours.weight2[...] - theirs.weight2[...]))
    assert 0 < moved.max() <= 1.01 * settings.mappers.learning_rate  # one step of Adam
    assert found.avatar.mappers.config.anchors == 8
