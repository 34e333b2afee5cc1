"""Codes by their images' names, and ids in files that are no names."""

import numpy as np
import pytest
import safetensors.numpy

from jaxface.errors import UsageError
from jaxface.jobs.inputs.foreign_latents import read_codes
from jaxface.jobs.inputs.latents import find_latents


def test_arrays_by_the_names_of_images(tmp_path):
    code = np.ones((3, 8), np.float32)
    np.savez(tmp_path / "codes.npz", **{"anna.png": code, "ben.jpg": 2 * code})
    codes = dict(read_codes(tmp_path / "codes.npz"))
    assert codes.keys() == {"#anna", "#ben"}
    np.testing.assert_array_equal(codes["#ben"], 2 * code)


@pytest.mark.parametrize("item_id", ["", "a\0b", "../a", "/a"])
def test_ids_that_are_no_names_are_refused(item_id, tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"w_plus": np.ones((3, 8), np.float32)}, path, {"id": item_id})
    with pytest.raises(UsageError, match="no relative path"):
        find_latents([str(path)])
