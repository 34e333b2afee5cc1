"""MATLAB's files as data, written by SciPy, and every way in which they break."""

import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.matlab
from scipy import sparse
from scipy.io import loadmat, savemat
from scipy.io.matlab import mat_struct

from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.formats.matlab import SparseArray, read_mat
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.refusal import Refusal


def mat(variables: dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    savemat(out, variables, **options)
    return out.getvalue()


def cell(*items: Any) -> np.ndarray:
    array = np.empty((1, len(items)), object)
    array[0, :] = items
    return array


NUMBERS = {
    "f8": np.arange(24.0).reshape(2, 3, 4),
    "f4": np.arange(6, dtype=np.float32).reshape(3, 2) / 7,
    **{kind: np.array([[1, 2, 100]], kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8")},
    "u8": np.array([[2**40]], "u8"),
    "small_doubles": np.array([[1.0, 2.0]]),
    "empty": np.zeros((0, 3)),
    "flag": np.array([[True]]),
}


@pytest.mark.parametrize("do_compression", [False, True])
def test_numbers_keep_type_shape_and_order(do_compression, tmp_path):
    (tmp_path / "file.mat").write_bytes(mat(NUMBERS, do_compression=do_compression))
    found = read_checkpoint(tmp_path / "file.mat").root
    assert found.keys() == NUMBERS.keys()
    for name, expected in NUMBERS.items():
        array = as_array(found[name], where=name)
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == (np.uint8 if name == "flag" else expected.dtype), name


@pytest.mark.parametrize("do_compression", [False, True])
def test_structs_cells_and_text(do_compression):
    struct_array = np.array([[(1.0, "a")], [(2.0, "b")]], [("x", object), ("name", object)])
    variables = {
        "layers": cell({"name": "conv1_1", "weights": cell(np.eye(2), np.ones((2, 1)))}, {"n": ""}),
        "many": struct_array,
        "rows": np.array(["abc", "def"]),
        "text": "Grüße, 脸",
        "nothing": cell(),
        "deep": {"a": {"b": {"c": np.float64(3)}}},
    }
    found = read_mat(mat(variables, do_compression=do_compression))
    first, second = found["layers"]
    assert (first["name"], second["n"]) == ("conv1_1", "")
    np.testing.assert_array_equal(as_array(first["weights"][0], where="w"), np.eye(2))
    assert [item["name"] for item in found["many"]] == ["a", "b"]
    assert found["rows"] == ["abc", "def"]
    assert found["text"] == "Grüße, 脸"
    assert found["nothing"] == []
    assert as_array(found["deep"]["a"]["b"]["c"], where="c").tolist() == [[3.0]]


def plain(value: Any) -> Any:
    """What SciPy's reader gives, in our form."""
    if isinstance(value, mat_struct):
        return {name: plain(getattr(value, name)) for name in value._fieldnames}
    if value.dtype.kind == "U":
        rows = [str(row) for row in value.reshape(-1)]
        return "".join(rows) if len(rows) < 2 else rows
    if value.dtype.kind == "O":
        items = [plain(item) for item in value.reshape(-1, order="F")]
        is_struct = value.size == 1 and isinstance(value.flat[0], mat_struct)
        return items[0] if is_struct else items
    return value


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for item, value in zip(found, expected, strict=True):
            assert_same(item, value)
    elif isinstance(expected, str):
        assert found == expected
    elif sparse.issparse(expected):
        assert isinstance(found, SparseArray)
    else:
        array = as_array(found, where="x")
        assert array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)


WRITTEN_BY_MATLAB = Path(scipy.io.matlab.__file__).parent / "tests" / "data"


@pytest.mark.parametrize("version", ["6.1_SOL2", "6.5.1_GLNX86", "7.1_GLNX86", "7.4_GLNX86"])
def test_files_that_matlab_wrote(version):
    """SciPy's own test files, where its package has them."""
    files = sorted(WRITTEN_BY_MATLAB.glob(f"test*_{version}.mat"))
    files = [file for file in files if "hdf5" not in file.name]
    if not files:
        pytest.skip("this SciPy was installed without its tests")
    read = 0
    for file in files:
        theirs = loadmat(file, struct_as_record=False)
        try:
            found = read_mat(file.read_bytes())
        except Refusal as refusal:
            reason = str(refusal)
        else:
            expected = {k: plain(v) for k, v in theirs.items() if not k.startswith("__")}
            assert_same(found, expected)
            read += 1
            continue
        what = "not little-endian" if version == "6.1_SOL2" else "MATLAB (complex|object|function)"
        assert re.search(what, reason), f"{file.name}: {reason}"
    assert read == 0 if version == "6.1_SOL2" else read > 5


def matrix(array_class: int, *, shape: tuple[int, ...] = (1, 1), flags: int = 0) -> bytes:
    """A file with one variable ``x`` of a class, its contents eight zeros."""
    parts = struct.pack("<IIII", 6, 8, array_class | flags << 8, 0)
    parts += struct.pack("<II", 5, 4 * len(shape)) + struct.pack(f"<{len(shape)}i", *shape)
    parts += struct.pack("<HHI", 1, 1, ord("x")) + struct.pack("<IId", 9, 8, 0)
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 14, len(parts)) + parts


PLAIN = mat({"x": np.arange(20.0), "y": cell({"name": "a"}, "text")})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (mat({"x": {"y": np.array([1 + 2j])}}), r"x\.y: a MATLAB complex array"),
        (matrix(3), "x: a MATLAB object"),
        (matrix(16), "x: a MATLAB function"),
        (matrix(17), "x: a MATLAB object"),
        (matrix(99), "an array of class 99"),
        (matrix(6, shape=(2, 2)), "truncated or damaged"),
        (matrix(6, shape=(-1, 1)), "an array of shape"),
        (matrix(2, shape=(2**31 - 1, 2**31 - 1)), "items in"),
        (PLAIN[:126] + b"MI" + PLAIN[128:], "not little-endian"),
        (b"MATLAB 7.3 MAT-file, HDF5".ljust(600), "7.3 file.*-v7"),
        (PLAIN[:100], "not little-endian, or damaged"),
    ],
    # a file's first bytes are a date: as a test's name they differ between pytest's processes
    ids=[
        "complex",
        "object",
        "function",
        "opaque",
        "unknown",
        "short",
        "negative",
        "large",
        "endian",
        "hdf5",
        "header",
    ],
)
def test_other_contents_are_refused_with_their_reason(data, reason, tmp_path):
    (tmp_path / "file.mat").write_bytes(data)
    with pytest.raises(Refusal, match=reason) as refusal:
        read_checkpoint(tmp_path / "file.mat")
    assert "\n" not in str(refusal.value)


def test_a_sparse_array_is_refused_where_it_is_asked_for():
    large = sparse.csc_matrix(([1.0], ([2], [1])), (10**5, 10**5))  # more items than bytes
    found = read_mat(mat({"x": np.eye(2), "y": {"z": large}}))
    np.testing.assert_array_equal(as_array(found["x"], where="x"), np.eye(2))
    with pytest.raises(Refusal, match=r"y\.z: a MATLAB sparse array"):
        as_array(found["y"]["z"], where="z")


@pytest.mark.parametrize("do_compression", [False, True])
def test_a_damaged_file_is_refused_or_read_but_never_crashes(do_compression):
    data = mat(
        {"x": np.arange(20.0), "y": cell({"name": "a"}, "te")}, do_compression=do_compression
    )
    whole = set(read_mat(data))
    for length in range(128, len(data)):
        try:
            found = set(read_mat(data[:length]))
        except Refusal:
            continue
        assert found < whole  # cut between two variables
    random, refused = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(data)
        for position in random.integers(128, len(data), 3):
            damaged[position] = random.integers(256)
        try:
            read_mat(bytes(damaged))
        except Refusal:
            refused += 1
    assert refused > 100


def test_a_file_of_torch7_says_so(tmp_path: Path):
    data = struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", 13) + b"nn.Sequential"
    (tmp_path / "VGG_FACE.t7").write_bytes(data)
    with pytest.raises(Refusal, match="a file of Torch7"):
        read_checkpoint(tmp_path / "VGG_FACE.t7")
