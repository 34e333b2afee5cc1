"""What a collection may hold: links, loops, names that are no text or too long."""

import json
import os

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.jobs.inputs import folders
from jaxface.jobs.inputs.crops import Aligner
from jaxface.jobs.inputs.items import find_inputs
from jaxface.jobs.outputs.names import LONGEST, file_name
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import Result
from jaxface.media.image_errors import ImageError
from jaxface.media.images import LoadedImage


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        with open(name, "wb"):
            pass


def failures(items):
    statuses = {}
    for item in items:
        try:
            item.load()
        except ImageError as error:
            statuses[item.id] = error.status
    return statuses


def test_links_to_folders_are_followed_once_and_loops_are_named():
    touch("photos/a.png", "photos/trip/b.png", "elsewhere/c.png", "elsewhere/deep/d.png")
    os.symlink("../elsewhere", "photos/linked")
    os.symlink("../../elsewhere/deep", "photos/trip/deep")
    os.symlink("trip", "photos/inside")
    os.symlink("../..", "photos/trip/above")
    os.symlink("gone", "photos/broken.png")
    found = find_inputs(["photos"])
    assert [item.id for item in found.items] == [
        "photos/a.png",
        "photos/broken.png",
        "photos/linked/c.png",
        "photos/linked/deep/d.png",
        "photos/trip/b.png",
    ]
    loops = [remark.split(":")[0] for remark in found.remarks if "or a loop" in remark]
    assert loops == ["photos/inside", "photos/trip/above", "photos/trip/deep"]


def test_a_folder_that_cannot_be_searched_is_an_input(monkeypatch):
    touch("photos/a.png", "photos/locked/b.png")
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(folders.os, "scandir", refusing)
    assert failures(find_inputs(["photos"]).items) == {
        "photos/a.png": "empty",
        "photos/locked": "unreadable",
    }


def test_every_image_of_a_folder_is_an_input_whether_it_is_read_or_not():
    names = ["a.heic", "b.HEIF", "c.jxl", "d.NEF", "e.cr3", "f.dng", "g.mpo", "h.eps", "i.svg"]
    touch(*(f"photos/{name}" for name in names), "photos/notes.txt", "photos/.hidden.heic")
    found = find_inputs(["photos"])
    assert [item.id for item in found.items] == [f"photos/{name}" for name in sorted(names)]
    assert any("notes.txt" in remark for remark in found.remarks)


def test_names_that_are_no_text_are_inputs_with_ids_of_their_own():
    os.makedirs(b"photos")
    for name in (b"photos/\xff.png", rb"photos/\xff.png", b"photos/\xe9\xe9.png"):
        with open(name, "wb"):
            pass
    ids = [item.id for item in find_inputs(["photos"]).items]
    assert len(set(ids)) == 3
    for item_id in ids:
        item_id.encode()
    assert r"photos/\xff.png" in ids
    assert r"photos/\xe9\xe9.png" in ids


def test_paths_of_a_manifest_that_are_no_names_have_rows():
    touch("file", "ok.png")
    paths = ["a\0b.png", "\ud800.png", "file/x.png", "x" * 5000, "ok.png", "nowhere://a/b.png"]
    with open("list.jsonl", "w") as file:
        file.writelines(json.dumps({"path": path}) + "\n" for path in paths)
    items = find_inputs([], manifests=["list.jsonl"]).items
    assert len(items) == len(paths)
    assert list(failures(items).values()) == ["unreadable"] * 4 + ["empty", "unreadable"]
    for item_id in ("a\0b", "\ud800"):
        with open("ids.jsonl", "w") as file:
            file.write(json.dumps({"path": "ok.png", "id": item_id}) + "\n")
        with pytest.raises(UsageError, match=r"line 1: expected an id"):
            find_inputs([], manifests=["ids.jsonl"])


def test_a_detector_that_fails_on_an_image_fails_on_that_one():
    class Failing:
        def __call__(self, image):
            raise RuntimeError("Unsupported\nimage")

    def load():
        return LoadedImage(np.zeros((32, 32, 3), np.float32))

    error = Aligner(Failing(), "all").align(load, 16)
    assert isinstance(error, ImageError)
    assert error.status == "detector_failed"
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "item_id",
    ["photos/" + "图" * 81 + ".png", "é" * 130, "/".join(["a" * 200] * 30), "d" * 300 + "/x.png"],
)
def test_long_ids_have_names_that_fit_and_stay_as_they_are(tmp_path, item_id):
    row = {"id": item_id, "input": item_id, "status": "ok", "settings": {}, "versions": {}}
    files = {"reconstruction": b"png"}
    with ResultsFolder(tmp_path / "out", {"preset": "pie"}) as results:
        results.add([Result(row, np.zeros((2, 3), np.float32), files)])
        (stored,) = results.rows.values()
        assert stored["id"] == item_id
        for column in ("latents", "reconstruction"):
            assert (results.folder / stored[column]).is_file()
            assert all(len(part.encode()) <= LONGEST for part in stored[column].split("/"))
    with ResultsFolder(tmp_path / "out", {"preset": "pie"}) as results:
        assert list(results.rows) == [item_id]  # its files are known by their names


def test_shortened_names_stay_apart_and_short_ones_stay_as_they_are():
    assert file_name("photos/anna.jpg#1", ".png") == "photos/anna.jpg#1.png"
    assert file_name("a" * 251, ".png") == "a" * 251 + ".png"
    names = {file_name("图" * 90 + end, ".safetensors") for end in ("", "1", "2")}
    assert len(names) == 3


def test_a_folder_named_like_a_results_file_stays_apart_from_it(tmp_path):
    ids = ["a", "a.png/b", "a.png.png/c", "a.safetensors/d"]
    with ResultsFolder(tmp_path, {"preset": "pie"}) as results:
        for item_id in ids:
            row = {"id": item_id, "input": item_id, "status": "ok", "settings": {}, "versions": {}}
            results.add([Result(row, np.zeros((2, 3), np.float32), {"reconstruction": b"png"})])
        for stored in results.rows.values():
            for column in ("latents", "reconstruction"):
                assert (results.folder / stored[column]).is_file()
    with ResultsFolder(tmp_path, {"preset": "pie"}) as results:
        assert list(results.rows) == ids


def test_a_damaged_record_file_is_one_input(tmp_path):
    writer = pytest.importorskip("array_record.python.array_record_module")
    os.makedirs("faces")
    good = writer.ArrayRecordWriter("faces/a.array_record", "group_size:1")
    good.write(b"no image")
    good.close()
    with open("faces/b.array_record", "wb") as file:
        file.write(b"\0" * 100)
    assert failures(find_inputs(["faces"]).items) == {
        "faces/a.array_record/00000000": "not_an_image",
        "faces/b.array_record": "unreadable",
    }


def test_images_without_the_name_of_one_are_told():
    touch("photos/a.png", "photos/notes.txt")
    for name in ("e.jpg_large", "5f2b"):
        with open(f"photos/{name}", "wb") as file:
            file.write(b"\xff\xd8\xff\xe0" + bytes(40))
    os.mkfifo("photos/pipe")
    remarks = find_inputs(["photos"]).remarks
    assert any("2 of them begin like images, such as 5f2b" in remark for remark in remarks)
    assert len(find_inputs(["photos/a.png", "photos/5f2b"]).items) == 2


def test_a_pipe_among_record_files_is_one_input():
    pytest.importorskip("grain")
    os.makedirs("faces")
    os.mkfifo("faces/a.array_record")
    assert failures(find_inputs(["faces"]).items) == {"faces/a.array_record": "unreadable"}
