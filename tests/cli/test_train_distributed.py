"""`jaxface train --distributed`: two processes train what one does; what is refused."""

import json
import os
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxface.cli
from jaxface.data.sources import RenderedPortraits
from jaxface.errors import UsageError
from jaxface.weights import load_network

CONFIG = """
from jaxface.data.sources import RenderedPortraits
from jaxface.methods.scene_regression import RegressionSettings, Stage
from jaxface.nets import GeneratorConfig
from jaxface.training.experiment import Experiment


def get_config():
    generator = GeneratorConfig(
        16, channel_base=64, channel_max=8, mapping_layers=1, z_dim=300, w_dim=8
    )
    return Experiment(
        method=RegressionSettings(generator, (Stage(8, 4, 8),), num_factors=9),
        data=RenderedPortraits(16, num_train=32, num_test=8),
        log_every=1, checkpoint_every=2, eval_every=2,
    )
"""
PROGRAM = "import sys; from jaxface.cli import main; sys.exit(main(sys.argv[1:]))"


def rows_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timing = {"images_per_second", "data_wait", "compile_seconds"}
    return [{k: v for k, v in json.loads(line).items() if k not in timing} for line in lines]


def assert_same_network(one, other):
    one, other = (load_network(folder / "generator.safetensors") for folder in (one, other))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        # Devices sum a batch in another order; Adam divides tiny gradients by their size, which
        # makes a last bit a share of a step of 2.5e-3 / 200, the first of the warm-up.
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_one_goes_on(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(CONFIG)
    call = ["train", "generator", "--config", str(config)]
    call += ["--set", f"data.directory={tmp_path / 'data'}"]
    whole, both = tmp_path / "whole", tmp_path / "both"
    assert jaxface.cli.main([*call, "--out", str(whole)]) == 0

    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    joined = [*call, "--out", str(both), "--distributed", "--coordinator", address]
    # In microbatches, too, whose number is no setting of the run.
    joined += ["--set", "method.microbatches=2"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *joined, "--processes", "2", "--process", str(index)],
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        said = [process.communicate(timeout=1200) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], said
    assert [out.count("generator.safetensors") for out, _ in said] == [1, 0]
    assert_same_network(both, whole)
    assert [sorted(row) for row in rows_of(both)] == [sorted(row) for row in rows_of(whole)]
    for row, expected in zip(rows_of(both), rows_of(whole), strict=True):
        for name, value in row.items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-3)  # as the weights
    assert sorted(path.name for path in (both / "samples").iterdir()) == [
        "00000002.png",
        "00000004.png",
    ]
    # What two processes of two devices stored, one of eight goes on with.
    (both / "generator.safetensors").unlink()
    shutil.rmtree(both / "checkpoints" / "4")
    assert jaxface.cli.main([*call, "--out", str(both), "--resume"]) == 0
    assert_same_network(both, whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process", "0"], "requires --distributed"),
        (["--coordinator", "here:1234"], "requires --distributed"),
        (["--distributed", "--process", "0"], "belong together"),
        (["--distributed", "--coordinator", "here"], "expected HOST:PORT"),
    ],
)
def test_wrong_calls_end_with_one_line(tmp_path, flags, message, capsys):
    call = ["train", "generator", "--config", "absent.py", "--out", str(tmp_path / "run")]
    assert jaxface.cli.main([*call, *flags]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_without_a_launcher_it_must_be_told(tmp_path):
    call = ["train", "generator", "--config", "absent.py", "--out", str(tmp_path), "--distributed"]
    said = subprocess.run([sys.executable, "-c", PROGRAM, *call], capture_output=True, text=True)
    assert said.returncode == 2
    assert "or start under SLURM" in said.stderr.splitlines()[-1]


def test_several_processes_make_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match="make it first, with `jaxface data`"):
        RenderedPortraits(16, directory=str(tmp_path)).held_out()
