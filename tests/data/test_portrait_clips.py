"""`portrait_clips`: frames of each kind of collection, shards that resume, a row for every clip."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxface import cli
from jaxface.data import portrait_clips
from jaxface.data.clip_view import ClipView
from jaxface.data.clips.cropping import Cropping, cropped_frames, square_of
from jaxface.data.clips.layouts import list_clips
from jaxface.data.clips.listing import ListedClip
from jaxface.data.pipelines import DataError
from jaxface.data.portrait_clips import PortraitClipsConfig, generate, read_report
from jaxface.data.sharded_builder import GenerationError
from jaxface.jobs.launchers import Share
from tests.clips import moving, write_clip

R = 16

# A preparation that is killed while it writes its third shard.
KILLED = """
import os, signal, sys
from jaxface.data import portrait_clips
from tests.data.test_portrait_clips import config_of

frames = portrait_clips._frames

def dying(config, clip, row):
    for item in frames(config, clip, row):
        if clip.clip.endswith("c2.mp4") and row["frames"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item

portrait_clips._frames = dying
portrait_clips.generate(config_of(sys.argv[1]), sys.argv[2])
"""


def config_of(source, *, test_share=0.5, **options):
    listing, _ = list_clips(source, test_share=test_share)
    cropping = options.pop("cropping", Cropping(R))
    return PortraitClipsConfig(listing=listing, cropping=cropping, **{"shard_size": 1, **options})


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, quality=95)


def contents(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def items(folder, split="train"):
    return list(tfds.builder_from_directory(folder).as_data_source(split=split))


@pytest.fixture(scope="module", name="talks")
def talks_fixture(tmp_path_factory):
    """Anna has two clips, Bob three, one of which is no video."""
    root = tmp_path_factory.mktemp("talks")
    for person, clips in (("anna", 2), ("bob", 2)):
        (root / person).mkdir()
        for clip in range(clips):
            write_clip(root / person / f"c{clip + 1}.mp4", moving(4 + clip), rate=30)
    (root / "bob" / "broken.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module", name="made")
def made_fixture(talks, tmp_path_factory):
    folder, complete = generate(config_of(talks), tmp_path_factory.mktemp("made"))
    assert complete
    return folder


def test_records_are_frames_in_order(made):
    persons = {row["identity"]: row["split"] for row in read_report(made)}
    assert sorted(persons.values()) == ["test", "train"]
    for split in ("train", "test"):
        records = items(made, split)
        ids = [tuple(int(item[name]) for name in ("person", "clip", "frame")) for item in records]
        assert len({person for person, _, _ in ids}) == 1
        first = ids[0][1]  # 1 where the person's first clip is no video
        assert [(clip - first, frame) for _, clip, frame in ids] == [
            *((clip, frame) for clip, count in ((0, 4), (1, 5)) for frame in range(count))
        ]
        assert records[0]["image"].shape == (R, R, 3)
        assert records[0]["image"].std() > 10
        np.testing.assert_allclose(
            [item["time"] for item in records[-2:]], [0.1, 4 / 30], atol=1e-6
        )
    numbers = {split: int(items(made, split)[0]["person"]) for split in ("train", "test")}
    assert numbers == {"train": 0, "test": 1}


def test_the_report_has_every_clip(made):
    rows = read_report(made)
    by_name = {row["clip"]: row for row in rows}
    assert [row["frames"] for row in rows] == [row["frames"] for row in by_name.values()]
    assert by_name["bob/broken.mp4"]["status"] == "not_a_video"
    assert by_name["anna/c2.mp4"]["frames"] == 5
    assert by_name["anna/c2.mp4"]["first"] == 4
    manifest, absent = list_clips(made / "manifest.jsonl")
    assert absent == ()
    assert {clip.clip for clip in manifest.clips} == set(by_name)
    assert {clip.clip: clip.split for clip in manifest.clips} == {
        name: row["split"] for name, row in by_name.items()
    }


def test_the_view_knows_persons_and_clips_by_name(made):
    split = {row["identity"]: row["split"] for row in read_report(made)}["anna"]
    view = ClipView(made, split=split)
    assert view.persons == ("anna",)
    assert view.clips == ("anna/c1.mp4", "anna/c2.mp4")
    assert len(view.clip("anna", "anna/c2.mp4")) == 5
    assert [item["frame"] for item in view.clip("anna", "anna/c2.mp4")] == list(range(5))
    with pytest.raises(DataError, match=f"{re.escape(str(made))}: its clips were videos"):
        view.write_videos("anywhere")


def test_a_view_tells_what_is_damaged_by_name(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / made.parent.name / made.name)
    report = folder / "report.jsonl"
    rows = report.read_text().splitlines(keepends=True)
    report.write_text("".join(row for row in rows if "c1.mp4" not in row))
    with pytest.raises(DataError, match=f"{re.escape(str(folder))}: its report.jsonl and the 9 re"):
        ClipView(folder)
    report.write_text(rows[0][:20])
    with pytest.raises(DataError, match=f"{re.escape(str(report))}: damaged .JSONDecodeError"):
        ClipView(folder)


def test_a_killed_preparation_goes_on_and_gives_the_same_files(talks, made, tmp_path, capfd):
    call = [sys.executable, "-c", KILLED, str(talks), str(tmp_path)]
    killed = subprocess.run(call, capture_output=True, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    files = tmp_path.rglob("portrait_clips-*-of-*")
    finished = [path for path in files if not path.name.endswith("report.jsonl")]
    stamps = {path.name: path.stat().st_mtime_ns for path in finished}
    assert 0 < len(stamps) < 5
    folder, complete = generate(config_of(talks), tmp_path)
    assert complete
    assert f"{len(stamps)} of 5 shards were finished before" in capfd.readouterr().err
    assert contents(folder) == contents(made)
    assert not list(folder.parent.glob("*.partial*"))


def test_processes_share_the_shards(talks, made, tmp_path):
    config = config_of(talks)
    folder, complete = generate(config, tmp_path, share=Share(0, 2))
    assert not complete
    assert not folder.exists()
    assert len(list(folder.parent.glob("*.partial/*-of-00003*report*"))) > 0
    again, complete = generate(config, tmp_path, share=Share(1, 2))
    assert complete
    assert contents(again) == contents(made)
    assert generate(config, tmp_path, share=Share(0, 2)) == (folder, True)


def test_other_clips_or_settings_are_other_data_sets(talks, tmp_path):
    names = {config_of(talks).name}
    names.add(config_of(talks, every=2).name)
    names.add(config_of(talks, frames=2).name)
    names.add(config_of(talks, test_share=0).name)
    names.add(config_of(talks, cropping=Cropping(32)).name)
    names.add(config_of(talks, cropping=Cropping(R, True, LargestBright())).name)
    names.add(config_of(talks, cropping=Cropping(R, True, LargestBright(90))).name)
    assert len(names) == 7
    assert config_of(talks, cropping=Cropping(R, True, LargestBright(), 3)).name in names
    assert config_of(talks, shard_size=7).name in names
    partial = tmp_path / "portrait_clips" / config_of(talks).name / "1.0.0.partial"
    partial.mkdir(parents=True)
    (partial / "generation.json").write_text("{}")
    with pytest.raises(GenerationError, match="an unfinished preparation of other clips"):
        generate(config_of(talks), tmp_path)


def test_frames_and_every_limit_a_clip(talks, tmp_path):
    folder, _ = generate(config_of(talks, test_share=0, every=2, frames=2), tmp_path)
    view = ClipView(folder)
    assert [[int(f["frame"]) for f in clip] for _, _, clip in view] == [[0, 2]] * 4


def test_a_collection_without_a_frame_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(GenerationError, match="no frame of 1 clips could be used"):
        generate(config_of(tmp_path), tmp_path / "out")


@pytest.mark.parametrize("wrong", [{"every": 0}, {"frames": 0}, {"cropping": Cropping(8)}])
def test_impossible_settings_are_refused(talks, wrong):
    with pytest.raises(GenerationError, match="portrait_clips: need resolution >= 16"):
        config_of(talks, **wrong)
    with pytest.raises(GenerationError, match="need a detector"):
        config_of(talks, cropping=Cropping(R, align=True))


# Places: boxes, and faces that are followed.


def test_boxes_become_squares_within_the_frame():
    def square(box, size, **options):
        return square_of(ListedClip("c", "p", "x", box=box, **options), size)

    assert square(None, (64, 48)) == (8, 0, 48)
    assert square((0.25, 0.25, 0.5, 0.75), (400, 400)) == (50, 100, 200)
    assert square((90, 90, 180, 180), (1280, 720), lines=360) == (180, 180, 180)
    assert square((0.9, 0.4, 1.1, 0.6), (400, 400)) == (320, 160, 80)  # moved into the frame
    assert square((0.0, 0.0, 1.0, 1.0), (64, 48)) == (8, 0, 48)  # no larger than the frame
    clip = ListedClip("c", "p", "x", box=(0.25, 0.25, 0.75, 0.75))
    assert square_of(clip, (400, 400), grown=1.5) == (50, 50, 300)


@dataclasses.dataclass(frozen=True)
class LargestBright:
    """A face around the middle of what is bright, upright, 68 points."""

    threshold: int = 100

    def __call__(self, image):
        bright = (image.mean(-1) + 1) * 127.5 > self.threshold
        if not bright.any():
            return np.zeros((0, 68, 2))
        rows, columns = np.nonzero(bright)
        return face_at(columns.mean(), rows.mean())[None]


def face_at(x, y, scale=6.0):
    """Points with eyes and mouth where a face has them; the rest on the eyes' line."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = [-1, -0.5], [1, -0.5]
    points[48:60] = np.stack([np.linspace(-0.7, 0.7, 12), np.full(12, 1.0)], -1)
    points[48], points[54] = [-0.7, 1.0], [0.7, 1.0]
    return points * scale + [x, y]


def spots(centers, height=72, width=96):
    """Frames with a bright spot each; None leaves it out."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for center in centers:
        frame = np.full((height, width, 3), 20.0)
        if center is not None:
            near = np.hypot(x - center[0], y - center[1]) < 7
            frame[near] = 230
        frames.append(frame)
    return np.array(frames, np.uint8)


def test_aligned_frames_follow_the_face(tmp_path):
    centers = [(40.0 + i, 36.0) for i in range(12)]
    centers[5] = None  # a gap of a frame is filled, one of a second is not
    write_clip(tmp_path / "a.mp4", spots([*centers, *[None] * 30]), options={"crf": "4"})
    listing, _ = list_clips(tmp_path)
    notes = []
    cropping = Cropping(64, True, LargestBright())
    found = list(cropped_frames(listing, listing.clips[0], cropping, notes=notes))
    assert [frame.index for frame in found] == list(range(12))
    assert found[1].time - found[0].time == Fraction(1, 25)
    assert "left out: 30 frames without this face" in notes
    for frame in found:
        assert frame.landmarks.shape == (68, 2)
        # The points are where they were: around the crop's middle, in its own pixels.
        middle = frame.landmarks[36:48].mean(0)
        np.testing.assert_allclose(middle, [31.5, 29], atol=3)
    bright = [frame.image.mean(-1) > 120 for place, frame in enumerate(found) if place != 5]
    for mask in bright:
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose([columns.mean(), rows.mean()], [31.5, 33], atol=4)
    several = list(cropped_frames(listing, listing.clips[0], cropping, every=2, most=3, notes=[]))
    assert [frame.index for frame in several] == [0, 2, 4]


def test_clips_without_a_face_are_told(tmp_path):
    (tmp_path / "a").mkdir()
    write_clip(tmp_path / "a" / "x.mp4", spots([None] * 3))
    write_clip(tmp_path / "a" / "y.mp4", spots([(40, 36)] * 3))
    config = config_of(tmp_path, test_share=0, cropping=Cropping(R, True, LargestBright()))
    folder, _ = generate(config, tmp_path / "out")
    assert sorted((row["status"], row["frames"]) for row in read_report(folder)) == [
        ("no_face", 0),
        ("ok", 3),
    ]
    assert items(folder)[0]["landmarks"].shape == (68, 2)


# Layouts whose frames are images with landmarks.


def test_nha_frames_come_with_their_points(tmp_path):
    for number in (3, 4, 5):
        folder = tmp_path / "person_0" / f"frame_{number:04}"
        save(folder / "image_0000.png", np.full((32, 32, 3), 10 * number))
        points = np.full((70, 3), number, float)  # OpenPose's 70: the pupils are left out
        people = [{"face_keypoints_2d": points.ravel().tolist()}]
        if number != 4:
            (folder / "keypoints_static_0000.json").write_text(json.dumps({"people": people}))
    config = config_of(tmp_path, test_share=0)
    folder, _ = generate(config, tmp_path / "out")
    records = items(folder)
    assert [int(item["frame"]) for item in records] == [3, 5]
    assert [int(item["image"].mean()) for item in records] == [30, 50]
    # 32 px became 16: a pixel's centre x is at (x + 0.5) / 2 - 0.5.
    np.testing.assert_allclose(records[1]["landmarks"], np.full((68, 2), 5.5 / 2 - 0.5))
    np.testing.assert_allclose([item["time"] for item in records], [0, 2 / 25], atol=1e-6)
    (row,) = read_report(folder)
    assert "left out: 1 frames without landmarks" in row["notes"]


def test_nerfblendshape_points_are_text(tmp_path):
    for number in range(3):
        save(tmp_path / f"id1/ori_imgs/{number}.jpg", np.full((R, R, 3), 50))
        np.savetxt(tmp_path / f"id1/ori_imgs/{number}.lms", face_at(8, 8, 2))
    (tmp_path / "id1/transforms.json").write_text("{}")
    folder, _ = generate(config_of(tmp_path), tmp_path / "out")
    np.testing.assert_allclose(items(folder)[2]["landmarks"], face_at(8, 8, 2), atol=1e-5)


@pytest.mark.parametrize("zipped", [False, True])
def test_ffhq_images_come_with_their_points(tmp_path, zipped):
    metadata = {}
    for number, category in ((0, "training"), (1, "training"), (2, "validation")):
        path = tmp_path / f"images1024x1024/00000/{number:05}.png"
        save(path, np.full((32, 32, 3), 40 + number))
        metadata[str(number)] = {
            "category": category,
            "image": {"face_landmarks": np.full((68, 2), 512).tolist(), "pixel_size": [1024, 1024]},
        }
    (tmp_path / "ffhq-dataset-v2.json").write_text(json.dumps(metadata))
    source = tmp_path
    if zipped:
        source = tmp_path / "images1024x1024.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in (tmp_path / "images1024x1024").rglob("*.png"):
                archive.write(path, path.relative_to(tmp_path))
    config = config_of(source, shard_size=None)
    assert config.shard_size == 1024
    folder, _ = generate(config, tmp_path / "out")
    train, test = items(folder), items(folder, "test")
    assert [int(item["image"].mean()) for item in train + test] == [40, 41, 42]
    assert [int(item["person"]) for item in train + test] == [0, 1, 2]
    np.testing.assert_allclose(train[0]["landmarks"], (512.5 / 1024 * R) - 0.5)


def test_damaged_images_end_their_clip_alone(tmp_path):
    for clip in ("a", "b"):
        for number in range(3):
            save(tmp_path / f"me/{clip}/{number}.png", np.full((R, R, 3), number))
    (tmp_path / "me/a/1.png").write_bytes(b"\x89PNG damaged")
    folder, _ = generate(config_of(tmp_path, test_share=0), tmp_path / "out")
    rows = {row["clip"]: row for row in read_report(folder)}
    assert (rows["me/a"]["status"], rows["me/a"]["frames"]) == ("damaged", 1)
    assert "1.png" in rows["me/a"]["reason"]
    assert rows["me/b"]["frames"] == 3


# The command.


def test_the_verb_tells_what_it_recognised(talks, made, tmp_path, capsys):
    call = ["data", str(talks), "--out", str(made.parents[2]), "--resolution", "16"]
    assert cli.main([*call, "--test-share", "0.5", "--shard-size", "1"]) == 1  # one is no video
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == str(made)
    assert "layout video: 5 clips of 2 persons" in told.err
    assert told.err.count(".mp4\n") >= 3
    assert "bob/broken.mp4: not_a_video" in told.err
    manifest = tmp_path / "clips.jsonl"
    assert cli.main(["data", str(talks), "--list", str(manifest)]) == 0
    capsys.readouterr()
    listing = ["data", str(talks), "--list", str(tmp_path / "no.jsonl")]
    for option in (["--align"], ["--suite", "embedded"], ["--every", "2"], ["--out", "x"]):
        assert cli.main([*listing, *option]) == 2
        assert f"{option[0]} is of a data set, and --list" in capsys.readouterr().err
    assert not (tmp_path / "no.jsonl").exists()
    assert cli.main(["data", str(talks)]) == 2  # no --out
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    kept = [row for row in rows if "broken" not in row["clip"]]
    kept.append({"clip": "gone", "identity": "carl", "path": "gone.mp4"})
    manifest.write_text("\n".join(map(json.dumps, kept)))
    out = ["data", str(manifest), "--out", str(tmp_path), "--resolution", "16"]
    assert cli.main([*out, "--max-missing", "0"]) == 2
    assert cli.main(out) == 0
    told = capsys.readouterr().err
    assert "1 listed clips are absent: gone.mp4" in told
    assert "18 frames of 4 clips (4 ok)" in told


def test_the_verb_makes_a_part_for_each_process(talks, tmp_path, capsys):
    call = ["data", str(talks), "--out", str(tmp_path), "--resolution", "16", "--shard-size", "2"]
    assert cli.main([*call, "--process", "0", "--processes", "2"]) == 0
    assert "its shards are done, others' are not yet" in capsys.readouterr().err
    assert cli.main([*call, "--process", "1", "--processes", "2"]) == 1
    assert "18 frames of 5 clips (1 not_a_video, 4 ok)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layout", "auto"], "--layout is of a collection"),
        (["--process", "0"], "--process is of a collection"),
        (["{}", "--clips", "1"], "--clips is of the rendered world"),
        (["{}", "--seed", "1"], "are of the rendered world"),
        (["{}", "--workers", "1"], "--workers requires --align"),
        (["{}", "--layout", "voc"], "did you mean 'vox'"),
        (["{}", "--fps", "0"], "--fps: expected more than 0"),
    ],
)
def test_the_verb_refuses_what_does_not_belong_together(tmp_path, talks, options, words, capsys):
    options = [option.format(talks) for option in options]
    assert cli.main(["data", "--out", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_builder_is_the_collections_own(talks):
    assert portrait_clips.PortraitClips.name == "portrait_clips"
    config = config_of(talks)
    assert "listing" not in repr(config)  # TFDS logs it
