"""The embedded suite's own configurations, cut short: they run from the data to the networks."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import jaxface.cli
from jaxface.errors import UsageError
from jaxface.methods import latent_difference
from jaxface.suite import load_suite
from jaxface.training.experiment import Experiment, load_experiment
from jaxface.weights import load_network

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.py")), ids=lambda path: path.stem)
def test_a_configuration_is_an_experiment(path):
    experiment = load_experiment(path)
    assert isinstance(experiment, Experiment)
    assert "jaxface train" in path.read_text() or "train_in_chunks.sh" in path.read_text()


@pytest.mark.parametrize("row", [*latent_difference.ROWS, "code_form"])
def test_rows_of_a_table_are_variants_of_a_configuration(row):
    whole, found = (
        load_experiment(f"{CONFIGS}/embedded_latent_difference.py{variant}").method
        for variant in ("", f":{row}")
    )
    published = latent_difference.ROWS["latent_cycle" if row == "code_form" else row]
    assert found.network.width == whole.network.width
    assert type(found.network) is type(published.network)
    assert (found.cycle_space, found.direct) == (published.cycle_space, published.direct)
    assert getattr(found.network, "row_norms", False) == (row == "code_form")


def test_a_variant_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'naive'"):
        load_experiment(CONFIGS / "embedded_latent_difference.py:naiv")
    with pytest.raises(UsageError, match="has no variants, got 'x'"):
        load_experiment(CONFIGS / "embedded_64.py:x")
    with pytest.raises(UsageError, match="no such configuration file"):
        load_experiment(tmp_path / "none.py:x")


@pytest.mark.slow
def test_the_embedded_suite_trains(tmp_path):
    """About five minutes of two cores: features, then the generator's five stages."""

    def train(target: str, config: str, *changes: str) -> pathlib.Path:
        out = tmp_path / "runs" / config
        call = ["train", target, "--config", str(CONFIGS / f"{config}.py"), "--out", str(out)]
        data = {"directory": tmp_path / "data", "num_train": 4096, "num_test": 64}
        for change in (*changes, *(f"data.{name}={value}" for name, value in data.items())):
            call += ["--set", change]
        assert jaxface.cli.main(call) == 0
        return out / f"{target}.safetensors"

    features = train("perceptual", "embedded_perceptual", "method.steps=100")
    steps = [f"method.stages.{i}.steps={n}" for i, n in enumerate((300, 200, 200, 30, 30))]
    generator = train("generator", "embedded_64", *steps, f"networks.perceptual={features}")
    assert load_network(generator).resolution == 64
    rows = (generator.parent / "metrics.jsonl").read_text().splitlines()
    scores = [row["held_out/psnr"] for row in map(json.loads, rows) if "held_out/psnr" in row]
    # A grey image has 10 dB; a mean face on its backdrop's colour, 14.
    assert scores[-1] > 14
    assert len(list((generator.parent / "samples").iterdir())) >= 2


@pytest.mark.slow
def test_a_training_goes_on_in_chunks(tmp_path):
    """A chunk that its time ends, then one that ends by itself: two minutes of two cores."""
    carry = tmp_path / "carry"
    carry.mkdir()
    for role in ("generator", "perceptual"):
        shutil.copy(load_suite("embedded").files[role], carry)

    def chunk(seconds: int, *changes: str) -> np.ndarray:
        call = ["bash", str(CONFIGS / "train_in_chunks.sh"), "generator"]
        call += [str(CONFIGS / "embedded_64_live.py"), str(carry), str(seconds)]
        for change in ("method.stages.0.batch_size=2", "log_every=1", *changes):
            call += ["--set", change]
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(call, check=True, cwd=tmp_path, env={**os.environ, "PATH": path})
        assert {each.name for each in tmp_path.iterdir()} == {"carry"}
        assert sum(each.stat().st_size for each in carry.iterdir()) < 16e6
        return first_layer(load_network(carry / "generator.safetensors"))

    def first_layer(generator) -> np.ndarray:
        return np.asarray(generator.synthesis.blocks[0].const[...])

    before = first_layer(load_suite("embedded").generator)
    stopped = chunk(75)
    ended = chunk(300, "method.stages.0.steps=3", "method.decay_fraction=1.0")
    for first, second in ((before, stopped), (stopped, ended)):
        # It goes on from there: steps at the learning rate of 2e-3, and the average lags behind.
        assert 0 < np.abs(second - first).max() < 0.2
    rows = [json.loads(line) for line in (carry / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert rows[1]["step"] == 3


def _train(tmp_path, target: str, **changes) -> tuple[pathlib.Path, list[dict]]:
    """The network of a short run of an embedded configuration, and its rows of scores."""
    out = tmp_path / "runs" / target
    call = ["train", target, "--config", str(CONFIGS / f"embedded_{target}.py"), "--out", str(out)]
    changes["data.directory"] = tmp_path / "data"
    for name, value in changes.items():
        call += ["--set", f"{name.replace('__', '.')}={value}"]
    assert jaxface.cli.main(call) == 0
    rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    scores = [row for row in rows if any(name.startswith("held_out/") for name in row)]
    return out / f"{target}.safetensors", scores


@pytest.mark.slow
def test_the_embedded_recognition_trains(tmp_path):
    """A minute or two of two cores: 32 persons, 40 steps."""
    network, scores = _train(
        tmp_path,
        "recognition",
        data__num_identities=32,
        data__images_per_identity=8,
        data__num_test_identities=20,
        method__num_identities=32,
        method__steps=40,
        method__batch_size=32,
        method__folds=4,
        eval_every=40,
    )
    assert load_network(network).config.resolution == 48
    # Half of the pairs are right by chance, within a few percent of 450.
    assert scores[-1]["held_out/accuracy"] > 0.6


@pytest.mark.slow
def test_the_embedded_encoder_trains(tmp_path):
    """A minute or two of two cores: 64 portraits, 20 steps of each kind."""
    network, scores = _train(
        tmp_path,
        "encoder",
        data__num_train=64,
        data__num_test=32,
        method__latent_steps=20,
        method__steps=20,
        method__progressive_start=20,
        method__progressive_every=2,
        eval_every=20,
    )
    assert load_network(network).config.num_ws == 10
    # The generator's mean image, where it begins, has 16.
    assert scores[-1]["held_out/psnr"] > 15


@pytest.mark.slow
def test_the_embedded_landmarks_train(tmp_path):
    """A minute or two of two cores: 512 portraits, 60 steps."""
    network, scores = _train(
        tmp_path,
        "landmarks",
        data__num_train=512,
        data__num_test=32,
        method__steps=60,
        eval_every=60,
    )
    assert load_network(network).config.num_landmarks == 68
    # Every point in the image's centre is an error of 0.4.
    assert scores[-1]["held_out/nme_box"] < 0.2
