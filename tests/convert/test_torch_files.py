"""Tensors and arrays out of PyTorch's and NumPy's formats, and every way in which those break."""

import io
import pickle
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pickle_writer import (
    Call,
    Global,
    Persistent,
    dumps,
    pickled_parameter,
    pickled_tensor,
    torch_legacy,
    torch_stream,
    torch_zip,
)

from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.refusal import Refusal

FLOATS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def read(data: bytes, folder: Path):
    path = folder / "checkpoint"
    path.write_bytes(data)
    return read_checkpoint(path).root


def read_array(data: bytes, folder: Path) -> np.ndarray:
    return as_array(read(data, folder)["x"], where="x")


@pytest.mark.parametrize(
    "write",
    [
        torch_zip,
        torch_legacy,
        lambda value: dumps({key: pickled_tensor(array) for key, array in value.items()}),
        lambda value: dumps({key: pickled_parameter(array) for key, array in value.items()}),
        dumps,
    ],
    ids=["zip", "stream", "pickled tensor", "pickled parameter", "numpy"],
)
@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", "<i8"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (24,), (), (0, 3)])
def test_arrays_survive_every_format(write, dtype, shape, tmp_path):
    size = int(np.prod(shape))
    array = FLOATS.reshape(-1)[:size].reshape(shape).astype(dtype)
    found = read_array(write({"x": array}), tmp_path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_as_numpy_pickles_them(protocol, tmp_path):
    value = {
        "c": FLOATS,
        "fortran": np.asfortranarray(FLOATS),
        "big": FLOATS.astype(">f4"),
        "strided": FLOATS[:, ::2],
        "scalar": np.float64(0.25),
        "flag": np.bool_(True),
        "empty": np.zeros((0, 2), np.int64),
    }
    found = read(pickle.dumps(value, protocol), tmp_path)
    for key in ("c", "fortran", "big", "strided", "empty"):
        array = as_array(found[key], where=key)
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, value[key])
    assert found["scalar"] == 0.25
    assert found["flag"] is True


def _view(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], size: int = 24) -> bytes:
    storage_id = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", size))
    arguments = (storage_id, offset, shape, strides, False, {})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        tensor = Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)
        archive.writestr("a/data.pkl", dumps({"x": tensor}))
        archive.writestr("a/data/0", FLOATS.tobytes())
    return out.getvalue()


def test_strided_views_of_a_storage(tmp_path):
    found = read_array(_view(1, (3, 2), (1, 12)), tmp_path)
    np.testing.assert_array_equal(found, FLOATS.reshape(2, 12)[:, 1:4].T)
    found = read_array(_view(5, (4,), (0,)), tmp_path)
    np.testing.assert_array_equal(found, [5, 5, 5, 5])


@pytest.mark.parametrize(
    "view",
    [
        (0, (25,), (1,)),
        (20, (5,), (1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (2,), (-1,)),
        (0, (2**40,), (0,)),
        (0, (-2, -3), (1, 1)),
        (0, (2,), (1,), 25),
    ],
)
def test_views_that_leave_their_storage_are_refused(view, tmp_path):
    with pytest.raises(Refusal, match="tensor"):
        read_array(_view(*view), tmp_path)


def test_bfloat16_is_read(tmp_path):
    numbers = np.asarray([1.5, -2.0, 3.0], jnp.bfloat16)
    storage = Persistent(("storage", Global("torch", "BFloat16Storage"), "0", "cpu", 3, None))
    tensor = Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, 0, (3,), (1,), False, {}))
    found = read_array(torch_stream({"x": tensor}, {"0": numbers}), tmp_path)
    np.testing.assert_array_equal(found.astype(np.float32), [1.5, -2.0, 3.0])


@pytest.mark.parametrize("write", [torch_zip, torch_legacy], ids=["zip", "stream"])
def test_truncated_files_are_refused(write, tmp_path):
    data = write({"x": FLOATS})
    for length in [*range(1, len(data), 7), len(data) - 1]:
        with pytest.raises(Refusal):
            read_array(data[:length], tmp_path)


def test_a_call_hidden_in_a_storage_is_refused_by_name(tmp_path):
    attack = Call(Global("os", "system"), ("true",))
    inner = torch_stream(attack, {})
    outer = dumps({"x": Call(Global("torch.storage", "_load_from_bytes"), (inner,))})
    with pytest.raises(Refusal, match=r"asks to run os\.system"):
        read(outer, tmp_path)
    with pytest.raises(Refusal, match=r"asks to run os\.system"):
        read(torch_zip({"x": attack}), tmp_path)
    with pytest.raises(Refusal, match=r"asks to run os\.system"):
        read(torch_stream(attack, {}), tmp_path)


def _archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _tar() -> bytes:
    return b"pickle".ljust(257, b"\0") + b"ustar\x0000" + bytes(300)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>", "a web page, not a checkpoint"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a pointer of Git LFS",
        ),
        (_tar(), "tar file"),
        (_archive({"arr_0.txt": b"x"}), "torch.save did not write it"),
        (_archive({"a/data.pkl": dumps({}), "a/constants.pkl": b""}), "TorchScript.*vgg16-3979"),
        (_archive({"a/data.pkl": dumps({}), "a/byteorder": b"big"}), "big-endian"),
        (torch_zip({"x": FLOATS}, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (dumps(0x1950A86A20F9469CFC6C) + dumps(1000), "version 1000"),
        (dumps(np.zeros(2, "<c8")), "type 'c8'"),
        (
            dumps(Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 1))),
            "persistent id",
        ),
    ],
)
def test_other_files_are_refused_with_their_reason(data, reason, tmp_path):
    with pytest.raises(Refusal, match=reason) as refusal:
        read(data, tmp_path)
    assert "\n" not in str(refusal.value)


def test_objects_are_refused_in_arrays(tmp_path):
    with pytest.raises(Refusal, match="NumPy arrays of type"):
        read(pickle.dumps(np.array([None, "x"], object)), tmp_path)


def test_tensors_of_subclasses_are_tensors(tmp_path):
    """As PyTorch writes one with attributes of its own; nothing else is rebuilt in that way."""
    inner = pickled_tensor(FLOATS)
    for name in ("_rebuild_from_type", "_rebuild_from_type_v2"):
        arguments = (inner.function, Global("torch", "Tensor"), inner.arguments, {"tag": 1})
        outer = Call(Global("torch._tensor", name), arguments)
        np.testing.assert_array_equal(read_array(dumps({"x": outer}), tmp_path), FLOATS)
    for function, reason in (
        (Global("os", "system"), r"asks to run os\.system"),
        (Global("collections", "OrderedDict"), r"a tensor that collections\.OrderedDict rebuilds"),
    ):
        arguments = (function, Global("torch", "Tensor"), ("true",), {})
        attack = Call(Global("torch._tensor", "_rebuild_from_type_v2"), arguments)
        with pytest.raises(Refusal, match=reason):
            read(dumps({"x": attack}), tmp_path)
