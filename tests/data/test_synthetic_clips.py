"""Clips: frames in order, persons of one split each, exact flow, and VoxCeleb's shape."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxface import cli
from jaxface.data import synthetic_clips
from jaxface.data.clip_view import ClipView
from jaxface.data.pipelines import DataError
from jaxface.data.sharded_builder import GenerationError
from jaxface.data.synthetic_clips import ClipsConfig, SyntheticClips, generate
from jaxface.morphable import FaceParameters, world
from jaxface.morphable.acting import act

CONFIG = {"resolution": 16, "num_train": 3, "num_test": 1, "clips": 2, "frames": 5}


def drawn(config, split, clip, count):
    """Frames of the right shapes that tell their clip, without a renderer."""
    size = config.resolution
    for frame in range(count):
        shade = 100 * (split == "test") + 10 * clip + frame
        yield {
            "image": np.full((size, size, 3), shade, np.uint8),
            "matte": np.zeros((size, size), np.uint8),
            "flow": np.zeros((size, size, 2), np.float32),
            "face": np.zeros(257, np.float32),
            "nuisance": np.zeros(41, np.float32),
            "landmarks": np.zeros((68, 2), np.float32),
            "gaze": np.zeros(2, np.float32),
            "boxes": np.zeros((3, 4), np.float32),
            "speaking": np.float32(0.5),
            "blink": np.float32(0.0),
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_clips, "_frames", drawn)
        return generate(ClipsConfig(**CONFIG, shard_size=4), tmp_path_factory.mktemp("clips"))


def test_the_layout_is_persons_clips_frames(made):
    assert made.parts[-3:] == ("synthetic_clips", "16px_3_1_2clips_5frames_seed0", "3.0.0")
    assert len(list(made.glob("*.array_record*"))) == 3  # two of 4 and 2 clips, one of 2
    source = tfds.builder_from_directory(made).as_data_source(split="train")
    ids = [tuple(int(item[name]) for name in ("person", "clip", "frame")) for item in source]
    assert ids == [(p, c, f) for p in range(3) for c in range(2) for f in range(5)]


def test_the_view_is_voxcelebs(made):
    train, test = ClipView(made), ClipView(made, split="test")
    assert train.persons == ("id00000", "id00001", "id00002")
    assert test.persons == ("id00003",)  # in one split only
    assert train.clips == ("00000", "00001")
    clip = train.clip("id00001", "00001")
    assert len(clip) == 5
    assert clip[2]["image"][0, 0, 0] == 32
    assert clip[-1]["image"][0, 0, 0] == 34
    assert [item["frame"] for item in clip[1:3]] == [1, 2]
    assert clip.stacked("image", "flow")["flow"].shape == (5, 16, 16, 2)
    assert [(person, name) for person, name, _ in test] == [("id00003", c) for c in test.clips]
    said = f"{re.escape(str(made))}: no clip id00003/00000 in train; persons are id00000"
    with pytest.raises(DataError, match=said):
        train.clip("id00003", "00000")


def test_clips_become_videos(made, tmp_path):
    pytest.importorskip("av")
    paths = ClipView(made, split="test").write_videos(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        f"test/mp4/id00003/clip{clip}/00001.mp4" for clip in ("00000", "00001")
    ]
    assert all(path.read_bytes()[4:8] == b"ftyp" for path in paths)


def test_a_clip_does_not_depend_on_how_many_there_are(made, tmp_path, monkeypatch):
    asked = []

    def noting(config, split, clip, count):
        asked.append((split, clip, count))
        return drawn(config, split, clip, count)

    monkeypatch.setattr(synthetic_clips, "_frames", noting)
    config = ClipsConfig(**{**CONFIG, "num_train": 1, "num_test": 0}, shard_size=1)
    small = ClipView(generate(config, tmp_path))
    # The check of the world makes one frame; then every clip once.
    assert asked == [("train", 0, 1), ("train", 0, 5), ("train", 1, 5)]
    one, whole = small.clip("id00000", "00001"), ClipView(made).clip("id00000", "00001")
    for name in ("image", "person", "clip", "frame"):
        np.testing.assert_array_equal(one[3][name], whole[3][name])


@pytest.mark.parametrize("wrong", [{"resolution": 8}, {"clips": 0}, {"frames": 0}, {"every": 0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(GenerationError, match="synthetic_clips: need resolution >= 16"):
        ClipsConfig(**{**CONFIG, **wrong})


def test_the_verb_refuses_what_does_not_belong_together(tmp_path, capsys):
    out = ["data", "--out", str(tmp_path)]
    assert cli.main([*out, "--frames", "3"]) == 2
    assert cli.main([*out, "--clips", "1", "--images-per-identity", "2"]) == 2
    assert "leave --images-per-identity out" in capsys.readouterr().err
    assert cli.main([*out, "--clips", "1", "--world", "1.0.0"]) == 2
    assert "version must be 2.0.0 or 3.0.0, got '1.0.0'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", synthetic_clips.VERSIONS)
def test_every_third_frame_is_at_the_time_of_the_third(version):
    of, key = world(version), jax.random.key(3)
    u = jnp.zeros(of.num_factors)
    whole, _ = act(of, key, u, frames=10, fps=25.0)
    third, _ = act(of, key, u, frames=4, fps=25.0 / 3)
    rotation = np.asarray(whole.face.rotation)
    np.testing.assert_allclose(third.face.rotation, rotation[::3], atol=1e-4)
    assert np.abs(np.diff(rotation, axis=0)).max() > 1e-3
    config = ClipsConfig(**{**CONFIG, "every": 3, "name": ""})
    assert config.name.endswith("frames_every3_seed0")


@pytest.mark.slow  # compiles the renderer and the flow
def test_frames_are_what_they_say():
    config = dataclasses.replace(ClipsConfig(**CONFIG), resolution=64, name="x")
    frames = list(synthetic_clips._frames(config, "train", 1, 27))
    column = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    info = SyntheticClips(config=config, data_dir="unused").info
    assert set(info.features) == set(column) | {"person", "clip", "frame"}
    # What a person keeps is kept; what the behaviour moves moves, without a jump at frame 25.
    face = jax.tree.map(np.asarray, column["face"])
    np.testing.assert_array_equal(face[:, 6:86], np.repeat(face[:1, 6:86], 27, axis=0))
    assert np.abs(np.diff(face[:, :3], axis=0)).max() < np.deg2rad(14)
    assert np.abs(face[-1, :3] - face[0, :3]).max() > 0
    # The flow under the landmarks that are in sight is how they move: nose and chin.
    for frame in (0, 24, 25):
        for mark in (30, 8):
            x, y = column["landmarks"][frame, mark]
            moved = column["landmarks"][frame + 1, mark] - (x, y)
            flow = column["flow"][frame, int(y), int(x)]
            np.testing.assert_allclose(flow, moved, atol=0.3)  # a pixel's centre beside the mark
    assert 0.2 < (column["matte"] == 255).mean() < 0.95
    again = list(synthetic_clips._frames(config, "train", 1, 26))[25]
    np.testing.assert_array_equal(again["image"], column["image"][25])


@pytest.mark.slow  # compiles the renderer and the flow
def test_the_second_worlds_clips_move_the_face_and_nothing_else(tmp_path):
    config = ClipsConfig(
        resolution=16, num_train=1, num_test=0, clips=2, frames=27, version="2.0.0"
    )
    folder = generate(config, tmp_path)
    assert folder.parts[-3:] == ("synthetic_clips", config.name, "2.0.0")
    view = ClipView(folder)
    assert set(view.source[0]) == {
        *("image", "matte", "flow", "face", "nuisance", "landmarks", "person", "clip", "frame")
    }
    clip = view.clip("id00000", "00001").stacked("image", "face", "nuisance", "landmarks", "flow")
    groups = FaceParameters.from_flat(clip["face"])
    moving = ("rotation", "expression")
    for field in dataclasses.fields(FaceParameters):
        value = np.asarray(getattr(groups, field.name))
        still = np.array_equal(value, np.broadcast_to(value[:1], value.shape))
        assert still != (field.name in moving), field.name
    np.testing.assert_array_equal(clip["nuisance"], clip["nuisance"][:1].repeat(27, 0))
    # Smooth, over the frame that rendering begins anew at too.
    steps = np.abs(np.diff(np.asarray(groups.rotation), axis=0))
    assert 0 < steps.max() < np.deg2rad(16)
    assert np.abs(np.diff(clip["landmarks"], axis=0)).max() < 2.5
    other = view.clip("id00000", "00000").stacked("face")["face"]
    assert not np.array_equal(other[0], clip["face"][0])
    again = list(synthetic_clips._frames(config, "train", 1, 26))[25]
    np.testing.assert_array_equal(again["image"], clip["image"][25])
