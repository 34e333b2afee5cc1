"""Latent codes of other tools are embeddings, and their shapes are checked against the suite."""

import pickle

import numpy as np
import pytest
from pickle_writer import dumps, torch_zip

from jaxface.errors import UsageError
from jaxface.jobs.inputs.latent_survey import survey_latents
from jaxface.jobs.inputs.latents import LatentError, find_latents, read_latent

SHAPE = (6, 8)
CODE = np.random.RandomState(0).standard_normal(SHAPE).astype(np.float32)


def npy(path, array):
    with open(path, "wb") as file:
        np.save(file, array)


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 1, 6, 8)])
def test_a_code_of_w_plus_in_every_format(shape, tmp_path):
    array = CODE.reshape(shape)
    npy(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", w=array)
    (tmp_path / "c.pt").write_bytes(torch_zip({"latent": array, "step": 3}))
    (tmp_path / "d.pt").write_bytes(dumps({"face.png": {"latent": array}}))
    for name, item_id in (("a.npy", "a"), ("b.npz", "b"), ("c.pt", "c"), ("d.pt", "d#face")):
        (item,) = find_latents([str(tmp_path / name)]).items
        assert item.id == item_id
        latent = read_latent(item, SHAPE)
        np.testing.assert_array_equal(latent.w_plus, CODE)
        assert latent.noise == "const"
        with pytest.raises(UsageError, match="say with --suite"):
            survey_latents([item]).suite()


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 1, 8)])
def test_a_code_of_w_goes_to_every_row(shape, tmp_path):
    npy(tmp_path / "w.npy", CODE[0].reshape(shape))
    (item,) = find_latents([str(tmp_path / "w.npy")]).items
    np.testing.assert_array_equal(read_latent(item, SHAPE).w_plus, np.broadcast_to(CODE[0], SHAPE))


def test_several_codes_of_a_file_have_numbers(tmp_path):
    npy(tmp_path / "many.npy", np.stack([CODE, 2 * CODE]))
    items = find_latents([str(tmp_path / "many.npy")]).items
    assert [item.id for item in items] == ["many#1", "many#2"]
    np.testing.assert_array_equal(read_latent(items[1], SHAPE).w_plus, 2 * CODE)


@pytest.mark.parametrize("array", [np.zeros((5, 8)), np.zeros((6, 7)), np.full(SHAPE, np.nan)])
def test_codes_of_another_generator_are_refused_in_their_rows(array, tmp_path):
    npy(tmp_path / "x.npy", array)
    (item,) = find_latents([str(tmp_path / "x.npy")]).items
    with pytest.raises(LatentError, match="w_plus"):
        read_latent(item, SHAPE)


def test_what_holds_no_code_is_one_line(tmp_path):
    npy(tmp_path / "text.npy", np.array(["a"]))
    npy(tmp_path / "image.npy", np.zeros((2, 3, 4, 5)))
    (tmp_path / "none.pt").write_bytes(torch_zip({"weights": CODE, "other": CODE}))
    (tmp_path / "run.pt").write_bytes(pickle.dumps(print))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for name in ("text.npy", "image.npy", "none.pt", "run.pt", "cut.npz"):
        with pytest.raises(UsageError) as raised:
            find_latents([str(tmp_path / name)])
        assert "\n" not in str(raised.value)
