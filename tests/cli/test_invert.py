"""`jaxface invert` as a user meets it: odd files, wrong calls, Ctrl-C, and going on."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxface.cli import main
from jaxface.media.images import read_image, to_square
from jaxface.metrics import psnr
from tests import quick_slots

ROOT = Path(__file__).parents[2]
STEPS = ["--set", "w_steps=0", "--set", "w_plus_steps=4"]  # one stage, one program to compile


def picture(seed: int, height: int = 40, width: int = 40) -> Image.Image:
    """A smooth random image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def invert(tmp_path, monkeypatch, tiny_suite, capsys):
    """Runs `jaxface invert` in a fresh working folder; returns (status, rows by id, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, out="out", batch_size=2, steps=STEPS):
        options = ["--out", out, "--suite", tiny_suite, "--batch-size", batch_size, *steps]
        status = main([str(argument) for argument in ("invert", *options, *arguments)])
        return status, rows_of(tmp_path / out), capsys.readouterr()

    return run


def rows_of(out: Path) -> dict[str, dict]:
    path = out / "results.jsonl"
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def test_a_new_users_folder(invert, tmp_path):
    """Good and bad files together: each gets its row, the good ones their results."""
    photos = tmp_path / "photos"
    (photos / "empty").mkdir(parents=True)
    picture(0, 60, 48).save(photos / "good.jpg")
    wide = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(wide).save(photos / "sixteen.png")
    picture(1).convert("L").save(photos / "grey.png")
    picture(2, 200, 200).save(photos / "cut.jpg")
    whole = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "letter.png").write_text("Dear all, this is not a picture.\n" * 20)
    (photos / "nothing.png").touch()
    picture(3, 8, 30).save(photos / "small.png")

    status, rows, printed = invert("photos")
    assert status == 1
    assert {Path(name).name: row["status"] for name, row in rows.items()} == {
        "cut.jpg": "corrupt",
        "good.jpg": "ok",
        "grey.png": "ok",
        "letter.png": "not_an_image",
        "nothing.png": "empty",
        "sixteen.png": "ok",
        "small.png": "too_small",
    }
    assert "empty folder" in printed.err
    for row in rows.values():
        assert row["versions"]["jaxface"]
        assert row["settings"]["preset"] == "pie_embedded"
        assert row["settings"]["w_plus_steps"] == 4
        assert row["id"] in printed.out
        assert row["status"] == "ok" or row["reason"]
    good = rows["photos/good.jpg"]
    assert good["path"] == "photos/good.jpg"
    assert good["notes"] == ["centre-cropped from 48x60 to 48x48"]
    assert rows["photos/grey.png"]["notes"] == ["greyscale made RGB"]
    assert rows["photos/sixteen.png"]["notes"] == ["16-bit greyscale made RGB"]
    assert "3 of 7 ok" in printed.out
    assert str(Path("out", "contact_sheet.png")) in printed.out
    assert (tmp_path / "out" / "contact_sheet.png").stat().st_size > 0
    found = sorted(p.name for p in (tmp_path / "out" / "reconstructions" / "photos").iterdir())
    assert found == ["good.jpg.png", "grey.png.png", "sixteen.png.png"]


def test_row_tells_the_truth_about_its_files(invert, tmp_path):
    picture(0).save(tmp_path / "a.png")
    status, rows, _ = invert("a.png")
    (row,) = rows.values()
    assert status == 0
    target = to_square(read_image("a.png"), 16).pixels
    stored = read_image(tmp_path / "out" / row["reconstruction"]).pixels
    # The file holds 8 bits; a random generator is about 10 dB off, so rounding moves little.
    assert abs(float(psnr(stored[None], target[None])[0]) - row["psnr"]) < 0.05
    assert 0 < row["seconds"] < 600
    assert row["steps"] == 4
    assert len(row["key"]) == 16
    latents = tmp_path / "out" / row["latents"]
    assert load_file(latents)["w_plus"].shape == (6, 32)
    with safe_open(latents, framework="numpy") as file:
        assert file.metadata()["settings.preset"] == "pie_embedded"
        assert file.metadata()["id"] == row["id"]


def test_result_is_the_same_alone_and_in_any_batch(invert, tmp_path):
    """Five items in batches of two leave a tail of one; each equals its run alone, bit for bit."""
    for index in range(5):
        picture(index).save(tmp_path / f"{index}.png")
    _, together, _ = invert(*(f"{index}.png" for index in range(5)))
    assert list(together) == [f"{tmp_path.name}/{index}.png" for index in range(5)]
    for index in (1, 4):
        _, alone, _ = invert(f"{index}.png", out=f"alone{index}")
        ((item_id, row),) = alone.items()
        assert row["key"] == together[item_id]["key"]
        assert row["psnr"] == together[item_id]["psnr"]
        latents = (load_file(tmp_path / out / row["latents"]) for out in ("out", f"alone{index}"))
        np.testing.assert_array_equal(*(tensors["w_plus"] for tensors in latents))
    # Another batch size is another program, whose sums round differently: float32 over four steps.
    _, single, _ = invert("1.png", out="single", batch_size=1)
    ((item_id, row),) = single.items()
    assert row["psnr"] == pytest.approx(together[item_id]["psnr"], abs=1e-3)


def test_equal_file_names_keep_their_own_results(invert, tmp_path):
    for index, name in enumerate(("a/x.png", "b/x.jpg", "b/x.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture(index).save(tmp_path / name)
    status, rows, _ = invert("a", "b")
    assert status == 0
    assert list(rows) == ["a/x.png", "b/x.jpg", "b/x.png"]
    files = {row[kind] for row in rows.values() for kind in ("latents", "reconstruction")}
    assert len(files) == 6
    assert all((tmp_path / "out" / file).is_file() for file in files)


def test_same_command_again_redoes_nothing(invert, tmp_path, monkeypatch):
    for index in range(3):
        picture(index).save(tmp_path / f"{index}.png")
    (tmp_path / "bad.png").write_bytes(b"bad")
    names = ("0.png", "1.png", "bad.png")
    assert invert(*names)[0] == 1
    before = (tmp_path / "out" / "results.jsonl").read_bytes()

    def forbidden(*_, **__):
        raise AssertionError("an input was done again")

    with monkeypatch.context() as patch:
        quick_slots.install(patch, forbidden)
        assert invert(*names)[0] == 1
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
    status, rows, _ = invert(*names, "2.png")
    assert status == 1
    assert (tmp_path / "out" / "results.jsonl").read_bytes().startswith(before)
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "not_an_image", "ok"] or [
        row["status"] for row in rows.values()
    ] == ["not_an_image", "ok", "ok", "ok"]


def test_failed_inputs_are_tried_again_when_asked(invert, tmp_path):
    (tmp_path / "a.png").write_bytes(b"bad")
    assert invert("a.png")[0] == 1
    picture(0).save(tmp_path / "a.png")
    assert invert("a.png")[0] == 1
    status, rows, _ = invert("a.png", "--retry-failed")
    assert status == 0
    assert [row["status"] for row in rows.values()] == ["ok"]


def test_divergence_is_a_row(invert, tmp_path, monkeypatch):
    """The slots' verdict on one of two portraits; that they reach it is their own test."""
    for index in range(2):
        picture(index).save(tmp_path / f"{index}.png")
    make = functools.partial(quick_slots.QuickSlots, seconds=0, diverging=("1.png",))
    quick_slots.install(monkeypatch, make)
    status, rows, _ = invert("0.png", "1.png")
    assert status == 1
    good, bad = rows.values()
    assert good["status"] == "ok"
    assert bad["status"] == "diverged"
    assert "not finite" in bad["reason"]
    assert "half the step size" in bad["reason"]
    assert bad["psnr"] is None
    assert bad["latents"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.png"], "absent.png"),
        (["*.tif"], "matches no file"),
        (["empty"], "no images"),
        (["a.png", "--preset", "pie_embeded"], "did you mean 'pie_embedded'"),
        (["a.png", "--set", "w_step=3"], "did you mean 'w_steps'"),
        (["a.png", "--set", "w_steps=many"], "expected int, got 'many'"),
        (["a.png", "--set", "w_steps"], "expected NAME=VALUE"),
        (["a.png", "--set", "w_steps=-1"], "w_steps"),
        (["a.png", "--set", "noise=loud"], "noise"),
        (["a.png", "--set", "optimizer=sgd"], "optimizer"),
        (["a.png", "--set", "terms=synthesis,edits"], "terms are out of"),
        (["a.png", "--preset", "pie_embedded_all"], "energy's term 'identity' needs it"),
        (["a.png", "--suite", "no-such-suite"], "no-such-suite"),
        (["a.png", "--batch-size", "0"], "--batch-size"),
        (["a.png", "--batch-size", "two"], "--batch-size"),
        (["a.png", "--speed", "9"], "--speed"),
    ],
)
def test_wrong_calls_end_with_one_line_and_status_2(invert, tmp_path, arguments, message):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    status, _, printed = invert(*arguments, steps=[])
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_output_folder_is_checked(invert, tmp_path):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    status, _, printed = invert("a.png", out="file/out")
    assert status == 2
    assert "cannot be written" in printed.err
    assert invert("a.png")[0] == 0
    status, _, printed = invert("a.png", steps=[*STEPS, "--seed", "7"])
    assert status == 2
    assert "seed was 0 and is now 7" in printed.err
    (tmp_path / "other" / tmp_path.name).mkdir(parents=True)
    picture(1).save(tmp_path / "other" / tmp_path.name / "a.png")
    status, _, printed = invert(f"other/{tmp_path.name}/a.png")
    assert status == 2
    assert "was made from a.png" in printed.err


# The command, listening to SIGINT even where the tests were started in the background, which makes
# a shell switch it off.
REAL = """
import signal, sys
from jaxface.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
# The same with slots that take half a second and find nothing: the signals, the processes and the
# files are real, and nothing has to be compiled.
QUICK = f"""
from tests import quick_slots

quick_slots.install()
{REAL}
"""
PROGRAMS = pytest.mark.parametrize(
    "program",
    [
        pytest.param(QUICK, id="quick"),
        pytest.param(REAL, id="real", marks=pytest.mark.slow),
    ],
)
PATIENCE = 600  # seconds; a busy machine may take minutes to compile


class Command:
    """A `jaxface invert` in a process of its own, on five images, each half a second or more."""

    def __init__(self, program: str, folder: Path, suite: Path):
        (folder / "in").mkdir()
        for index in range(5):
            picture(index).save(folder / "in" / f"{index}.png")
        self.folder, self.rows = folder, folder / "out" / "results.jsonl"
        self.call = [sys.executable, "-c", program, "invert", "in", "--out", "out"]
        self.call += ["--suite", str(suite), "--batch-size", "1"]
        self.call += ["--set", "w_steps=0", "--set", "w_plus_steps=400"]
        cache = {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
        self.environment = os.environ | cache

    def start(self) -> subprocess.Popen:
        return subprocess.Popen(
            self.call,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop_after(self, rows: int, number: signal.Signals) -> tuple[int, str]:
        """Starts it, sends the signal once that many rows exist; returns status and stderr."""
        process = self.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while self.count() < rows:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=PATIENCE)
            return process.returncode, stderr
        finally:
            process.kill()
            process.wait()

    def finish(self) -> tuple[int, str]:
        process = self.start()
        _, stderr = process.communicate(timeout=PATIENCE)
        return process.returncode, stderr

    def count(self) -> int:
        return self.rows.read_bytes().count(b"\n") if self.rows.exists() else 0


@pytest.mark.slow
@PROGRAMS
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(program, tmp_path, tiny_suite):
    command = Command(program, tmp_path, tiny_suite)
    status, stderr = command.stop_after(1, signal.SIGINT)
    assert status == 130
    assert "Traceback" not in stderr
    assert "inputs done; the same command goes on from there" in stderr.splitlines()[-1]
    before = command.rows.read_bytes()
    assert 1 <= command.count() < 5
    status, stderr = command.finish()
    assert status == 0, stderr
    assert command.rows.read_bytes().startswith(before)
    assert list(rows_of(tmp_path / "out")) == [f"in/{index}.png" for index in range(5)]


@PROGRAMS
def test_kill_mid_run_loses_nothing_finished(program, tmp_path, tiny_suite):
    command = Command(program, tmp_path, tiny_suite)
    for rows in (1, 3):
        status, _ = command.stop_after(rows, signal.SIGKILL)
        assert status == -signal.SIGKILL
    before = command.rows.read_bytes()
    assert command.finish()[0] == 0
    # A line that the kill cut off is not part of what was finished.
    assert command.rows.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert len(rows_of(tmp_path / "out")) == 5
