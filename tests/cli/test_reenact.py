"""`jaxface reenact`, with networks of random weights: sources, drivers, outcomes, resuming."""

import dataclasses
import json
import os
import re
import shutil
import signal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clips import clicks, packets, write_clip
from PIL import Image
from safetensors.numpy import load_file

from jaxface.cli import main
from jaxface.jobs import runner
from jaxface.jobs.driven_task import Frames
from jaxface.jobs.inputs.drivers import Driver
from jaxface.jobs.inputs.driving import DrivingMotion
from jaxface.jobs.inputs.motion_files import read_motion_file, write_motion
from jaxface.jobs.outputs.results import read_job
from jaxface.jobs.reenactment import Reenactment
from jaxface.media import detection
from jaxface.media.images import from_uint8, read_image
from jaxface.media.video.reading import open_clip
from jaxface.methods import pie
from jaxface.methods.direction_matrix.reenactment import MatrixReenactment
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.reenactment_presets import REENACTMENT_PRESETS
from jaxface.morphable import NUM_PARAMETERS, FaceParameters
from jaxface.morphable.motion import motion_of_pie
from jaxface.morphable.retargeting import Retargeting
from jaxface.nets import ReconstructionConfig, RigNetConfig
from jaxface.suite import Suite, load_suite
from jaxface.weights import save_network
from tests.cli.test_edit_clips import LOSSLESS, embed, embedding, rows_in
from tests.jobs.test_motion_files import recording
from tests.photographs import PaintedFaces, painted

SIDE = 16
TOLERANCE = 2 / 255  # the 8 bits of the results, and programs of other batch sizes


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    """A suite that reads portraits and moves their pose and expression."""
    folder = tmp_path_factory.mktemp("reenact") / "suite"
    shutil.copytree(tiny_suite, folder)
    config = ReconstructionConfig(resolution=SIDE, channels=(4, 4), hidden=8)
    reconstruction = random_network("FaceReconstruction", config)
    reconstruction.scale[...] = jnp.full(257, 0.5)
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    save_network(folder / "reconstruction.safetensors", reconstruction)
    for group in ("pose", "expression"):
        config = RigNetConfig(group, num_ws=6, w_dim=32, hidden=2)
        rignet = random_network("RigNet", config)
        rignet.decoder[...] = 1e-2 * rignet.decoder[...]
        save_network(folder / f"rignet_{group}.safetensors", rignet)
    return folder


@pytest.fixture(scope="module", autouse=True)
def short():
    """Three steps and no feedback: what these reach is other tests' subject."""
    inversion = dataclasses.replace(pie.EMBEDDED, w_steps=2, w_plus_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        method = RigNetReenactment(feedback=0, inversion=inversion)
        patch.setitem(REENACTMENT_PRESETS, "pie_rignet", method)
        yield


@pytest.fixture(scope="module")
def people(suite, tmp_path_factory):
    """Two portraits and their embeddings."""
    folder = tmp_path_factory.mktemp("people") / "people"
    for place, name in enumerate(("anna", "bert")):
        path = folder.parent / f"{name}.png"
        pixels = np.random.default_rng(place).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        embedding(folder, {"id": f"in/{name}.png"}, seed=100 + place, suite=suite, source=path)
    return folder


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A clip of five portraits with sound."""
    folder = tmp_path_factory.mktemp("driver")
    rng = np.random.default_rng(3)
    frames = rng.integers(0, 255, (5, SIDE, SIDE, 3), np.uint8)
    return write_clip(
        folder / "nod.mp4", frames, rate=10, sound=("aac", clicks(0.5)), **LOSSLESS
    ), frames


def run(capsys, *arguments):
    status = main([str(each) for each in ("reenact", *arguments)])
    return status, capsys.readouterr()


def motion_of(suite, frames):
    """What the suite reads of the frames."""
    return motion_of_pie(pie.read_parameters(load_suite(str(suite)), from_uint8(frames)))


def expected(suite, seed, frames, how=Retargeting()):  # noqa: B008 (frozen)
    """A subject's frames, by the seam itself: [T, R, R, 3] in [-1, 1]."""
    suite, driver = load_suite(str(suite)), motion_of(suite, frames)
    method = RigNetReenactment(feedback=0).following(how.groups)
    w_plus = np.random.default_rng(seed).normal(size=(1, 6, 32)).astype(np.float32)
    subject = method.subject(suite, w_plus)
    wanted = how(subject.motion, driver, how.neutral_of(driver) if how.relative else None)
    networks = method.networks(suite)
    many = {"w_plus": np.repeat(w_plus, len(driver), axis=0), "own": subject.motion}
    moved = method.move(networks, suite.generator, **many, wanted=wanted, noise="const")
    return np.asarray(moved.images).clip(-1, 1)


def images_of(out, rows):
    return np.stack([read_image(out / row["edited"]).pixels for row in rows])


def test_two_portraits_move_as_a_clip_does(suite, people, driver, tmp_path, capsys):
    clip, frames = driver
    out = tmp_path / "out"
    call = (people, "--driving", clip, "--out", out, "--gif", "--clip-format", "mp4")
    status, printed = run(capsys, *call, "--lossless", "--batch-size", 4)
    assert status == 0, printed.err
    rows = rows_in(out)
    assert len(rows) == 10
    assert "10 of 10 frames drawn" in printed.out
    for place, name in enumerate(("anna", "bert")):
        mine = [row for row in rows if row["frame"]["clip"] == f"in/{name}.png"]
        mine.sort(key=lambda row: row["frame"]["index"])
        got, wanted = images_of(out, mine), expected(suite, 100 + place, frames)
        np.testing.assert_allclose(got, wanted, atol=TOLERANCE)
        degrees = np.array([row["motion"]["degrees"] for row in mine])
        np.testing.assert_allclose(degrees, motion_of(suite, frames).degrees, atol=0.01)
        path = out / "clips" / "in" / f"{name}.png.mp4"
        with open_clip(path) as opened:
            read = list(opened)
        assert [frame.time for frame in read] == [Fraction(i, 10) for i in range(5)]
        shown = np.stack([frame.pixels for frame in read])
        np.testing.assert_allclose(np.asarray(from_uint8(shown)), got, atol=TOLERANCE)
        heard, sound = ([data for _, data in packets(each, "audio")] for each in (path, clip))
        assert heard == sound[: len(heard)]
        assert len(heard) >= len(sound) - 1  # the last one may begin after the last frame's end
        gif = Image.open(out / "sequences" / "in" / f"{name}.png.gif")
        assert (gif.n_frames, gif.size) == (5, (256, 256))
        # What was drawn can be edited again: its latents draw it.
        w_plus = load_file(out / mine[0]["latents"])["w_plus"]
        draw = jax.jit(lambda generator, w_plus: generator.synthesis(w_plus))
        image = draw(load_suite(str(suite)).generator, w_plus[None])
        np.testing.assert_allclose(np.asarray(image)[0].clip(-1, 1), got[0], atol=TOLERANCE)
    before = (out / "results.jsonl").read_bytes()
    assert run(capsys, *call, "--lossless", "--batch-size", 4)[0] == 0
    assert (out / "results.jsonl").read_bytes() == before
    status, printed = run(capsys, *call, "--lossless", "--motion", "relative")
    assert status == 2
    assert "another --out" in printed.err


@pytest.mark.parametrize(
    ("options", "how"),
    [
        pytest.param(["--motion", "relative"], Retargeting(relative=True), marks=pytest.mark.slow),
        (
            ["--motion", "relative", "--neutral-first", "--regions", "pose", "--gain", "pose=0.5"],
            Retargeting(True, True, ("pose",), (("pose", 0.5),)),
        ),
        (["--regions", "mouth,eyes"], Retargeting(regions=("mouth", "eyes"))),
    ],
)
def test_motion_regions_and_gains(suite, people, driver, tmp_path, capsys, options, how):
    clip, frames = driver
    out = tmp_path / "out"
    call = (people / "latents" / "in" / "anna.png.safetensors", "--driving", clip, "--out", out)
    status, printed = run(capsys, *call, *options, "--clip-format", "png")
    assert status == 0, printed.err
    rows = sorted(rows_in(out), key=lambda row: row["id"])
    np.testing.assert_allclose(
        images_of(out, rows), expected(suite, 100, frames, how), atol=TOLERANCE
    )
    assert len(list((out / "clips" / "in" / "anna.png").glob("*.png"))) == 5


def test_what_reads_the_subjects_is_part_of_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(Suite, "require", lambda *_: None)
    driver = Driver("nod", "nod.mp4", (Fraction(0),), Fraction(0), {})
    driving = DrivingMotion(driver, None, "digest")  # type: ignore (nothing is read)
    found = []
    for weights in (b"one", b"other"):
        files = {role: tmp_path / role for role in ("generator", "direction_matrix", "deca")}
        for path in files.values():
            path.write_bytes(b"")
        files["deca"].write_bytes(weights)
        frames = Frames((), (), {})
        task = Reenactment(Suite("some", files), "matrix", MatrixReenactment(), driving, frames)
        found.append(task.description())
    assert found[0] != found[1]


def test_a_subject_whose_weights_are_damaged_has_rows_that_say_so(
    suite, people, driver, tmp_path, capsys
):
    folder = tmp_path / "people"
    shutil.copytree(people, folder)
    (folder / "damaged.safetensors").write_bytes(b"no weights")
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    rows[0]["weights"] = "damaged.safetensors"
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--driving", driver[0], "--suite", suite, "--out", tmp_path / "out")
    assert run(capsys, folder, *options)[0] == 1
    found = sorted(rows_in(tmp_path / "out"), key=lambda row: row["id"])
    assert [row["status"] for row in found] == ["unreadable"] * 5 + ["ok"] * 5
    assert "damaged.safetensors" in found[0]["reason"]
    assert (tmp_path / "out" / "contact_sheet.png").is_file()


@pytest.mark.slow
def test_a_template_moves_as_its_clip_did(suite, people, driver, tmp_path, capsys):
    clip, frames = driver
    file, out = tmp_path / "nod.safetensors", tmp_path / "out"
    call = ("--driving", clip, "--save-motion", file, "--suite", suite)
    status, printed = run(capsys, *call)
    assert status == 0, printed.err
    assert "5 frames" in printed.out
    saved = read_motion_file(str(file))
    assert saved.times == tuple(Fraction(i, 10) for i in range(5))
    np.testing.assert_allclose(saved.motion.rotation, motion_of(suite, frames).rotation, atol=1e-5)
    status, printed = run(capsys, people, "--driving", file, "--out", out, "--clip-format", "png")
    assert status == 0, printed.err
    rows = sorted(rows_in(out), key=lambda row: row["id"])
    np.testing.assert_allclose(
        images_of(out, rows[:5]), expected(suite, 100, frames), atol=TOLERANCE
    )


def test_an_arkit_recording_turns_the_head(suite, people, tmp_path, capsys):
    codes = [f"13:05:22:{frame:02d}" for frame in range(4)]
    path, out = recording(tmp_path / "take.csv", codes), tmp_path / "out"
    status, printed = run(
        capsys, people, "--driving", path, "--out", out, "--clip-format", "png", "--fps", 30
    )
    assert status == 0, printed.err
    assert "the jaw alone follows" in printed.err
    rows = [row for row in rows_in(out) if row["frame"]["clip"] == "in/anna.png"]
    assert [row["frame"]["time"] for row in rows] == ["0", "1/30", "1/15", "1/10"]
    wanted = np.rad2deg(read_motion_file(path).motion.rotation)
    np.testing.assert_allclose([r["motion"]["degrees"] for r in rows], wanted, atol=0.01)


@pytest.mark.slow
def test_an_image_drives_portraits_which_are_embedded_first(suite, people, tmp_path, capsys):
    out, driver = tmp_path / "out", people.parent / "bert.png"
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    sources = (people.parent / "anna.png", tmp_path / "damaged.png")
    status, printed = run(
        capsys, *sources, "--driving", driver, "--out", out, "--suite", suite, "--set", "w_steps=1"
    )
    assert status == 1
    rows = {row["id"].rpartition("/")[2]: row for row in rows_in(out)}
    assert rows["anna.png"]["status"] == "ok"
    assert rows["anna.png"]["frame"] is None
    assert rows["damaged.png"]["status"] != "ok"
    assert rows["damaged.png"]["reason"]
    assert "1 of 2 frames drawn" in printed.out
    assert len(rows_in(out / "sources")) == 2
    assert not (out / "clips").exists()
    status, printed = run(
        capsys, sources[1], "--driving", driver, "--out", tmp_path / "none", "--suite", suite
    )
    assert status == 1
    assert "0 of 1 frames drawn" in printed.out


@pytest.fixture(scope="module")
def talk(suite, tmp_path_factory):
    """A source clip with sound, whose faces are crops, and its embeddings."""
    folder = tmp_path_factory.mktemp("talk")
    noise = np.random.default_rng(0).integers(0, 20, (60, 80, 3), np.uint8)
    frames = [painted(80, 60, face1=(6 + 2 * i, 16, 28)) // 2 + noise for i in range(8)]
    source = write_clip(
        folder / "talk.mp4", frames, rate=25, sound=("aac", clicks(0.34)), **LOSSLESS
    )
    embed(folder / "emb", source, suite=suite, rate=25)
    return folder / "emb", source


def test_a_clips_faces_move_and_it_keeps_its_times_and_sound(suite, talk, driver, tmp_path, capsys):
    (folder, source), (clip, _) = talk, driver
    out = tmp_path / "out"
    call = (folder, "--driving", clip, "--out", out, "--clip-format", "mp4", "--lossless")
    status, printed = run(capsys, *call)
    assert status == 0, printed.err
    path = out / "clips" / "in" / "talk.mp4"
    assert f"{path}, 7 frames edited of 8" in printed.out
    assert packets(path, "audio") == packets(source, "audio")
    with open_clip(path) as opened, open_clip(source) as before:
        pairs = list(zip(opened, before, strict=True))
    assert [a.time for a, _ in pairs] == [b.time for _, b in pairs]
    changed = [not np.array_equal(a.pixels, b.pixels) for a, b in pairs]
    assert changed == [True] * 3 + [False] + [True] * 4
    # Between the driver's frames the motion is linear.
    rows = {row["frame"]["index"]: row for row in rows_in(out)}
    turns = motion_of(suite, driver[1]).degrees
    np.testing.assert_allclose(
        rows[1]["motion"]["degrees"], 0.6 * turns[0] + 0.4 * turns[1], atol=0.01
    )


def test_a_clip_by_one_image_says_how_to_swap_them(suite, talk, people, tmp_path, capsys):
    folder, _ = talk
    status, printed = run(
        capsys, folder, "--driving", people.parent / "anna.png", "--out", tmp_path / "out"
    )
    assert status == 0, printed.err
    assert len({tuple(row["motion"]["degrees"]) for row in rows_in(tmp_path / "out")}) == 1
    told = " ".join(printed.err.split())
    assert "anna.png is one frame: every frame of talk.mp4 takes its motion" in told
    assert "swap the two" in told


@pytest.mark.parametrize("kind", ["clip", "template"])
def test_a_driver_of_one_frame_gives_images(suite, people, driver, tmp_path, capsys, kind):
    """A clip of one frame, or its template, is an image: no clips, no row of a frame."""
    frames = driver[1][2:3]
    path, out = write_clip(tmp_path / "one.mp4", frames, rate=10, **LOSSLESS), tmp_path / "out"
    if kind == "template":
        motion, path = motion_of(suite, frames), tmp_path / "one.safetensors"
        write_motion(path, motion, [Fraction(0)])
    status, printed = run(capsys, people, "--driving", path, "--out", out)
    assert status == 0, printed.err
    assert "2 of 2 frames drawn" in printed.out
    rows = sorted(rows_in(out), key=lambda row: row["id"])
    assert [row["frame"] for row in rows] == [None, None]
    for place, row in enumerate(rows):
        np.testing.assert_allclose(
            images_of(out, [row]), expected(suite, 100 + place, frames), atol=TOLERANCE
        )
    assert not (out / "clips").exists()
    status, printed = run(
        capsys, people, "--driving", path, "--out", tmp_path / "no", "--motion", "relative"
    )
    assert status == 2
    assert "one frame has no motion relative to itself" in printed.err


def test_source_and_driver_swapped(suite, talk, people, tmp_path, capsys):
    """A clip by an image moves the clip's face; the image by the clip moves the portrait."""
    folder, source = talk
    anna = people / "latents" / "in" / "anna.png.safetensors"
    image, out = people.parent / "anna.png", tmp_path
    assert run(capsys, folder, "--driving", image, "--out", out / "clip")[0] == 0
    call = (anna, "--driving", folder, "--out", out / "portrait", "--clip-format", "png")
    assert run(capsys, *call)[0] == 0
    clips = [
        {row["frame"]["clip"].rpartition("/")[2] for row in rows_in(out / each)}
        for each in ("clip", "portrait")
    ]
    assert clips == [{source.name}, {"anna.png"}]


@pytest.mark.slow
def test_stopped_and_gone_on_with(people, driver, tmp_path, capsys, monkeypatch):
    """After a stop the same command does what is left, and the frames are those of one run."""
    clip, _ = driver
    call = (people, "--driving", clip, "--clip-format", "png", "--batch-size", 2)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(capsys, *call, "--out", whole)[0] == 0
    finished = runner.Runner._finished

    def stopping(self, ended, in_flight):
        os.kill(os.getpid(), signal.SIGTERM)
        return finished(self, ended, in_flight)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "_finished", stopping)
        status, printed = run(capsys, *call, "--out", out)
    assert status == 143
    assert "goes on from there" in printed.err
    assert 0 < len(rows_in(out)) < 10
    assert run(capsys, *call, "--out", out)[0] == 0
    first, second = ({row["id"]: row for row in rows_in(folder)} for folder in (whole, out))
    assert first.keys() == second.keys()
    for name, row in first.items():
        assert (whole / row["edited"]).read_bytes() == (out / second[name]["edited"]).read_bytes()
    assert read_job(str(out))["reenactment"] == "pie_rignet"


def test_frames_without_a_face_are_gone_through_evenly(suite, talk, people, tmp_path, capsys):
    """The driver is what `jaxface invert` gave of a clip; frame 3 has no face there."""
    folder, _ = talk
    status, printed = run(
        capsys,
        people,
        *("--driving", folder, "--out", tmp_path / "out", "--clip-format", "png"),
    )
    assert status == 0, printed.err
    rows = [row for row in rows_in(tmp_path / "out") if row["frame"]["clip"] == "in/anna.png"]
    assert len(rows) == 7


@pytest.mark.slow
def test_faces_are_found_in_photographs_and_in_the_driver(suite, tmp_path, capsys, monkeypatch):
    """A photograph of one face, of two, of none; a driver who leaves the frame."""
    monkeypatch.setattr(detection, "DlibFaces", PaintedFaces)
    one, two = {"face1": (10, 12, 28)}, {"face1": (4, 12, 28), "face2": (44, 20, 28)}
    for name, faces in (("one", one), ("two", two), ("none", {})):
        Image.fromarray(painted(80, 60, **faces)).save(tmp_path / f"{name}.png")
    frames = [
        painted(80, 60, **({"face1": (10 + i, 12, 28)} if 1 < i < 6 else {})) for i in range(16)
    ]
    clip = write_clip(tmp_path / "away.mp4", frames, rate=25, **LOSSLESS)
    out = tmp_path / "out"
    call = ("--driving", clip, "--suite", suite, "--align", "--workers", 0, "--clip-format", "png")
    sources = [tmp_path / f"{name}.png" for name in ("one", "two", "none")]
    status, printed = run(capsys, *sources, *call, "--out", out)
    assert status == 1, printed.err
    assert "12 of 16 frames show no face" in printed.err
    failed = [row for row in rows_in(out) if row["status"] != "ok"]
    assert [(row["status"], row["id"].endswith("none.png")) for row in failed] == [
        ("no_face", True)
    ]
    clips: dict[str, list] = {}
    for row in rows_in(out):
        if row["status"] == "ok":
            clips.setdefault(row["frame"]["clip"].rpartition("/")[2], []).append(row)
    assert sorted(clips) == ["one.png", "two.png#1", "two.png#2"]
    for rows in clips.values():
        rows.sort(key=lambda row: row["frame"]["index"])
        assert len(rows) == 16
        turns = np.array([row["motion"]["degrees"] for row in rows])
        for place, end in ((slice(0, 2), 2), (slice(6, 16), 5)):
            np.testing.assert_allclose(turns[place] - turns[end], 0, atol=1e-3)
    shown = Image.open(next((out / "clips").rglob("two.png#2/000000.png")))
    assert shown.size == (80, 60)  # the face is back in its photograph
    # Of several faces the largest drives: the one on the left, which is as large as before.
    crowd = [painted(80, 60, face1=(4 + min(i, 3), 12, 28), face2=(56, 30, 18)) for i in range(5)]
    alone = [painted(80, 60, face1=(4 + min(i, 3), 12, 28)) for i in range(5)]
    turned = []
    for name, filmed in (("crowd", crowd), ("alone", alone)):
        clip = write_clip(tmp_path / f"{name}.mp4", filmed, rate=25, **LOSSLESS)
        call = ("--driving", clip, *call[2:])
        status, printed = run(capsys, sources[0], *call, "--out", tmp_path / name)
        assert status == 0, printed.err
        turned.append(np.array([row["motion"]["degrees"] for row in rows_in(tmp_path / name)]))
    np.testing.assert_allclose(*turned, atol=1e-2)
    nobody = write_clip(tmp_path / "nobody.mp4", frames[8:], rate=25, **LOSSLESS)
    call = (sources[0], "--driving", nobody, *call[2:], "--out", tmp_path / "no")
    status, printed = run(capsys, *call)
    assert status == 2
    assert printed.err.count("jaxface: error:") == 1
    assert "nobody.mp4" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no SOURCE given"),
        (["x.png", "--out", "out"], "x.png': no such file"),
        (["{people}"], "--out DIR is missing"),
        (["{motion}", "--out", "out"], "holds motion and no face, so it cannot be a SOURCE"),
        (["{clip}", "{people}", "--out", "out"], "is a clip and .* is not"),
        (["{people}", "--out", "{people}"], "name another --out"),
        (["{people}", "--out", "out", "--method", "pie_rig"], "did you mean 'pie_rignet'"),
        (
            ["{people}", "--out", "out", "--method", "pie_rignet_relative"],
            "here pie_rignet with --motion relative",
        ),
        (["{people}", "--out", "out", "--regions", "eye"], "did you mean 'eyes'"),
        (["{people}", "--out", "out", "--gain", "pose"], "expected such as pose=1.2"),
        (["{people}", "--out", "out", "--neutral-first"], "relative motion alone"),
        (["{people}", "--out", "out", "--driving", "no.mp4"], "--driving no.mp4: no such file"),
        (["{people}", "--out", "out", "--driving", "{people}"], "of one clip's frames"),
        (["{people}", "--out", "out", "--driving", "{latent}"], "a latent code and no motion"),
        (["{people}", "--out", "out", "--shard-size", "9"], "in one folder"),
        (["{people}", "--out", "out", "--fps", "9"], "of folders of images and of recordings"),
        (["{people}", "--out", "out", "--driving", "{image}", "--every", "2"], "a driving clip"),
        (["{people}", "--out", "out", "--preset", "pti"], "of sources that are embedded"),
        (["{people}", "--out", "out", "--beyond", "loop"], "of source clips"),
        (["{people}", "--out", "out", "--paste-back"], "of single images"),
        (["{people}", "--out", "out", "--max-gap", "1"], "--max-gap requires --align"),
        (["{people}", "--out", "out", "--steady", "-1"], "0 or more seconds"),
        (
            ["{people}", "--out", "out", "--driving", "{image}", "--motion", "relative"],
            "one frame has no motion relative to itself",
        ),
        (["{people}", "--out", "out", "--driving", "{image}", "--gif"], "one image"),
    ],
)
def test_wrong_calls_are_told_in_one_line(
    arguments, message, people, driver, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "motion.csv").write_text("Timecode\n")
    names = {
        "people": people,
        "clip": driver[0],
        "motion": "motion.csv",
        "image": people.parent / "anna.png",
        "latent": people / "latents" / "in" / "anna.png.safetensors",
    }
    filled = [each.format(**names) for each in arguments]
    if "--driving" not in filled:
        filled += ["--driving", str(driver[0])]
    status, printed = run(capsys, *filled)
    assert status == 2
    assert printed.err.count("jaxface: error:") == 1
    assert re.search(message, printed.err), printed.err


def test_hostile_templates_are_told(people, tmp_path, capsys):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(b"\0" * 64)
    status, printed = run(capsys, people, "--driving", path, "--out", tmp_path / "out")
    assert status == 2
    assert "no safetensors file" in printed.err
    zeros = FaceParameters.from_flat(jnp.zeros((1, NUM_PARAMETERS)))
    write_motion(path, motion_of_pie(zeros, basis="basel"), [Fraction(0)])
    status, printed = run(capsys, people, "--driving", path, "--out", tmp_path / "out")
    assert status == 2
    assert "says nothing of the expression of a subject in 'embedded'" in printed.err
