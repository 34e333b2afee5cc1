"""An avatar on the page: with random mappers over a random generator."""

import dataclasses
import json
import shlex
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.jobs.avatars import read_avatar, write_avatar
from jaxface.licences import Terms, terms_of
from jaxface.methods.pvp import Avatar
from jaxface.methods.pvp.features import features_of
from jaxface.morphable import FaceParameters
from jaxface.morphable.motion import motion_of_pie
from jaxface.nets.edits.avatar import AvatarConfig, AvatarMappers
from jaxface.studio.avatars import AvatarGallery
from jaxface.studio.edits import AskedEdit
from jaxface.studio.exports import Gesture, record
from jaxface.suite import Suite, load_suite
from jaxface.weights import read_header

EDIT = {"values": {"yaw": 9.0, "smile": 1.25, "jaw_open": 0.5}, "moves": {"age.old": 0.25}}


@pytest.fixture(scope="module", name="folder")
def avatar_folder(studio_suite, random_network, tmp_path_factory):
    """Of a clip of 12 frames, whose head and expressions move."""
    suite, random = load_suite(studio_suite), np.random.default_rng(0)
    face = FaceParameters.from_flat(jnp.zeros((12, 257)))
    face = dataclasses.replace(
        face,
        rotation=np.deg2rad(random.uniform(-20, 20, (12, 3))).astype(np.float32),
        expression=random.normal(size=face.expression.shape).astype(np.float32),
    )
    clip = motion_of_pie(face)
    config = AvatarConfig(
        anchors=4,
        num_ws=suite.generator.num_ws,
        w_dim=32,
        expression=features_of(clip).expression.shape[1],
        expression_rows=2,
        hidden=4,
    )
    mappers: AvatarMappers = random_network("AvatarMappers", config)
    mappers.anchors[...] = random.normal(size=mappers.anchors.shape).astype(np.float32)
    avatar = Avatar(
        suite=suite,
        w_plus=mappers.anchors[...],
        motion=clip[np.arange(4)],
        generator=suite.generator,
        mappers=mappers,
        clip=clip,
        training=np.arange(12),
    )
    times = [Fraction(frame, 25) for frame in range(12)]
    return write_avatar(
        tmp_path_factory.mktemp("anna") / "avatar", avatar, times, range(4), told={}
    )


def test_an_avatar_has_the_terms_of_its_generator(folder, studio_suite, tmp_path, monkeypatch):
    known = read_avatar(folder, suite=str(studio_suite))
    terms = Terms("CC-BY-NC-4.0", "no", "as somebody says")
    monkeypatch.setattr(Suite, "metadata", lambda suite, role: terms.header())
    kept = write_avatar(tmp_path / "kept", known.avatar, known.times, range(4), told={})
    assert terms_of(read_header(kept / "generator.safetensors")) == terms


@pytest.fixture(scope="module", name="gallery")
def avatar_gallery(folder, studio_suite, tmp_path_factory):
    studio = tmp_path_factory.mktemp("studio")
    gallery = AvatarGallery.read(str(folder.parent), studio, suite=str(studio_suite))
    assert gallery.open([]) == []
    return gallery


def test_it_is_asked_for_what_its_clip_showed(gallery):
    engine = gallery.engine
    told = engine.controls.to_json()
    assert told["head"] == {"pitch": "values.pitch", "yaw": "values.yaw"}
    assert not told["light"]
    assert told["values"]["smile"]["region"] == "Mouth"
    assert list(told["moves"]) == ["age.old", "age.glad"]
    low, high = np.rad2deg(engine.avatar.range.pose[:, 1])
    assert told["values"]["yaw"]["low"] == pytest.approx(low, abs=0.051)
    assert told["values"]["yaw"]["high"] == pytest.approx(high, abs=0.051)
    beyond = AskedEdit.of_json({"values": {"yaw": 90.0, "smile": 90.0}}, engine.controls)
    motion = engine.asked(beyond.values)
    assert not engine.avatar.outside(motion)[0].get("furthest", 0) > 0.01
    with pytest.raises(UsageError, match="no light"):
        AskedEdit.of_json({"light": [0, 0, 1]}, engine.controls)


def test_it_begins_as_its_mean_and_tells_what_it_shows(gallery):
    engine, (portrait,) = gallery.engine, gallery.portraits()
    subject = gallery.subject(portrait.key)
    told = engine.told(subject.before)
    assert told["smile"] == pytest.approx(0, abs=1e-3)
    mean = np.rad2deg(np.asarray(engine.avatar.clip.rotation)[:, 1].mean())
    assert told["yaw"] == pytest.approx(mean, abs=0.051)
    edit = AskedEdit.of_json(EDIT, engine.controls)
    drawn = engine.draw(subject, edit)
    shown = engine.told(drawn.after)
    for name, value in EDIT["values"].items():
        assert shown[name] == pytest.approx(value, abs=2e-3)
    assert np.abs(drawn.pixels.astype(int) - subject.pixels).max() > 1
    engine.prepare(subject)
    np.testing.assert_array_equal(engine.draw(subject, edit).pixels, drawn.pixels)


def test_the_command_line_draws_the_same_picture(gallery, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    from jaxface.media.video.reading import open_clip

    monkeypatch.chdir(tmp_path)
    engine, (portrait,) = gallery.engine, gallery.portraits()
    edit = AskedEdit.of_json(EDIT, engine.controls)
    picture = engine.draw(gallery.subject(portrait.key), edit)
    assert gallery.command_lines(portrait, AskedEdit()) == ""
    program, *words = shlex.split(gallery.command_lines(portrait, edit))
    assert program == "jaxface"
    assert main(words) == 0
    (row,) = map(json.loads, (tmp_path / "moved/frames.jsonl").read_text().splitlines())
    assert row["outside"] == {}
    with open_clip(tmp_path / "moved/clip.mp4") as clip:
        (frame,) = clip
    assert np.abs(frame.pixels.astype(int) - picture.pixels).max() <= 1


def test_a_gesture_of_it_drives_it(gallery):
    (portrait,) = gallery.portraits()
    gesture = Gesture()
    for number in range(4):
        gesture.add(number / 25, AskedEdit({"yaw": 2.0 * number}))
    (path,) = record(gallery, portrait, gesture, ["motion"])
    from jaxface.jobs.inputs.motion_files import read_motion_file

    motion, _ = read_motion_file(str(path))
    np.testing.assert_allclose(np.asarray(motion.degrees)[:, 1], [0, 2, 4, 6], atol=0.02)


def test_its_page_is_its_own(folder, studio_suite, capsys, tmp_path):
    words = ["studio", str(folder), str(folder), "--suite", str(studio_suite)]
    assert main([*words, "--out", str(tmp_path), "--port", "0"]) == 2
    assert "alone on its page" in capsys.readouterr().err
    words = ["studio", str(folder), "--preset", "pie_embedded", "--out", str(tmp_path)]
    assert main([*words, "--port", "0"]) == 2
    assert "--preset is of photographs" in capsys.readouterr().err
