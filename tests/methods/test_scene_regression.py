"""The regression route: what a stage trains, what it leaves alone, that it learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import UsageError
from jaxface.losses.pyramid import halve, pyramid_l1
from jaxface.methods import scene_regression as route
from jaxface.nets import VGG16, GeneratorConfig, VGGConfig
from tests.methods.microbatches import assert_parts_agree
from tests.methods.splitting import assert_split

CONFIG = GeneratorConfig(16, channel_base=128, channel_max=16, mapping_layers=2, z_dim=12, w_dim=16)
SETTINGS = route.RegressionSettings(
    generator=CONFIG,
    stages=(route.Stage(8, 30, 8), route.Stage(16, 30, 8)),
    num_factors=5,
    warmup_steps=3,
    learning_rate=5e-3,
)


def scenes(key, count):
    """A world of five factors: a tone and two gradients per image."""
    factors = jax.random.normal(key, (count, 5))
    axis = jnp.linspace(-1.0, 1.0, 16)
    shade = factors[:, 0, None, None] * axis[:, None] + factors[:, 1, None, None] * axis
    return jnp.tanh(shade[..., None] + factors[:, None, None, 2:]), factors


def batch_of(key, count=8):
    images, factors = scenes(key, count)
    return {"image": np.asarray((images + 1) * 127.5, np.uint8), "factors": np.asarray(factors)}


def fresh_state():
    return jax.jit(lambda key: route.initial_state(SETTINGS, key))(jax.random.key(0))


@jax.jit
def held_out_psnr(generator, factors, images, key):
    return route.held_out_psnr(generator, factors, images, key, 16).mean()


@pytest.fixture(scope="module")
def trained():
    """Both stages, each for as many steps as it names."""
    state = fresh_state()
    psnrs = {}
    for stage in SETTINGS.stages:
        step = jax.jit(route.regression_phase(SETTINGS, stage).fn)
        for i in range(stage.steps):
            key = jax.random.fold_in(jax.random.key(1), 100 * stage.resolution + i)
            state, metrics = step(state, {"perceptual": None}, batch_of(key), key)
            psnrs.setdefault(stage.resolution, []).append(float(metrics["psnr"]))
    return state, psnrs


@pytest.mark.slow
def test_learns_the_scenes_stage_after_stage(trained):
    _, psnrs = trained
    for resolution in (8, 16):
        # 30 steps of a five-factor world gain several dB; chance fluctuations are below one.
        assert np.mean(psnrs[resolution][-5:]) > np.mean(psnrs[resolution][:3]) + 3
    assert np.mean(psnrs[16][:5]) > np.mean(psnrs[8][:3])


@pytest.mark.slow
def test_the_average_is_a_trained_network(trained):
    state, _ = trained
    images, factors = scenes(jax.random.key(9), 16)
    keys = jax.random.key(3), jax.random.key(4)
    new = fresh_state().average
    before, after = (
        route.held_out_psnr(generator, factors, images, keys[0], 16).mean()
        for generator in (new, state.average)
    )
    assert after > before + 4
    # The free coordinates only enter through the norm of z, a few percent.
    again = held_out_psnr(state.average, factors, images, keys[1])
    assert abs(after - again) < 1
    assert np.all(state.average.mapping.layers[0].weight[...][5:] == 0)


@pytest.mark.slow
def test_keeps_the_mean_of_w(trained):
    state, _ = trained
    z = jax.random.normal(jax.random.key(5), (512, 12))
    w = state.network.mapping.to_w(z)
    # 60 updates at decay 0.995 reach 26% of a mean that itself moved; the direction must agree.
    found, wanted = state.network.w_mean, w.mean(axis=0)
    cosine = found @ wanted / jnp.linalg.norm(found) / jnp.linalg.norm(wanted)
    assert cosine > 0.8
    assert int(state.items_seen) == 480


@pytest.mark.slow
def test_a_low_stage_leaves_the_high_blocks_alone():
    state = fresh_state()
    step = route.regression_phase(SETTINGS, SETTINGS.stages[0]).fn
    after, _ = jax.jit(step)(
        state, {"perceptual": None}, batch_of(jax.random.key(1)), jax.random.key(2)
    )
    old, new = state.network.synthesis.blocks, after.network.synthesis.blocks
    assert np.array_equal(old[2].conv0.weight[...], new[2].conv0.weight[...])
    assert not np.array_equal(old[1].conv0.weight[...], new[1].conv0.weight[...])
    first = [x.network.mapping.layers[0].weight[...][:5] for x in (state, after)]
    assert not np.array_equal(*first)


def test_perceptual_weights_change_the_loss():
    network = VGG16(VGGConfig(channels=(4, 4, 4, 4, 4)), rngs=nnx.Rngs(0))
    key = jax.random.key(0)
    images, targets = scenes(key, 2)[0], scenes(jax.random.key(1), 2)[0]
    plain = route.reconstruction_loss(images, targets, route.Reconstruction(), network=None)
    weighted, double = (
        route.reconstruction_loss(
            images, targets, route.Reconstruction(3, {"conv2_1": weight}), network=network
        )
        for weight in (1.0, 2.0)
    )
    assert plain.shape == (2,)
    assert np.all(weighted > plain)
    np.testing.assert_allclose(double - plain, 2 * (weighted - plain), rtol=1e-4)  # float32
    same = route.reconstruction_loss(targets, targets, route.Reconstruction(), network=None)
    assert np.all(same == 0)


def test_schedule_rises_and_falls_to_nothing():
    rate = route.learning_rate(SETTINGS)
    values = np.array([rate(i) for i in range(SETTINGS.num_steps + 1)])
    assert values[0] == pytest.approx(5e-3 / 3)
    assert values[10] == pytest.approx(5e-3)
    assert values[-1] == 0
    assert values[51] == pytest.approx(5e-3 * 9 / 18)  # half of the last 30% of 60 steps is left


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": (route.Stage(12, 1),)}, "12 px"),
        ({"num_factors": 13}, "13 factors"),
        ({"generator": GeneratorConfig(16, architecture="resnet", z_dim=12)}, "'resnet'"),
    ],
)
def test_settings_refuse_what_cannot_be(changes, words):
    fields = {"generator": CONFIG, "stages": SETTINGS.stages, "num_factors": 5} | changes
    with pytest.raises(ValueError, match=words):
        route.RegressionSettings(**fields)


def test_pyramid_forgives_a_shift_at_the_coarse_levels():
    image = np.zeros((1, 8, 8, 1), np.float32)
    near, far = image.copy(), image.copy()
    image[0, 2, 2], near[0, 3, 3], far[0, 6, 6] = 1, 1, 1
    fine = [float(pyramid_l1(image, x, levels=1)[0]) for x in (near, far)]
    coarse = [float(pyramid_l1(image, x, levels=3)[0]) for x in (near, far)]
    assert fine[0] == fine[1] == pytest.approx(2 / 64)
    assert coarse[0] == pytest.approx(2 / 64 / 3)  # the same pixel from the second level on
    assert coarse[1] == pytest.approx(2 / 64)
    with pytest.raises(ValueError, match="even sides"):
        halve(jnp.zeros((1, 3, 4, 1)))
    with pytest.raises(ValueError, match="levels"):
        pyramid_l1(image, near, levels=0)


def test_begins_with_a_generator_that_is_given():
    """Its synthesis as it is; of its mapping, what reads the free coordinates is cut off."""
    generator = fresh_state().network
    rough = jax.tree.map(jnp.copy, generator)
    first = rough.mapping.layers[0]
    first.weight[...] = first.weight[...] + 1.0
    state = route.initial_state(SETTINGS, jax.random.key(5), rough)
    for found, given in zip(
        jax.tree.leaves(state.network.synthesis), jax.tree.leaves(rough.synthesis), strict=True
    ):
        np.testing.assert_array_equal(found, given)
    weight = state.network.mapping.layers[0].weight[...]
    np.testing.assert_array_equal(weight[:5], first.weight[...][:5])
    assert not weight[5:].any()
    assert first.weight[...][5:].any()


def test_refuses_a_generator_of_other_sizes():
    other = dataclasses.replace(SETTINGS, generator=dataclasses.replace(CONFIG, channel_max=8))
    with pytest.raises(UsageError, match="other sizes"):
        route.initial_state(other, jax.random.key(5), fresh_state().network)


RESIDUAL = dataclasses.replace(CONFIG, mapping_layers=0, residual_blocks=2, residual_width=24)


@pytest.mark.slow
def test_a_residual_mapping_does_not_read_the_free_coordinates():
    """Nor their length: two draws of them give the same W, which a normalised z does not."""
    settings = dataclasses.replace(SETTINGS, generator=RESIDUAL)
    state = jax.jit(lambda key: route.initial_state(settings, key))(jax.random.key(0))
    step = jax.jit(route.regression_phase(settings, settings.stages[0]).fn)
    for i in range(2):
        state, metrics = step(
            state, {"perceptual": None}, batch_of(jax.random.key(i)), jax.random.key(i)
        )
    assert np.isfinite(metrics["loss"])
    mapping = state.network.mapping
    assert not mapping.residual.first.weight[...][5:].any()
    assert mapping.residual.blocks[0].outer.weight[...].any()  # began at zero, and learns
    factors = jax.random.normal(jax.random.key(7), (4, 5))
    one, other = (
        mapping.to_w(route.scene_latents(factors, 12, jax.random.key(i))) for i in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_eyes_and_mouth_count_more_where_they_are():
    reconstruction = route.Reconstruction(pyramid_levels=1, feature_weight=8.0)
    boxes = jnp.tile(jnp.array([[[2.0, 4.0, 6.0, 6.0]]]), (2, 3, 1))
    target = jnp.zeros((2, 16, 16, 3))
    off = target.at[0, 5, 3].set(1.0).at[1, 10, 10].set(1.0)  # the first inside, the second not
    loss = route.reconstruction_loss(off, target, reconstruction, network=None, boxes=boxes)
    np.testing.assert_allclose(loss, [8 / 256, 1 / 256], rtol=1e-6)


@pytest.mark.slow
def test_a_stage_with_weighted_features_reads_landmarks():
    stage = route.Stage(8, 3, 8, route.Reconstruction(feature_weight=8.0))
    settings = dataclasses.replace(SETTINGS, stages=(stage, *SETTINGS.stages))
    recipe = settings.recipe(key=jax.random.key(0), networks={}, held_out=None)
    assert recipe.fields == ("image", "factors", "landmarks")
    plain = SETTINGS.recipe(key=jax.random.key(0), networks={}, held_out=None)
    assert plain.fields == ("image", "factors")
    batch = batch_of(jax.random.key(1))
    marks = np.random.default_rng(0).uniform(4, 12, (8, 68, 2)).astype(np.float32)
    step = jax.jit(recipe.stages[0].phases[0].fn)
    state, constants = fresh_state(), {"perceptual": None}
    _, weighted = step(state, constants, batch | {"landmarks": marks}, jax.random.key(2))
    _, moved = step(state, constants, batch | {"landmarks": marks + 3}, jax.random.key(2))
    _, same = jax.jit(plain.stages[0].phases[0].fn)(state, constants, batch, jax.random.key(2))
    assert weighted["loss"] > 1.5 * same["loss"]
    assert weighted["loss"] != moved["loss"]


@pytest.mark.slow
def test_microbatches_change_nothing():
    batch = batch_of(jax.random.key(3))
    assert_parts_agree(
        lambda settings: route.regression_phase(settings, settings.stages[0]),
        SETTINGS,
        fresh_state(),
        {"perceptual": None},
        batch,
    )


@pytest.mark.slow  # its batch is read, as others' are
def test_a_step_is_split_over_the_devices():
    phase = route.regression_phase(SETTINGS, SETTINGS.stages[0])
    batch = batch_of(jax.random.key(3))
    assert_split(phase, fresh_state(), {"perceptual": None}, batch)
