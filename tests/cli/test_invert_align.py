"""`jaxface invert --align` as a user meets it, on painted faces that need no detector's package."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

import jaxface
from jaxface.cli import main
from jaxface.jobs import runner
from jaxface.media import detection as faces
from jaxface.media.images import read_image, to_uint8
from jaxface.weights import load_network, save_network
from tests import quick_slots
from tests.photographs import PaintedFaces, fixed_landmarks, painted

STEPS = ["--set", "w_steps=0", "--set", "w_plus_steps=4"]
ROOT = Path(__file__).parents[2]

GROUP = painted(300, 100, face1=(200, 10, 80), face2=(10, 30, 60), face3=(110, 25, 50))
SINGLE = painted(80, 90, face4=(22, 25, 34))
EMPTY_STREET = painted(70, 70)


class Detector(PaintedFaces):
    """Counts its calls; stands in for dlib's."""

    calls = 0

    def __call__(self, image):
        type(self).calls += 1
        return super().__call__(image)


@dataclasses.dataclass(frozen=True)
class Boxes(PaintedFaces):
    """Finds painted faces and has their points placed by another."""

    landmarks: Callable | None = None
    packages = ()

    def __call__(self, image):
        corners = super().__call__(image)
        # The outline is at half of a face's square, eyes at 0.3 and 0.7 of its side.
        side = (corners[:, 42, 0] - corners[:, 36, 0]) / 0.4
        left = corners[:, 36, 0] - 0.3 * side
        top = corners[:, 36, 1] - 0.4 * side
        return self.landmarks(image, np.stack([left, top, left + side - 1, top + side - 1], 1))


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    pictures = {"anna": SINGLE, "group": GROUP, "street": EMPTY_STREET}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


@pytest.fixture
def invert(tmp_path, monkeypatch, tiny_suite, capsys, photographs):
    """Runs `jaxface invert --align` on painted faces; returns (status, rows by id, stderr)."""
    monkeypatch.setattr(faces, "DlibFaces", Detector)
    monkeypatch.setattr(Detector, "calls", 0)

    def run(*arguments, out="out", batch_size=2, align=True):
        options = ["--out", out, "--suite", tiny_suite, "--batch-size", batch_size, *STEPS]
        options += ["--align"] if align else []
        status = main([str(argument) for argument in ("invert", *options, *arguments)])
        return status, rows_of(tmp_path / out), capsys.readouterr()

    return run


def rows_of(out: Path) -> dict[str, dict]:
    path = out / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def forbidden(*_, **__):
    raise AssertionError("something was done again")


def test_every_face_has_its_row_and_its_files(invert, tmp_path):
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG, or so")
    status, rows, printed = invert("in")
    assert status == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "in/anna.png": "ok",
        "in/broken.png": "corrupt",
        "in/group.png#1": "ok",
        "in/group.png#2": "ok",
        "in/group.png#3": "ok",
        "in/street.png": "no_face",
    }
    assert "4 of 6 ok" in printed.out
    assert "1 no_face" in printed.out
    table = [line.split()[0] for line in printed.out.splitlines()[1:7]]
    assert table == sorted(rows)  # as the files are ordered, faces from the left
    street = rows["in/street.png"]
    assert (street["reason"], street["face"], street["transform"]) == (
        "no face was found",
        None,
        None,
    )
    for number in (1, 2, 3):
        row = rows[f"in/group.png#{number}"]
        assert row["input"] == "in/group.png"
        assert row["path"] == "in/group.png"
        assert row["face"] == {"number": number, "of": 3}
        assert row["reconstruction"] == f"reconstructions/in/group.png#{number}.png"
        for kind in ("latents", "reconstruction"):
            assert (tmp_path / "out" / row[kind]).is_file()
        with safe_open(tmp_path / "out" / row["latents"], framework="numpy") as file:
            assert json.loads(file.metadata()["transform"]) == row["transform"]
    assert rows["in/anna.png"]["face"] == {"number": 1, "of": 1}


def test_stored_transform_pastes_the_result_back(invert, tmp_path):
    _, rows, _ = invert("in")
    picture = read_image("in/group.png").pixels
    for number, (left, top, side) in enumerate([(10, 30, 60), (110, 25, 50), (200, 10, 80)], 1):
        row = rows[f"in/group.png#{number}"]
        transform = jaxface.CropTransform.from_json(row["transform"])
        assert transform.source == (300, 100)
        assert transform.size == 16
        # FFHQ's centre: a tenth of the way from the eyes, at 0.4, to the mouth, at 0.8 of the face.
        assert transform.center == pytest.approx((left + side / 2, top + 0.44 * side))
        edited = read_image(tmp_path / "out" / row["reconstruction"]).pixels
        pasted = jaxface.paste_back(picture, edited, transform)
        changed = (pasted != picture).any(-1)
        assert changed[top + side // 2, left + side // 2]
        columns = np.flatnonzero(changed.any(0))
        assert transform.corners[:, 0].min() <= columns[0]
        assert columns[-1] <= transform.corners[:, 0].max()


def test_result_does_not_depend_on_processes_or_neighbours(invert, tmp_path):
    _, together, _ = invert("in")
    _, alone, _ = invert("in/group.png", "--workers", 2, out="alone")
    assert list(alone) == ["in/group.png#1", "in/group.png#2", "in/group.png#3"]
    for name, row in alone.items():
        assert row["key"] == together[name]["key"]
        assert row["transform"] == together[name]["transform"]
        latents = (load_file(tmp_path / out / row["latents"]) for out in ("out", "alone"))
        np.testing.assert_array_equal(*(tensors["w_plus"] for tensors in latents))


def test_largest_face_alone(invert):
    status, rows, _ = invert("in/group.png", "--face", "largest")
    assert status == 0
    (row,) = rows.values()
    assert row["id"] == "in/group.png"
    assert row["face"] == {"number": 3, "of": 3}
    assert "the largest of 3 faces" in row["notes"]


def test_landmarks_come_from_the_network_that_is_given(
    invert, tmp_path, monkeypatch, random_network
):
    monkeypatch.setattr(faces, "DlibFaces", Boxes)
    network = fixed_landmarks(tmp_path / "landmarks.safetensors", random_network)
    status, rows, _ = invert("in/group.png", "--landmarks", network)
    assert status == 0
    for number, (left, top, side) in enumerate([(10, 30, 60), (110, 25, 50), (200, 10, 80)], 1):
        transform = jaxface.CropTransform.from_json(rows[f"in/group.png#{number}"]["transform"])
        # As the painted faces' own, from the first pixel's corner rather than its centre.
        expected = (left + side / 2 - 0.5, top + 0.44 * side - 0.5)
        assert transform.center == pytest.approx(expected, abs=1e-3)
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    described = job["alignment"]["detector"]["landmarks"]
    assert described["network"] == "FaceLandmarkNet"
    # The same file elsewhere goes on; another one is refused by its content.
    (tmp_path / "moved").mkdir()
    moved = str(Path(network).rename(tmp_path / "moved" / "landmarks.safetensors"))
    assert invert("in/group.png", "--landmarks", moved)[0] == 0
    fixed_landmarks(tmp_path / "other.safetensors", random_network)
    other = load_network(tmp_path / "other.safetensors")
    other.linear.bias[...] += 0.01
    save_network(tmp_path / "other.safetensors", other)
    status, _, printed = invert("in/group.png", "--landmarks", tmp_path / "other.safetensors")
    assert status == 2
    assert "alignment.detector.landmarks.sha256 was" in printed.err


def test_same_command_again_finds_no_face_and_embeds_nothing(invert, tmp_path, monkeypatch):
    assert invert("in")[0] == 1
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        quick_slots.install(patch, forbidden)
        patch.setattr(Detector, "__call__", forbidden)
        assert invert("in")[0] == 1
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


@pytest.mark.slow
def test_picture_stopped_between_its_faces_goes_on_with_the_missing_ones(
    invert, tmp_path, monkeypatch
):
    """The first of three faces is done, as after a stop between batches of one."""
    expected = invert("in/group.png", batch_size=1, out="whole")[1]
    calls = []

    def once(self, *arguments, finished=runner.Runner._finished):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finished(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "_finished", once)
        status, rows, printed = invert("in/group.png", batch_size=1)
    assert status == 130
    assert list(rows) == ["in/group.png#1"]
    assert "stopped with 0 of 1 inputs done" in printed.err
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    status, rows, _ = invert("in/group.png", batch_size=1)
    assert status == 0
    assert (tmp_path / "out" / "results.jsonl").read_bytes().startswith(before)
    assert list(rows) == list(expected)
    for name, row in rows.items():
        assert row["psnr"] == expected[name]["psnr"]


def test_picture_that_changed_in_between_is_refused(invert, tmp_path):
    invert("in/group.png")
    rows = tmp_path / "out" / "results.jsonl"
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:1]))
    Image.fromarray(GROUP[:, 5:]).save("in/group.png")
    status, _, printed = invert("in/group.png")
    assert status == 2
    assert "in/group.png has other faces now than when it was begun" in printed.err


def test_failed_faces_are_tried_again_when_asked(invert, tmp_path):
    assert invert("in/street.png")[0] == 1
    Image.fromarray(GROUP).save("in/street.png")
    assert invert("in/street.png")[0] == 1
    status, rows, _ = invert("in/street.png", "--retry-failed")
    assert status == 0
    assert list(rows) == [f"in/street.png#{number}" for number in (1, 2, 3)]
    # One lost result: only that face is done again.
    (tmp_path / "out" / rows["in/street.png#2"]["latents"]).unlink()
    status, again, _ = invert("in/street.png")
    assert status == 0
    assert list(again) == [f"in/street.png#{number}" for number in (1, 3, 2)]


def test_other_alignment_is_refused_by_name(invert):
    assert invert("in/anna.png")[0] == 0
    status, _, printed = invert("in/anna.png", "--face", "largest")
    assert status == 2
    assert "alignment.faces was 'all' and is now 'largest'" in printed.err
    status, _, printed = invert("in/anna.png", align=False)
    assert status == 2
    assert "alignment.crop was 'ffhq' and is now None" in printed.err
    assert invert("in/anna.png", out="plain", align=False)[0] == 0
    assert invert("in/anna.png", out="plain")[0] == 2


def test_folder_of_an_earlier_version_goes_on(invert, tmp_path):
    """Rows and settings from before there was alignment lack its entries."""
    assert invert("in/anna.png", align=False)[0] == 0
    job, rows = tmp_path / "out" / "job.json", tmp_path / "out" / "results.jsonl"
    document, row = json.loads(job.read_text()), json.loads(rows.read_text())
    del document["alignment"]
    for name in ("input", "face", "transform"):
        del row[name]
    job.write_text(json.dumps(document))
    rows.write_text(json.dumps(row) + "\n")
    status, found, _ = invert("in/anna.png", "in/group.png", align=False)
    assert status == 0
    assert list(found) == ["in/anna.png", "in/group.png"]


@pytest.mark.parametrize(
    ("arguments", "align", "message"),
    [
        (["--face", "largest"], False, "--face requires --align"),
        (["--workers", "2"], False, "--workers requires --align"),
        (["--workers", "-1"], True, "--workers: expected 0 or more, got -1"),
        (["--landmarks", "fan.safetensors"], False, "--landmarks requires --align"),
        (["--landmarks", "fan.safetensors"], True, "fan.safetensors: no such file"),
        (["--face", "smallest"], True, "invalid choice: 'smallest'"),
    ],
)
def test_wrong_calls(invert, tmp_path, arguments, align, message):
    status, _, printed = invert("in", *arguments, align=align)
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_packages_end_the_call_before_anything_is_written(
    photographs, tmp_path, monkeypatch, capsys
):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dlib" else found(name)
    )
    assert main(["invert", "in", "--align", "--out", "out"]) == 2
    printed = capsys.readouterr().err
    assert "python -m pip install 'jaxface[align]'" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "out").exists()


# The command with processes of its own, slots that take half a second and find nothing, and
# painted faces. It listens to SIGINT even where the tests were started in the background.
PROGRAM = """
import signal, sys
from jaxface.media import detection as faces
from jaxface.cli import main
from tests import quick_slots
from tests.photographs import PaintedFaces

quick_slots.install()
faces.DlibFaces = PaintedFaces
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_reaches_the_command_and_not_its_processes(photographs, tmp_path, tiny_suite):
    """As in a terminal: the signal goes to every process of the group."""
    call = [sys.executable, "-c", PROGRAM, "invert", "in", "--align", "--workers", "2"]
    call += ["--out", "out", "--suite", str(tiny_suite), "--batch-size", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        call, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 300
        rows = tmp_path / "out" / "results.jsonl"
        while not rows.exists() or rows.read_bytes().count(b"\n") < 2:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "stopped with 1 of 3 inputs done; the same command goes on" in stderr.splitlines()[-1]
    finished = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 1, finished.stderr
    names = ["in/anna.png", *(f"in/group.png#{number}" for number in (1, 2, 3)), "in/street.png"]
    assert sorted(rows_of(tmp_path / "out")) == names


def test_real_faces_end_to_end(tmp_path, monkeypatch, tiny_suite, capsys):
    pytest.importorskip("dlib", reason="dlib-bin is not installed")
    from tests.photographs import astronaut

    monkeypatch.chdir(tmp_path)
    one = np.asarray(to_uint8(astronaut()[:256, 100:356]))
    Image.fromarray(np.concatenate([one, one], axis=1)).save("twice.png")
    call = ["invert", "twice.png", "--align", "--out", "out", "--suite", str(tiny_suite), *STEPS]
    assert main([*call, "--batch-size", "2"]) == 0, capsys.readouterr().err
    rows = rows_of(tmp_path / "out")
    assert [name.rpartition("#")[2] for name in rows] == ["1", "2"]
    centers = [row["transform"]["center"] for row in rows.values()]
    assert centers[1][0] - centers[0][0] == pytest.approx(256, abs=3)
    assert all(row["versions"]["dlib-bin"] for row in rows.values())
