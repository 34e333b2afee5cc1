"""Data sources: what they give without rendering a data set; the verbs' tests render small ones."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxface.data import sources
from jaxface.data.latent_items import key_data
from jaxface.data.pipelines import DataError
from jaxface.errors import UsageError
from jaxface.methods.arcface import ArcFaceSettings
from jaxface.nets import IRSEConfig
from jaxface.training.recipe import ChecksData


def test_latents_are_keys_of_their_own_seed():
    source = sources.Latents(num_test=3, seed=5)
    batch = next(source.batches(4, ("key",), seed=1))
    np.testing.assert_array_equal(batch["key"], key_data(5, "train", np.arange(4)))
    np.testing.assert_array_equal(source.held_out()["key"], key_data(5, "test", np.arange(3)))
    assert dataclasses.replace(source, num_test=0).held_out() is None
    with pytest.raises(UsageError, match="Latents has keys, the method needs image"):
        source.batches(4, ("image",), seed=0)


def test_a_folder_of_images(tmp_path):
    source = sources.ImageFolder(str(tmp_path), 16)
    with pytest.raises(DataError, match="no images"):
        source.held_out()
    Image.fromarray(np.full((18, 24, 3), 50, np.uint8)).save(tmp_path / "a.png")
    assert source.held_out() is None
    batch = next(source.batches(2, ("image",), seed=0))
    assert {name: array.shape for name, array in batch.items()} == {"image": (2, 16, 16, 3)}


def test_a_missing_data_set_is_told_before_training(tmp_path):
    with pytest.raises(DataError, match="no TFDS data set here"):
        sources.PreparedDataset(str(tmp_path)).held_out()


def test_every_field_is_held_out_but_text():
    items = [{"clip": np.full((2, 3), i), "name": "x", "id": i} for i in range(4)]
    first = sources._first(items, 3)
    assert sorted(first) == ["clip", "id"]
    assert first["clip"].shape == (3, 2, 3)
    assert len(sources._first(items)["id"]) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sources.IdentityPortraits(16, num_identities=5), None),
        (sources.PreparedDataset("somewhere"), None),
        (sources.IdentityPortraits(16, num_identities=4), "data.num_identities is 4"),
        (sources.RenderedPortraits(16), "RenderedPortraits has nobody twice"),
        (sources.LiveRenders(16), "LiveRenders has nobody twice"),
        (sources.ImageFolder("somewhere", 16), "ImageFolder has nobody twice"),
        (sources.Latents(), "Latents has nobody twice"),
    ],
)
def test_a_method_of_labels_checks_its_data(data, message):
    settings = ArcFaceSettings(IRSEConfig(), num_identities=5, steps=1)
    assert isinstance(settings, ChecksData)
    if message is None:
        settings.check_data(data)
        return
    with pytest.raises(UsageError, match=message):
        settings.check_data(data)
