"""`jaxface edit` by landmarks: of a file, of another portrait, and what is refused."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from safetensors.numpy import load_file

from jaxface.cli import main
from jaxface.nets import (
    EncoderConfig,
    LandmarkConfig,
    LatentDifferenceConfig,
    ReconstructionConfig,
)
from jaxface.weights import save_network

NETWORK = LatentDifferenceConfig(16, 4, 6, 6, 32, landmark_features=8, latent_features=4)
ENCODER = EncoderConfig((4, 4, 6, 8), (1, 1, 1, 1), 2, 6, 32, resolution=32, style_channels=5)


def finite(network):
    """The network with variances that are some."""
    for _, module in nnx.iter_modules(network):
        if hasattr(module, "variance"):
            module.variance[...] = abs(module.variance[...]) + 0.5
    return network


@pytest.fixture(scope="module")
def suite_folder(tiny_suite, random_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("landmarks") / "suite"
    shutil.copytree(tiny_suite, folder)
    reader = random_network("FaceReconstruction", ReconstructionConfig(16, (4, 4), 8))
    reader.scale[...] = jnp.full(257, 0.1)
    reader.out.weight[...] = 1e-4 * reader.out.weight[...]
    for role, network in (
        ("encoder", random_network("E4EEncoder", ENCODER)),
        ("reconstruction", reader),
        ("landmarks", random_network("LandmarkNet", LandmarkConfig(16, (4, 4)))),
        ("latent_difference", random_network("LatentDifferenceEncoder", NETWORK)),
    ):
        save_network(folder / f"{role}.safetensors", finite(network))
    return folder


@pytest.fixture(scope="module")
def embedded(suite_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "in").mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC)
        image.save(folder / "in" / name)
    call = ["invert", folder / "in", "--out", folder / "out", "--preset", "e4e"]
    assert main([str(each) for each in (*call, "--suite", suite_folder)]) == 0
    return folder


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.csv"
    np.savetxt(path, np.random.default_rng(0).uniform(0, 32, (68, 2)), delimiter=",")
    return path


def edited(embedded, out, *arguments):
    call = ["edit", embedded / "out", "--out", out, "--batch-size", 2, *arguments]
    status = main([str(each) for each in call])
    rows = (out / "results.jsonl").read_text().splitlines() if status == 0 else []
    return status, {row["id"]: row for row in map(json.loads, rows)}


@pytest.mark.slow
def test_portraits_are_redrawn_by_a_file_and_by_another(embedded, points, tmp_path, capsys):
    status, rows = edited(
        embedded, tmp_path / "file", "--landmarks", points, "--landmarks-size", 32
    )
    assert status == 0
    assert "landmarks of points.csv" in capsys.readouterr().out
    first = next(iter(rows))
    wanted = rows[first]["edits"]["landmarks"]["wanted"]
    np.testing.assert_allclose(wanted, np.loadtxt(points, delimiter=",").ravel() / 32, atol=1e-5)
    codes = {}
    for name, options in (("own", ()), ("taken", ("--proportions", "taken"))):
        like = ("--like", embedded / "in" / "b.png", "--group", "landmarks")
        status, rows = edited(embedded, tmp_path / name, *like, *options)
        assert status == 0
        codes[name] = load_file(tmp_path / name / rows[first]["latents"])["w_plus"]
        assert (tmp_path / name / rows[first]["edited"]).is_file()
    assert np.abs(codes["own"] - codes["taken"]).max() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--landmarks", "missing.csv"], "cannot be read"),
        (["--landmarks-size", "32", "--yaw", "3"], "--landmarks-size requires --landmarks"),
        (["--proportions", "own", "--yaw", "3"], "--proportions requires --landmarks"),
        (["--landmarks", "x.csv", "--proportions", "own"], "the other face is not known"),
        (["--landmarks", "x.csv", "--landmarks-size", "0"], "expected more than 0"),
    ],
)
def test_wrong_calls_end_with_one_line(embedded, tmp_path, capsys, options, words):
    assert edited(embedded, tmp_path / "out", *options)[0] == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
