"""`jaxface invert CLIP` as a user meets it, on painted faces that need no detector's package."""

import json
import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import clicks, moving, write_clip
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import jaxface
from jaxface.cli import main
from jaxface.jobs import runner
from jaxface.jobs.inputs import clip_survey
from jaxface.media import detection as faces
from tests.photographs import PaintedFaces, painted

STEPS = ["--set", "w_steps=0", "--set", "w_plus_steps=4"]
LOSSLESS = {"codec": "libx264rgb", "pixel_format": "rgb24", "options": {"qp": "0"}}
PLACES = [(4 + 2 * i, 10, 30) for i in range(8)]


def talk(places=PLACES, **others):
    """uint8 [T, 60, 80, 3]: a face that moves; at None there is none."""
    return [
        painted(80, 60, **({} if place is None else {"face1": place}), **others) for place in places
    ]


def rows_of(out: Path) -> list[dict]:
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def invert(tmp_path, monkeypatch, tiny_suite, capsys):
    """Runs `jaxface invert`; returns (status, rows in their order, what was printed)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(faces, "DlibFaces", PaintedFaces)

    def run(*arguments, out="emb", batch_size=2, align=True):
        options = ["--out", out, "--suite", tiny_suite, "--batch-size", batch_size, *STEPS]
        options += ["--align", "--workers", 0] if align else []
        status = main([str(argument) for argument in ("invert", *arguments, *options)])
        rows = sorted(rows_of(tmp_path / out), key=lambda row: row["id"])
        return status, rows, capsys.readouterr()

    return run


def test_17_18_every_frame_has_a_row_with_its_time_and_track(invert, tmp_path):
    seen = [None, *PLACES[:2], None, *PLACES[3:]]
    write_clip(
        "talk.mp4",
        talk(seen),
        base=Fraction(1, 30000),
        times=[1001 * (i + 5 * (i > 6)) for i in range(9)],
        **LOSSLESS,
    )
    status, rows, printed = invert("talk.mp4")
    assert status == 0, printed.err  # a frame without a face is no failure
    name = f"{tmp_path.name}/talk.mp4"
    assert [row["id"] for row in rows] == [f"{name}/{i:06d}" for i in range(9)]
    assert [row["status"] for row in rows] == ["no_face"] + ["ok"] * 8
    assert [row["frame"]["index"] for row in rows] == list(range(9))
    assert [Fraction(row["frame"]["time"]) for row in rows] == [
        Fraction(1001 * (i + 5 * (i > 6)), 30000) for i in range(9)
    ]
    assert rows[0]["track"] is None
    assert [row["track"]["status"] for row in rows[1:]] == [
        "ok", "ok", "interpolated", "ok", "ok", "ok", "ok", "ok"
    ]  # fmt: skip
    transform = jaxface.CropTransform.from_json(rows[4]["transform"])
    assert transform.source == (80, 60)
    with safe_open(tmp_path / "emb" / rows[4]["latents"], framework="numpy") as file:
        header = file.metadata()
    assert json.loads(header["frame"]) == rows[4]["frame"]
    report = (tmp_path / "emb" / "clips" / name / "report.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in report] == [
        "no_face", "ok", "ok", "interpolated", "ok", "ok", "ok", "ok", "ok"
    ]  # fmt: skip
    assert (tmp_path / "emb" / "contact_sheet.png").is_file()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_job_that_ended_half_way_goes_on_and_gives_the_same_bytes(
    invert, tmp_path, monkeypatch, how
):
    write_clip("talk.mp4", talk(PLACES[:5]), **LOSSLESS)
    assert invert("talk.mp4", out="whole", batch_size=1)[0] == 0
    calls = []

    def ended(self, *arguments, finished=runner.Runner._finished):
        calls.append(1)
        if len(calls) == 3 and how == "kill":
            raise KeyboardInterrupt
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return finished(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "_finished", ended)
        status, rows, _ = invert("talk.mp4", batch_size=1)
    assert status == (130 if how == "kill" else 143)
    assert 0 < len(rows) < 5
    monkeypatch.setattr(clip_survey, "_look", None)  # the clip is not looked through again
    assert invert("talk.mp4", batch_size=1)[0] == 0
    one, other = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*.*"))
            if path.suffix in (".safetensors", ".png") and path.name != "contact_sheet.png"
        }
        for folder in (tmp_path / "whole", tmp_path / "emb")
    )
    assert list(one) == list(other)
    for path, data in one.items():
        if path.suffix == ".png":
            assert data == other[path], path
            continue
        tensors = [load_file(tmp_path / out / path)["w_plus"] for out in ("whole", "emb")]
        assert tensors[0].tobytes() == tensors[1].tobytes(), path


def test_19_who_is_meant(invert):
    frames = talk(face2=(60, 40, 12))
    write_clip("two.mkv", frames, **LOSSLESS)
    _, rows, _ = invert("two.mkv", "--every", 2, out="largest")
    assert [row["frame"]["index"] for row in rows] == [0, 2, 4, 6]
    assert [row["face"] for row in rows] == [{"number": 1, "of": 1}] * 4
    _, right, _ = invert("two.mkv", "--every", 2, "--track", 2, out="right")
    assert right[0]["transform"]["center"][0] > 60
    status, every, _ = invert("two.mkv", "--end", 0.05, "--track", "all", out="all")
    assert status == 0
    assert [row["id"].rsplit("/", 1)[1] for row in every] == [
        "000000#1", "000000#2", "000001#1", "000001#2"
    ]  # fmt: skip
    assert [row["track"]["id"] for row in every] in ([0, 1, 0, 1], [1, 0, 1, 0])
    status, none, _ = invert("two.mkv", "--track", 3, out="none")
    assert status == 1
    assert [(row["id"].split("/")[-1], row["status"]) for row in none] == [("two.mkv", "no_track")]
    assert "face 2 of 2" in none[0]["reason"]


def test_clips_without_a_face_damaged_ones_and_what_is_no_clip_have_one_row_each(invert):
    write_clip("empty.mp4", talk([None] * 4), **LOSSLESS)
    noisy = np.array(talk())
    noisy[:, 44:] = np.random.default_rng(0).integers(0, 256, noisy[:, 44:].shape)
    options = {"container": {"movflags": "+faststart"}, **LOSSLESS}
    data = write_clip(Path("whole.mp4"), noisy, **options).read_bytes()
    Path("short.mp4").write_bytes(data[: len(data) * 6 // 10])
    Path("notes.mp4").write_text("no video")
    status, rows, _ = invert("empty.mp4", "short.mp4", "notes.mp4", out="bad")
    assert status == 1
    found = {row["id"].split("/", 1)[1]: row for row in rows}
    assert found["empty.mp4"]["status"] == "no_track"
    assert "no face in any frame that is upright; --any-way-up" in found["empty.mp4"]["reason"]
    assert found["notes.mp4"]["status"] == "not_a_video"
    assert found["short.mp4"]["status"] == "damaged"
    assert found["short.mp4/000000"]["status"] == "ok"
    assert "ends after" in found["short.mp4"]["reason"]
    status, rows, _ = invert("short.mp4", "--allow-truncated", out="good")
    assert status == 0
    assert len(rows) == len(found) - 3


def test_a_folder_of_numbered_images_is_a_clip_where_asked(invert, tmp_path):
    (tmp_path / "shots").mkdir()
    for number, frame in zip((1, 2, 10, 11), talk(), strict=False):
        Image.fromarray(frame).save(f"shots/{number}.png")
    status, rows, printed = invert("shots", "--clip", "--fps", "30000/1001")
    assert status == 0
    assert [row["id"] for row in rows] == [f"shots/{i:06d}" for i in range(4)]
    assert rows[3]["frame"]["time"] == "1001/10000"
    assert "numbers are missing: 3-9" in printed.err
    centers = [row["transform"]["center"][0] for row in rows]
    assert centers == sorted(centers)
    status, _, printed = invert("shots", "--clip", out="other")
    assert status == 2
    assert "say how many fps" in printed.err


def test_frames_of_portraits_and_shards(invert, tmp_path):
    write_clip("portraits.mkv", moving(5, 20, 16))
    status, rows, printed = invert("portraits.mkv", "--shard-size", 2, align=False)
    assert status == 0, printed.err
    assert main(["merge", "emb"]) == 0
    rows = sorted(rows_of(tmp_path / "emb"), key=lambda row: row["id"])
    assert [row["frame"]["time"] for row in rows] == ["0", "1/25", "2/25", "3/25", "4/25"]
    assert all(row["transform"] is None for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["talk.mp4", "a.png"], "talk.mp4 is a clip and a.png is not"),
        (["talk.mp4", "--face", "all"], "of clips --track says who"),
        (["talk.mp4", "--fps", 25], "--fps is of folders"),
        (["talk.mp4", "--split", "test"], "--split is of images"),
        (["talk.mp4", "--column", "file"], "--column is of images"),
        (["talk.mp4", "--max-pixels", 1000], "--max-pixels is of images"),
        (["talk.mp4", "--start", 2, "--end", 1], "are no part of a clip"),
        (["talk.mp4", "--track", "anna"], "largest, all, a number"),
        (["a.png", "--every", 2], "--every is of clips"),
        (["other.mp4"], "no such file"),
    ],
)
def test_options_that_do_not_go_together(invert, arguments, message):
    Path("talk.mp4").write_bytes(b"")
    Image.fromarray(talk()[0]).save("a.png")
    status, _, printed = invert(*arguments)
    assert status == 2
    assert message in printed.err


def test_15_other_settings_and_another_clip_of_that_name_are_refused(invert):
    write_clip("talk.mp4", talk(PLACES[:2]), sound=("aac", clicks(0.1)), **LOSSLESS)
    assert invert("talk.mp4")[0] == 0
    status, _, printed = invert("talk.mp4", "--smoothing", "0,0")
    assert status == 2
    assert "with other settings; use another --out" in printed.err
    write_clip("talk.mp4", talk(PLACES[2:4]), **LOSSLESS)
    assert invert("talk.mp4")[0] == 2
