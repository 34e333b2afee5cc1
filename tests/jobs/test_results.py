"""The output folder's promises: rows survive, cut lines do not, one writer, same settings."""

import json
import multiprocessing
import stat
import time

import numpy as np
import pytest
from PIL import Image

from jaxface.errors import UsageError
from jaxface.jobs.inputs.latents import find_latents
from jaxface.jobs.outputs import outliers
from jaxface.jobs.outputs.contact_sheet import FAILURE_INK, Cell, write_contact_sheet
from jaxface.jobs.outputs.results import ResultsFolder, read_job
from jaxface.jobs.status import merge, overview

SETTINGS = {"preset": "pie", "steps": {"w": 3, "w_plus": 2}, "seed": 0, "layers": ("a", "b")}


def failed(item_id: str) -> dict:
    return {"id": item_id, "path": item_id, "status": "corrupt", "reason": "cut"}


def test_rows_survive_reopening(tmp_path):
    with ResultsFolder(tmp_path / "out", SETTINGS) as results:
        results.append([failed("a"), failed("b")])
        results.append([failed("c")])
    with ResultsFolder(tmp_path / "out", SETTINGS) as results:
        assert list(results.rows) == ["a", "b", "c"]
        assert results.rows["b"] == failed("b")


def test_cut_last_line_is_dropped_and_appending_goes_on(tmp_path):
    with ResultsFolder(tmp_path, SETTINGS) as results:
        results.append([failed("a"), failed("b")])
    rows = tmp_path / "results.jsonl"
    rows.write_bytes(rows.read_bytes()[:-7])
    with ResultsFolder(tmp_path, SETTINGS) as results:
        assert list(results.rows) == ["a"]
        results.append([failed("c")])
    assert [json.loads(line)["id"] for line in rows.read_text().splitlines()] == ["a", "c"]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        pytest.param(KeyboardInterrupt(), ["a", "b"], id="interrupt"),
        pytest.param(OSError("disk full"), ["a"], id="failure"),
    ],
)
def test_rows_written_when_ctrl_c_comes_stay_and_those_of_a_full_disk_go(
    tmp_path, monkeypatch, error, kept
):
    def fsync(_):
        raise error

    with ResultsFolder(tmp_path, SETTINGS) as results:
        results.append([failed("a")])
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fsync)
            with pytest.raises(type(error)):
                results.append([failed("b")])
        assert list(results.rows) == kept
        results.append([failed("c")])
    with ResultsFolder(tmp_path, SETTINGS) as results:
        assert list(results.rows) == [*kept, "c"]


def test_damage_before_the_last_line_is_refused_by_line(tmp_path):
    with ResultsFolder(tmp_path, SETTINGS) as results:
        results.append([failed("a"), failed("b")])
    rows = tmp_path / "results.jsonl"
    rows.write_bytes(b"{oops\n" + rows.read_bytes())
    with pytest.raises(UsageError, match="line 1"), ResultsFolder(tmp_path, SETTINGS):
        pass


def test_finished_row_without_its_files_is_taken_back(tmp_path):
    with ResultsFolder(tmp_path, SETTINGS) as results:
        for item_id in ("x/kept.png", "x/lost.png"):
            for path in (
                results.latents_path(item_id),
                results.file_path("reconstruction", item_id),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        results.append([{**failed(i), "status": "ok"} for i in ("x/kept.png", "x/lost.png")])
        results.latents_path("x/lost.png").unlink()
    with ResultsFolder(tmp_path, SETTINGS) as results:
        assert list(results.rows) == ["x/kept.png"]
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_other_settings_are_refused_by_name(tmp_path):
    with ResultsFolder(tmp_path, SETTINGS):
        pass
    changed = {**SETTINGS, "steps": {"w": 3, "w_plus": 9}}
    with (
        pytest.raises(UsageError, match=r"steps\.w_plus was 2 and is now 9"),
        ResultsFolder(tmp_path, changed),
    ):
        pass
    with ResultsFolder(tmp_path, SETTINGS):
        pass


def _hold(folder, held):
    with ResultsFolder(folder, SETTINGS):
        held.set()
        time.sleep(60)  # until it is killed


def test_second_process_is_refused_until_the_first_ends(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    try:
        assert held.wait(60)
        with (
            pytest.raises(UsageError, match="another process"),
            ResultsFolder(tmp_path, SETTINGS),
        ):
            pass
        process.kill()  # even a killed process leaves no lock behind
        process.join()
        with ResultsFolder(tmp_path, SETTINGS) as results:
            assert results.rows == {}
    finally:
        process.kill()
        process.join()


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        ResultsFolder(tmp_path / "file" / "out", SETTINGS).__enter__()


def test_new_files_get_the_usual_mode(tmp_path):
    with ResultsFolder(tmp_path, SETTINGS):
        pass
    (tmp_path / "reference").touch()
    mode = stat.S_IMODE((tmp_path / "reference").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "job.json").stat().st_mode) == mode


def test_contact_sheet_holds_every_cell(tmp_path):
    red = np.broadcast_to(np.float32([1, -1, -1]), (16, 16, 3))
    blue = np.broadcast_to(np.float32([-1, -1, 1]), (16, 16, 3))
    cells = [Cell("a" * 200, "31.2 dB", (red, blue)), Cell("bad.png", "corrupt", (None, None))] * 3
    write_contact_sheet(tmp_path / "sheet.png", cells, title="six inputs", columns=4)
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = {colour: count for count, colour in sheet.convert("RGB").getcolors(10**6)}
    # three ok cells of 192 x 192 px images, each colour present as often
    assert colours[255, 0, 0] == colours[0, 0, 255] == 3 * 192 * 192


def test_images_of_a_cell_do_not_touch_and_have_labels(tmp_path):
    red = np.broadcast_to(np.float32([1, -1, -1]), (16, 16, 3))
    blue = np.broadcast_to(np.float32([-1, -1, 1]), (16, 16, 3))
    cells = [Cell("a.png", "31.2 dB", (red, blue), "missed yaw"), Cell("b.png", "ok", (red, blue))]
    path = tmp_path / "sheet.png"
    write_contact_sheet(path, cells, title="two", columns=1, labels=("left", "right"), side=256)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    is_red, is_blue = ((pixels == colour).all(-1) for colour in ([255, 0, 0], [0, 0, 255]))
    assert is_red.sum() == is_blue.sum() == 2 * 256 * 256
    assert np.flatnonzero(is_blue.any(0))[0] - np.flatnonzero(is_red.any(0))[-1] > 2
    warning = (pixels == FAILURE_INK).all(-1)
    assert warning.any()


def test_outliers_are_those_far_above_the_others():
    rows = [{"id": str(i), "perceptual": value} for i, value in enumerate([0.1, 0.11, 0.09, 0.1])]
    assert outliers.outliers(rows, "perceptual") == {}
    rows += [{"id": "far", "perceptual": 0.5}, {"id": "none", "perceptual": None}]
    assert list(outliers.outliers(rows, "perceptual")) == ["far"]
    told = outliers.summary(rows, "perceptual")
    assert told == ", perceptual mean 0.180, highest 0.500, 1 outlier"
    assert outliers.summary(rows, "identity_distance") == ""
    assert outliers.distance_of(rows) == "perceptual"


def test_tuned_results_are_compared_by_lpips():
    rows = [{"id": f"near {i}", "perceptual": None, "lpips": 0.1 + i / 100} for i in range(6)]
    rows.append({"id": "far", "perceptual": None, "lpips": 0.5})
    distance = outliers.distance_of(rows)
    assert distance == "lpips"
    assert list(outliers.outliers(rows, distance)) == ["far"]
    assert outliers.distance_of([]) == "perceptual"


DEEP = b"[" * 100_000
SHARDS = b'{"inputs": {"count": 3}, "shards": {"count": %s, "format": "%s"}}'


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"3",
            b"[]",
            b"{}",
            DEEP,
            b"\xff\xfe",
            b'{"shards": 3}',
            b'{"shards": {"count": 1}}',
        ),
        *(SHARDS % (b"-1", b"parquet"), SHARDS % (b"3", b"x")),
    ],
)
def test_a_damaged_job_file_is_one_error_of_every_verb(data, tmp_path):
    (tmp_path / "job.json").write_bytes(data)
    for asked in (overview, merge, read_job):
        with pytest.raises(UsageError, match=r"job\.json: damaged") as error:
            asked(str(tmp_path))
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]", b"null", b'{"id": 3, "status": "ok"}', b'{"id": "x", "status": 3}'),
        *(b'{"id": "x"}', b"\xff", DEEP, bytes(4096), b'{"id": "x", "status": "ok", "input": []}'),
    ],
)
def test_a_damaged_row_is_one_error_of_every_verb(line, tmp_path):
    with ResultsFolder(tmp_path, SETTINGS) as results:
        results.append([failed("a")])
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(line + b"\n")

    def resumed(folder):
        with ResultsFolder(tmp_path, SETTINGS):
            pass

    for asked in (overview, resumed, lambda folder: find_latents([folder])):
        with pytest.raises(UsageError, match=r"results\.jsonl, line 2: not a results row") as error:
            asked(str(tmp_path))
        assert str(error.value).isprintable()
