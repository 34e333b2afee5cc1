"""Files made to hurt: bombs of keys, of work and of memory, and what is no plain file at all."""

import io
import json
import os
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import tiny_checkpoints as tiny
from pickle_writer import Call, Global, dumps, torch_zip

from jaxface.convert import Refusal, convert, convert_suite
from jaxface.convert.convert import prepare
from jaxface.convert.formats.budget import unpacking
from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.formats.words import one_line, shown
from jaxface.data.tfds_folder import DataSetError, open_builder
from jaxface.errors import SuiteError, WeightsError, printable
from jaxface.suite import load_suite
from jaxface.weights import build_network, config_of, load_network


def refused(data: bytes, folder, match: str = "", limit: int | None = None) -> str:
    (folder / "source").write_bytes(data)
    begun = time.process_time()
    with pytest.raises(Refusal, match=match) as refusal, unpacking(limit):
        prepare("auto", folder / "source")
    assert time.process_time() - begun < 30
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 2000
    return str(refusal.value)


def nested(depth: int, opcode: bytes) -> bytes:
    """A pickle of a dictionary whose key is a tuple in a tuple in ...; opcode doubles it or not."""
    return b"\x80\x02})" + opcode * depth + b"K\x01s."


@pytest.mark.parametrize("opcode", [b"\x85", b"2\x86"])  # TUPLE1; DUP and TUPLE2
@pytest.mark.parametrize("depth", [3, 60, 100_000])
def test_nested_and_shared_tuples_are_no_keys(opcode, depth, tmp_path):
    refused(nested(depth, opcode), tmp_path, "as a key")


@pytest.mark.parametrize("kind", ["integers", "tuples", "pairs of a call"])
def test_keys_of_one_hash_take_no_time(kind, tmp_path):
    """A dictionary of them takes time by the square of their number."""
    one, two = (b"J" + struct.pack("<i", value) for value in (-1, -2))
    if kind == "integers":
        numbers = [k * (2**61 - 1) for k in range(1, 30_000)]
        keys = [b"\x8a\x0a" + number.to_bytes(10, "little") for number in numbers]
    else:  # -1 and -2 have the same hash
        whole = range(2**14)
        keys = [b"(" + b"".join((one, two)[n >> i & 1] for i in range(14)) + b"t" for n in whole]
    data = b"\x80\x02}(" + b"".join(key + b"N" for key in keys) + b"u."
    if kind == "pairs of a call":
        pairs = b"".join(key + b"N\x86" for key in keys)
        data = b"\x80\x02ccollections\nOrderedDict\n](" + pairs + b"e\x85R."
    begun = time.process_time()
    refused(data, tmp_path, "as a key|as keys")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html><html><title>Quota exceeded</title>", "a web page"),
        (b"\n <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "Git LFS"),
        (b"\x1f\x8b\x08" + bytes(40), "a gzip file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "an image"),
    ],
)
def test_what_is_often_taken_for_a_checkpoint_is_named(data, says, tmp_path):
    refused(data, tmp_path, says)


def test_shared_values_are_abbreviated_where_they_are_shown():
    value: list = [1]
    for _ in range(100):
        value = [value, value]
    assert len(shown(value)) <= 200
    assert len(shown({"a": value, 2: value})) <= 200
    assert "bits" in shown(1 << 100_000)
    assert one_line("\x1b[2Jred\x07") == "?[2Jred?"
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert len(one_line(deep)) <= 200


def test_repeated_work_is_bounded(tmp_path):
    # A text of a megabyte, kept in the memo, encoded again and again.
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    call = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR0"
    data = b"\x80\x02" + text + b"q\x00" + call * 200 + b"."
    refused(data, tmp_path, "unpacks to more than 0.05 GB.*--unpack-limit", limit=50 * 10**6)


def test_compressed_bombs_are_bounded(tmp_path):
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros(4_000_000, np.float32), b=np.zeros(4_000_000, np.float32))
    refused(file.getvalue(), tmp_path, "unpacks to more than", limit=20 * 10**6)
    element = zlib.compress(bytes(50_000_000))
    mat = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(element)) + element
    refused(mat, tmp_path, "unpacks to more than", limit=20 * 10**6)


def test_overlapping_members_of_a_zip_are_bounded(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", dumps({}))
        archive.writestr("x/a", bytes(1_000_000))
        info = archive.getinfo("x/a")
        for index in range(50):
            archive.filelist.append(info)
            archive.NameToInfo[f"x/{index}"] = info
    refused(file.getvalue(), tmp_path, limit=10**7)


def test_a_manifest_that_names_a_file_twice(tmp_path):
    (tmp_path / "m.bin").write_bytes(bytes(400))
    manifest = [{"weights": [], "paths": ["m.bin"] * 1000}]
    refused(json.dumps(manifest).encode(), tmp_path, "twice")


@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY\x01\x00\xff\xff{'descr': (((((",
        b"\x93NUMPY\x01\x00\x20\x00{'descr': '<f4', 'shape': (-1,)}",
        b"\x93NUMPY\x09\x00",
        b"PK\x03\x04" + bytes(60),
        b"PK\x05\x06" + bytes(18),
        torch_zip(tiny.rosinality_checkpoint())[64:],
        b'[{"weights":' * 20_000,
        b"[" * 200_000,
        struct.pack("<Q", 40) + b'{"a": {"dtype": ["F32"], "shape": 3}}   ' + bytes(9),
        struct.pack("<Q", 60)
        + b'{"a":{"dtype":"F32","shape":[1e9],"data_offsets":[0,4]}}    '
        + bytes(9),
        dumps({"g_ema": {"input.input": Call(Global("timm.models", "Thing"), (), [1])}}),
        dumps({"state_dict": 3, "opts": [None]}),
        dumps({("a", 1): 2, b"x": None}),
    ],
)
def test_whatever_a_file_is_the_answer_is_one_line(data, tmp_path):
    refused(data, tmp_path)


def test_an_encrypted_and_a_future_zip(tmp_path):
    data = bytearray(torch_zip({"a": np.zeros(3, np.float32)}))
    for place in (6, data.index(b"PK\x01\x02") + 8):
        data[place] |= 1
    refused(bytes(data), tmp_path)


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "", "a\0b"):
        with pytest.raises(Refusal, match="cannot be read"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(Refusal, match="cannot be read"):
        convert_suite(tmp_path / "pipe", tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"[1, 2]", b'{"generator": 3}', b'{"generator": "\\u0000"}', b"\xff"],
)
def test_shared_files_that_are_none(content, tmp_path):
    (tmp_path / "shared.json").write_bytes(content)
    with pytest.raises(SuiteError):
        load_suite(tmp_path)


def test_shared_json_may_be_no_file(tmp_path):
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("shared.json", path)):
        make(tmp_path / "shared.json")
        with pytest.raises(SuiteError, match="cannot be read"):
            load_suite(tmp_path)
        os.rename(tmp_path / "shared.json", tmp_path / f"{make.__name__}.old")


@pytest.mark.parametrize(
    "config",
    [
        {"stacks": 10**9},
        {"stacks": 10**5},
        {"stacks": "four"},
        {"stacks": None},
        {"depth": -1},
        {"channels": [1, 2]},
        {"channels": [[1], [2], [3]]},
        {"input_size": 1e300},
        {"input_size": True},
        {"nonsense": 1},
    ],
)
def test_configurations_of_wrong_types_and_absurd_sizes(config):
    begun = time.process_time()
    with pytest.raises(WeightsError):
        build_network("FAN", config, {})
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("config", ["[", "[]", "3", "[" * 100_000, "NaN"])
def test_headers_that_are_no_configuration(config, tmp_path):
    header = {"network": "FAN", "format_version": "1", "config": config}
    with pytest.raises(WeightsError):
        config_of(header)
    data = json.dumps({"__metadata__": header}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    with pytest.raises(WeightsError):
        load_network(path)


def test_a_data_set_never_imports_a_module_by_name(tmp_path):
    feature = {"pythonClassName": "os.path.Feature", "featuresDict": {"features": {}}}
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": {"image": feature}},
    }
    (tmp_path / "features.json").write_text(json.dumps(features))
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(DataSetError, match=r"os\.path\.Feature.*nothing was imported"):
        open_builder(tmp_path)
    for content in ("[" * 100_000, "\x00"):
        (tmp_path / "features.json").write_text(content)
        with pytest.raises(DataSetError):
            open_builder(tmp_path)


def test_nothing_of_a_file_reaches_the_terminal_as_a_command(tmp_path, capsys):
    from jaxface.cli import main

    path = tmp_path / "evil\x1b[2J.pt"
    path.write_bytes(dumps({"\x1b]0;title\x07": 1}))
    assert main(["convert", "auto", str(path), str(tmp_path / "out")]) == 2
    assert main(["status", str(tmp_path / "gone\x1b[2J")]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.err + printed.out
    assert "\x07" not in printed.err + printed.out
    assert printable("a\tb\nc\x1b") == "a\tb\nc?"


def test_the_command_takes_a_limit(tmp_path, capsys):
    from jaxface.cli import main

    (tmp_path / "in").write_bytes(torch_zip(tiny.rosinality_checkpoint()))
    call = ["convert", "auto", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main([*call, "--unpack-limit", "0.000001"]) == 2
    assert "--unpack-limit" in capsys.readouterr().err
    assert main([*call, "--unpack-limit", "x"]) == 2
    convert("auto", tmp_path / "in", tmp_path / "out", unpack_limit=10**9)
