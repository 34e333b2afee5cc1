"""`jaxface edit` with a suite for photographs, of random weights: motion, and pasting back."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxface.cli import demo, edit, invert, main
from jaxface.media.alignment import CropTransform
from jaxface.media.images import read_image
from jaxface.media.pasting import paste_mask
from jaxface.nets import (
    BlendshapesConfig,
    CanonicalFaceConfig,
    FaceDetectorConfig,
    FaceMeshConfig,
    MobileGeneratorConfig,
)
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.weights import save_network

GENERATOR = MobileGeneratorConfig(
    resolution=16, z_dim=8, w_dim=8, mapping_layers=1, channel_base=64, channel_max=8
)
NETWORKS = {
    "generator": ("MobileGenerator", GENERATOR),
    "face_detector": (
        "FaceDetector",
        FaceDetectorConfig(input_size=16, stem=4, channels=(4, 6, 8), strided=(1, 2)),
    ),
    "face_mesh": (
        "FaceMesh",
        FaceMeshConfig(input_size=16, channels=(4, 8), down_channels=(4,), blocks=1),
    ),
    "blendshapes": ("Blendshapes", BlendshapesConfig(5, 4, 6, 7, 1)),
    "canonical_face": ("CanonicalFace", CanonicalFaceConfig()),
}
CROP = CropTransform((20.0, 18.0), (9.0, 1.0), 16, (48, 40))


@pytest.fixture(scope="module")
def suite(tmp_path_factory, random_network):
    folder = tmp_path_factory.mktemp("photo") / "suite"
    folder.mkdir()
    for role, (name, config) in NETWORKS.items():
        save_network(folder / f"{role}.safetensors", random_network(name, config))
    directions = directions_of(("yaw", "smile"), jnp.eye(8)[:2], units=jnp.array([1e-3, 1e-3]))
    save_network(folder / "direction_motion.safetensors", directions)
    return folder


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """Latents of a face that was cut out of a photograph, and of one that was not."""
    folder = tmp_path_factory.mktemp("embeddings")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photograph.png")
    w_plus = random.normal(size=(GENERATOR.num_ws, 8)).astype(np.float32)
    header = {"id": "face", "path": str(folder / "photograph.png"), "settings.noise": "const"}
    crop = {"transform": json.dumps(CROP.to_json())}
    save_file({"w_plus": w_plus}, folder / "face.safetensors", header | crop)
    save_file({"w_plus": w_plus}, folder / "aligned.safetensors", header | {"id": "aligned"})
    return folder


@pytest.fixture(scope="module")
def edited(suite, embeddings, tmp_path_factory):
    out = tmp_path_factory.mktemp("edited") / "out"
    options = ["--suite", suite, "--out", out, "--batch-size", 1, "--feedback", 0]
    wanted = ["--yaw", 15, "--smile", 0.5, "--paste-back"]
    names = [embeddings / "face.safetensors", embeddings / "aligned.safetensors"]
    status = main([str(each) for each in ["edit", *names, *options, *wanted]])
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return status, {row["id"]: row for row in rows}, out


def test_angles_and_expressions_move_along_the_directions_of_motion(edited, embeddings):
    _, rows, out = edited
    motion = rows["face"]["edits"]["motion"]
    assert motion["wanted"] == [15.0, 0.5]
    before = load_file(embeddings / "face.safetensors")["w_plus"]
    moved = load_file(out / rows["face"]["latents"])["w_plus"] - before
    step = 1e-3 * (np.array(motion["wanted"]) - np.array(motion["before"]))
    np.testing.assert_allclose(moved[:, :2], np.tile(step, (len(moved), 1)), atol=1e-5)
    np.testing.assert_array_equal(moved[:, 2:], 0)
    assert rows["face"]["settings"] | {"yaw": 15.0, "smile": 0.5} == rows["face"]["settings"]


def test_the_edit_is_put_back_into_the_photograph(edited, embeddings):
    _, rows, out = edited
    row = rows["face"]
    pasted = read_image(out / row["pasted"]).pixels
    photograph = read_image(embeddings / "photograph.png").pixels
    outside = paste_mask(CROP) == 0
    np.testing.assert_array_equal(pasted[outside], photograph[outside])
    assert np.abs(pasted - photograph)[~outside].mean() > 0.1


def test_what_has_no_photograph_is_told(edited):
    status, rows, _ = edited
    assert status == 1
    assert rows["aligned"]["status"] == "no_photograph"
    assert "invert it with --align" in rows["aligned"]["reason"]
    assert rows["aligned"]["pasted"] is None


def test_a_motion_without_direction_is_refused(suite, embeddings, tmp_path, capsys):
    call = ["edit", embeddings / "face.safetensors", "--suite", suite, "--out", tmp_path / "out"]
    assert main([str(each) for each in [*call, "--cheek-puff", 1]]) == 2
    assert "no direction of cheek_puff" in capsys.readouterr().err


def test_there_are_two_rounds_of_feedback_or_as_many_as_asked_for(
    suite, embeddings, tmp_path, monkeypatch
):
    rounds = []
    run = lambda self, items, editing, *_, **__: rounds.append(editing.feedback) or 0  # noqa: E731
    monkeypatch.setattr(edit.JobCall, "run", run)
    call = [
        "edit",
        embeddings / "face.safetensors",
        "--suite",
        suite,
        "--out",
        tmp_path,
        "--yaw",
        5,
    ]
    for more in ([], ["--feedback", 1], ["--feedback", 0]):
        assert main([str(each) for each in [*call, *more]]) == 0
    assert rounds == [2, 1, 0]


def test_the_demo_shows_photographs_edits_and_pasting(suite, tmp_path, monkeypatch):
    calls = []

    def run(arguments, rows):
        calls.append(arguments)
        out = Path(arguments.out)
        out.mkdir(parents=True)
        Image.new("RGB", (32, 32), "teal").save(out / "aligned.png")
        Image.new("RGB", (48, 64), "navy").save(out / "whole.png")
        (out / "results.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return 0

    def inverted(arguments):
        kept = {"reconstruction": "aligned.png"}
        return run(arguments, [{"id": path, "path": path, **kept} for path in arguments.inputs])

    def edited(arguments):
        first, second = calls[0].inputs
        files = {"edited": "aligned.png", "pasted": "whole.png", "identity_distance": 0.1}
        failed = {"id": second, "status": "no_photograph"}
        return run(arguments, [{"id": first, "status": "ok", **files}, failed])

    monkeypatch.setattr(invert, "run", inverted)
    monkeypatch.setattr(edit, "run", edited)
    assert main(["demo", "--suite", str(suite), "--out", str(tmp_path / "demo")]) == 0
    inversion, turning, editing = calls
    assert [path.rsplit("/", 1)[1] for path in inversion.inputs] == [
        "eileen_collins.jpg",
        "grace_hopper.jpg",
    ]
    assert (inversion.align, inversion.preset) == (True, "photo_fast")
    assert editing.embeddings == [inversion.out]
    assert (turning.out, turning.suite) == (f"{inversion.out}/{demo.TURNED}", str(suite))
    assert (turning.yaw, turning.smile, turning.paste_back) == (12, None, False)
    assert (editing.out, editing.suite) == (f"{inversion.out}/{demo.EDITED}", str(suite))
    assert (editing.yaw, editing.smile, editing.paste_back) == (None, 0.6, True)
    side = demo.SHEET_SIDE
    with Image.open(tmp_path / "demo" / "contact_sheet.png") as sheet:
        colors = sheet.convert("RGB").getcolors(1 << 20)
    counts = {color: count for count, color in colors}
    # Both embeddings and one's two edits; one put back, narrower than it is high.
    assert counts[(0, 128, 128)] == 4 * side * side
    assert counts[(0, 0, 128)] == side * side * 3 // 4
