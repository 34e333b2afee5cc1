"""NumPy's files: what ``np.save`` and ``np.savez`` wrote comes out, and every way they break."""

import io

import numpy as np
import pytest

from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.refusal import Refusal

FLOATS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def read(data: bytes, folder):
    path = folder / "checkpoint"
    path.write_bytes(data)
    return read_checkpoint(path).root


def saved(value) -> bytes:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=True)
    return out.getvalue()


def zipped(save=np.savez, **arrays) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


ARRAYS = {
    "c": FLOATS,
    "fortran": np.asfortranarray(FLOATS),
    "big": FLOATS.astype(">f8"),
    "strided": FLOATS[:, ::2],
    "none": np.float64(0.25),
    "empty": np.zeros((0, 2), np.int64),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_survive(name, tmp_path):
    found = as_array(read(saved(ARRAYS[name]), tmp_path), where=name)
    assert found.dtype.isnative
    assert found.shape == ARRAYS[name].shape
    np.testing.assert_array_equal(found, ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_survive(save, tmp_path):
    found = read(zipped(save, **ARRAYS), tmp_path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(as_array(found[name], where=name), array)


def test_a_dictionary_that_stands_alone_survives(tmp_path):
    value = {"array": FLOATS, "text": "x", "nested": {"objects": np.array([1, None], object)}}
    found = read(saved(value), tmp_path)
    assert found["text"] == "x"
    np.testing.assert_array_equal(as_array(found["array"], where="array"), FLOATS)
    with pytest.raises(Refusal, match="an array of objects where numbers"):
        as_array(found["nested"]["objects"], where="objects")


def test_every_truncation_is_refused(tmp_path):
    for data in (saved(FLOATS), saved({"x": FLOATS})):
        for length in [*range(6, len(data), 7), len(data) - 1]:
            with pytest.raises(Refusal):
                read(data[:length], tmp_path)
    data = zipped(x=FLOATS)
    for length in [*range(1, len(data), 7), len(data) - 1]:
        with pytest.raises(Refusal):
            read(data[:length], tmp_path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x93NUMPY" + bytes(80), "damaged .npy file"),
        (b"\x93NUMPY\x01\x00\x0a\x00" + b"{'a': os}\n", "damaged .npy file"),
        (saved(np.array(["a", "b"])), "of type <U1"),
        (saved(np.zeros(2, "f4,i4")), "is not one that a checkpoint needs"),
        (saved(np.zeros(2, np.complex64)), "of type complex64"),
        (saved(np.array([None, 1], object)), r"objects of shape \(2,\)"),
        (saved(FLOATS)[:-4], "truncated .npy file.*24 x float32 needs 96 bytes, got 92"),
        (zipped(x=np.array("text")), r"x\.npy: .*of type <U4"),
    ],
)
def test_other_contents_are_refused_with_their_reason(data, reason, tmp_path):
    with pytest.raises(Refusal, match=reason) as refusal:
        read(data, tmp_path)
    assert "\n" not in str(refusal.value)
