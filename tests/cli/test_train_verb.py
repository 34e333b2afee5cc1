"""`jaxface train`: a configuration file in, networks out; what is refused."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxface.cli
from jaxface.errors import UsageError
from jaxface.settings import apply_overrides
from jaxface.training import experiment
from jaxface.training.experiment import load_experiment
from jaxface.training.loop import Hook
from jaxface.weights import load_network, read_header

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
        method=RegressionSettings(generator, (Stage(8, 2, 8), Stage(16, 2, 8)), num_factors=9),
        data=RenderedPortraits(16, num_train=32, num_test=8),
        log_every=1, checkpoint_every=2, eval_every=2,
    )
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One whole run: (folder, configuration, printed words, arguments)."""
    folder = tmp_path_factory.mktemp("train")
    config = folder / "tiny.py"
    config.write_text(CONFIG)
    arguments = ["train", "generator", "--config", str(config), "--out", str(folder / "run")]
    arguments += ["--set", f"data.directory={folder / 'data'}"]
    assert jaxface.cli.main(arguments) == 0
    return folder, config, arguments


@pytest.mark.slow
def test_writes_networks_metrics_and_pictures(run):
    folder, _, _ = run
    network = load_network(folder / "run" / "generator.safetensors")
    assert network.resolution == 16
    header = read_header(folder / "run" / "generator.safetensors")
    assert header["method"] == "RegressionSettings"
    assert header["steps"] == "4"
    rows = [json.loads(row) for row in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    names = set().union(*rows)
    assert {"regression_8/loss", "regression_16/psnr", "held_out/psnr"} <= names
    assert sorted(path.name for path in (folder / "run" / "samples").iterdir()) == [
        "00000002.png",
        "00000004.png",
    ]


@pytest.mark.slow
def test_resumes_and_refuses_to_begin_twice(run, capsys):
    folder, _, arguments = run
    before = load_network(folder / "run" / "generator.safetensors").synthesis.blocks[2]
    assert jaxface.cli.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    # Only the first stage's checkpoint is left, as in a run stopped there.
    shutil.rmtree(folder / "run" / "checkpoints" / "4")
    assert jaxface.cli.main([*arguments, "--resume"]) == 0
    after = load_network(folder / "run" / "generator.safetensors").synthesis.blocks[2]
    assert np.array_equal(before.conv0.weight[...], after.conv0.weight[...])
    assert jaxface.cli.main([*arguments, "--resume", "--set", "method.beta1=0.5"]) == 2
    assert "beta1" in capsys.readouterr().err


@pytest.mark.slow
def test_begins_with_the_networks_of_another_run(run, capsys):
    """Live renders this time, and one step at a rate of 0: the weights stay what they were."""
    folder, config, _ = run
    live = folder / "live.py"
    live.write_text(
        config.read_text()
        .replace("RenderedPortraits(16, num_train=32, num_test=8)", "LiveRenders(16, num_test=8)")
        .replace("RenderedPortraits", "LiveRenders")
        .replace("(Stage(8, 2, 8), Stage(16, 2, 8))", "(Stage(16, 1, 8),)")
    )
    out = folder / "second"
    call = ["train", "generator", "--config", str(live), "--out", str(out)]
    call += ["--set", "method.learning_rate=0.0", "--begin"]
    assert jaxface.cli.main([*call, str(folder / "run")]) == 0
    before, after = (
        jax.tree.leaves(load_network(path / "generator.safetensors").synthesis)
        for path in (folder / "run", out)
    )
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert jaxface.cli.main([*call, str(folder), "--out", str(folder / "third")]) == 2
    assert "no networks" in capsys.readouterr().err
    assert jaxface.cli.main([*call, str(folder / "run"), "--resume"]) == 2
    assert "one of them" in capsys.readouterr().err


def test_a_call_that_cannot_begin_leaves_no_folder(tmp_path, capsys):
    config, begin, out = tmp_path / "live.py", tmp_path / "begin", tmp_path / "out"
    config.write_text(
        CONFIG.replace(
            "RenderedPortraits(16, num_train=32, num_test=8)", "LiveRenders(16)"
        ).replace("RenderedPortraits", "LiveRenders")
    )
    begin.mkdir()
    (begin / "generator.safetensors").write_bytes(b"damaged")
    call = ["train", "--config", str(config), "--out", str(out), "--set", "data.num_test=0"]
    assert jaxface.cli.main([*call, "--begin", str(begin)]) == 2
    assert "generator.safetensors" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("begin", [True, False])
def test_begin_is_remembered_when_the_run_is_ready(tmp_path, monkeypatch, begin):
    """And that of a call before, which got no further, is forgotten."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    other, out = tmp_path / "other", tmp_path / "out"
    for folder in (other, out):
        folder.mkdir()
    (other / "generator.safetensors").touch()
    (out / "begin.txt").write_text("of before")

    def run_experiment(experiment, directory, *, profile, ready):
        assert (out / "begin.txt").read_text() == "of before"
        ready()
        return {}

    monkeypatch.setattr(experiment, "run_experiment", run_experiment)
    call = ["train", "--config", str(tmp_path / "tiny.py"), "--out", str(out)]
    assert jaxface.cli.main([*call, "--begin", str(other)] if begin else call) == 0
    told = out / "begin.txt"
    assert told.read_text() == str(other) if begin else not told.exists()


@pytest.mark.slow
def test_a_stopped_run_leaves_its_networks(run, monkeypatch):
    folder, _, arguments = run

    def stop_after_the_second(*_):
        def stop(step, state):
            # The last step of the first stage: the second must not begin.
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        return [Hook("stop", 1, stop)]

    monkeypatch.setattr(experiment, "_hooks", stop_after_the_second)
    out = folder / "stopped"
    with pytest.raises(SystemExit) as stopped:
        jaxface.cli.main([*arguments, "--out", str(out)])
    assert stopped.value.code == 143
    assert read_header(out / "generator.safetensors")["steps"] == "2"
    assert load_network(out / "generator.safetensors").resolution == 16


@pytest.mark.slow
def test_a_begun_run_resumes_and_passes_over_a_damaged_checkpoint(run, capsys):
    """Its folder knows what it began with, and the numbers are those of before."""
    folder, _, arguments = run
    out = folder / "begun"
    call = [*arguments, "--out", str(out)]
    assert jaxface.cli.main([*call, "--begin", str(folder / "run")]) == 0
    network = out / "generator.safetensors"
    before, numbers = read_header(network), load_file(network)
    for path in (out / "checkpoints" / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged")
    capsys.readouterr()
    assert jaxface.cli.main([*call, "--resume"]) == 0
    assert "step 4 is damaged" in (told := capsys.readouterr().err)
    assert "Resumed from step 2." in told
    assert read_header(network) == before
    for name, array in load_file(network).items():
        np.testing.assert_array_equal(array, numbers[name], err_msg=name)
    (out / "begin.txt").write_text(str(folder / "gone"))
    assert jaxface.cli.main([*call, "--resume"]) == 2
    assert "gone: no networks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("method.learning_rat=1", "'learning_rate'"),
        ("method.stages.2.steps=1", "tuple has no '2'"),
        ("method.learning_rate=fast", "expected float"),
        ("method.num_factors=301", "factors"),
        ("method.learning_rate", "NAME=VALUE"),
        ("seed.x=1", "nothing can be set"),
        ("method.stages={{}}", "expected"),
    ],
)
def test_overrides_are_checked(tmp_path, change, words):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    with pytest.raises(UsageError, match=words):
        apply_overrides(load_experiment(path), [change])


def test_overrides_reach_everything(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    changed = apply_overrides(
        load_experiment(path),
        [
            "seed=3",
            "method.learning_rate=1",
            "method.stages.1.steps=9",
            "method.stages.0.reconstruction.perceptual_weights={'conv1_1': 1.0}",
            "method.stages.0.reconstruction.perceptual_weights.conv1_1=2.0",
            "networks={'perceptual': 'x'}",
            "data.directory=/some where",
        ],
    )
    assert changed.seed == 3
    assert changed.method.learning_rate == 1.0
    assert isinstance(changed.method.learning_rate, float)
    assert [stage.steps for stage in changed.method.stages] == [2, 9]
    assert changed.method.stages[0].reconstruction.perceptual_weights == {"conv1_1": 2.0}
    assert changed.networks == {"perceptual": "x"}
    assert changed.data.directory == "/some where"


def test_a_batch_size_is_that_of_every_stage(tmp_path, monkeypatch, capsys):
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    ran = []
    monkeypatch.setattr(experiment, "run_experiment", lambda each, *_, **__: ran.append(each) or {})
    call = ["train", "--config", str(path), "--out", str(tmp_path / "run"), "--batch-size"]
    assert jaxface.cli.main([*call, "16"]) == 0
    assert [stage.batch_size for stage in ran[0].method.stages] == [16, 16]
    assert jaxface.cli.main([*call, "0"]) == 2
    assert "--batch-size: expected at least 1, got 0" in capsys.readouterr().err


def test_what_is_no_experiment_is_refused(tmp_path, capsys):
    path = tmp_path / "empty.py"
    path.write_text("get_config = dict")
    call = ["train", "generator", "--out", str(tmp_path / "run"), "--config"]
    assert jaxface.cli.main([*call, str(path)]) == 2
    assert "get_config" in capsys.readouterr().err
    assert jaxface.cli.main([*call, str(tmp_path / "none.py")]) == 2
    assert "no such" in capsys.readouterr().err
    path.write_text(CONFIG)
    assert jaxface.cli.main(["train", "perceptual", "--config", str(path)]) == 2
    assert "trains generator (RegressionSettings)" in capsys.readouterr().err
    path.write_text(CONFIG.replace("RegressionSettings(generator, ", "dict(x=generator, y="))
    assert jaxface.cli.main([*call, str(path)]) == 2
    assert "dict trains no network" in capsys.readouterr().err
