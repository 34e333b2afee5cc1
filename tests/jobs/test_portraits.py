"""Inputs become portraits: names and order hold however many processes work, and one may die."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.inputs.items import Item, find_inputs
from jaxface.jobs.inputs.portraits import Alignment, prefetch_portraits, shown_target
from jaxface.media.images import ImageError, read_image, to_uint8
from tests.photographs import PaintedFaces, PaintedFacesInTwoSteps, ReadOnce, painted

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Six files: a slow one first, a group, an empty one, one without faces, and two of one."""
    monkeypatch.chdir(tmp_path)
    pictures = {
        "0.png": painted(90, 80, face9=(20, 15, 40)),
        "1.png": painted(300, 100, face1=(200, 10, 80), face2=(10, 30, 60), face3=(110, 25, 50)),
        "3.png": painted(70, 70),
        "4.png": painted(80, 90, face4=(22, 25, 34)),
        "5.png": painted(70, 100, face5=(2, 50, 40)),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "2.png").touch()
    return find_inputs([f"{index}.png" for index in range(6)]).items


def align(items, size=32, ahead=2, **options):
    alignment = Alignment(**{"find_faces": PaintedFaces(), "workers": 0, **options})
    with prefetch_portraits(items, size, alignment, ahead=ahead) as portraits:
        return list(portraits)


def statuses(found):
    return [
        result.status if isinstance(result, ImageError) else [Path(p.id).name for p in result]
        for _, result in found
    ]


EXPECTED = [["0.png"], ["1.png#1", "1.png#2", "1.png#3"], "empty", "no_face", ["4.png"], ["5.png"]]


def test_every_face_is_a_portrait_numbered_from_the_left(photographs):
    found = align(photographs)
    assert [item for item, _ in found] == list(photographs)
    assert statuses(found) == EXPECTED
    group = found[1][1]
    assert [(p.face.number, p.face.of) for p in group] == [(1, 3), (2, 3), (3, 3)]
    assert all(p.item is photographs[1] for p in group)
    for portrait, number in zip(group, (2, 3, 1), strict=True):
        assert portrait.image.pixels.shape == (32, 32, 3)
        # The middle of each crop is the colour of the face that stands there.
        middle = np.asarray(to_uint8(portrait.image.pixels[12:20, 12:20])).reshape(-1, 3)
        assert np.abs(np.median(middle, axis=0) - (255, 20 * number, 0)).max() <= 2


def test_notes_say_what_was_done(photographs):
    notes = {p.id.split("/")[1]: p.image.notes for _, f in align(photographs[4:]) for p in f}
    assert notes == {
        # 2 * 2.0 * 0.4 * 34 = 54 px a side, from 11.8 to 66.2 across
        "4.png": (),
        "5.png": ("continued by reflection beyond the image's edge",),
    }
    (_, (enlarged,)), *_ = align(photographs[4:], size=128)
    assert enlarged.image.notes == ("enlarged from 54 to 128 px",)


def test_largest_face_goes_by_its_pictures_name(photographs):
    found = align(photographs, faces="largest")
    assert statuses(found) == [["0.png"], ["1.png"], "empty", "no_face", ["4.png"], ["5.png"]]
    (portrait,) = found[1][1]
    assert (portrait.face.number, portrait.face.of) == (3, 3)
    assert portrait.image.notes[0] == "the largest of 3 faces"


@pytest.mark.slow
def test_processes_change_neither_order_nor_names_nor_pixels(photographs):
    """The first image takes longest: the others are done before it, and still come after it."""
    expected = align(photographs)
    found = align(photographs, find_faces=PaintedFaces(slow=1.0), workers=2, ahead=6)
    assert [item.id for item, _ in found] == [item.id for item in photographs]
    assert statuses(found) == EXPECTED
    for (_, ours), (_, theirs) in zip(found, expected, strict=True):
        if isinstance(ours, ImageError):
            assert str(ours) == str(theirs)
            continue
        for one, other in zip(ours, theirs, strict=True):
            assert (one.id, one.face) == (other.id, other.face)
            assert one.image.notes == other.image.notes
            np.testing.assert_array_equal(one.image.pixels, other.image.pixels)


@pytest.mark.slow
def test_a_device_places_what_processes_saw(photographs):
    """Pixels and names as from one process; only this one places, and a lost image is told."""
    expected = align(photographs)
    detector = PaintedFacesInTwoSteps(process=os.getpid())
    shutil.copy("4.png", "6.png")
    lost = Item("6.png", "6.png", ReadOnce("6.png"))
    found = align([*photographs, lost], find_faces=detector, workers=2, ahead=6)
    assert len(detector.placed) == 6  # all but the one that cannot be read
    assert statuses(found) == [*EXPECTED, "unreadable"]
    for (_, ours), (_, theirs) in zip(found, expected, strict=False):
        if not isinstance(ours, ImageError):
            for one, other in zip(ours, theirs, strict=True):
                assert (one.id, one.face) == (other.id, other.face)
                np.testing.assert_array_equal(one.image.pixels, other.image.pixels)
    # Without processes it is called like any other.
    assert statuses(align(photographs, find_faces=detector)) == EXPECTED
    assert len(detector.placed) == 6


def test_inputs_are_read_only_so_far_ahead(photographs):
    read = []

    def load(item):
        read.append(item.id)
        return item.load()

    items = [Item(item.id, item.path, partial(load, item)) for item in photographs]
    with prefetch_portraits(items, 32, Alignment(PaintedFaces(), workers=0), ahead=2) as portraits:
        next(iter(portraits))
        assert read == [items[0].id]


def test_not_aligned_is_the_central_square(photographs):
    with prefetch_portraits(photographs, 32, None, ahead=2) as portraits:
        found = list(portraits)
    assert statuses(found)[:3] == [["0.png"], ["1.png"], "empty"]
    (portrait,) = found[1][1]
    assert portrait.face is None
    assert portrait.image.notes == ("centre-cropped from 300x100 to 100x100",)


def test_what_a_detector_gets_wrong_is_no_face(photographs):
    far = np.full((1, 68, 2), 9000.0)
    far[:, 42:48, 0] += 30
    for points, reason in ((np.ones((1, 68, 2)), "span no face"), (far, "outside the image")):
        ((_, error),) = align(photographs[4:5], find_faces=lambda _, found=points: found)
        assert error.status == "no_face"
        assert reason in str(error)


def test_target_can_be_cut_out_again_from_its_row(photographs):
    item, (portrait,) = align(photographs)[4]
    row = {"transform": portrait.face.transform.to_json()}
    again = shown_target(item, row, 32)
    assert np.abs(again - portrait.image.pixels).max() <= 1 / 255 + 1e-6  # the worker's 8 bits
    Image.fromarray(painted(70, 70)).save(item.path)
    assert shown_target(item, row, 32) is None  # another image by now
    Path(item.path).unlink()
    assert shown_target(item, row, 32) is None


def test_names_that_faces_would_take_are_refused(photographs):
    Path("1.png#2").write_bytes(Path("4.png").read_bytes())
    items = find_inputs(["1.png#2", "1.png"]).items
    with pytest.raises(UsageError, match=r"1\.png#2: faces of .*1\.png would go by this name"):
        align(items)
    assert statuses(align(find_inputs(["1.png#2"]).items)) == [["1.png#2"]]


@pytest.mark.parametrize("wrong", [{"faces": "smallest"}, {"workers": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Alignment(PaintedFaces(), **wrong)


def test_inputs_pickle(photographs, tmp_path):
    again = pickle.loads(pickle.dumps(photographs[0].load))()
    np.testing.assert_array_equal(again.pixels, read_image("0.png").pixels)
    module = pytest.importorskip("array_record.python.array_record_module")
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / "a.array_record"
    writer = module.ArrayRecordWriter(str(path), "group_size:1")
    writer.write(Path("0.png").read_bytes())
    writer.close()
    (item,) = find_inputs([str(tmp_path / "records")]).items
    again = pickle.loads(pickle.dumps(item.load))()
    np.testing.assert_array_equal(again.pixels, read_image("0.png").pixels)


def end_process(image):
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_process_is_one_clear_error(photographs):
    with pytest.raises(JaxfaceError, match=r"was killed.*fewer --workers"):
        align(photographs, find_faces=end_process, workers=1)


# Prints the process ids of its workers, then waits to be killed.
PARENT = """
import sys, time
from jaxface.jobs.inputs.items import find_inputs
from jaxface.jobs.inputs.portraits import Alignment, prefetch_portraits
from tests.photographs import PaintedFaces

alignment = Alignment(PaintedFaces(), workers=1)
with prefetch_portraits(find_inputs(["0.png"]).items, 16, alignment, ahead=1) as portraits:
    list(portraits)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_workers_end_with_a_killed_parent(photographs):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        (pid,) = map(int, parent.stdout.readline().split())
        os.kill(pid, 0)  # it is there
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while is_running(pid):
            assert time.monotonic() < deadline, "the worker outlived its parent"
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # an ended process that nobody has waited for is a zombie
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
