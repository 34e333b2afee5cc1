"""A run whose recipe has a merit ends with the networks of its best evaluation."""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.data.pipelines import ArraySource, batches
from jaxface.nets import LatentDirections
from jaxface.nets.edits.linear_directions import DirectionsConfig
from jaxface.training.experiment import Experiment, run_experiment
from jaxface.training.loop import Phase
from jaxface.training.recipe import single_stage_recipe
from jaxface.weights import load_network, read_header


@dataclasses.dataclass(frozen=True)
class Numbers:
    classes: ClassVar = {}

    def batches(self, size, fields, *, seed):
        source = ArraySource({"x": np.ones((8, 1), np.float32)})
        return batches(source, batch_size=size, seed=seed, fields=fields)

    def held_out(self):
        return {"x": np.ones((2, 1), np.float32)}


@dataclasses.dataclass(frozen=True)
class Climb:
    """A parameter grows by one a step; it is best at three."""

    steps: int = 6
    batch_size: int = 8
    microbatches: int = 1
    by_merit: bool = True

    @property
    def trains(self):
        return "direction_toy"

    def recipe(self, *, key, networks, held_out):
        del key, networks, held_out
        network = LatentDirections(DirectionsConfig(("toy",), dim=3), rngs=nnx.Rngs(0))

        def step(state, constants, batch, key):
            return add(state, batch["x"].mean()), {"loss": jnp.zeros(())}

        recipe = single_stage_recipe(
            self,
            Phase("climb", step),
            network,
            fields=("x",),
            parameters=network,
            finished=lambda state: state,
            score=lambda state: {"height": height(state)},
        )
        merit = (lambda scores: -abs(scores["height"] - 3)) if self.by_merit else None
        return dataclasses.replace(recipe, merit=merit)


def add(network, value):
    copy = jax.tree.map(lambda leaf: leaf, network)
    copy.mean[...] = copy.mean[...] + value
    return copy


def height(network):
    return float(np.asarray(network.mean[...])[0])


def experiment(**changes):
    return Experiment(Climb(**changes), Numbers(), log_every=1, eval_every=1, checkpoint_every=2)


def test_the_best_networks_are_the_result(tmp_path):
    found = run_experiment(experiment(), tmp_path)
    assert height(found["direction_toy"]) == 3
    path = tmp_path / "direction_toy.safetensors"
    assert height(load_network(path)) == 3
    assert read_header(path)["steps"] == "3"
    row = json.loads((tmp_path / "best" / "best.json").read_text())
    assert row == {"step": 3, "merit": 0, "height": 3}


def test_a_merit_that_is_no_number_is_in_nobodys_way(tmp_path, monkeypatch):
    climb = Climb.recipe

    def undecided(self, **options):
        recipe = climb(self, **options)
        merit = recipe.merit
        assert merit is not None
        later = lambda scores: merit(scores) if scores["height"] > 1 else float("nan")  # noqa: E731
        return dataclasses.replace(recipe, merit=later)

    monkeypatch.setattr(Climb, "recipe", undecided)
    assert height(run_experiment(experiment(), tmp_path)["direction_toy"]) == 3


def test_without_a_merit_the_last_ones_are(tmp_path):
    found = run_experiment(experiment(by_merit=False), tmp_path)
    assert height(found["direction_toy"]) == 6
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("stop", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_a_stopped_run_knows_the_best(stop, tmp_path, monkeypatch):
    """Stopped before the best evaluation or after it: the end is the same."""
    climb = Climb.recipe

    def stopping(self, **options):
        recipe = climb(self, **options)
        score = recipe.score

        def scored(state):
            if height(state) == stop + 1:
                raise KeyboardInterrupt
            return score(state)

        return dataclasses.replace(recipe, score=scored)

    monkeypatch.setattr(Climb, "recipe", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment(), tmp_path)
    monkeypatch.setattr(Climb, "recipe", climb)
    found = run_experiment(experiment(), tmp_path)
    assert height(found["direction_toy"]) == 3
