"""What is asked for, and what is drawn of it: without the web, with random networks."""

import dataclasses
import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.jobs.inputs.latents import find_latents, read_latent
from jaxface.media.images import read_image, to_uint8
from jaxface.morphable.motion import motion_names
from jaxface.studio import exports
from jaxface.studio.beginning import Beginning
from jaxface.studio.controls import Controls
from jaxface.studio.drawing import Plan, plans_of
from jaxface.studio.drivers import load_driver
from jaxface.studio.edits import AskedEdit
from jaxface.studio.engine import Engine
from jaxface.studio.exports import RATE, Gesture, record, save, saved_image
from jaxface.studio.subjects import LatentGallery, new_path
from jaxface.suite import load_suite

EVERYTHING = {
    "values": {"yaw": 12.34, "smile": 1.239, "blink_left": 0.5},
    "light": [40.4, -9.6, 0.755],
    "moves": {"age.old": 0.25, "age.glad": -0.5},
}


@pytest.fixture(scope="module")
def engine(studio_suite):
    return Engine(load_suite(studio_suite))


@pytest.fixture(scope="module")
def gallery(engine, tmp_path_factory):
    gallery = LatentGallery(engine, tmp_path_factory.mktemp("gallery"))
    assert gallery.open([]) == []
    return gallery


def test_numbers_are_those_of_a_command_line(engine):
    edit = AskedEdit.of_json(EVERYTHING, engine.controls)
    assert edit.to_json() == {
        "values": {"yaw": 12.3, "smile": 1.24, "blink_left": 0.5},
        "light": [40, -10, 0.76],
        "moves": {"age.old": 0.25, "age.glad": -0.5},
    }
    assert AskedEdit.of_json(edit.to_json(), engine.controls) == edit
    beyond = {"values": {"yaw": 1e9, "smile": -1e9}, "moves": {"age.old": 0.001}}
    edit = AskedEdit.of_json(beyond, engine.controls)
    assert edit == AskedEdit({"yaw": 60.0, "smile": -4.0})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "an object"),
        ({"values": {"age": 1}}, "no 'age'"),
        ({"values": {"yaw": "5"}}, "a finite number"),
        ({"values": {"yaw": float("nan")}}, "a finite number"),
        ({"values": {"yaw": True}}, "a finite number"),
        ({"values": [1]}, "an object of numbers"),
        ({"moves": {"pose.yaw": 1}}, "no direction 'pose.yaw'"),
        ({"light": [1, 2]}, "its degrees"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(engine, data, message):
    with pytest.raises(UsageError, match=message):
        AskedEdit.of_json(data, engine.controls)


def test_controls_are_what_the_suite_has(engine, tiny_suite):
    told = engine.controls.to_json()
    assert list(told["moves"]) == ["age.old", "age.glad"]
    assert told["head"] == {name: f"values.{name}" for name in ("pitch", "yaw", "roll")}
    assert told["light"]
    assert told["gaze"] is None
    keys = [each["key"] for each in told["values"].values() if each["key"]]
    assert len(keys) == len(set(keys)) == 14
    assert not {*keys} & {"n", "r", "v"}  # neutral, record, compare
    bare = Engine(load_suite(tiny_suite)).controls
    assert not bare.values
    assert not bare.moves
    assert not bare.light
    assert bare.to_json()["head"] == {}


def test_a_matrix_turns_the_head_where_no_rignet_does():
    suite = load_suite("embedded")
    without = {k: v for k, v in suite.files.items() if k != "rignet_pose"}
    controls = Engine(type(suite)(name="less", files=without)).controls
    assert controls.head["yaw"] == "moves.pose.yaw"
    assert "yaw" not in controls.values
    assert controls.groups_of(["smile"], True) == ["expression", "illumination"]


def test_eyes_are_dragged_where_all_eight_units_of_looking_are(studio_suite):
    units = [name for name in motion_names() if name.startswith("eyeLook")]
    assert len(units) == 8
    control = next(iter(Engine(load_suite(studio_suite)).controls.moves.values()))
    looking = Controls({}, {f"arkit.{unit}": control for unit in units}, False, (), False)
    assert looking.gaze == "arkit"
    assert Controls({}, dict([*looking.moves.items()][1:]), False, (), False).gaze is None


def test_the_command_line_draws_the_same_picture(gallery, studio_suite, tmp_path, monkeypatch):
    """Within a grey level: the studio's one program adds in another order than the command's."""
    monkeypatch.chdir(tmp_path)
    portrait = gallery.portraits()[2]
    for number, changes in enumerate(
        (EVERYTHING, {"values": {"yaw": -20}}, {"light": [-60, 5, 1]})
    ):
        edit = AskedEdit.of_json(changes, gallery.engine.controls)
        picture = gallery.engine.draw(gallery.subject(portrait.key), edit)
        line = gallery.command_lines(portrait, edit)
        assert ("--together" in line) == (number == 0)
        program, *words = shlex.split(line.replace("--out=edited", f"--out=edited{number}"))
        assert program == "jaxface"
        assert main(words) == 0
        (row,) = map(
            json.loads, (tmp_path / f"edited{number}/results.jsonl").read_text().splitlines()
        )
        drawn = to_uint8(read_image(tmp_path / f"edited{number}" / row["edited"]).pixels)
        apart = np.abs(drawn.astype(int) - picture.pixels.astype(int)).max()
        assert apart <= 1
        unedited = gallery.subject(portrait.key).pixels
        assert np.abs(picture.pixels.astype(int) - unedited.astype(int)).max() > 1


def test_saving_writes_what_the_command_writes(gallery):
    portrait = gallery.portraits()[0]
    edit = AskedEdit.of_json(EVERYTHING, gallery.engine.controls)
    folders = [save(gallery, portrait, edit, paste_back=False) for _ in range(2)]
    assert folders[0] != folders[1]
    (row,) = map(json.loads, (folders[0] / "results.jsonl").read_text().splitlines())
    assert row["settings"]["together"] is True
    assert row["settings"]["yaw"] == 12.3
    picture = gallery.engine.draw(gallery.subject(portrait.key), edit)
    drawn = to_uint8(read_image(saved_image(folders[0])).pixels)
    assert np.abs(drawn.astype(int) - picture.pixels.astype(int)).max() <= 1
    with pytest.raises(UsageError, match="nothing is edited yet"):
        save(gallery, portrait, AskedEdit(), paste_back=False)


def test_one_program_serves_every_choice_of_edits(gallery):
    from jaxface.studio import engine as module

    engine, subject = gallery.engine, gallery.subject(gallery.portraits()[0].key)
    program = module._picture(engine.rest, subject.noise)
    engine.draw(subject, AskedEdit({"yaw": 3.0}))
    compiled = program.num_compiles
    for changes in (EVERYTHING, {"light": [0, 0, 1]}, {"moves": {"age.old": 1}}):
        engine.draw(subject, AskedEdit.of_json(changes, engine.controls))
    assert program.num_compiles == compiled
    still = engine.draw(subject, AskedEdit())
    np.testing.assert_array_equal(still.pixels, subject.pixels)


def test_plans_get_cheaper(engine):
    assert engine.plans == (Plan(True, 16), Plan(False, 16))

    class Large:
        resolution = 1024

        class config:
            architecture = "skip"

    assert [plan.resolution for plan in plans_of(Large, feedback=True)] == [1024, 1024, 512, 256]


def test_a_gesture_becomes_a_clip_and_a_template_that_drives(gallery, tmp_path):
    portrait, controls = gallery.portraits()[1], gallery.engine.controls
    gesture = Gesture()
    for time, yaw in ((10.0, 0), (10.1, 10), (10.21, 20), (10.4, 20)):
        gesture.add(time, AskedEdit.of_json({"values": {"yaw": yaw}}, controls))
    gesture.add(10.0 + 100, AskedEdit({"yaw": -60.0}))  # longer than is kept
    frames = gesture.frames()
    assert [frame.values["yaw"] for frame in frames] == [0, 0, 0, 10, 10, 10, 20, 20, 20, 20, 20]
    shares = []
    gif, motion = record(gallery, portrait, gesture, ["gif", "motion"], tell=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert gif.read_bytes()[:4] == b"GIF8"
    arrays = load_file(motion)
    assert arrays["rotation"].shape == (11, 3)
    subject = gallery.subject(portrait.key)
    for place in (0, 5, 10):
        face = gallery.engine.draw(subject, frames[place]).after.face
        np.testing.assert_allclose(arrays["rotation"][place], face.rotation[0], atol=1e-6)
    driver = load_driver(gallery.engine, motion)
    assert driver.seconds == pytest.approx(0.4)
    targets = driver.path_of(gallery.engine, subject, relative=False).targets(0.2)
    np.testing.assert_allclose(targets["pose"].values[0, :3], arrays["rotation"][5], atol=1e-5)
    assert targets["pose"].given.tolist() == [True] * 3 + [False] * 3
    moved = driver.path_of(gallery.engine, subject, relative=True).targets(0.2)
    moved = moved["pose"].values[0, :3]
    change = arrays["rotation"][5] - arrays["rotation"].mean(0)
    own = subject.before.face.rotation[0]
    np.testing.assert_allclose(moved, own + change, atol=1e-5)
    line = gallery.command_lines(portrait, AskedEdit(), driver=str(motion), relative=True)
    assert "--motion=relative" in line
    with pytest.raises(UsageError, match="too short"):
        record(gallery, portrait, Gesture(), ["gif"])
    with pytest.raises(UsageError, match="'avi'"):
        record(gallery, portrait, gesture, ["avi"])
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n")
    with pytest.raises(UsageError, match="no recording"):
        load_driver(gallery.engine, bad)


def test_an_earlier_studio_is_taken_up(gallery, engine):
    again = LatentGallery(engine, gallery.folder)
    again.open([])
    assert [each.key for each in again.portraits()] == [each.key for each in gallery.portraits()]
    files = [portrait.item.path for portrait in gallery.portraits()[:2]]
    named = LatentGallery(engine, gallery.folder)
    named.open(files)
    assert [each.item.path for each in named.portraits()] == files
    portrait = named.portraits()[0]
    found = read_latent(find_latents([named.embedding_file(portrait)]).items[0], (6, 32))
    np.testing.assert_array_equal(found.w_plus, named.load(portrait).w_plus[0])
    with pytest.raises(UsageError, match="not here any more"):
        named.subject("gone")
    bad = gallery.folder / "bad.safetensors"
    save_file({"w_plus": np.zeros((4, 32), np.float32)}, bad)
    (remark,) = named.open([str(bad)])
    assert "takes [6, 32]" in remark
    with pytest.raises(UsageError, match="none of the embeddings can be shown"):
        LatentGallery(engine, gallery.folder / "new").open([str(bad)])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("anna.jpg", "anna.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\bea.png", "bea.png"),
        (".hidden", "hidden"),
        ("a\0b\n.png", "a_b_.png"),
        ("", "file"),
        ("..", "file"),
        ("x" * 300 + ".png", "x" * 76 + ".png"),
    ],
)
def test_names_of_uploads_are_harmless(tmp_path, given, name):
    path = new_path(tmp_path, given)
    assert path == tmp_path / name
    assert path.is_file()
    assert new_path(tmp_path, given) != path


def test_threads_that_want_one_name_have_a_folder_each(tmp_path):
    def take(_):
        return new_path(tmp_path, "anna", make=Path.mkdir)

    with ThreadPoolExecutor(8) as pool:
        taken = [*pool.map(take, range(64))]
    assert len({*taken}) == 64
    assert all(path.is_dir() for path in taken)


def test_what_cannot_be_written_leaves_nothing(gallery, monkeypatch):
    def full(*_, **__):
        raise OSError("the disk is full")

    portrait, engine = gallery.portraits()[0], gallery.engine
    edit = AskedEdit.of_json({"values": {"yaw": 9}}, engine.controls)
    monkeypatch.setattr(exports, "run_job", full)
    monkeypatch.setattr(exports, "encode_gif", full)
    gesture = Gesture()
    for number in range(2):
        gesture.add(number / RATE, edit)
    before = {*gallery.folder.rglob("*")} - {gallery.folder / "saved", gallery.folder / "recorded"}
    with pytest.raises(OSError, match="is full"):
        save(gallery, portrait, edit, paste_back=False)
    with pytest.raises(OSError, match="is full"):
        record(gallery, portrait, gesture, ["gif"])
    after = {*gallery.folder.rglob("*")} - {gallery.folder / "saved", gallery.folder / "recorded"}
    assert after == before


def test_the_files_of_embeddings_in_shards_are_the_shards(gallery, monkeypatch):
    portraits = gallery.portraits()[:2]
    path = portraits[0].item.path
    rows = [
        dataclasses.replace(each, item=dataclasses.replace(each.item, path=f"{path}#{row}"))
        for row, each in enumerate(portraits)
    ]
    monkeypatch.setattr(gallery, "portraits", lambda: rows)
    beginning = Beginning(gallery.folder, [])
    beginning.keep({}, b"", {}, gallery.files())
    assert Beginning(gallery.folder, []).hello == {}
