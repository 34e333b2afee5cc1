"""Renders from worker processes: which batch comes when, what is asked for, and the same items."""

from concurrent.futures import Future

import jax
import numpy as np
import pytest

from jaxface.data import sources
from jaxface.data.endless_renders import DELAY, RenderedAhead
from jaxface.data.scene_items import SceneError, numbered_items
from jaxface.training.experiment import Experiment, _identity
from tests.training.test_toy_method import toy_class

OPTIONS = {"batch_size": 32, "seed": 3, "fields": ("image", "factors"), "version": "3.0.0"}


class Counted(RenderedAhead):
    """Batches that hold their number, and are there at once."""

    def __init__(self, **options):
        super().__init__(16, **OPTIONS | options)
        self.asked = []

    def _submit(self, number):
        self.asked.append(number)
        future = Future()
        future.set_result({"number": np.array(number)})
        return future


def numbers(data, count):
    return [int(next(data)["number"]) for _ in range(count)]


def test_each_once_is_in_order():
    data = Counted()
    assert numbers(data, 5) == [0, 1, 2, 3, 4]
    assert len(data._batches) <= DELAY + 2


def test_each_comes_as_often_as_is_said():
    data = Counted(uses=3)
    steps = 3 * 5 * DELAY
    got = numbers(data, steps)
    settled = range(2 * DELAY, 3 * DELAY)
    assert all(got.count(number) == 3 for number in settled)
    assert got[:3] == [2 * DELAY, DELAY, 0]
    assert sorted(data.asked) == sorted(set(data.asked))  # nothing is rendered twice
    assert len(data._batches) <= 3 * DELAY + 4
    # From then on one new batch in three steps.
    assert len(data.asked) <= 5 * DELAY + 3 * DELAY


@pytest.mark.parametrize("uses", [1, 3])
def test_goes_on_from_any_step(uses):
    data = Counted(uses=uses)
    numbers(data, 50)
    position, expected = data.get_state(), numbers(data, 20)
    other = Counted(uses=uses)
    numbers(other, 2)
    other.set_state(position)
    assert numbers(other, 20) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 16}, "positive multiple of 32"),
        ({"uses": 0}, "got 0 and 1"),
        ({"workers": 0}, "got 1 and 0"),
    ],
)
def test_refuses_what_cannot_be(changes, words):
    with pytest.raises(SceneError, match=words):
        Counted(**changes)


def test_a_run_may_go_on_with_other_workers():
    def identity(**changes):
        data = sources.EndlessRenders(16, **changes)
        return _identity(Experiment(method=toy_class("rate"), data=data))

    assert identity(workers=4) == identity()
    assert identity(uses=2) != identity()
    assert identity(version="2.0.0") != identity()


@pytest.mark.slow  # a process starts and compiles the renderer
def test_a_worker_renders_the_same_items():
    source = sources.EndlessRenders(16, num_test=40, seed=3)
    data = source.batches(64, OPTIONS["fields"], seed=0)
    next(data)
    batch = next(data)
    expected = numbered_items(3, "train", 64, 64, 16, version="3.0.0")
    assert set(batch) == {"image", "factors"}
    for name, value in batch.items():
        np.testing.assert_array_equal(value, expected[name])
    held_out = source.held_out()
    assert held_out["image"].shape == (40, 16, 16, 3)
    assert held_out["boxes"].shape == (40, 3, 4)
    live = sources.LiveRenders(16, seed=3, version="3.0.0").batches(32, ("factors",), seed=0)
    np.testing.assert_array_equal(
        jax.device_get(next(live)["factors"]),
        numbered_items(3, "train", 0, 32, 16, version="3.0.0")["factors"],
    )
    data.close()
