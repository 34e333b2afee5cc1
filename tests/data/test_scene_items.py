"""Live portraits: the same items as the data set's, in order, resumable, split over processes."""

import jax
import numpy as np
import pytest

from jaxface.data.scene_items import LivePortraits, SceneError, item_keys, scene_items


def live(**changes):
    options = {"batch_size": 4, "seed": 3, "fields": ("image", "factors")} | changes
    return LivePortraits(32, **options)


def test_batches_are_the_items_in_order():
    data = live()
    batches = [jax.device_get(next(data)) for _ in range(2)]
    expected = jax.device_get(scene_items(item_keys(3, "train", np.arange(4, 8)), 32))
    assert set(batches[1]) == {"image", "factors"}
    assert batches[1]["image"].dtype == np.uint8
    np.testing.assert_array_equal(batches[1]["image"], expected["image"])
    np.testing.assert_array_equal(batches[1]["factors"], expected["factors"])
    assert not np.array_equal(batches[0]["factors"], batches[1]["factors"])


def test_goes_on_from_any_position():
    data = live()
    for _ in range(3):
        next(data)
    position = data.get_state()
    expected = jax.device_get(next(data))
    other = live()
    next(other)
    other.set_state(position)
    np.testing.assert_array_equal(jax.device_get(next(other))["image"], expected["image"])
    assert other.get_state() == data.get_state()


@pytest.mark.slow
def test_processes_share_a_batch(monkeypatch):
    whole = jax.device_get(next(live(fields=("factors",))))["factors"]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    halves = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        halves.append(jax.device_get(next(live(fields=("factors",))))["factors"])
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    with pytest.raises(SceneError, match="multiple of 2 processes"):
        live(batch_size=3)
