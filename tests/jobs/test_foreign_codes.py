"""Codes by their images' names, and ids in files that are no names."""

from fractions import Fraction

import numpy as np
import pytest
import safetensors.numpy

from jaxface.errors import UsageError
from jaxface.jobs.driven_task import frames_of
from jaxface.jobs.inputs.drivers import Driver
from jaxface.jobs.inputs.driving import DrivingCodes
from jaxface.jobs.inputs.foreign_latents import read_codes
from jaxface.jobs.inputs.latents import find_latents


def test_arrays_by_the_names_of_images(tmp_path):
    code = np.ones((3, 8), np.float32)
    np.savez(tmp_path / "codes.npz", **{"anna.png": code, "ben.jpg": 2 * code})
    codes = dict(read_codes(tmp_path / "codes.npz"))
    assert codes.keys() == {"#anna", "#ben"}
    np.testing.assert_array_equal(codes["#ben"], 2 * code)


def test_every_code_of_a_file_is_a_subject_of_its_own(tmp_path):
    codes = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((3, 8), np.float32)
    np.save(tmp_path / "codes.npy", codes)
    subjects = find_latents([str(tmp_path / "codes.npy")]).items
    assert len({item.path for item in subjects}) == 3
    values = {"rotation": np.zeros((1, 3), np.float32)}
    driver = Driver("still", "still.png", (Fraction(0),), Fraction(0), values)
    driving = DrivingCodes(driver, (3,), "digest")
    frames = frames_of(subjects, driving, "hold")
    assert [frames.wanted[item.id].subject for item in subjects] == [0, 1, 2]


@pytest.mark.parametrize("item_id", ["", "a\0b", "../a", "/a"])
def test_ids_that_are_no_names_are_refused(item_id, tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w_plus": np.ones((3, 8), np.float32)}, path, {"id": item_id})
    with pytest.raises(UsageError, match="no relative path"):
        find_latents([str(path)])
