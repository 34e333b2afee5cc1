"""A method that is one settings class in a module of its own: no table names it or its data."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxface.cli
from jaxface.data.pipelines import ArraySource, batches
from jaxface.data.sources import RenderedPortraits
from jaxface.errors import UsageError
from jaxface.methods.encoder_training import EncoderSettings
from jaxface.methods.mofa import MoFASettings
from jaxface.methods.rignet import RigNetSettings
from jaxface.methods.scene_regression import RegressionSettings, Stage
from jaxface.nets import GeneratorConfig, InDomainConfig, ReconstructionConfig, RigNet, RigNetConfig
from jaxface.training import averaged, experiment
from jaxface.training.checkpoints import CheckpointError
from jaxface.training.experiment import Experiment, run_experiment, split_role
from jaxface.training.loop import Phase
from jaxface.training.recipe import ChecksData, Trainable, single_stage_recipe
from jaxface.weights import load_network


@dataclasses.dataclass(frozen=True)
class ToySettings:
    """The network is to add one to every number."""

    steps: int = 4
    batch_size: int = 8
    microbatches: int = 1
    rate: float = 0.1

    @property
    def trains(self):
        return "toy"

    def recipe(self, *, key, networks, held_out):
        optimizer = optax.sgd(self.rate)
        config = RigNetConfig("pose", num_ws=2, w_dim=4, hidden=2)
        network = networks.get("toy") or RigNet(config, rngs=nnx.Rngs(key))

        def loss(network, w):
            return jnp.mean(jnp.square(network(w, jnp.ones((len(w), 6))) - w - 1.0)), None

        def step(state, constants, batch, key):
            state, value, _ = averaged.train_step(
                state, loss, batch["w"], optimizer=optimizer, half_life=16.0
            )
            return state, {"loss": value}

        return single_stage_recipe(
            self,
            Phase("toy", step),
            averaged.init_state(network, optimizer),
            fields=("w",),
            parameters=network,
            finished=lambda state: state.average,
            score=lambda state: {"loss": float(loss(state.average, held_out["w"])[0])},
        )


@dataclasses.dataclass(frozen=True)
class ToyData:
    """Vectors from a seed."""

    path: str = "anywhere"
    seed: int = 0

    @property
    def classes(self):
        return {}

    def batches(self, size, fields, *, seed):
        source = ArraySource({"w": self._vectors(64)})
        return batches(source, batch_size=size, seed=seed, fields=fields)

    def held_out(self):
        return {"w": self._vectors(4)}

    def _vectors(self, count):
        return np.random.default_rng(self.seed).normal(size=(count, 2, 4)).astype(np.float32)


class Unscored(ToyData):
    """Holds out another field than the method's."""

    def held_out(self):
        return {"x": self._vectors(4)}


def toy_experiment(**changes):
    values = {"method": ToySettings(), "data": ToyData(), "log_every": 1, "checkpoint_every": 2}
    return Experiment(**(values | changes))


def rows_of(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_settings_are_trainable():
    assert isinstance(ToySettings(), Trainable)
    assert not isinstance(ToySettings(), ChecksData)
    assert not isinstance({}, Trainable)


def test_run_experiment_trains_it(tmp_path):
    networks = run_experiment(toy_experiment(), tmp_path)
    assert list(networks) == ["toy"]
    assert (tmp_path / "toy.safetensors").stat().st_mode & 0o777 == 0o644
    written = load_network(tmp_path / "toy.safetensors")
    for got, expected in zip(
        jax.tree.leaves(written), jax.tree.leaves(networks["toy"]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    rows = rows_of(tmp_path)
    assert rows[-1]["toy/loss"] < rows[0]["toy/loss"]
    assert rows[-1]["held_out/loss"] > 0
    # Resumed, it is done already; files may lie elsewhere by now.
    again = run_experiment(toy_experiment(data=ToyData(path="elsewhere")), tmp_path)
    np.testing.assert_array_equal(
        jax.tree.leaves(again["toy"])[0], jax.tree.leaves(networks["toy"])[0]
    )
    with pytest.raises(UsageError, match="Unscored holds out no field 'w'"):
        run_experiment(toy_experiment(data=Unscored()), tmp_path / "unscored")
    with pytest.raises(CheckpointError, match="seed"):
        run_experiment(toy_experiment(data=ToyData(seed=1)), tmp_path)


CONFIG = """
from jaxface.training.experiment import Experiment
from tests.training.test_toy_method import ToyData, ToySettings


def get_config():
    return Experiment(method=ToySettings(), data=ToyData(), log_every=1, checkpoint_every=2)
"""


def test_the_verb_trains_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    call = ["train", "--config", "small.py"]
    assert jaxface.cli.main([*call, "--set", "method.rate=0.2"]) == 0
    assert capsys.readouterr().out.splitlines() == ["runs/small/toy.safetensors"]
    assert jaxface.cli.main([*call, "--out", "second", "--begin", "runs/small"]) == 0
    first, second = (rows_of(tmp_path / run) for run in ("runs/small", "second"))
    assert second[0]["toy/loss"] < first[0]["toy/loss"]
    for name, status in (("toy", 0), ("generator", 2)):
        out = ["--out", name, "--set", "method.steps=1"]
        assert jaxface.cli.main(["train", name, *call[1:], *out]) == status
    assert "the configuration trains toy (ToySettings)" in capsys.readouterr().err


def test_a_role_of_a_family_has_two_names():
    assert split_role("rignet_pose") == ("rignet", "pose")
    assert split_role("generator") == ("generator", None)
    assert split_role("toy") == ("toy", None)
    method = RigNetSettings(group="pose", steps=1)
    for name in ("rignet", "rignet_pose"):
        experiment.check_name(name, method)
    second = EncoderSettings("in_domain", InDomainConfig(), steps=1)
    for name in ("encoder", "in_domain_encoder"):  # a second encoder is an encoder
        experiment.check_name(name, second)
    with pytest.raises(UsageError, match="trains rignet_pose"):
        experiment.check_name("rignet_expression", method)


def toy_class(name, **metadata):
    """`ToySettings` whose rate has another name."""
    field = dataclasses.field(default=0.1, metadata=metadata)
    base = dataclasses.make_dataclass(
        "ToySettings",
        [("steps", int, 4), ("batch_size", int, 8), ("microbatches", int, 1), (name, float, field)],
        namespace={"trains": ToySettings.trains, "recipe": ToySettings.recipe}
        | ({} if name == "rate" else {"rate": property(lambda self: getattr(self, name))}),
        frozen=True,
    )
    return base()


def test_a_run_of_an_earlier_version_resumes(tmp_path, monkeypatch):
    whole = run_experiment(toy_experiment(), tmp_path / "whole")["toy"]
    identity = experiment._identity
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_identity", lambda e: identity(e) | {"train": "toy"})
        old = toy_experiment(method=toy_class("rate"))
        run_experiment(old, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    with pytest.raises(CheckpointError, match="rate"):
        run_experiment(toy_experiment(method=toy_class("speed")), tmp_path / "run")
    renamed = toy_experiment(method=toy_class("speed", formerly="rate"))
    network = run_experiment(renamed, tmp_path / "run")["toy"]
    for got, expected in zip(jax.tree.leaves(network), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (MoFASettings(network=ReconstructionConfig(), steps=1), "reconstruction"),
        (RigNetSettings(group="pose", steps=1), "rignet"),
    ],
)
def test_the_occlusion_threshold_is_known_by_its_former_name(method, name):
    now = Experiment(method=method, data=ToyData())
    identity = experiment._identity(now)
    settings = {
        {"occlusion_threshold_init": "occluded_first"}.get(key, key): value
        for key, value in identity["settings"].items()
    }
    assert "occluded_first" in settings
    stored = identity | {"settings": settings, "train": name}
    assert experiment._upgrade(stored, now) == identity


def test_settings_that_are_new_have_had_their_defaults():
    """A run of before they were resumes where they are as they were then, nested ones too."""
    stages = (Stage(4, 1), Stage(8, 2))
    generator = GeneratorConfig(8, z_dim=6, w_dim=4)
    now = Experiment(
        method=RegressionSettings(generator=generator, stages=stages, num_factors=5),
        data=RenderedPortraits(16),
    )
    identity = experiment._identity(now)
    stored = json.loads(json.dumps(identity))
    del stored["data"]["version"]
    del stored["settings"]["generator"]["residual_blocks"]
    for stage in stored["settings"]["stages"]:
        del stage["reconstruction"]["feature_weight"]
    assert experiment._upgrade(stored, now) == identity
    other = dataclasses.replace(now, data=RenderedPortraits(16, version="3.0.0"))
    assert experiment._upgrade(stored, other) != experiment._identity(other)
