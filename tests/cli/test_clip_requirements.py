"""What is asked of jobs of clips as a whole; numbers are those of the requirements for video."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from safetensors.numpy import load_file

from jaxface.cli import main
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.inputs.drivers import Beyond, Driver
from jaxface.media import detection as faces
from jaxface.media.following.smoothing import smooth_values
from tests.photographs import PaintedFaces, painted

LOSSLESS = {"codec": "libx264rgb", "pixel_format": "rgb24", "options": {"qp": "0"}}


@pytest.fixture
def invert(tmp_path, monkeypatch, tiny_suite, capsys):
    """Runs `jaxface invert`; returns (status, codes by frame, what was said)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(faces, "DlibFaces", PaintedFaces)

    def run(*arguments, out="emb", batch_size=2):
        options = ["--suite", tiny_suite, "--out", out, "--batch-size", batch_size]
        options += ["--set", "w_steps=0", "--set", "w_plus_steps=3", "--workers", 0, "--align"]
        status = main([str(each) for each in ("invert", *arguments, *options)])
        files = sorted((tmp_path / out / "latents").rglob("*.safetensors"))
        return status, [load_file(path)["w_plus"] for path in files], capsys.readouterr()

    return run


def talk(count=4, **others):
    return [painted(80, 60, face1=(4 + 2 * i, 10, 30), **others) for i in range(count)]


def test_32_equal_frames_give_equal_codes_whatever_the_method_draws(invert, tmp_path):
    frames = talk(2)
    write_clip("talk.mkv", [frames[0]] * 3 + [frames[1]], **LOSSLESS)
    drawn = ["--set", "noise=random", "--smoothing", "0,0"]
    status, codes, said = invert("talk.mkv", *drawn)
    assert status == 0, said.err
    np.testing.assert_array_equal(codes[0], codes[1])
    np.testing.assert_array_equal(codes[0], codes[2])
    assert (codes[0] != codes[3]).any()
    shown = [path.read_bytes() for path in sorted((tmp_path / "emb").rglob("0*.png"))]
    assert shown[0] == shown[1] == shown[2] != shown[3]


@pytest.mark.slow
def test_29_30_a_padded_batch_on_two_devices_gives_what_one_gives(invert, tmp_path):
    write_clip("talk.mkv", talk(5), **LOSSLESS)
    status, one, _ = invert("talk.mkv", out="one", batch_size=1)
    assert status == 0
    status, two, said = invert("talk.mkv", out="two")
    assert status == 0
    assert "on each of 2 devices" in said.err  # and the memory that it takes
    assert len(one) == len(two) == 5
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    for kind in ("*.png", "report.jsonl"):
        files = [sorted((tmp_path / out).rglob(kind)) for out in ("one", "two")]
        some = [path for path in files[0] if path.name != "contact_sheet.png"]
        others = [path for path in files[1] if path.name != "contact_sheet.png"]
        assert [path.read_bytes() for path in some] == [path.read_bytes() for path in others]


def surveyed(out, what):
    """A value of each frame's first face, as the survey of the clip tells it."""
    (report,) = Path(out, "clips").rglob("report.jsonl")
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    if what in rows[0]:
        return [row[what] for row in rows]
    return [row["faces"][0][what] if row["faces"] else None for row in rows]


def test_31_every_setting_of_reading_and_following_acts(invert):
    """Each changes what the survey of the same clip says; what is solved is not needed for that."""
    jumps = [(4 + 2 * i + 3 * (i % 2), 10 + i % 3, 28 + i % 2) for i in range(8)]
    frames = [painted(80, 60, face1=place, face2=(60, 40, 12)) for place in jumps]
    frames[4] = frames[5] = painted(80, 60)
    write_clip("talk.mkv", frames, **LOSSLESS)
    assert invert("talk.mkv", "--set", "w_plus_steps=1", out="usual")[0] == 0
    for options, what in [
        (["--start", "0.08"], "index"),
        (["--end", "0.2"], "index"),
        (["--every", 2], "index"),
        (["--smoothing", "0,0.12"], "quad"),
        (["--smoothing", "0.04,0"], "quad"),
        (["--max-gap", "0.04"], "status"),
        (["--track", 2], "box"),
    ]:
        out = f"{what}{options[0]}{options[1]}"
        assert invert("talk.mkv", *options, "--set", "w_plus_steps=1", out=out)[0] == 0
        assert surveyed(out, what) != surveyed("usual", what), options
        header = json.loads(next(Path(out, "clips").rglob("clip.json")).read_text())
        before = json.loads(next(Path("usual", "clips").rglob("clip.json")).read_text())
        assert header["key"] != before["key"]
        assert min(header["jitter"].values()) >= 0  # requirement 23: it is told
        assert header["acceleration"].keys() == header["jitter"].keys()
    job = json.loads(Path("usual", "job.json").read_text())
    assert job["seed"] == 0
    assert set(job["suite"]) >= {"generator"}


def test_31_a_reading_is_told_as_json_and_read_back():
    reading = ClipReading(Fraction(30000, 1001), Fraction(1, 3), Fraction(2), 3, True, True)
    assert ClipReading.from_json(json.loads(json.dumps(reading.to_json()))) == reading
    assert set(reading.to_json()) == {field.name for field in dataclasses.fields(ClipReading)}
    assert ClipReading().to_json() == {}


def driver(values, rate=10):
    times = tuple(Fraction(i, rate) for i in range(len(values)))
    return Driver("a", "a.mp4", times, times[0], {"pose": np.array(values, float)[:, None]})


def test_27_behind_its_end_a_driver_holds_begins_again_or_stops():
    times = [Fraction(i, 20) for i in range(9)]
    expected: dict[Beyond, list] = {
        "hold": [0, 0.5, 1, 1.5, 2, 2, 2, 2, 2],
        "loop": [0, 0.5, 1, 1.5, 2, 2, 0, 0.5, 1],
        "stop": [0, 0.5, 1, 1.5, 2, None, None, None, None],
    }
    for beyond, wanted in expected.items():
        given = driver([0, 1, 2]).at(times, beyond)
        moved = [None if each is None else float(each["pose"][0]) for each in given]
        assert moved == pytest.approx(wanted) if beyond != "stop" else moved == wanted


def test_24_parameters_are_smoothed_over_the_whole_clip_by_time():
    shaky = np.linspace(0, 1, 50) + 0.1 * (-1.0) ** np.arange(50)
    steady = driver(shaky, 25).smoothed(0.12).values["pose"][:, 0]
    assert np.abs(np.diff(steady, 2))[8:-8].max() < 0.05 * np.abs(np.diff(shaky, 2)).max()
    np.testing.assert_array_equal(driver(shaky, 25).smoothed(0).values["pose"][:, 0], shaky)
    # A part with an overlap of five deviations has the values of the whole.
    times = np.arange(50) / 25
    part = smooth_values(times[:40], shaky[:40], 0.12)
    np.testing.assert_allclose(part[:25], steady[:25], atol=1e-9)
