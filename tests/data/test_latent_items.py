"""Keys of latents: every item its own, batches that resume exactly."""

import numpy as np
import pytest

from jaxface.data.latent_items import LatentError, LatentKeys, key_data


def test_batches_resume_exactly():
    data = LatentKeys(batch_size=4, seed=3)
    first, second = next(data)["key"], next(data)["key"]
    assert first.shape == (4, 2)
    assert first.dtype == np.uint32
    position = data.get_state()
    third = next(data)["key"]
    data.set_state(position)
    np.testing.assert_array_equal(next(data)["key"], third)
    items = np.concatenate([first, second, third])
    np.testing.assert_array_equal(items, key_data(3, "train", np.arange(12)))
    assert len(np.unique(items, axis=0)) == 12


def test_splits_and_seeds_differ():
    several = [key_data(0, "train", [0]), key_data(0, "test", [0]), key_data(1, "train", [0])]
    assert len(np.unique(np.concatenate(several), axis=0)) == 3


def test_refuses_an_empty_batch():
    with pytest.raises(LatentError, match="got 0"):
        LatentKeys(batch_size=0, seed=0)
