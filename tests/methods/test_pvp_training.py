"""PVP's losses, the training of its mappers, and the tuning of its generator, in a linear world."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import JaxfaceError
from jaxface.jobs.personalisation import tell_unknown_gaze
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pti
from jaxface.methods.pvp import (
    EMBEDDED,
    PAPER,
)
from jaxface.methods.pvp.features import (
    Features,
    Layout,
    features_of,
    standard,
)
from jaxface.methods.pvp.losses import Frozen, draw, mapper_losses, noise_of
from jaxface.methods.pvp.training import Constants, Training, fresh_mappers, with_noise
from jaxface.methods.pvp.tuning import Constants as TuningConstants
from jaxface.methods.pvp.tuning import Tuning
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.motion import Motion
from jaxface.nets.variables import Buffer
from jaxface.runtime.iteration import Phase
from jaxface.suite import load_suite
from tests.methods.linear_avatar_world import (
    POINTS,
    ROWS,
    SETTINGS,
    SIZE,
    WIDTH,
    Reader,
    World,
    batch_like,
    motion_of,
    training_of,
    world_frames,
)
from tests.methods.splitting import assert_split

# The losses.


def losses_of(settings, noise=0.5, count=4):
    training, frames = training_of(settings)
    batch = jax.tree.map(lambda leaf: leaf[:count], frames)
    mappers = training._mappers
    epsilon = noise * jnp.ones(batch.expression.shape)
    drawn = draw(settings, mappers, World(), batch, epsilon)
    scale = jnp.ones(batch.expression.shape[1])
    frozen = Frozen(World(), Reader())
    return mapper_losses(
        settings, frozen, batch, drawn, expression_scale=scale, layout=Layout(3, 0)
    ), drawn


def test_without_noise_both_branches_are_one():
    (_, terms), drawn = losses_of(SETTINGS, noise=0.0)
    np.testing.assert_allclose(drawn.image, drawn.perturbed, atol=1e-6)
    np.testing.assert_allclose(terms["consistency"], 0, atol=1e-10)
    (_, terms), _ = losses_of(SETTINGS)
    assert terms["consistency"].min() > 0


@pytest.mark.parametrize("term", ["pixel", "expression", "pose", "consistency", "locality"])
def test_every_loss_can_be_left_out(term):
    (whole, terms), _ = losses_of(SETTINGS)
    without = dataclasses.replace(SETTINGS, **{f"{term}_weight": 0.0})
    (rest, others), _ = losses_of(without)
    assert set(terms) - set(others) == {term}
    weight = getattr(SETTINGS, f"{term}_weight")
    np.testing.assert_allclose(rest, whole - weight * terms[term], rtol=1e-4, atol=1e-6)


def test_without_terms_that_compare_it_nothing_perturbed_is_drawn():
    bare = dataclasses.replace(
        SETTINGS, expression_weight=0.0, pose_weight=0.0, consistency_weight=0.0
    )
    (_, _), drawn = losses_of(bare)
    assert drawn.perturbed is None
    assert len(drawn.offsets) == 1


def test_jaws_that_are_not_perturbed_are_not_read():
    (_, read), _ = losses_of(SETTINGS)
    (_, alone), _ = losses_of(dataclasses.replace(SETTINGS, perturb_jaw=False))
    assert not np.allclose(read["expression"], alone["expression"])


class GazeReader(nnx.Module):
    """Reads version 3's numbers off an image by fixed lines: pose, coefficients, jaw and gaze."""

    def __init__(self):
        lines = np.random.default_rng(6).normal(size=(SIZE * SIZE * 3, 72)) / 20
        self.lines = Buffer(jnp.asarray(lines, jnp.float32))

    def read(self, images):
        return images.reshape(len(images), -1) @ self.lines[...]

    def motion(self, found):
        parts = jnp.split(found, (3, 6, 70), axis=1)
        gaze = jnp.rad2deg(parts[3])
        return Motion(parts[0], parts[1], parts[2], "anatomical", gaze)


def gaze_training(settings):
    values = 0.3 * np.random.default_rng(4).normal(size=(16, 72)).astype(np.float32)
    motion = GazeReader().motion(GazeReader().read(world_frames(motion_of(16))))
    motion = dataclasses.replace(motion, rotation=values[:, :3], jaw=values[:, 3:6])
    frames = batch_like(motion, world_frames(motion_of(16)))
    features = Features(frames.pose, frames.expression)
    mappers = fresh_mappers(settings, POINTS, features, key=jax.random.key(0))
    options = {"selection": None, "layout": Layout.of(motion), "key": jax.random.key(1)}
    return Training(settings, mappers, Frozen(World(), GazeReader()), frames, **options), frames


def test_gaze_is_an_input_of_expressions_and_moves_with_their_coefficients():
    training, frames = gaze_training(SETTINGS)
    layout = training._layout
    assert layout == (3, 2)
    assert frames.expression.shape[1] == 3 + 64 + 2
    mappers = training._mappers
    noise = noise_of(SETTINGS, mappers, (5, 69), layout=layout, key=jax.random.key(2))
    jaw, coefficients, gaze = layout.split(noise)
    np.testing.assert_allclose(gaze, np.deg2rad(gaze_degrees(coefficients)), atol=1e-6)
    assert np.abs(jaw).min() > 0
    looked = frames.expression.at[:, -2:].add(0.3)
    assert np.abs(mappers.offsets(looked) - mappers.offsets(frames.expression)).max() > 1e-3


def test_the_loss_of_gaze_keeps_it():
    """Gaze that is drawn comes nearer to what was wanted than without the term."""
    errors = {}
    for weight in (0.0, 100.0):
        settings = dataclasses.replace(
            SETTINGS, steps=60, gaze_weight=weight, locality_weight=0.0, start="zero"
        )
        training, frames = gaze_training(settings)
        mappers, _, trace = training.run(training.start())
        shape, key = frames.expression.shape, jax.random.key(9)
        noise = noise_of(settings, mappers, shape, layout=training._layout, key=key)
        wanted = frames.expression + noise
        drawn = World().synthesis(mappers(frames.pose, wanted))
        read = GazeReader().motion(GazeReader().read(drawn)).gaze
        errors[weight] = float(jnp.mean(jnp.square(jnp.deg2rad(read) - wanted[:, -2:])))
        assert ("gaze" in trace[-1]) == (weight > 0)
    assert errors[100.0] < 0.5 * errors[0.0]


def test_a_reader_without_gaze_leaves_its_loss_out():
    asked = dataclasses.replace(SETTINGS, gaze_weight=1.0)
    assert asked.knowing(Layout.of(motion_of(2))).gaze_weight == 0
    assert asked.knowing(Layout(3, 2)) == asked


def test_a_loss_of_gaze_that_has_no_effect_is_told(capsys):
    suite = load_suite("embedded")
    tell_unknown_gaze(suite, EMBEDDED)
    (line,) = capsys.readouterr().err.splitlines()
    assert "mappers.gaze_weight has no effect" in line
    tell_unknown_gaze(suite, PAPER)
    assert not capsys.readouterr().err


def test_what_the_losses_of_the_perturbed_face_reach():
    """L_expr reaches F_expr through the reader, not F_rot where it is cut; G_p gets nothing."""
    settings = dataclasses.replace(SETTINGS, pixel_weight=0.0, locality_weight=0.0)
    training, frames = training_of(settings)
    batch = jax.tree.map(lambda leaf: leaf[:4], frames)
    graphdef, params, rest = nnx.split(training._mappers, nnx.Param, ...)

    def total(params):
        network = nnx.merge(graphdef, params, rest)
        turned = jax.lax.stop_gradient(network.turned(batch.pose))
        cut = SimpleNamespace(
            turned=lambda pose: turned, offsets=network.offsets, moved=network.moved
        )
        drawn = draw(settings, cut, World(), batch, jnp.ones(batch.expression.shape))
        scale = jnp.ones(batch.expression.shape[1])
        frozen = Frozen(World(), Reader())
        loss, _ = mapper_losses(
            settings, frozen, batch, drawn, expression_scale=scale, layout=Layout(3, 0)
        )
        return loss.sum()

    gradient = jax.grad(total)(params)
    size = {k: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(gradient[k])) for k in gradient}
    assert size["expression"] > 0
    assert size["rotation"] == 0
    before = np.asarray(World().synthesis.basis[...])
    training.run(training.start())
    after = training._constants.frozen.generator.synthesis.basis[...]
    np.testing.assert_array_equal(before, after)


def test_a_batch_is_the_mean_of_its_frames():
    (four, _), _ = losses_of(SETTINGS)
    training, frames = training_of(SETTINGS)
    ones = []
    for row in range(4):
        batch = jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], frames)
        noise = 0.5 * jnp.ones(batch.expression.shape)
        drawn = draw(SETTINGS, training._mappers, World(), batch, noise)
        scale = jnp.ones(batch.expression.shape[1])
        frozen = Frozen(World(), Reader())
        loss, _ = mapper_losses(
            SETTINGS, frozen, batch, drawn, expression_scale=scale, layout=Layout(3, 0)
        )
        ones.append(float(loss[0]))
    np.testing.assert_allclose(four, ones, rtol=1e-4)


# The training.


def arrays(network):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(network))]


def test_two_runs_are_equal_and_one_that_goes_on_too():
    kept = []
    training, _ = training_of(SETTINGS)
    first, _, trace = training.run(training.start())
    again, _ = training_of(SETTINGS)

    def keep(state, rows, best):
        if rows[-1]["step"] == 10:
            kept.append((jax.tree.map(np.asarray, state), [dict(row) for row in rows]))

    second, _, _ = again.run(again.start(), after=keep)
    third, _ = training_of(SETTINGS)
    state, rows = kept[0]
    resumed, _, longer = third.run(jax.tree.map(jnp.asarray, state), rows)
    for a, b, c in zip(arrays(first), arrays(second), arrays(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert longer == trace
    assert training._iteration.num_compiles == 1


@pytest.mark.slow
def test_pose_dependent_images_are_learned_in_a_linear_world():
    """K = 12, of poses that were not trained on: to a PSNR above 30 dB within 2000 steps, and well
    above that of the centroid, which knows no pose."""
    settings = dataclasses.replace(
        SETTINGS, steps=2000, batch_size=16, hidden=64, locality_weight=0.0, standardise=True
    )
    motion = motion_of(250)
    still = dataclasses.replace(motion, expression=0 * motion.expression, jaw=0 * motion.jaw)
    every = batch_like(still, world_frames(still))
    frames = jax.tree.map(lambda leaf: leaf[:200], every)
    others = jax.tree.map(lambda leaf: leaf[200:], every)
    quiet = dataclasses.replace(
        settings, expression_weight=0.0, pose_weight=0.0, consistency_weight=0.0
    )
    mappers = fresh_mappers(
        quiet, POINTS, Features(frames.pose, frames.expression), key=jax.random.key(0)
    )
    training = Training(
        quiet,
        mappers,
        Frozen(World()),
        frames,
        selection=None,
        layout=Layout(3, 0),
        key=jax.random.key(1),
    )

    def ratio(codes):
        drawn = World().synthesis(codes)
        return -10 * np.log10(np.mean(np.square(np.asarray(drawn - others.images))) / 4)

    found, _, _ = training.run(training.start())
    centroid = ratio(jnp.mean(POINTS, axis=0, keepdims=True))
    assert ratio(found(others.pose, others.expression)) > max(30, centroid + 8)


def test_the_best_step_of_a_selection_is_kept():
    training, frames = training_of(SETTINGS)
    chosen = jax.tree.map(lambda leaf: leaf[:8], frames)
    chosen = chosen._replace(images=to_uint8(jnp.clip(chosen.images, -1, 1)))
    wild = dataclasses.replace(SETTINGS, learning_rate=0.3)
    training, _ = training_of(wild, selection=chosen)
    _, params, trace = training.run(training.start())
    best = max(row["psnr"] for row in trace)
    assert training.quality(params, chosen) == pytest.approx(best, abs=1e-4)
    assert best > trace[-1]["psnr"] or trace[-1]["psnr"] == best


def test_noise_maps_are_trained_where_the_code_does():
    own = dataclasses.replace(SETTINGS, train_noise=True)
    training, _ = training_of(own)
    _, params, _ = training.run(training.start())
    assert np.abs(np.asarray(params["noise"]["noise_const"][...])).max() > 0
    training, _ = training_of(SETTINGS)
    _, params, _ = training.run(training.start())
    assert set(params) == {"mappers"}


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 3},
        {"sigma": 0.1},
        {"perturb_jaw": False},
        {"standardise": True},
        {"hidden": 8},
        {"expression_rows": 4},
        {"beta": 0.1},
        {"sharpness": 10.0},
        {"rotation": "direct"},
        {"start": "zero"},
        {"train_noise": True},
        {"learning_rate": 1e-3},
        {"last_learning_rate": 0.1},
        {"batch_size": 2},
        {"resolution": 8},
    ],
    ids=str,
)
def test_every_setting_changes_a_result(change):
    short = dataclasses.replace(SETTINGS, steps=2)
    motion = motion_of(8)
    expected, found = (
        drawn_after(settings, motion) for settings in (short, dataclasses.replace(short, **change))
    )
    assert np.abs(expected - found).max() > 1e-7


def test_the_floor_of_deviations_changes_a_result():
    features = features_of(motion_of(8))
    low, high = (standard(features, floor=floor) for floor in (1e-4, 5.0))
    assert (high[3] > low[3]).all()
    np.testing.assert_array_equal(high[1], low[1])
    short = dataclasses.replace(SETTINGS, steps=2, standardise=True)
    motion = motion_of(8)
    expected, found = (
        drawn_after(dataclasses.replace(short, deviation_floor=floor), motion)
        for floor in (short.deviation_floor, 5.0)
    )
    assert np.abs(expected - found).max() > 1e-7


def drawn_after(settings, motion):
    training, frames = training_of(settings)
    if settings.resolution < SIZE:
        small = frames.images.reshape(-1, 8, 2, 8, 2, 3).mean(axis=(2, 4))
        frames = frames._replace(images=small, moving=frames.moving[:, ::2, ::2])
        training = Training(
            settings,
            training._mappers,
            Frozen(World(), Reader()),
            frames,
            selection=None,
            layout=Layout(3, 0),
            key=jax.random.key(1),
        )
    mappers, params, _ = training.run(training.start())
    features = features_of(motion)
    generator = with_noise(World(), params)
    return np.asarray(
        generator.synthesis(mappers(jnp.asarray(features.pose), jnp.asarray(features.expression)))
    )


def test_losses_that_are_no_numbers_end_the_training():
    training, _ = training_of(dataclasses.replace(SETTINGS, learning_rate=1e30))
    with pytest.raises(JaxfaceError, match=r"diverged|left the manifold"):
        training.run(training.start())


# The tuning.


class Distance(nnx.Module):
    """In place of LPIPS: the images themselves."""

    def features(self, images):
        return images

    def distance(self, one, other):
        return jnp.mean(jnp.square(one - other), axis=(1, 2, 3))


def tuning_of(monkeypatch, **changes):
    monkeypatch.setattr(pti.tuning, "_tuned", lambda settings, synthesis: nnx.Param)
    settings = dataclasses.replace(pti.REPO, steps=30, learning_rate=1e-2, stop_below=None)
    settings = dataclasses.replace(settings, **changes)
    images = np.asarray(to_uint8(jnp.clip(0.5 * world_frames(motion_of(6)), -1, 1)))
    networks = pti.Networks(World(), Distance())
    return Tuning(settings, networks, images, POINTS[:6], batch=4, key=jax.random.key(0)), images


def test_one_generator_draws_all_key_frames(monkeypatch):
    tuning, images = tuning_of(monkeypatch)
    assert (tuning.rounds, tuning.updates) == (30, 2)
    tuned, state = tuning.run(tuning.start())
    assert tuned.trace["l2"][-1] < 0.2 * tuned.trace["l2"][0]
    assert not tuned.stopped
    target = np.asarray(from_uint8(images))
    drawn = (POINTS[:6].reshape(6, -1) @ np.asarray(state.weights["basis"][...])).reshape(
        target.shape
    )
    assert np.mean(np.square(drawn - target)) < 0.2 * tuned.trace["l2"][0]


def test_the_tuning_ends_where_lpips_is_low_enough_and_goes_on_where_it_was(monkeypatch):
    tuning, _ = tuning_of(monkeypatch)
    whole, _ = tuning.run(tuning.start())
    limit = float(whole.trace["lpips"][9])
    early, _ = tuning_of(monkeypatch, stop_below=limit * 1.0001)
    found, _ = early.run(early.start())
    assert found.stopped
    assert len(found.trace["lpips"]) <= 10
    kept = []
    again, _ = tuning_of(monkeypatch)

    def keep(state, rounds):
        if len(rounds) == 12:
            kept.append((jax.tree.map(np.asarray, state), list(rounds)))

    again.run(again.start(), after=keep)
    third, _ = tuning_of(monkeypatch)
    state, rounds = kept[0]
    resumed, _ = third.run(jax.tree.map(jnp.asarray, state), rounds)
    for a, b in zip(jax.tree.leaves(whole.weights), jax.tree.leaves(resumed.weights), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_of_the_mappers_is_split_over_the_devices():
    rows = 4 * jax.device_count()  # as many frames as a step has
    training, frames = training_of(SETTINGS, rows)
    features = Features(frames.pose, frames.expression)
    mappers = fresh_mappers(SETTINGS, POINTS, features, key=jax.random.key(0))
    constants = Constants(mappers, Frozen(World(), Reader()), frames, jax.random.key(1))

    def phase(count):
        sized, _ = training_of(dataclasses.replace(SETTINGS, batch_size=count), rows)
        return Phase("map", lambda state, given, batch, key: sized.step(state, given, jnp.int32(0)))

    assert_split(phase, training.start(), constants, {})


def test_an_update_of_the_generator_is_split_over_the_devices(monkeypatch):
    monkeypatch.setattr(pti.tuning, "_tuned", lambda settings, synthesis: nnx.Param)
    networks, key = pti.Networks(World(), Distance()), jax.random.key(0)
    rows = 4 * jax.device_count()  # as many key frames as a step has
    images, pivots = np.zeros((rows, SIZE, SIZE, 3), np.uint8), np.zeros((rows, ROWS, WIDTH))
    given = TuningConstants(networks, jnp.asarray(images), jnp.asarray(pivots, jnp.float32), key)

    def tuning(count):
        return Tuning(pti.REPO, networks, images, given.w_plus, batch=count, key=key)

    def phase(count):
        step = tuning(count).step
        return Phase("tune", lambda state, constants, _, key: step(state, constants, jnp.int32(0)))

    assert_split(phase, tuning(4).start(), given, {})
