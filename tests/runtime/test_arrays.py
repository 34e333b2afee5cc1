import re

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.runtime.arrays import read_array, read_arrays


@pytest.fixture(name="paths")
def stored(tmp_path):
    one, several = tmp_path / "one.npy", tmp_path / "several.npz"
    np.save(one, np.arange(100))
    np.savez_compressed(several, a=np.arange(100), b=np.ones(3))
    return one, several


def test_what_was_written_is_read(paths):
    for mapped in (False, True):
        np.testing.assert_array_equal(read_array(paths[0], mapped=mapped), np.arange(100))
    assert sorted(read_arrays(paths[1])) == ["a", "b"]


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    place = data.index(b"a.npy") + 40
    return (
        data[:place] + bytes(255 - byte for byte in data[place : place + 40]) + data[place + 40 :]
    )


@pytest.mark.parametrize("damage", [cut, lambda data: b"", lambda data: b"nothing of NumPy's"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_damaged_file_is_told_by_name(paths, place, damage):
    path = paths[place]
    path.write_bytes(damage(path.read_bytes()))
    said = re.escape(f"{path}: damaged (")
    if place:
        with pytest.raises(UsageError, match=rf"{said}.+\); remove it, and it is made anew"):
            read_arrays(path)
    for mapped in (False, True):
        with pytest.raises(UsageError, match=rf"{said}.+\); remove all of it, and it is made"):
            read_array(path, mapped=mapped, remove="all of it")


def test_other_damages(paths):
    one, several = paths
    open_tuple = one.with_name("open.npy")
    open_tuple.write_bytes(one.read_bytes().replace(b"(100,)", b"(100, "))
    with pytest.raises(UsageError, match=r"open\.npy: damaged"):
        read_array(open_tuple)
    several.write_bytes(flipped(several.read_bytes()))
    with pytest.raises(UsageError, match=r"several\.npz: damaged"):
        read_arrays(several)
    with pytest.raises(UsageError, match="one array, expected several"):
        read_arrays(one)
    with pytest.raises(UsageError, match=r"absent\.npy: damaged .No such file"):
        read_array(one.with_name("absent.npy"))
