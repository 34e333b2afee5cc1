"""Transfer's evaluation: rows, means, what is reached, and the whole on tiny networks."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.evaluation import transfer as evaluation
from jaxface.evaluation import transfer_report as reports
from jaxface.evaluation.reenactment_protocol import Protocol
from jaxface.nets import (
    EncoderConfig,
    IRSEConfig,
    LandmarkConfig,
    ReconstructionConfig,
    TransferConfig,
)
from jaxface.suite import load_suite
from jaxface.weights import save_network

BODY = {"channels": (2, 2, 4, 4), "units": (1, 1, 1, 1), "reduction": None}


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    folder = tmp_path_factory.mktemp("transfer") / "suite"
    shutil.copytree(tiny_suite, folder)
    made = {
        "reconstruction": (
            "FaceReconstruction",
            ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8),
        ),
        "landmarks": ("LandmarkNet", LandmarkConfig(16, (2, 3))),
        "recognition": (
            "IRSE",
            IRSEConfig(
                **BODY, embedding_dim=5, resolution=16, portrait_size=16, crop=(0, 16, 0, 16)
            ),
        ),
        "encoder": ("E4EEncoder", EncoderConfig(**BODY, num_ws=6, w_dim=32, resolution=32)),
        "transfer": (
            "TransferNetwork",
            TransferConfig(**BODY, num_ws=6, w_dim=32, resolution=16, pool=1, hidden=8),
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
    assert list(evaluation.row_suites(loaded, None)) == ["base_e4e", "ours", "still", "perfect"]
    other = tmp_path / "gen"
    other.mkdir()
    for role in ("generator", "transfer"):
        shutil.copy(suite / f"{role}.safetensors", other)
    found = evaluation.row_suites(loaded, f"gen={other}")
    assert list(found) == ["base_e4e", "gen", "ours", "still", "perfect"]
    assert found["gen"].files["transfer"].parent == other
    assert found["gen"].files["encoder"].parent == suite
    with pytest.raises(UsageError, match="did you mean 'gen'"):
        evaluation.row_suites(loaded, f"gan={other}")
    with pytest.raises(UsageError, match="name its folder"):
        evaluation.row_suites(loaded, "gen=")


def row(**values):
    return {"pose_mae": 4.0, "fl": 0.5, "csim": 0.6, "fl_mouth": 0.5, "fl_clips": 2.0} | values


def true_row(rotation):
    return dict.fromkeys(("csim", *evaluation.TRUE), 1.0) | {"rotation": rotation}


def test_what_is_reached_and_the_report(suite):
    found = {
        "table1": {
            "base_e4e": row(),
            "ours": row(pose_mae=3.0, fl=0.63, csim=0.97),
            "still": {"pose_mae": 9.0, "csim": 1.0},
        },
        "table1_true": {
            "base_e4e": true_row(0.2),
            "ours": true_row(0.1),
            "still": true_row(0.21),
        },
        "speed": {"identity_seconds": 0.5, "frames_per_second": 24.0},
    }
    goals = reports.reached(found)
    assert [reports.holds(*goal[1:]) for goal in goals] == [True] * len(goals)
    assert goals[-1][1] == pytest.approx(5.5)
    slow = {**found, "speed": {"identity_seconds": 1.5, "frames_per_second": 24.0}}
    assert [reports.holds(*goal[1:]) for goal in reports.reached(slow)].count(False) == 1
    assert reports.reached({"table1": {}, "table1_true": {}}) == []
    text = reports.transfer_report(load_suite(suite), Protocol(2, 16), found, {"pose": "x"})
    assert "Not measured, since no networks were given: base, pSp; ours, Gen; ours, Cos" in text
    assert "| base, e4e | 4.000 (8.720) | 0.500 (0.621) | 0.600 (0.563) |" in text
    assert "| the target's inversion, undriven | 9.000 | - | 1.000 |" in text


@pytest.mark.slow
def test_the_command_measures_and_goes_on(suite, tmp_path, capsys):
    out = tmp_path / "report"
    call = ["evaluate", "transfer", "--suite", suite, "--out", out, "--persons", 2, "--frames", 12]
    call = [str(each) for each in call]
    assert main(call) == 0
    document = json.loads((out / "transfer.json").read_text())
    assert list(document["table1"]) == ["base_e4e", "ours", "still", "perfect"]
    assert document["table1"]["perfect"]["csim"] > 0
    assert document["table1_true"]["perfect"]["csim"] == pytest.approx(1, abs=1e-4)
    assert document["table1_true"]["perfect"]["rotation"] < 0.05
    assert document["table1_true"]["perfect"].pop("psnr") is None  # no error at all
    assert document["table1_true"]["still"]["rotation"] > 0.05
    for table in ("table1", "table1_true"):
        for name, each in document[table].items():
            assert np.isfinite(list(each.values())).all(), name
    assert document["speed"]["frames_per_second"] > 0
    assert (out / "transfer.png").is_file()
    stamps = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.npz")}
    assert len(stamps) == 4 * 2 + 1
    assert main(call) == 0  # nothing is done again
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    again = json.loads((out / "transfer.json").read_text())
    assert again["table1"] == document["table1"]
    assert main([*call[:-1], "13"]) == 2
    capsys.readouterr()
    assert main([*call, "--rows", f"base_psp={suite}"]) == 2
    assert "needs an encoder of the kind psp, got E4EEncoder" in capsys.readouterr().err
