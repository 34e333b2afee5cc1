"""PVP: settings, parts of a clip, key frames, features, the mask, and avatars."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.errors import UsageError
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
    Range,
    features_of,
    renormalised,
    standard,
)
from jaxface.methods.pvp.key_frames import choose_key_frames, clustered
from jaxface.methods.pvp.regions import eyes_and_mouth
from jaxface.methods.pvp.settings import TERMS
from jaxface.methods.pvp.training import fresh_mappers
from jaxface.methods.pvp.tuning import batch_of
from tests.methods.linear_avatar_world import (
    ANCHORS,
    POINTS,
    SETTINGS,
    SIZE,
    World,
    motion_of,
    training_of,
)

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
    known = Range.of(features_of(motion), angles=2)
    assert known.outside(features_of(motion)) == [{}] * 30
    beyond = dataclasses.replace(motion, rotation=motion.rotation + np.float32([0, 2, 0]))
    rows = known.outside(features_of(beyond))
    assert all(set(row) == {"yaw"} for row in rows)
    assert rows[0]["yaw"] == pytest.approx(np.rad2deg(beyond.rotation[0, 1]), abs=0.01)
    wide = dataclasses.replace(motion, expression=9 * motion.expression)
    assert any(row.get("expressions") for row in known.outside(features_of(wide)))


@pytest.mark.parametrize("angles", [2, 3])
def test_roll_has_a_part_where_it_is_asked_for(angles):
    motion = motion_of(5)
    rolled = dataclasses.replace(motion, rotation=motion.rotation + np.float32([0, 0, 0.35]))
    settings = MapperSettings(angles=angles, hidden=8, standardise=True)
    codes = np.random.default_rng(0).normal(size=(4, 9, 6))
    mappers = fresh_mappers(settings, codes, features_of(motion), key=jax.random.key(0))
    mean = features_of(motion).pose.mean(axis=0)[:angles]
    np.testing.assert_allclose(mappers.pose_mean[...], mean, rtol=1e-5)
    here, there = (mappers(*map(jnp.asarray, features_of(each))) for each in (motion, rolled))
    assert (np.abs(here - there).max() > 1e-4) == (angles == 3)
    beyond = Range.of(features_of(motion), angles=angles).outside(features_of(rolled))
    assert any("roll" in row for row in beyond) == (angles == 3)
    assert clustered(motion, angles=angles).shape == (5, angles + motion.expression.shape[1])


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
