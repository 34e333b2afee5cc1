"""PVP in a linear world, where the answer is known: the specification's acceptance list.

Parity with the authors' code is in tests/convert; the command in tests/cli.
"""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.personalisation import tell_unknown_gaze
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import pti
from jaxface.methods.pvp import (
    EMBEDDED,
    FAST,
    PAPER,
    PRETRAINED,
    PVP_PRESETS,
    REPO,
    Avatar,
    KeyFrameSettings,
    MapperSettings,
    PVPSettings,
    pvp_preset,
    split_frames,
)
from jaxface.methods.pvp.avatar import Edit, sweep
from jaxface.methods.pvp.features import (
    Features,
    Layout,
    Range,
    features_of,
    renormalised,
    standard,
)
from jaxface.methods.pvp.key_frames import choose_key_frames
from jaxface.methods.pvp.losses import Batch, Frozen, draw, mapper_losses, noise_of
from jaxface.methods.pvp.regions import eyes_and_mouth
from jaxface.methods.pvp.settings import TERMS
from jaxface.methods.pvp.training import Constants, Training, fresh_mappers, with_noise
from jaxface.methods.pvp.tuning import Constants as TuningConstants
from jaxface.methods.pvp.tuning import Tuning, batch_of
from jaxface.morphable.gaze import gaze_degrees
from jaxface.morphable.motion import Motion
from jaxface.nets import GeneratorConfig
from jaxface.nets.variables import Buffer
from jaxface.runtime.iteration import Phase
from jaxface.suite import load_suite
from tests.methods.splitting import assert_split

SIZE, ROWS, WIDTH, ANCHORS = 16, 10, 6, 12
RNG = np.random.default_rng(0)
PIXELS = np.linalg.qr(RNG.normal(size=(SIZE * SIZE * 3, ROWS * WIDTH)))[0].T * 2
POINTS = RNG.normal(size=(ANCHORS, ROWS, WIDTH)).astype(np.float32) * 0.5


class Synthesis(nnx.Module):
    """Draws codes, a line in all of them; its basis is what tuning changes."""

    def __init__(self):
        self.basis = nnx.Param(jnp.asarray(PIXELS, jnp.float32))
        self.blocks = nnx.List([])
        self.noise_const = Buffer(jnp.zeros((SIZE, SIZE, 1)))

    def __call__(self, w_plus, noise="const"):
        images = w_plus.reshape(len(w_plus), -1) @ self.basis[...]
        return images.reshape(-1, SIZE, SIZE, 3) + self.noise_const[...]


class World(nnx.Module):
    num_ws, resolution = ROWS, SIZE

    def __init__(self):
        self.config = GeneratorConfig(16, w_dim=WIDTH)
        self.synthesis = Synthesis()


class Reader(nnx.Module):
    """Reads pose and expression off an image, by fixed lines."""

    def __init__(self):
        lines = np.random.default_rng(5).normal(size=(SIZE * SIZE * 3, 9)) / 20
        self.lines = Buffer(jnp.asarray(lines, jnp.float32))

    def read(self, images):
        return images.reshape(len(images), -1) @ self.lines[...]

    def motion(self, found):
        return Motion(found[:, :3], found[:, 3:6], found[:, 6:], "flame")


def motion_of(count, seed=3):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(count, 3)).astype(np.float32) * 0.3 for _ in range(3)]
    return Motion(*parts, "flame")


SETTINGS = MapperSettings(
    steps=20,
    batch_size=4,
    perceptual_weight=0.0,
    identity_weight=0.0,
    learning_rate=5e-3,
    hidden=16,
)


def batch_like(motion, images):
    features = features_of(motion)
    return Batch(
        images=jnp.asarray(images),
        pose=jnp.asarray(features.pose),
        expression=jnp.asarray(features.expression),
        rotation=jnp.asarray(motion.rotation),
        identity=jnp.zeros((len(images), 1)),
        moving=jnp.zeros((len(images), SIZE, SIZE)),
    )


def world_frames(motion):
    """Images whose codes follow pose along the anchors' hull and expression in the first rows."""
    pose = np.asarray(motion.rotation)[:, :2]
    line = RNG_LINES[0]
    weights = np.exp(pose @ line[:2])
    weights /= weights.sum(axis=1, keepdims=True)
    codes = np.einsum("tk,kld->tld", weights, POINTS)
    codes[:, :8] += 0.2 * np.tanh(np.asarray(motion.expression) @ RNG_LINES[1]).reshape(
        -1, 8, WIDTH
    )
    return np.asarray(World().synthesis(jnp.asarray(codes, jnp.float32)))


RNG_LINES = (
    np.random.default_rng(7).normal(size=(2, ANCHORS)) * 2,
    np.random.default_rng(8).normal(size=(3, 8 * WIDTH)),
)


def training_of(settings, count=40, **more):
    motion = motion_of(count)
    frames = batch_like(motion, world_frames(motion))
    mappers = fresh_mappers(
        settings, POINTS, Features(frames.pose, frames.expression), key=jax.random.key(0)
    )
    options = {"selection": None, "layout": Layout(3, 0), "key": jax.random.key(1)} | more
    return Training(settings, mappers, Frozen(World(), Reader()), frames, **options), frames


# Settings.


def test_presets_are_the_published_numbers_and_differ_where_the_sources_do():
    assert (PAPER.key_frames.count, PAPER.tuning.steps, PAPER.tuning.stop_below) == (200, 350, 0.03)
    assert (PAPER.tuning.locality, PAPER.tuning.alpha) == (True, 30.0)
    numbers = {name: getattr(PAPER.mappers, f"{name}_weight") for name in TERMS}
    assert numbers == {
        "perceptual": 10,
        "pixel": 10,
        "identity": 0.5,
        "expression": 0.1,
        "pose": 0.1,
        "consistency": 1,
        "locality": 0.5,
        "gaze": 0,  # not the paper's
    }
    ours, theirs = (dataclasses.asdict(each) for each in (PAPER, REPO))
    differ = {
        f"{group}.{name}"
        for group in ("tuning", "mappers", "key_frames")
        for name in ours[group]
        if ours[group][name] != theirs[group][name]
    }
    assert differ == {
        "tuning.locality",
        "tuning.stop_below",
        "mappers.perturb_jaw",
        "mappers.train_noise",
    }
    presets = {"paper": PAPER, "repo": REPO, "fast": FAST, "embedded": EMBEDDED}
    assert presets | {"pretrained": PRETRAINED} == PVP_PRESETS


def test_presets_and_numbers_that_are_none_are_refused():
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        pvp_preset("papr")
    for wrong in (
        lambda: MapperSettings(steps=0),
        lambda: MapperSettings(pixel_weight=-1.0),
        lambda: MapperSettings(rotation="spline"),
        lambda: KeyFrameSettings(count=0),
        lambda: PVPSettings(held_out=0.95),
        lambda: PVPSettings(tuning=pti.Settings(rows="map")),
        lambda: PVPSettings(pivot=pti.PTI_E4E),
    ):
        with pytest.raises(ValueError, match="Settings: "):
            wrong()


# Parts of a clip, and key frames.


def test_parts_leave_a_gap_and_held_out_frames_are_the_last():
    settings = PVPSettings(held_out=0.2, selection=0.1)
    split = split_frames(settings, np.arange(100) / 25)
    assert split.held_out.tolist() == list(range(80, 100))
    assert split.selection.tolist() == [70, 71]  # the gap of 0.36 s
    assert split.training.tolist() == list(range(62))
    whole = split_frames(PVPSettings(held_out=0.0), np.arange(20) / 25)
    assert [len(part) for part in whole] == [20, 0, 0]


def test_three_frames_are_too_few():
    with pytest.raises(UsageError, match="3 frames with a face leave 3 to learn from"):
        split_frames(PVPSettings(held_out=0.0), [0, 0.04, 0.08])


def test_key_frames_are_one_a_cluster_sorted_and_by_the_key_alone():
    motion, frames = motion_of(60), np.arange(100, 160)
    settings = KeyFrameSettings(count=9, restarts=2)
    found = choose_key_frames(settings, motion, frames, key=jax.random.key(0))
    again = choose_key_frames(settings, motion, frames, key=jax.random.key(0))
    other = choose_key_frames(settings, motion, frames, key=jax.random.key(1))
    assert found.frames.tolist() == again.frames.tolist() != other.frames.tolist()
    assert len(set(found.frames.tolist())) == 9
    assert (np.diff(found.frames) > 0).all()
    assert set(found.frames.tolist()) <= set(frames.tolist())
    every = choose_key_frames(
        dataclasses.replace(settings, count=200), motion, frames, key=jax.random.key(0)
    )
    assert every.frames.tolist() == frames.tolist()
    evenly = choose_key_frames(
        dataclasses.replace(settings, choice="uniform"), motion, frames, key=jax.random.key(0)
    )
    assert evenly.frames.tolist() == np.linspace(100, 159, 9).round().astype(int).tolist()


def test_empty_clusters_are_filled_by_the_farthest_frames():
    few = motion_of(3)
    motion = few[np.repeat(np.arange(3), 5)]  # three different faces
    settings = KeyFrameSettings(count=6, restarts=1)
    found = choose_key_frames(settings, motion, np.arange(15), key=jax.random.key(0))
    assert len(set(found.frames.tolist())) == 6
    assert len(found.filled) == 3


def test_every_round_has_all_items():
    steps = [batch_of(jax.random.key(0), jnp.int32(i), count=7, batch=3) for i in range(6)]
    rounds = [np.concatenate(steps[:3])[:7], np.concatenate(steps[3:])[:7]]
    for each in rounds:
        assert sorted(each.tolist()) == list(range(7))
    assert rounds[0].tolist() != rounds[1].tolist()


# Features.


def test_driven_by_itself_nothing_changes_and_another_is_brought_to_its_proportions():
    own, other = motion_of(50), motion_of(40, seed=9)
    other = dataclasses.replace(other, expression=5 * other.expression + 1)
    for pose in ("none", "mean", "deviation"):
        same = renormalised(own, clip=own, own=own, pose=pose)
        for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(own), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    found = renormalised(other, clip=other, own=own)
    np.testing.assert_allclose(
        found.expression.mean(axis=0), own.expression.mean(axis=0), atol=1e-5
    )
    np.testing.assert_allclose(found.expression.std(axis=0), own.expression.std(axis=0), atol=1e-5)
    np.testing.assert_array_equal(found.rotation, other.rotation)
    mean = renormalised(other, clip=other, own=own, pose="mean")
    np.testing.assert_allclose(mean.rotation.mean(axis=0), own.rotation.mean(axis=0), atol=1e-6)
    with pytest.raises(ValueError, match="pose must be"):
        renormalised(other, clip=other, own=own, pose="some")  # type: ignore


def test_what_is_beyond_the_range_is_told_and_not_changed():
    motion = motion_of(30)
    known = Range.of(features_of(motion))
    assert known.outside(features_of(motion)) == [{}] * 30
    beyond = dataclasses.replace(motion, rotation=motion.rotation + np.float32([0, 2, 0]))
    rows = known.outside(features_of(beyond))
    assert all(set(row) == {"yaw"} for row in rows)
    assert rows[0]["yaw"] == pytest.approx(np.rad2deg(beyond.rotation[0, 1]), abs=0.01)
    wide = dataclasses.replace(motion, expression=9 * motion.expression)
    assert any(row.get("expressions") for row in known.outside(features_of(wide)))


def test_roll_has_no_part():
    motion = motion_of(5)
    rolled = dataclasses.replace(motion, rotation=motion.rotation + np.float32([0, 0, 0.35]))
    for a, b in zip(features_of(motion), features_of(rolled), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gaze_is_part_of_the_expression_in_radians():
    gaze = np.full((5, 2), 90, np.float32)
    motion = dataclasses.replace(motion_of(5), gaze=gaze)
    np.testing.assert_allclose(features_of(motion).expression[:, -2:], np.pi / 2, rtol=1e-6)


def test_numbers_that_hardly_move_are_not_blown_up():
    features = Features(np.zeros((9, 2)), np.stack([np.arange(9.0), 1e-9 * np.arange(9)], axis=1))
    _, _, _, scale = standard(features, floor=0.1)
    np.testing.assert_allclose(scale[1] / scale[0], 0.1, rtol=1e-5)


# The mask.


def test_eyes_and_mouth_of_a_synthetic_face():
    points = np.zeros((1, 68, 2), np.float32)
    for first, count, middle in ((36, 6, (20, 24)), (42, 6, (44, 24)), (48, 13, (32, 46))):
        turn = 2 * np.pi * np.arange(count) / count
        points[0, first : first + count] = np.stack(
            [middle[0] + 4 * np.cos(turn), middle[1] + 2 * np.sin(turn)], axis=1
        )
    found = np.asarray(eyes_and_mouth(points, size=64))[0]
    for x, y in ((20, 24), (44, 24), (32, 46)):
        assert found[y, x] > 0.99
    for x, y in ((32, 8), (4, 40), (32, 34), (60, 60)):
        assert found[y, x] < 0.01
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


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
    """K = 12, to a PSNR above 30 dB within 2000 steps."""
    settings = dataclasses.replace(
        SETTINGS, steps=2000, batch_size=16, hidden=64, locality_weight=0.0, standardise=True
    )
    motion = motion_of(200)
    still = dataclasses.replace(motion, expression=0 * motion.expression, jaw=0 * motion.jaw)
    images = world_frames(still)
    frames = batch_like(still, images)
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
    found, _, _ = training.run(training.start())
    drawn = World().synthesis(found(frames.pose, frames.expression))
    error = np.mean(np.square(np.asarray(drawn) - images))
    assert 10 * np.log10(4 / error) > 30


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


# The avatar.


def avatar_of():
    training, _ = training_of(SETTINGS)
    motion = motion_of(40)
    return Avatar(
        suite=SimpleNamespace(name="toy"),  # type: ignore
        w_plus=POINTS,
        motion=motion[np.arange(ANCHORS)],
        generator=World(),
        mappers=training._mappers,
        clip=motion,
        training=np.arange(30),
    )


def test_an_avatar_replays_turns_and_is_driven_by_its_own_clip_the_same():
    avatar = avatar_of()
    replay = avatar.drawn(avatar.clip, chunk=16)
    assert replay.shape == (40, SIZE, SIZE, 3)
    driven = avatar.drawn(avatar.own(avatar.clip, clip=avatar.clip), chunk=16)
    np.testing.assert_allclose(replay, driven, atol=1e-5)
    turned = avatar.posed(np.zeros(5), np.linspace(-10, 10, 5))
    np.testing.assert_allclose(np.asarray(turned.degrees)[:, 1], np.linspace(-10, 10, 5), atol=1e-4)
    np.testing.assert_allclose(
        turned.expression[0], avatar.clip.expression[:30].mean(axis=0), atol=1e-6
    )
    assert len(avatar.outside(turned)) == 5
    far = avatar.posed(np.zeros(1), np.full(1, 80.0))
    assert avatar.outside(far)[0]["yaw"] == 80.0
    other = dataclasses.replace(motion_of(4), basis="arkit")
    with pytest.raises(UsageError, match="cannot be driven by 'arkit'"):
        avatar.own(other, clip=other)


def test_edits_stay_while_the_head_moves_and_can_be_kept_on_the_manifold():
    avatar = avatar_of()
    motion = avatar.clip[:6]
    plain = avatar.latents(motion)
    edit = SimpleNamespace(move=lambda avatar, w_plus: w_plus + 3.0)
    edited = avatar.latents(motion, edits=[edit])
    np.testing.assert_allclose(edited - plain, 3.0, atol=1e-5)
    kept = avatar.latents(motion, edits=[edit], project=True)
    offsets = avatar.mappers.offsets(jnp.asarray(features_of(motion).expression))
    turned = np.array(kept)
    turned[:, :8] -= np.asarray(offsets)
    # In the span of the anchors, and nearer than the edit.
    flat = POINTS.reshape(ANCHORS, -1)
    weights, *_ = np.linalg.lstsq(flat.T, turned.reshape(6, -1).T, rcond=None)
    np.testing.assert_allclose(flat.T @ weights, turned.reshape(6, -1).T, atol=1e-3)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-3)
    assert weights.min() >= -avatar.mappers.config.beta - 1e-3
    assert np.abs(kept - plain).max() < 3.0
    still = avatar.latents(motion, project=True)
    np.testing.assert_array_equal(still, plain)


def test_a_sweep_returns_to_its_start():
    found = sweep(-20, 20, 50)
    assert found[0] == -20
    assert found.max() == pytest.approx(20, abs=0.1)
    assert found[-1] < -19


def test_edits_are_read_from_text():
    assert Edit.parse("age.boundary=-1.5") == ("age", "boundary", -1.5)
    assert Edit.parse("smile=2") == ("smile", "", 2.0)
    for wrong in ("age", "=3", "age=x", "age=nan"):
        with pytest.raises(UsageError, match=r"expected SET\.NAME=AMOUNT"):
            Edit.parse(wrong)


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
