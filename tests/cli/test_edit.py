"""`jaxface edit` on what `jaxface invert` wrote, with networks of random weights."""

import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxface.cli import main
from jaxface.jobs import edit_program
from jaxface.media.images import read_image
from jaxface.methods import pie
from jaxface.morphable import EDITABLE_GROUPS, EXPRESSION_NAMES
from jaxface.nets import ReconstructionConfig, RigNetConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.suite import load_suite
from jaxface.weights import load_network, save_network

NAMES = ("a.png", "b.png", "c.png")

draw = jax.jit(lambda generator, w_plus: generator.synthesis(w_plus))


@pytest.fixture(scope="module")
def suite_folder(tiny_suite, random_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("editing") / "suite"
    shutil.copytree(tiny_suite, folder)
    config = ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    reconstruction = random_network("FaceReconstruction", config)
    reconstruction.scale[...] = jnp.full(257, 0.5)
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    save_network(folder / "reconstruction.safetensors", reconstruction)
    for group in EDITABLE_GROUPS:
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=6, w_dim=32, hidden=2))
        # Mild edits, so that feedback through random networks stays finite.
        rignet.decoder[...] = 1e-3 * rignet.decoder[...]
        save_network(folder / f"rignet_{group}.safetensors", rignet)
    return folder


@pytest.fixture(scope="module")
def embedded(suite_folder, tmp_path_factory):
    """An inversion's folder, of three good images and a bad one."""
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "in").mkdir()
    for seed, name in enumerate(NAMES):
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC)
        picture.save(folder / "in" / name)
    (folder / "in" / "bad.png").write_bytes(b"bad")
    options = ["--suite", suite_folder, "--set", "w_steps=0", "--set", "w_plus_steps=2"]
    call = ["invert", folder / "in", "--out", folder / "out", "--batch-size", 3, *options]
    assert main([str(each) for each in call]) == 1
    return folder / "out"


@pytest.fixture
def run(tmp_path, capsys):
    """Runs `jaxface edit`; returns (status, rows by id, printed)."""

    def call(*arguments, out="edited"):
        # One batch size, so that each group compiles once for all tests.
        options = ("--out", tmp_path / out, "--batch-size", 2)
        status = main([str(each) for each in ("edit", *options, *arguments)])
        path = tmp_path / out / "results.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return status, {row["id"]: row for row in map(json.loads, lines)}, capsys.readouterr()

    return call


def test_a_folder_is_edited_in_order(run, embedded, suite_folder, tmp_path):
    status, rows, printed = run(embedded, "--light", "left", "--smile", 1.5, "--yaw", 20)
    assert status == 0
    assert "1 inputs were not embedded" in printed.err
    assert "(--preset pie_embedded) fit the image alone" in printed.err
    assert list(rows) == [f"in/{name}" for name in NAMES]
    assert "3 of 3 edited" in printed.out
    suite = load_suite(suite_folder)
    for row in rows.values():
        assert list(row["edits"]) == ["pose", "expression", "illumination"]
        pose, smile = row["edits"]["pose"], EXPRESSION_NAMES.index("smile")
        # Rows hold five decimals.
        assert pose["wanted"][1] == pytest.approx(np.deg2rad(20), abs=1e-5)
        assert pose["wanted"][0] == pytest.approx(pose["before"][0], abs=1e-5)
        assert row["edits"]["expression"]["wanted"][smile] == pytest.approx(1.5 * 0.5, abs=1e-5)
        assert row["edits"]["expression"]["before"] != row["edits"]["expression"]["after"]
        assert row["status"] == "ok"
        assert row["psnr"] is not None
        assert row["key"]
        assert row["seconds"] > 0
        assert row["versions"]["jaxface"]
        before = load_file(embedded / "latents" / f"{row['id']}.safetensors")["w_plus"]
        after = load_file(tmp_path / "edited" / row["latents"])["w_plus"]
        assert before.shape == after.shape
        assert np.abs(before - after).max() > 0
        # The image in the file is that of the latents in the file, but for 8 bits.
        picture = np.asarray(draw(suite.generator, after[None]))[0].clip(-1, 1)
        stored = read_image(tmp_path / "edited" / row["edited"]).pixels
        np.testing.assert_allclose(stored, picture, atol=1.2 / 127.5)
    with Image.open(tmp_path / "edited" / "contact_sheet.png") as sheet:
        assert sheet.width > 2 * 3 * 256  # two embeddings beside each other, three images of each
        assert sheet.height > 2 * 256


def test_edits_equal_those_of_the_library(run, embedded, suite_folder, tmp_path):
    """One file, without rows beside it; the same numbers as from Python."""
    latents = embedded / "latents" / "in" / "a.png.safetensors"
    status, rows, _ = run(latents, "--yaw", -10, "--relative")
    assert status == 0
    (row,) = rows.values()
    assert row["id"] == "in/a.png"
    target = pie.Target.named({"yaw": np.deg2rad(-10)}, relative=True)["pose"]
    w_plus = np.stack(2 * [load_file(latents)["w_plus"]])
    found = pie.edit(load_suite(suite_folder), w_plus, "pose", target)
    # Rows hold five decimals.
    assert row["edits"]["pose"]["after"] == pytest.approx(
        np.asarray(found.after.group("pose")[0]), abs=1e-5
    )
    stored = load_file(tmp_path / "edited" / row["latents"])["w_plus"]
    # Rows are split over the devices there: another program, whose sums round differently.
    np.testing.assert_allclose(stored, found.w_plus[0], rtol=0, atol=5e-7)


def test_an_edit_can_be_edited_again(run, embedded, tmp_path):
    latents = embedded / "latents" / "in" / "a.png.safetensors"
    assert run(latents, "--yaw", 5)[0] == 0
    status, rows, _ = run(tmp_path / "edited", "--smile", 1, out="again")
    assert status == 0
    assert list(rows) == ["in/a.png"]
    with safe_open(tmp_path / "again" / rows["in/a.png"]["latents"], "numpy") as file:
        assert file.metadata()["settings.preset"] == "pie_embedded"
        assert json.loads(file.metadata()["edited"])["smile"] == 1


def test_a_group_is_taken_from_a_reference(run, embedded, suite_folder):
    reference = embedded.parent / "in" / "b.png"
    latents = embedded / "latents" / "in" / "a.png.safetensors"
    status, rows, printed = run(latents, "--like", reference, "--group", "pose")
    assert status == 0
    face = pie.read_parameters(load_suite(suite_folder), read_image(reference).pixels[None])
    # Rows hold five decimals.
    wanted = rows["in/a.png"]["edits"]["pose"]["wanted"]
    assert wanted == pytest.approx(np.asarray(face.group("pose")[0]), abs=1e-5)
    assert "in/a.png  ok  pose" in printed.out


@pytest.fixture
def with_directions(tiny_suite, tmp_path):
    """A suite that has a generator and directions, and no reconstruction network."""
    folder = tmp_path / "directions"
    shutil.copytree(tiny_suite, folder)
    rng = np.random.default_rng(0)
    age = directions_of(["boundary"], rng.normal(size=(1, 32)))
    several = directions_of(["first", "second"], rng.normal(size=(2, 32)), units=[2.0, 0.5])
    in_z = directions_of(["boundary"], rng.normal(size=(1, 32)), space="z")
    for name, directions in (("age", age), ("components", several), ("latent", in_z)):
        save_network(folder / f"direction_{name}.safetensors", directions)
    return folder


def test_embeddings_move_along_directions(run, embedded, with_directions, tmp_path):
    moves = ("--direction", "age=2", "--direction", "components.second=-1.5", "--rows", "1-3")
    status, rows, printed = run(embedded, "--suite", with_directions, *moves)
    assert status == 0
    assert "age.boundary +2; components.second -1.5" in printed.out
    found = load_suite(with_directions).directions
    age, second = found["age"].vectors[0, 0], found["components"].vectors[1, 0]
    for row in rows.values():
        before = load_file(embedded / "latents" / f"{row['id']}.safetensors")["w_plus"]
        after = load_file(tmp_path / "edited" / row["latents"])["w_plus"]
        wanted = before.copy()
        wanted[1:4] += 2 * age - 1.5 * 0.5 * second
        np.testing.assert_allclose(after, wanted, atol=1e-5)  # float32
        assert (tmp_path / "edited" / row["edited"]).is_file()
        assert row["edits"] == {}
    status, _, printed = run(embedded, "--suite", with_directions, "--direction", "age=3")
    assert status == 2
    assert "asked.moves" in printed.err  # other settings than the folder was begun with


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        (("--direction", "age"), "expected such as age.boundary=2"),
        (("--direction", "age=old"), "expected such as age.boundary=2"),
        (("--direction", "agee=1"), "the suite has directions age, components, latent"),
        (("--direction", "age.bound=1"), "did you mean 'boundary'"),
        (("--direction", "components=1"), "say which: first, second"),
        (("--direction", "latent=1"), "directions in z"),
        (("--direction", "age=1", "--rows", "3-1"), "expected such as 0-3"),
        (("--direction", "age=1", "--rows", "0-6"), "expected rows in 0..5"),
        (("--yaw", 3, "--rows", "0-2"), "--rows requires --direction"),
    ],
)
def test_directions_that_cannot_be_are_refused(run, embedded, with_directions, moves, words):
    status, _, printed = run(embedded, "--suite", with_directions, *moves)
    assert status == 2
    assert words in printed.err


def test_a_suite_without_directions_says_so(run, embedded):
    status, _, printed = run(embedded, "--direction", "age=1")
    assert status == 2
    assert "no direction_<name>" in printed.err


def test_a_sequence_is_written_as_gif(run, embedded, tmp_path):
    latents = embedded / "latents" / "in" / "a.png.safetensors"
    status, rows, _ = run(latents, "--yaw", 20, "--frames", 4, "--seconds", 0.6)
    assert status == 0
    assert rows["in/a.png"]["sequence"] == ["sequences/in/a.png.gif"]
    with Image.open(tmp_path / "edited" / "sequences" / "in" / "a.png.gif") as gif:
        assert gif.size == (256, 256)  # by a whole factor
        # There and back; Pillow joins frames that are equal, as those of random networks may be.
        durations = [gif.info["duration"] for each in range(gif.n_frames) if gif.seek(each) is None]
        assert sum(durations) == 1200


def test_mp4_without_its_package_is_told_at_once(run, embedded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, printed = run(embedded, "--yaw", 20, "--frames", 4, "--mp4")
    assert status == 2
    assert "jaxface[video]" in printed.err
    assert printed.err.splitlines()[-1].startswith("jaxface: error: MP4")
    assert not (tmp_path / "edited").exists()


def test_mp4(tmp_path):
    av = pytest.importorskip("av")
    from jaxface.media.video import encode_mp4

    ramp = np.linspace(-1, 1, 8, dtype=np.float32)[:, None, None, None]
    data = encode_mp4(np.broadcast_to(ramp, (8, 32, 48, 3)), seconds=0.5)
    (tmp_path / "a.mp4").write_bytes(data)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 16
    levels = [frame.mean() for frame in frames]
    # H.264 keeps limited-range colours: a level or two of 255.
    np.testing.assert_allclose(levels, np.linspace(0, 255, 8), atol=3)
    with pytest.raises(ValueError, match="even"):
        encode_mp4(np.zeros((2, 31, 32, 3)), seconds=1)


def test_bad_embeddings_of_a_folder_have_their_rows(run, embedded, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(embedded, folder)
    latents = folder / "latents" / "in"
    (latents / "a.png.safetensors").write_bytes(b"not a latent")
    (latents / "b.png.safetensors").unlink()
    status, rows, printed = run(folder, "--yaw", 5)
    assert status == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "in/a.png": "not_an_embedding",
        "in/b.png": "unreadable",
        "in/c.png": "ok",
    }
    assert all(row["reason"] for row in rows.values() if row["status"] != "ok")
    assert "1 of 3 edited" in printed.out
    save_file({"w_plus": np.zeros((4, 32), np.float32)}, latents / "a.png.safetensors")
    status, rows, _ = run(folder, "--yaw", 5, "--retry-failed")
    assert status == 1
    assert "takes [6, 32]" in rows["in/a.png"]["reason"]


def test_tuned_weights_that_cannot_be_used_have_their_rows(run, embedded, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(embedded, folder)
    (folder / "damaged.safetensors").write_bytes(b"no weights")
    other = {"generator": "of somebody else"}
    save_file({"x": np.zeros(1)}, folder / "foreign.safetensors", metadata=other)
    weights = {"in/a.png": "damaged.safetensors", "in/b.png": "foreign.safetensors"}
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    rows = [json.dumps(row | {"weights": weights.get(row["id"])}) for row in rows]
    (folder / "results.jsonl").write_text("\n".join([*rows, ""]))
    status, rows, printed = run(folder, "--yaw", 5)
    assert status == 1
    assert {name: row["status"] for name, row in rows.items()} == {
        "in/a.png": "unreadable",
        "in/b.png": "not_an_embedding",
        "in/c.png": "ok",
    }
    assert "damaged.safetensors: not a readable" in rows["in/a.png"]["reason"]
    assert "was tuned from another generator" in rows["in/b.png"]["reason"]
    assert "1 of 3 edited" in printed.out
    assert (tmp_path / "edited" / "contact_sheet.png").is_file()


def test_an_edit_that_is_not_finite_has_its_row(run, embedded, tmp_path, monkeypatch):
    def first_is_lost(*arguments, **options):
        edit = apply_together(*arguments, **options)
        return edit.replace(w_plus=edit.w_plus.at[0].set(jnp.nan))

    apply_together = edit_program.apply_together
    monkeypatch.setattr(edit_program, "apply_together", first_is_lost)
    status, rows, _ = run(embedded, "--yaw", 5)
    assert status == 1
    # Three embeddings in batches of two.
    assert [row["status"] for row in rows.values()] == ["not_finite", "ok", "not_finite"]
    assert not (tmp_path / "edited" / "edits" / "in" / "a.png.png").exists()


def test_the_same_command_again_redoes_nothing(run, embedded, tmp_path, monkeypatch):
    call = (embedded, "--yaw", 5)
    assert run(*call)[0] == 0
    before = (tmp_path / "edited" / "results.jsonl").read_bytes()

    def forbidden(*_, **__):
        raise AssertionError("an embedding was edited again")

    monkeypatch.setattr(pie, "edit_groups", forbidden)
    assert run(*call)[0] == 0
    assert (tmp_path / "edited" / "results.jsonl").read_bytes() == before
    status, _, printed = run(embedded, "--yaw", 6)
    assert status == 2
    assert "asked.yaw was 5.0 and is now 6.0" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no edit given"),
        (["--yaw", "far"], "--yaw"),
        (["--yaw", "nan"], "--yaw"),
        (["--strength", "0.5"], "requires --light"),
        (["--light", "behind"], "the lights are left, right"),
        (["--light", "left", "--strength", "2"], "0 to 1"),
        (["--like", "absent.png"], "go together"),
        (["--group", "pose"], "go together"),
        (["--like", "absent.png", "--group", "pose"], "absent.png"),
        (["--yaw", "3", "--like", "absent.png", "--group", "pose"], "both edit the pose"),
        (["--light", "left", "--relative"], "--relative requires"),
        (["--yaw", "3", "--feedback", "-1"], "--feedback"),
        (["--yaw", "3", "--frames", "1"], "--frames"),
        (["--yaw", "3", "--seconds", "1"], "requires --frames"),
        (["--yaw", "3", "--suite", "no-such"], "no-such"),
        (["--smiel", "3"], "--smiel"),
    ],
)
def test_wrong_calls_end_with_one_line_and_status_2(run, embedded, tmp_path, arguments, message):
    status, _, printed = run(embedded / "latents" / "in" / "a.png.safetensors", *arguments)
    assert status == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "edited").exists()


def test_another_generator_of_the_same_name_is_not_taken_for_the_first(
    run, embedded, suite_folder, tmp_path
):
    generator = suite_folder / "generator.safetensors"
    before = generator.read_bytes()
    changed = load_network(generator)
    changed.synthesis.blocks[0].to_rgb.bias[...] += 0.1
    try:
        save_network(generator, changed)
        status, _, printed = run(embedded, "--yaw", 3)
        assert status == 2
        assert "made with another generator than the suite" in printed.err
        assert run(embedded, "--yaw", 3, "--suite", suite_folder)[0] == 0
    finally:
        generator.write_bytes(before)
    # What was edited with the other one names that.
    status, _, printed = run(tmp_path / "edited", "--yaw", 3, out="again")
    assert status == 2
    assert "made with another generator than the suite" in printed.err


def test_what_is_no_embedding_is_told(run, embedded, tmp_path):
    picture = embedded.parent / "in" / "a.png"
    for argument, message in (
        (tmp_path / "absent", "no such file"),
        (picture, "no safetensors file"),
        (picture.parent, "has no results.jsonl"),
        (embedded.parent / "out", "holds the embeddings"),
    ):
        out = embedded if message == "holds the embeddings" else "edited"
        status, _, printed = run(argument, "--yaw", 3, out=out)
        assert status == 2
        assert message in printed.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (["--yaw", 200], "--yaw 200: generators learn from portraits within -60 to 60"),
        (["--pitch", -31], "--pitch -31"),
        (["--roll", 16, "--relative"], "--roll 16"),
        (["--brow-raise", 4.5], "--brow-raise 4.5"),
    ],
)
def test_targets_beyond_reach_are_refused(run, embedded, tmp_path, target, words):
    latents = embedded / "latents" / "in" / "a.png.safetensors"
    status, _, printed = run(latents, *target)
    assert status == 2
    assert words in printed.err
    assert printed.err.splitlines()[-1].endswith("--force")
    assert not (tmp_path / "edited").exists()


def test_missed_targets_are_told_and_force_tries_any(run, embedded, tmp_path):
    """The networks are of random weights: they reach nothing. A light and a reference count too."""
    reference = embedded.parent / "in" / "b.png"
    edits = ["--yaw", -80, "--light", "left", "--like", reference, "--group", "expression"]
    status, rows, printed = run(embedded, *edits, "--force", "--feedback", 0)
    assert status == 0
    assert "3 of 3 edited, 3 missed their targets" in printed.out
    assert "light left 0.8" in printed.out
    assert "expression like b.png" in printed.out
    for row in rows.values():
        yaw, expression, light = row["notes"]
        wanted, after = (np.rad2deg(row["edits"]["pose"][when][1]) for when in ("wanted", "after"))
        assert yaw == f"missed yaw by {abs(wanted - after):.1f}, more than 5"
        assert expression.startswith("missed the expression: ")
        assert light.startswith("missed the illumination: ")


def test_a_wrong_suite_is_one_error(run, embedded, tiny_suite, tmp_path):
    for latents in (embedded, embedded / "latents" / "in" / "a.png.safetensors"):
        status, _, printed = run(latents, "--yaw", 3, "--suite", "embedded")
        assert status == 2
        assert printed.err.splitlines()[-1] == (
            "jaxface: error: --suite embedded: the embeddings are [6, 32], and its generator takes "
            "[10, 512]; name the suite that they were made with"
        )
        assert not (tmp_path / "edited").exists()


@pytest.mark.slow
def test_a_merged_job_in_shards_is_edited_as_it_is(run, embedded, suite_folder, tmp_path, capsys):
    """The same edits as of a job in one piece."""
    shards = tmp_path / "shards"
    options = ["--suite", suite_folder, "--set", "w_steps=0", "--set", "w_plus_steps=2"]
    call = ["invert", embedded.parent / "in", "--out", shards, "--batch-size", 3, *options]
    assert main([*map(str, call), "--shard-size", "2"]) == 1
    edit = ("--yaw", 5)
    status, _, printed = run(shards, *edit)
    assert status == 2
    assert "jaxface merge" in printed.err
    assert main(["merge", str(shards)]) == 1
    status, rows, printed = run(shards, *edit)
    assert status == 0
    assert "3 of 3 edited" in printed.out
    _, whole, _ = run(embedded, *edit, out="whole")
    assert rows.keys() == whole.keys()
    for name, row in rows.items():
        assert (row["psnr"], row["key"]) == (
            pytest.approx(whole[name]["psnr"], abs=1e-3),
            whole[name]["key"],
        )
        files = tmp_path / "edited" / row["latents"], tmp_path / "whole" / whole[name]["latents"]
        ours, theirs = (load_file(path)["w_plus"] for path in files)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
