"""`jaxface personalise` and an avatar as SOURCE of `jaxface reenact`: clips of the embedded world
in, avatars out; clips that are of no use; stops and resumes."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.evaluation.pvp_protocol import world_clip, write_clip
from jaxface.jobs import personalisation
from jaxface.jobs.inputs.person_clips import _Face, _who
from jaxface.methods.pvp.features import features_of
from jaxface.morphable.worlds import world

QUICK = ["--set", "key_frames.count=8", "--set", "tuning.steps=2", "--set", "mappers.steps=30"]
QUICK += ["--set", "tuning_batch=4", "--set", "mappers.batch_size=2"]


@pytest.fixture(scope="module", name="clips")
def two_clips(tmp_path_factory):
    """Two persons, 40 frames each."""
    folder = tmp_path_factory.mktemp("clips")
    return [
        write_clip(folder / f"p{number}", world_clip(number, 40, size=64, of=world("2.0.0")).images)
        for number in range(2)
    ]


@pytest.fixture(scope="module", name="made")
def avatar_made(clips, tmp_path_factory):
    """The first one's avatar."""
    out = tmp_path_factory.mktemp("made") / "anna"
    assert main(["personalise", str(clips[0]), "--out", str(out), *QUICK]) == 0
    return out


def error_of(capsys, words):
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.slow
def test_a_clip_becomes_an_avatar(made):
    report = json.loads((made / "report.json").read_text())
    assert (report["frames"], report["used"], report["key_frames"]) == (40, 40, 8)
    assert report["parts"] == {"training": 36, "selection": 0, "held_out": 4}
    rows = report["scores"]["held_out"]
    assert rows["avatar"]["psnr"] > 15
    assert set(rows) == {"avatar", "frame by frame", "frame by frame, tuned generator"}
    assert "| avatar |" in (made / "report.md").read_text()
    for name in ("key_frames.png", "held_out.png"):
        assert min(Image.open(made / name).size) > 100
    parts = [json.loads(line) for line in (made / "data/parts.jsonl").read_text().splitlines()]
    assert len(parts) == 40
    keys = json.loads((made / "key_frames.json").read_text())["rows"]
    assert keys == sorted(set(keys))
    assert all(parts[row]["part"] == "training" for row in keys)
    assert set(report["seconds"]) == {
        "embedding key frames",
        "tuning the generator",
        "training the mappers",
    }


@pytest.mark.slow
def test_it_is_replayed_turned_driven_and_edited(made, clips, tmp_path, capsys):
    pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    calls = {
        "replay": [],
        "turn": ["--yaw=-60..60", "--turn-frames", "12"],
        "driven": ["--driving", str(clips[1]), "--match-pose", "deviation"],
        "itself": ["--driving", str(clips[0])],
        "edited": ["--driving", str(clips[0]), "--direction", "expression.smile=3"],
        "kept": ["--driving", str(clips[0]), "--direction", "expression.smile=3", "--project"],
    }
    drawn = {}
    for name, words in calls.items():
        out = tmp_path / name
        assert main(["reenact", str(made), "--out", str(out), "--lossless", *words]) == 0
        drawn[name] = frames_of(out / "clip.mp4")
        rows = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
        assert len(rows) == len(drawn[name])
        if name == "turn":
            assert len(rows) == 12
            assert any("yaw" in row["outside"] for row in rows)
            assert not rows[6]["outside"].get("pitch")
    assert "ask for what the clip did not show" in capsys.readouterr().out
    np.testing.assert_allclose(drawn["itself"], drawn["replay"], atol=1)
    difference = {
        name: np.abs(drawn[name].astype(int) - drawn["replay"]).mean()
        for name in drawn
        if name in ("edited", "kept", "itself")
    }
    assert difference["edited"] > difference["kept"] > difference["itself"]


def frames_of(path):
    from jaxface.media.video.reading import open_clip

    with open_clip(path) as clip:
        return np.stack([frame.pixels for frame in clip])


@pytest.mark.slow
def test_a_stopped_one_goes_on_to_the_same_bits(made, clips, tmp_path, monkeypatch, capsys):
    """Stopped after a round, after a chunk of steps, and between stages."""
    out = tmp_path / "stopped"
    call = ["personalise", str(clips[0]), "--out", str(out), *QUICK]
    asked = []

    class Stops(personalisation.PersonalisationJob):
        def __init__(self, *args, stop, **options):
            del stop
            super().__init__(*args, stop=lambda: asked.append(0) or len(asked) in (1, 4), **options)

    with monkeypatch.context() as patch:
        patch.setattr(personalisation, "PersonalisationJob", Stops)
        statuses = [main(call) for _ in range(2)]
    assert set(statuses) <= {143, 0}
    assert 143 in statuses
    assert "goes on from there" in capsys.readouterr().err
    assert main(call) == 0
    for name in ("generator", "mappers", "motion"):
        ours, theirs = (
            safetensors.numpy.load_file(folder / f"avatar/{name}.safetensors")
            for folder in (out, made)
        )
        assert ours.keys() == theirs.keys()
        for key, values in ours.items():
            np.testing.assert_array_equal(values, theirs[key], err_msg=f"{name}: {key}")


@pytest.mark.slow
def test_other_settings_are_refused_and_nothing_is_lost(made, clips, capsys):
    before = (made / "avatar/mappers.safetensors").read_bytes()
    told = error_of(capsys, ["personalise", str(clips[0]), "--out", str(made)])
    assert "was begun with other settings" in told
    assert (made / "avatar/mappers.safetensors").read_bytes() == before


@pytest.mark.slow
def test_what_is_black_in_the_mattes_is_black_in_the_frames(clips, tmp_path):
    shutil.copytree(clips[0], tmp_path / "mattes")
    for path in (tmp_path / "mattes").glob("*.png"):
        white = np.zeros((64, 64, 3), np.uint8)
        white[:, :32] = 255
        Image.fromarray(white).save(path)
    out = tmp_path / "out"
    words = ["personalise", str(clips[0]), "--out", str(out), "--mattes", str(tmp_path / "mattes")]
    assert main([*words, *QUICK, "--set", "mappers.steps=1", "--set", "tuning.steps=1"]) == 0
    frames = np.load(out / "data/frames.npy")
    assert frames[:, :, 32:].max() == 0
    assert frames[:, :, :32].max() > 100


# Clips that are of no use.


def test_three_frames(tmp_path, capsys):
    clip = write_clip(tmp_path / "short", world_clip(0, 3, size=64, of=world("2.0.0")).images)
    told = error_of(capsys, ["personalise", str(clip), "--out", str(tmp_path / "out")])
    assert "3 frames with a face; an avatar needs 8 at least" in told


def test_frames_that_are_no_portraits(tmp_path, capsys):
    clip = write_clip(tmp_path / "wide", np.zeros((12, 48, 64, 3), np.uint8))
    told = error_of(capsys, ["personalise", str(clip), "--out", str(tmp_path / "out")])
    assert "64x48, aligned portraits are square; --align finds the face" in told


@pytest.mark.slow
def test_a_clip_without_a_face(tmp_path, capsys):
    pytest.importorskip("dlib")
    clip = write_clip(tmp_path / "empty", np.full((12, 96, 96, 3), 90, np.uint8))
    words = ["personalise", str(clip), "--out", str(tmp_path / "out"), "--align", "--workers", "0"]
    assert "no face in any frame" in error_of(capsys, words)


def test_two_faces_are_asked_about():
    both = [[_Face(0, None, 10.0), _Face(1, None, 30.0)]] * 10
    with pytest.raises(UsageError, match=r"shows 2 faces at once, in 10 frames.*--track largest"):
        _who("clip.mp4", both, range(10), chosen=False)
    assert _who("clip.mp4", both, range(10), chosen=True) == 1
    mistaken = [[_Face(0, None, 10.0)]] * 99 + both[:1]
    assert _who("clip.mp4", mistaken, range(100), chosen=False) == 0


def test_of_a_clip_with_a_cut_the_longest_shot_is_used(tmp_path, capsys, monkeypatch):
    first, second = (
        world_clip(number, count, size=64, of=world("2.0.0")).images
        for number, count in ((0, 12), (5, 20))
    )
    clip = write_clip(tmp_path / "cut", np.concatenate([first, second]))

    class Enough(Exception):
        pass

    def stop(*_, **__):
        raise Enough

    monkeypatch.setattr(personalisation, "split_frames", stop)
    with pytest.raises(Enough):
        main(["personalise", str(clip), "--out", str(tmp_path / "out")])
    assert "1 cuts; the longest shot is used, frames 12 to 31" in capsys.readouterr().err
    lines = (tmp_path / "out/data/frames.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["status"] for row in rows] == ["unused"] * 12 + ["ok"] * 20
    assert {row.get("reason") for row in rows[:12]} == {"another shot"}
    assert len(np.load(tmp_path / "out/data/frames.npy")) == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.mp4"], "no such file"),
        ([".", "--face", "all", "--align"], "--track says who is meant"),
        ([".", "--track", "1"], "--track requires --align"),
        ([".", "--set", "dtype=bfloat16"], "--dtype says"),
        ([".", "--preset", "papre"], "did you mean 'paper'"),
        ([".", "--mattes", "nowhere"], "--mattes nowhere: no such file"),
    ],
    ids=str,
)
def test_calls_that_are_wrong(words, told, tmp_path, capsys):
    assert told in error_of(capsys, ["personalise", *words, "--out", str(tmp_path / "out")])


def stub(folder):
    (folder / "avatar").mkdir(parents=True)
    (folder / "avatar/avatar.json").write_text("{}")
    return str(folder)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gain", "pose=2"], "--gain is not of avatars"),
        (["--motion", "relative"], "--motion is not of avatars"),
        (["--yaw", "5..6..7"], "expected degrees such as -20..20"),
        (["--yaw", "120"], "up to 90"),
        (["--yaw", "5", "--driving", "x.mp4"], "in place of --driving"),
        (["--match-pose", "mean"], "--match-pose requires --driving"),
        (["--driving", "x.mp4", "--steady", "nan"], "--steady: expected 0 or more seconds"),
        (["--project"], "--project requires --direction"),
        (["--turn-frames", "5"], "with --pitch or --yaw"),
        ([], "damaged"),
    ],
    ids=str,
)
def test_calls_of_avatars_that_are_wrong(words, told, tmp_path, capsys):
    folder = stub(tmp_path / "a")
    assert told in error_of(capsys, ["reenact", folder, "--out", str(tmp_path / "o"), *words])


def test_what_only_avatars_do_is_refused_of_others(tmp_path, capsys):
    words = ["reenact", "portrait.png", "--driving", "x.mp4", "--out", str(tmp_path), "--yaw", "3"]
    assert "--yaw is of avatars" in error_of(capsys, words)
    words = ["reenact", "portrait.png", "--out", str(tmp_path)]
    assert "--driving FILE is missing" in error_of(capsys, words)


@pytest.mark.slow
def test_the_file_says_what_it_was_made_of(made):
    from jaxface.jobs.avatars import read_avatar

    stored = read_avatar(made)
    assert len(stored.times) == len(stored.avatar.clip) == 40
    assert stored.times[1] * 25 == 1
    assert features_of(stored.avatar.motion).pose.shape == (8, 2)
    assert stored.header["suite"] == "embedded"
    with pytest.raises(UsageError, match="another generator"):
        read_avatar(made, suite="embedded-128")
