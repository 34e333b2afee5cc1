"""A person's clip as an artefact: every frame is accounted for, parts are told, it is made once."""

import json
from fractions import Fraction
from types import SimpleNamespace

import clips
import numpy as np
import pytest
from PIL import Image

from jaxface.errors import UsageError
from jaxface.evaluation.pvp_protocol import write_clip
from jaxface.jobs import personalisation
from jaxface.jobs.inputs import person_clips
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.inputs.person_clips import person_clip, with_parts
from jaxface.jobs.personalisation import Source
from jaxface.methods.pvp.personalise import Seen, Split
from jaxface.morphable.motion import Motion
from jaxface.suite import Suite

SUITE = SimpleNamespace(generator=SimpleNamespace(resolution=16))


def read(suite, images, *, progress=None):
    """Poses that tell the frames apart."""
    count = len(images)
    if progress is not None:
        progress(count, count)
    brightness = np.asarray(images).reshape(count, -1).mean(axis=1, keepdims=True)
    values = np.repeat(brightness.astype(np.float32) / 256, 3, axis=1)
    motion = Motion(values, values, np.zeros((count, 50), np.float32), "flame")
    return Seen(motion, np.zeros((count, 68, 2), np.float32))


@pytest.fixture(name="clip")
def folder_of_a_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(person_clips, "see", read)
    levels = np.arange(40, 60)[:, None, None, None]
    return write_clip(tmp_path / "clip", np.broadcast_to(levels, (20, 16, 16, 3)).astype(np.uint8))


def made(clip, folder, *, reading=ClipReading(), mattes=None):  # noqa: B008 (frozen)
    return person_clip(
        str(clip),
        SUITE,  # type: ignore
        reading=reading,
        alignment=None,
        chosen=False,
        mattes=None if mattes is None else str(mattes),
        folder=folder,
    )


def test_a_frame_without_a_face_is_listed_and_drops_no_other(clip, tmp_path, monkeypatch):
    faces = person_clips._faces
    monkeypatch.setattr(
        person_clips, "_faces", lambda source: [] if source.index in (5, 6) else faces(source)
    )
    found = made(clip, tmp_path / "out")
    assert len(found.rows) == 20
    assert [row["index"] for row in found.rows if row["status"] == "unused"] == [5, 6]
    assert {row["reason"] for row in found.rows if row["status"] == "unused"} == {
        "no face was found"
    }
    levels = np.asarray(found.images)[:, 0, 0, 0].tolist()
    assert levels == [40 + n for n in range(20) if n not in (5, 6)]
    assert [time * 25 for time in found.times] == [n for n in range(20) if n not in (5, 6)]
    np.testing.assert_allclose(found.seen.motion.rotation[:, 0] * 256, levels, rtol=1e-5)
    parts = with_parts(found, Split(np.arange(12), np.arange(13, 14), np.arange(15, 18)))
    told = [row.get("part") for row in parts]
    assert told[:7] == ["training"] * 5 + [None, None]
    assert told[14:] == ["gap", "selection", "gap", "held_out", "held_out", "held_out"]


def mattes_of(folder, count):
    """Images without times, as a matting program writes them: each of a brightness of its own."""
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (16, 16), (255 - 10 * number,) * 3).save(folder / f"{number:04}.png")
    return folder


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_mattes_are_of_the_frames_of_their_numbers(clip, tmp_path, kind):
    mattes = mattes_of(tmp_path / "mattes", 20)
    if kind == "file":
        levels = np.arange(200, 220)[:, None, None, None]
        frames = np.broadcast_to(levels, (20, 16, 16, 3)).astype(np.uint8)
        clip = clips.write_clip(tmp_path / "talk.mp4", frames)
    reading = ClipReading(start=Fraction(4, 25), end=Fraction(20, 25), every=2)
    plain = np.asarray(made(clip, tmp_path / "plain", reading=reading).images, np.float32)
    found = np.asarray(made(clip, tmp_path / "out", reading=reading, mattes=mattes).images)
    share = (255 - 10 * np.arange(4, 20, 2)[:, None, None, None]) / 255
    np.testing.assert_allclose(found, plain * share, atol=0.51)


def test_other_numbers_of_mattes_are_refused_before_faces_are_looked_for(
    clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(person_clips, "_surveyed", None)
    for count in (19, 21):
        mattes = mattes_of(tmp_path / f"mattes{count}", count)
        with pytest.raises(UsageError, match=f"has {count} frames, and .*clip has 20;"):
            made(clip, tmp_path / "out", mattes=mattes)


def test_another_model_of_the_face_is_another_job(clip, tmp_path):
    settings = SimpleNamespace(roles=lambda: {"generator": "It is tuned"})
    found = []
    for model in (b"one", b"other"):
        files = {role: tmp_path / role for role in ("generator", "deca", "flame", "landmarks")}
        for path in files.values():
            path.write_bytes(b"")
        files["flame"].write_bytes(model)
        suite, source = Suite("some", files), Source(str(clip), ClipReading())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(personalisation, "described", lambda settings: {})
            found.append(personalisation.job_description(source, suite, settings, seed=0))  # type: ignore
    assert found[0] != found[1]


def test_it_is_made_once_and_read_again(clip, tmp_path, monkeypatch):
    first = made(clip, tmp_path / "out")
    monkeypatch.setattr(person_clips, "see", None)  # which a second making would call
    second = made(clip, tmp_path / "out")
    assert first.rows == second.rows
    assert first.times == second.times
    np.testing.assert_array_equal(first.images, second.images)
    assert isinstance(second.images, np.memmap)
    rows = (tmp_path / "out/data/frames.jsonl").read_text().splitlines()
    assert [json.loads(row)["status"] for row in rows] == ["ok"] * 20


def test_one_that_was_killed_before_its_end_is_made_again(clip, tmp_path):
    made(clip, tmp_path / "out")
    (tmp_path / "out/data/frames.jsonl").unlink()  # the last that is written
    assert len(made(clip, tmp_path / "out").images) == 20
