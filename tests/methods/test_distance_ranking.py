"""Ordered triplets of renders, and the distance that learns their order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.data import ranked_renders as data
from jaxface.errors import UsageError
from jaxface.methods import distance_ranking as method
from jaxface.nets import LPIPS, VGG16, LPIPSConfig, VGGConfig
from jaxface.training.recipe import Trainable
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

SETTINGS = method.DistanceSettings(steps=120, batch_size=16, learning_rate=0.05)


@pytest.fixture(scope="module")
def trunk():
    return VGG16(VGGConfig(channels=(4, 6, 6, 6, 6)), rngs=nnx.Rngs(1))


def pictures(seed, count=16):
    """Grey pictures: near and far differ by a shade alike, far also by a wide stripe, which counts;
    near has fine noise of greater contrast, which does not."""
    rng = np.random.default_rng(seed)
    reference = np.full((count, 16, 16, 3), 128.0) + rng.uniform(-40, 40, (count, 1, 1, 1))
    near = reference + rng.choice([-30.0, 30.0], (count, 16, 16, 1))
    far = reference + np.where(np.arange(16) < 8, 12.0, -12.0)[:, None, None]
    names = ("reference", "near", "far")
    images = [np.clip(each, 0, 255).astype(np.uint8) for each in (reference, near, far)]
    return dict(zip(names, images, strict=True)) | {"change": np.zeros(count, np.int32)}


@pytest.mark.parametrize("version", ["2.0.0", pytest.param("3.0.0", marks=pytest.mark.slow)])
def test_far_has_what_near_has_and_more(version):
    keys = jax.random.split(jax.random.key(0), 400)
    masks = data._masks(version)
    assert (masks.sum(axis=0) <= 1).all()  # no factor is in two groups
    assert (masks.sum(axis=1) > 0).all()
    drawn = jax.device_get(data._changes(keys, masks))
    groups = len(masks)
    near, far = (np.abs(moved) @ masks.T > 0 for moved in drawn["moved"])
    assert (far | ~near).all()
    assert (drawn["faults"][1] >= drawn["faults"][0]).all()
    counts = near.sum(axis=1) + (drawn["faults"][0] > 0).sum(axis=1)
    assert (counts == 1).all()
    more = far.sum(axis=1) + (drawn["faults"][1] > 0).sum(axis=1) == 2
    assert 0.4 < more.mean() < 0.6
    # One change, further: along the same line, by 1.5 to 3 times as much.
    lines = ~more & (drawn["change"] < groups)
    lengths = [np.linalg.norm(moved[lines], axis=1) for moved in drawn["moved"]]
    ratio = lengths[1] / lengths[0]
    assert ((ratio > 1.49) & (ratio < 3.01)).all()
    dots = np.sum(drawn["moved"][0][lines] * drawn["moved"][1][lines], axis=1)
    np.testing.assert_allclose(dots, lengths[0] * lengths[1], rtol=1e-4)
    assert sorted(set(drawn["change"])) == list(range(len(data.CHANGES)))


@pytest.mark.slow  # the renderer is compiled
def test_triplets_of_the_world():
    source = data.RankedRenders(16, num_test=24)
    held_out = source.held_out()
    shapes = source.item_shapes()
    assert set(held_out) == set(shapes) == set(data.FIELDS)
    for name, values in held_out.items():
        assert values.shape[1:] == shapes[name].shape
        assert values.dtype == shapes[name].dtype
    apart = [
        np.square(np.float32(held_out[name]) - held_out["reference"]).mean(axis=(1, 2, 3))
        for name in ("near", "far")
    ]
    assert (apart[0] > 0).mean() > 0.9
    assert np.mean(apart[0] < apart[1]) > 0.7
    batches = source.batches(4, ("near", "change"), seed=0)
    first, state = next(batches), batches.get_state()
    second = next(batches)
    assert set(first) == {"near", "change"}
    batches.set_state(state)
    np.testing.assert_array_equal(next(batches)["near"], second["near"])
    assert (np.asarray(first["near"]) != np.asarray(second["near"])).any()


def test_learns_what_counts_and_heads_stay_at_or_above_zero(trunk):
    recipe = SETTINGS.recipe(
        key=jax.random.key(0), networks={"perceptual": trunk}, held_out=pictures(9, 64)
    )
    before = recipe.score(recipe.state)
    state, step = recipe.state, jax.jit(method.ranking_phase(SETTINGS).fn)
    for i in range(SETTINGS.steps):
        state, metrics = step(state, None, pictures(i), jax.random.key(i))
    after = recipe.score(state)
    assert set(after) == {"right", "right_pose"}
    assert before["right"] < 0.5
    assert after["right"] > 0.8
    assert float(metrics["loss"]) < 0.5
    heads = np.concatenate([head[...] for head in state.distance.heads])
    assert heads.min() == 0
    assert heads.mean() == pytest.approx(1, rel=1e-5)
    # The trunk is the suite's, as it was.
    before, after = (jax.tree.leaves(nnx.state(each)) for each in (trunk, state.distance.trunk))
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_suite_without_a_trunk_is_refused():
    assert isinstance(SETTINGS, Trainable)
    assert SETTINGS.trains == "lpips"
    with pytest.raises(UsageError, match="no perceptual network of VGG-16's form"):
        SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)


@pytest.mark.slow
def test_microbatches_change_nothing(trunk):
    state = method.initial_state(SETTINGS, LPIPS.of_trunk(trunk))
    assert_parts_agree(method.ranking_phase, SETTINGS, state, None, pictures(3))


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices(trunk):
    state = method.initial_state(SETTINGS, LPIPS.of_trunk(trunk))
    batch = {name: jnp.asarray(images) for name, images in pictures(3).items()}
    assert_split(method.ranking_phase(SETTINGS), state, None, batch)
    assert LPIPSConfig("vgg", trunk.config.channels) == state.distance.config
