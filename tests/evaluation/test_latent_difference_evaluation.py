"""The Latent Difference Encoder's evaluation: rows, what is reached, and the whole on tiny nets."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.evaluation import latent_difference as evaluation
from jaxface.evaluation import latent_difference_report as reports
from jaxface.evaluation import latent_difference_wishes as wishes
from jaxface.nets import (
    EncoderConfig,
    IRSEConfig,
    LandmarkConfig,
    LatentDifferenceConfig,
    ReconstructionConfig,
)
from jaxface.suite import load_suite
from jaxface.weights import save_network

BODY = {"channels": (2, 2, 4, 4), "units": (1, 1, 1, 1), "reduction": None}
RECOGNITION = IRSEConfig(
    **BODY, embedding_dim=5, resolution=16, portrait_size=16, crop=(0, 16, 0, 16)
)


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    folder = tmp_path_factory.mktemp("latent_difference") / "suite"
    shutil.copytree(tiny_suite, folder)
    made = {
        "reconstruction": ("FaceReconstruction", ReconstructionConfig(16, (4, 4), 8)),
        "landmarks": ("LandmarkNet", LandmarkConfig(16, (2, 3))),
        "recognition": ("IRSE", RECOGNITION),
        "encoder": ("E4EEncoder", EncoderConfig(**BODY, num_ws=6, w_dim=32, resolution=32)),
        "latent_difference": (
            "LatentDifferenceEncoder",
            LatentDifferenceConfig(16, 4, 6, 6, 32, landmark_features=8, latent_features=4),
        ),
    }
    for role, (name, config) in made.items():
        network = random_network(name, config)
        for _, module in nnx.iter_modules(network):
            if hasattr(module, "variance"):
                module.variance[...] = abs(module.variance[...]) + 0.5
        if role == "reconstruction":
            network.out.weight[...] = 1e-4 * network.out.weight[...]
            network.scale[...] = jnp.full(257, 0.1)
            network.mean[...] = jnp.zeros(257)
        save_network(folder / f"{role}.safetensors", network)
    return folder


def test_rows_are_what_networks_there_are(suite, tmp_path):
    loaded = load_suite(suite)
    assert list(evaluation.row_suites(loaded, None)) == ["embedding", "suite", "perfect"]
    shutil.copy(suite / "latent_difference.safetensors", tmp_path)
    found = evaluation.row_suites(loaded, f"naive={tmp_path}")
    assert list(found) == ["embedding", "naive", "suite", "perfect"]
    assert found["naive"].files["encoder"].parent == suite
    with pytest.raises(UsageError, match="did you mean 'naive'"):
        evaluation.row_suites(loaded, f"naiv={tmp_path}")
    with pytest.raises(UsageError, match="name its folder"):
        evaluation.row_suites(loaded, "naive=")


def row(**values):
    found = dict.fromkeys(("fid_reconstruction", "fid_manipulation", "hausdorff", "csim"), 1.0)
    return found | {"hausdorff_failed": 0.0} | values


def true_row(**values):
    names = ("landmarks", "rotation", "identity", "csim", "perceptual", "psnr")
    wishes = ("taken", "own")
    return {f"{name}_{wish}": 1.0 for name in names for wish in wishes} | values


def test_what_is_reached_and_the_report(suite):
    found = {
        "table": {
            "naive": row(csim=0.2, fid_manipulation=3.0),
            "latent_cycle": row(csim=0.5, fid_manipulation=2.0),
            "suite": row(),
        },
        "table_true": {"suite": true_row(landmarks_own=2.0, identity_own=0.8)},
        "encoders": {"encoder": {"l2": 0.1}},
    }
    held = [held for *_, held in reports.reached(found)]
    assert held == [True, False, True, True, True]
    text = reports.latent_difference_report(load_suite(suite), found, {"pose": "x"}, 4)
    assert "Not measured, since no networks were given: GAN-Embedding;" in text
    assert "| Naive Enc. | 1.000 (60.2) | 3.000 (81.3) | 1.000 (0.221) | 0.200 (0.263) |" in text


def test_hands_open_mouths_and_raise_brows():
    points = np.random.default_rng(0).uniform(0, 64, (68, 2))
    found = wishes.edited_by_hand(points)
    opened, raised = found["mouth opened"], found["brow raised"]
    assert (opened[[57, 66, 8], 1] > points[[57, 66, 8], 1]).all()
    np.testing.assert_array_equal(opened[17:48], points[17:48])
    assert (raised[17:22, 1] < points[17:22, 1]).all()
    np.testing.assert_array_equal(raised[22:], points[22:])
    own, height = wishes.spread(points[None]), np.ptp(points[:, 1])
    apart = {name: wishes.spread(each[None])[name] - own[name] for name, each in found.items()}
    assert apart["mouth opened"] == pytest.approx(wishes.OPENED * height)
    assert apart["brow raised"] == pytest.approx(wishes.RAISED * height)


@pytest.mark.slow
def test_the_command_measures_and_goes_on(suite, tmp_path):
    out = tmp_path / "report"
    call = ["evaluate", "latent_difference", "--suite", suite, "--out", out, "--portraits", 17]
    call = [str(each) for each in call]
    assert main(call) == 0
    document = json.loads((out / "latent_difference.json").read_text())
    assert list(document["table"]) == ["embedding", "suite", "perfect"]
    perfect = document["table_true"]["perfect"]
    assert perfect["csim_own"] == pytest.approx(1, abs=1e-4)
    assert perfect["psnr_own"] == pytest.approx(66)  # the rotation is read by random weights
    assert perfect["perceptual_own"] == pytest.approx(0, abs=1e-5)
    assert document["table"]["perfect"]["fid_reconstruction"] == pytest.approx(0, abs=1e-3)
    for name, each in document["table_true"].items():
        assert np.isfinite(list(each.values())).all(), name
    assert np.isfinite(list(document["by_hand"].values())).all()
    assert document["wishes"]["own"] > 0
    assert "## Edited by hand" in (out / "latent_difference.md").read_text()
    for name in ("latent_difference.png", "redrawn.png", "encoders.png"):
        assert (out / name).is_file()
    stamps = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.npz")}
    assert len(stamps) == 4
    assert main(call) == 0  # nothing is done again
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
