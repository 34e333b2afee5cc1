"""`jaxface edit` on a clip's frames, with networks of random weights; numbers are requirements'."""

import dataclasses
import json
import os
import shutil
import signal
from fractions import Fraction
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from clips import clicks, packets, write_clip
from PIL import Image
from safetensors.numpy import save_file

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.jobs import runner
from jaxface.jobs.outputs import edited_clips
from jaxface.jobs.outputs.edited_clips import ClipWriting, write_clips
from jaxface.jobs.outputs.results import ResultsFolder, read_job
from jaxface.media.alignment import CropTransform
from jaxface.media.images import from_uint8, read_image, to_uint8
from jaxface.media.pasting import paste_mask
from jaxface.media.video.reading import open_clip
from jaxface.media.video.timing import resampled
from jaxface.media.video.writing import Encoding
from jaxface.methods import pie
from jaxface.nets import ReconstructionConfig, RigNetConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.runtime.stopping import Stopped
from jaxface.suite import load_suite
from jaxface.weights import save_network
from tests.photographs import painted

LOSSLESS = {"codec": "libx264rgb", "pixel_format": "rgb24", "options": {"qp": "0"}}
COUNT, WITHOUT = 8, 3
"""Frames of the clip, and the one in which there is no face."""
TIMES = [1001 * (i + 2 * (i > 5)) for i in range(COUNT)]


def square(index: int) -> CropTransform:
    return CropTransform((20.0 + 2 * index, 30.0), (14.0, 1.0), 16, (80, 60))


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "suite"
    shutil.copytree(tiny_suite, folder)
    directions = directions_of(("one",), jnp.eye(32)[:1], units=jnp.array([30.0]))
    save_network(folder / "direction_random.safetensors", directions)
    return folder


def embedding(folder: Path, row: dict, *, seed: int, suite: Path, source: Path, **header):
    """Writes a latent code as `jaxface invert` does, and its row."""
    w_plus = np.random.default_rng(seed).normal(size=(6, 32)).astype(np.float32)
    path = folder / "latents" / f"{row['id']}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"id": row["id"], "path": str(source), "settings.suite": str(suite)}
    save_file({"w_plus": w_plus}, path, known | {k: json.dumps(v) for k, v in header.items()})
    with open(folder / "results.jsonl", "a") as file:
        row |= {"status": "ok", "latents": str(path.relative_to(folder)), "path": str(source)}
        row |= {"transform": None, **header}
        file.write(json.dumps(row) + "\n")


PLACES = [index for index in range(COUNT) if index != WITHOUT]


def embed(
    folder: Path, source: Path, *, suite: Path, aligned=True, places=PLACES, rate=None, seed=None
):
    """What `jaxface invert` gives of a clip, with random latents."""
    for index in places:
        time = Fraction(TIMES[index], 30000) if rate is None else Fraction(index, rate)
        frame = {"clip": f"in/{source.name}", "index": index, "time": str(time)}
        crop = {"transform": square(index).to_json(), "track": {"id": 0, "status": "ok"}}
        embedding(
            folder,
            {"id": f"in/{source.name}/{index:06d}"},
            seed=index if seed is None else seed,
            suite=suite,
            source=source,
            frame=frame,
            **(crop if aligned else {}),
        )


@pytest.fixture(scope="module")
def embedded(suite, tmp_path_factory):
    """A clip of varying rate with sound, in full chroma, and its embeddings."""
    folder = tmp_path_factory.mktemp("embedded")
    noise = np.random.default_rng(0).integers(0, 20, (60, 80, 3), np.uint8)
    frames = [painted(80, 60, face1=(6 + 2 * i, 16, 28)) // 2 + noise for i in range(COUNT)]
    source = write_clip(
        folder / "talk.mp4",
        frames,
        base=Fraction(1, 30000),
        times=TIMES,
        sound=("aac", clicks(0.34)),
        **LOSSLESS,
    )
    embed(folder / "emb", source, suite=suite)
    return folder / "emb", source


@pytest.fixture
def run(tmp_path, capsys):
    """Runs `jaxface edit`; returns (status, rows, what was printed)."""

    def call(*arguments, out="edited", strength=1):
        options = ["--out", tmp_path / out]
        options += [] if "--batch-size" in arguments else ["--batch-size", 2]
        options += ["--direction", f"random.one={strength}"]
        status = main([str(each) for each in ("edit", *arguments, *options)])
        path = tmp_path / out / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return status, [json.loads(line) for line in lines], capsys.readouterr()

    return call


def read(path, **options):
    """Times and frames of a clip."""
    with open_clip(path, **options) as clip:
        frames = list(clip)
    return [frame.time for frame in frames], np.stack([frame.pixels for frame in frames])


def test_10_11_18_25_an_edited_clip_has_the_sources_times_and_sound(run, embedded, tmp_path):
    folder, source = embedded
    status, rows, printed = run(folder, "--lossless", "--clip-format", "mp4")
    assert status == 0, printed.err
    out = tmp_path / "edited" / "clips" / "in" / "talk.mp4"
    assert f"{out}, 7 frames edited of 8" in printed.out
    times, before = read(source)
    assert read(out)[0] == times == [Fraction(ticks, 30000) for ticks in TIMES]
    after = read(out)[1]
    assert packets(out, "audio") == packets(source, "audio")
    for index in range(COUNT):
        if index == WITHOUT:
            np.testing.assert_array_equal(after[index], before[index])
            continue
        mask = paste_mask(square(index))
        np.testing.assert_array_equal(after[index][mask == 0], before[index][mask == 0])
        assert np.abs(after[index].astype(int) - before[index])[mask == 1].mean() > 5
    sidecar = json.loads(out.with_name("talk.mp4.json").read_text())
    assert (sidecar["frames"], sidecar["edited"]) == (8, 7)
    assert sidecar["key"]["job"]["suite"]["generator"]
    assert sidecar["versions"]["jaxface"]
    assert sidecar["settings"] == rows[0]["settings"]  # 31: all that the clip was made with
    assert sidecar["key"]["writing"]["encoding"]["lossless"] is True
    assert sidecar["flicker"]["0"].keys() == {"unedited", "edited"}  # 23
    assert [row["frame"]["index"] for row in rows] == [0, 1, 2, 4, 5, 6, 7]
    stamp = out.stat().st_mtime_ns
    assert run(folder, "--lossless", "--clip-format", "mp4")[0] == 0
    assert out.stat().st_mtime_ns == stamp  # it is there


def test_25_an_edit_that_changes_nothing_gives_the_clip_bit_for_bit(run, embedded, tmp_path):
    folder, source = embedded
    assert run(folder, "--lossless", strength=0)[0] == 0
    one, other = read(source), read(tmp_path / "edited" / "clips" / "in" / "talk.mp4")
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.slow
def test_30_32_two_devices_give_the_file_that_one_gives_and_equal_codes_equal_frames(
    run, embedded, suite, tmp_path
):
    folder, source = embedded
    assert run(folder)[0] == 0
    assert run(folder, "--batch-size", 1, out="one")[0] == 0
    paths = [tmp_path / out / "clips" / "in" / "talk.mp4" for out in ("edited", "one")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    embed(tmp_path / "emb", source, suite=suite, places=range(3), seed=5)
    assert run(tmp_path / "emb", out="equal")[0] == 0
    edits = sorted((tmp_path / "equal" / "edits").rglob("*.png"))
    assert len({path.read_bytes() for path in edits}) == 1
    assert len(edits) == 3
    (told,) = (tmp_path / "equal" / "clips").rglob("*.json")
    assert json.loads(told.read_text())["flicker"] == {"0": {"unedited": 0.0, "edited": 0.0}}


@pytest.mark.parametrize("when", ["editing", pytest.param("writing", marks=pytest.mark.slow)])
def test_14_15_29_a_job_that_was_stopped_goes_on_and_gives_the_same_bytes(
    run, embedded, tmp_path, monkeypatch, when
):
    folder, _ = embedded
    assert run(folder, out="whole")[0] == 0
    calls = []
    place, name = {
        "editing": (runner.Runner, "_finished"),
        "writing": (edited_clips._Change, "_read"),
    }[when]
    usual = getattr(place, name)

    def stopped(self, *arguments):
        calls.append(1)
        if len(calls) == (1 if when == "editing" else 8):
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, stopped)
        status, rows, printed = run(folder)
    assert status == 143
    assert "goes on from there" in printed.err
    assert len(rows) == 7 if when == "writing" else 0 < len(rows) < 7
    clip = tmp_path / "edited" / "clips" / "in" / "talk.mp4"
    assert not clip.exists()
    assert run(folder)[0] == 0
    assert clip.read_bytes() == (tmp_path / "whole" / "clips" / "in" / "talk.mp4").read_bytes()
    assert [path.name for path in clip.parent.iterdir() if path.name[0] == "."] == []


def test_15_writing_goes_on_behind_the_frames_that_are_stored(run, embedded, tmp_path):
    folder, _ = embedded
    assert run(folder, "--no-audio")[0] == 0
    out = tmp_path / "edited"
    how = ClipWriting("mkv", encoding=Encoding(lossless=True, segment=3))
    with ResultsFolder(out, read_job(str(out)), files=("edited", "unedited")) as results:
        rows = list(results.rows.values())
        write_clips(rows, results, how)
        path = out / "clips" / "in" / "talk.mp4.mkv"
        whole, said = path.read_bytes(), []
        path.unlink()
        with pytest.raises(Stopped):
            write_clips(rows, results, how, stop=lambda: said.append(1) or len(said) > 5)
        assert not path.exists()
        said.clear()
        write_clips(rows, results, how, stop=lambda: bool(said.append(1)))
        assert len(said) == 5  # three frames were stored
        assert path.read_bytes() == whole
        path.unlink()
        with pytest.raises(Stopped):
            write_clips(rows, results, how, stop=lambda: said.append(1) or len(said) > 9)
        other = dataclasses.replace(how, sound=False)
        with pytest.raises(UsageError, match="other settings"):
            write_clips(rows, results, other)


def test_10_11_16_folders_of_pngs_are_written_and_read_and_sound_is_left_out(
    run, embedded, suite, tmp_path
):
    folder, source = embedded
    assert run(folder, "--no-audio")[0] == 0
    with pytest.raises(IndexError):
        packets(tmp_path / "edited" / "clips" / "in" / "talk.mp4", "audio")
    assert run(folder, "--clip-format", "png", out="pngs")[0] == 0
    pngs = tmp_path / "pngs" / "clips" / "in" / "talk.mp4"
    assert len(list(pngs.glob("*.png"))) == COUNT
    times, frames = read(pngs)
    assert times == read(source)[0]
    np.testing.assert_array_equal(frames[WITHOUT], read(source)[1][WITHOUT])
    # A folder is a source as well, and what becomes of it is one.
    embed(tmp_path / "emb", pngs, suite=suite)
    assert run(tmp_path / "emb", out="again", strength=0)[0] == 0
    again = read(tmp_path / "again" / "clips" / "in" / "talk.mp4")
    assert again[0] == times
    np.testing.assert_array_equal(again[1], frames)


def test_10_a_constant_rate_is_chosen_by_time_and_sound_stays_in_step(run, embedded, tmp_path):
    folder, source = embedded
    assert run(folder, "--rate", 50, "--lossless", strength=0)[0] == 0
    out = tmp_path / "edited" / "clips" / "in" / "talk.mp4"
    times, frames = read(out)
    assert times == [Fraction(i, 50) for i in range(len(times))]
    own, before = read(source)
    assert abs(float(times[-1] - own[-1])) <= 0.02
    for time, frame in zip(times, frames, strict=True):
        (nearest,) = [i for i, f in enumerate(before) if (f == frame).all()]
        away = [abs(each - time) for each in own]
        assert away[nearest] == min(away)
    assert packets(out, "audio") == packets(source, "audio")


def test_frames_that_are_portraits_give_a_clip_of_portraits(run, embedded, suite, tmp_path):
    _, source = embedded
    embed(tmp_path / "emb", source, suite=suite, aligned=False)
    status, rows, printed = run(tmp_path / "emb", "--lossless")
    assert status == 0, printed.err
    times, frames = read(tmp_path / "edited" / "clips" / "in" / "talk.mp4")
    assert (times, frames.shape) == (read(source)[0], (COUNT, 16, 16, 3))
    stored = read_image(tmp_path / "edited" / rows[0]["edited"]).pixels
    np.testing.assert_array_equal(frames[0], to_uint8(stored))


@pytest.mark.slow
def test_an_edit_of_an_edit_keeps_what_the_first_one_changed(run, embedded, tmp_path):
    folder, source = embedded
    assert run(folder, "--lossless")[0] == 0
    status, rows, printed = run(tmp_path / "edited", "--lossless", out="again", strength=0)
    assert status == 0, printed.err
    assert {row["edited_before"] for row in rows} == {True}
    paths = [tmp_path / out / "clips" / "in" / "talk.mp4" for out in ("edited", "again")]
    one, other = (read(path)[1] for path in paths)
    inside = paste_mask(square(0)) == 1
    assert np.abs(one[0].astype(int) - read(source)[1][0])[inside].mean() > 5
    assert np.abs(one[0].astype(int) - other[0])[inside].mean() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lossless", "--clip-format", "webm"], "of --clip-format mkv and mp4"),
        (["--rate", 0], "more than 0 frames a second"),
        (["--shard-size", 2], "edited clips are put together in one folder"),
    ],
)
def test_options_that_do_not_go_together(run, embedded, arguments, message):
    status, _, printed = run(embedded[0], *arguments)
    assert status == 2
    assert message in printed.err


def test_a_clip_that_is_gone_or_is_another_one_is_told(run, embedded, suite, tmp_path):
    source = tmp_path / "gone.mp4"
    embed(tmp_path / "emb", source, suite=suite)
    status, rows, printed = run(tmp_path / "emb")
    assert (status, rows) == (2, [])
    assert "is not there any more" in printed.err
    write_clip(source, np.zeros((COUNT, 20, 40, 3), np.uint8), **LOSSLESS)
    status, _, printed = run(tmp_path / "emb")
    assert status == 2
    assert "40x20 px; its faces were cut from a clip of 80x60 px" in printed.err
    latents = embedded[0] / "latents" / "in" / "talk.mp4" / "000000.safetensors"
    status, _, printed = run(latents, "--no-audio", out="file")
    assert status == 2
    assert "no folder of embeddings is of a clip's frames" in printed.err


@pytest.fixture(scope="module")
def rigged(suite, random_network, tmp_path_factory):
    """A suite that reads portraits and edits their pose."""
    folder = tmp_path_factory.mktemp("rigged") / "suite"
    shutil.copytree(suite, folder)
    config = ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    reconstruction = random_network("FaceReconstruction", config)
    reconstruction.scale[...] = jnp.full(257, 0.5)
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    save_network(folder / "reconstruction.safetensors", reconstruction)
    rignet = random_network("RigNet", RigNetConfig("pose", num_ws=6, w_dim=32, hidden=2))
    rignet.decoder[...] = 1e-2 * rignet.decoder[...]
    save_network(folder / "rignet_pose.safetensors", rignet)
    return folder


def drive(*arguments, out, suite):
    call = ["edit", *arguments, "--suite", suite, "--out", out, "--group", "pose"]
    options = ["--batch-size", 2, "--feedback", 0]
    return main([str(each) for each in [*call, *options]])


def rows_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_27_28_a_driver_of_another_rate_moves_a_clip_by_time(embedded, rigged, tmp_path, capsys):
    folder, source = embedded
    shown = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    driver = write_clip(
        tmp_path / "driver.mkv", shown, rate=10, sound=("aac", clicks(0.3)), **LOSSLESS
    )
    embed(tmp_path / "driver", driver, suite=rigged, aligned=False, places=range(3), rate=10)
    out = tmp_path / "driven"
    assert drive(folder, "--like", tmp_path / "driver", out=out, suite=rigged) == 0
    clip = out / "clips" / "in" / "talk.mp4"
    assert read(clip)[0] == read(source)[0]
    assert packets(clip, "audio") == packets(source, "audio")
    read_poses = pie.read_parameters(load_suite(rigged), from_uint8(shown)).group("pose")
    at = [Fraction(TIMES[row["frame"]["index"]], 30000) for row in rows_in(out)]
    wanted = [row["edits"]["pose"]["wanted"] for row in rows_in(out)]
    expected = resampled([Fraction(i, 10) for i in range(3)], read_poses, at)
    np.testing.assert_allclose(wanted, expected, atol=2e-5)  # rows hold five decimals
    other = tmp_path / "looped"
    more = ["--beyond", "stop", "--neutral", "mean", "--audio", "driver"]
    assert drive(folder, "--like", tmp_path / "driver", *more, out=other, suite=rigged) == 0
    assert max(row["frame"]["index"] for row in rows_in(other)) == 5  # 0.167 s; the next is 0.233
    assert json.loads((other / "job.json").read_text())["asked"]["neutral"] == "mean"
    moments = [row["edits"]["pose"] for row in rows_in(other)]
    expected = resampled([Fraction(i, 10) for i in range(3)], read_poses - read_poses.mean(0), at)
    for place, each in enumerate(moments):
        added = np.subtract(each["wanted"], each["before"])
        np.testing.assert_allclose(added, expected[place], atol=3e-5)
    sounds = packets(other / "clips" / "in" / "talk.mp4", "audio"), packets(driver, "audio")
    assert [data for _, data in sounds[0]][:9] == [data for _, data in sounds[1]][:9]
    status = drive(folder, "--like", tmp_path / "driver", "--neutral", 3, out=other, suite=rigged)
    assert status == 2
    assert "the driver has portraits 0 to 2" in capsys.readouterr().err


def test_27_a_portrait_gets_the_drivers_length_and_sound(rigged, tmp_path):
    shown = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    driver = write_clip(
        tmp_path / "driver.mkv", shown, rate=10, sound=("aac", clicks(0.3)), **LOSSLESS
    )
    embed(tmp_path / "driver", driver, suite=rigged, aligned=False, places=range(3), rate=10)
    photograph = tmp_path / "anna.png"
    pixels = painted(80, 60, face1=(6, 16, 28))
    Image.fromarray(pixels).save(photograph)
    known = {"suite": rigged, "source": photograph}
    embedding(
        tmp_path / "emb", {"id": "in/anna.png"}, seed=0, **known, transform=square(0).to_json()
    )
    embedding(tmp_path / "emb", {"id": "in/aligned.png"}, seed=1, **known)
    out = tmp_path / "driven"
    how = ["--like", tmp_path / "driver", "--lossless"]
    assert drive(tmp_path / "emb", *how, out=out, suite=rigged) == 0
    times, frames = read(out / "clips" / "in" / "anna.png.mp4")
    assert (times, frames.shape) == ([0, Fraction(1, 10), Fraction(1, 5)], (3, 60, 80, 3))
    outside = paste_mask(square(0)) == 0
    np.testing.assert_array_equal(frames[:, outside], np.stack([pixels[outside]] * 3))
    assert read(out / "clips" / "in" / "aligned.png.mp4")[1].shape == (3, 16, 16, 3)
    sounds = packets(out / "clips" / "in" / "anna.png.mp4", "audio"), packets(driver, "audio")
    assert [data for _, data in sounds[0]][:9] == [data for _, data in sounds[1]][:9]
