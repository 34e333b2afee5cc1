"""A checkpoint file as data: which kind it is, its SHA-256, and the objects inside.

A TensorFlow.js weight manifest is read with the files that it names, and the SHA-256 is that of
all of them in a row, the manifest first.

``TABLE`` is the whole allow-list.  Beside tensors and arrays (chumpy's and SciPy's too) it holds
three names of NVIDIA's code: the persistent objects of stylegan2-ada-pytorch and stylegan3 (whose
embedded source text is skipped unread), the networks of the TensorFlow era, and their dictionary
with attributes.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxface.convert.families.expression_basis import (
    is_expression_basis,
    is_numbers,
    read_expression_basis,
    read_numbers,
)
from jaxface.convert.formats.budget import unpacking
from jaxface.convert.formats.chumpy_objects import TABLE as CHUMPY_TABLE
from jaxface.convert.formats.matlab import SIGNATURE as MATLAB_SIGNATURE
from jaxface.convert.formats.matlab import read_mat
from jaxface.convert.formats.numpy_files import MAGIC as NPY_MAGIC
from jaxface.convert.formats.numpy_files import is_npz, read_npy, read_npz
from jaxface.convert.formats.pickle_machine import Table, read_pickle
from jaxface.convert.formats.safetensors_files import is_safetensors, read_safetensors
from jaxface.convert.formats.tensors import TABLE as TENSOR_TABLE
from jaxface.convert.formats.tensors import Storage
from jaxface.convert.formats.torch_files import (
    MAGIC_NUMBER,
    read_stream_after_magic,
    read_zip,
    storage_from_bytes,
)
from jaxface.convert.formats.weights_manifest import read_manifest
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal, refusing
from jaxface.runtime.files import read_regular

# torch_utils/persistence.py: _version.
PERSISTENCE_VERSION = 6
# Torch7's binary form: an object of index 1 that is an instance, of version "V 1".
TORCH7_SIGNATURE = b"\4\0\0\0\1\0\0\0\3\0\0\0V 1"
TENSORFLOW_NETWORK = "dnnlib.tflib.network.Network"


@dataclass(frozen=True)
class Checkpoint:
    """A file's contents."""

    path: Path
    sha256: str
    root: Any


@dataclass(eq=False, repr=False)
class PersistentObject:
    """A module of NVIDIA's PyTorch code: its class name and its attributes, never its source."""

    class_name: str
    state: dict[str, Any]


def _persistent_object(meta: Any) -> PersistentObject:
    if not isinstance(meta, dict):
        raise TypeError(f"a persistent object is made from a {type(meta).__name__}")
    if meta.get("type") != "class" or meta.get("version") != PERSISTENCE_VERSION:
        raise Refusal(
            f"a persistent object of type {shown(meta.get('type'))} and version "
            f"{shown(meta.get('version'))}, expected 'class' and {PERSISTENCE_VERSION}"
        )
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise TypeError("a persistent object without a class name or a state")
    return PersistentObject(name, state)


def _storage(data: Any) -> Storage:
    return storage_from_bytes(data, TENSOR_TABLE)


TABLE: Table = {
    **TENSOR_TABLE,
    **CHUMPY_TABLE,
    "torch.storage._load_from_bytes": _storage,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    TENSORFLOW_NETWORK: None,
    "dnnlib.util.EasyDict": dict,
}


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a whole file; nothing in it is executed.

    Raises:
        Refusal: if the file is missing, unreadable, of no known kind, damaged, or names anything
            outside ``TABLE``.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise Refusal(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise Refusal(f"{path}: needs more memory than there is") from error
    digest = hashlib.sha256(data)
    try:
        with unpacking(), refusing():
            if data[:64].lstrip()[:1] in (b"[", b"{"):  # how JSON starts, and no pickle does
                root, files = read_manifest(data, path.parent)
                for file in files:
                    digest.update(file)
            else:
                root = _read(data)
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from refusal
    return Checkpoint(path, digest.hexdigest(), root)


# What is often taken for a checkpoint, by its first bytes, and what to do about it.
_COMPRESSED = "unpack it first"
_OTHERS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: run git lfs pull"),
    (b"\x1f\x8b", f"a gzip file; {_COMPRESSED}"),
    (b"BZh", f"a bzip2 file; {_COMPRESSED}"),
    (b"\xfd7zXZ\0", f"an xz file; {_COMPRESSED}"),
    (b"\x28\xb5\x2f\xfd", f"a zstd file; {_COMPRESSED}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z file; {_COMPRESSED}"),
    (b"Rar!", f"a RAR file; {_COMPRESSED}"),
    (b"\x89HDF", "an HDF5 file (of Keras, or of MATLAB 7.3), which is not read"),
    (b"GGUF", "a GGUF file, a language model's"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)


def _what_else(data: bytes) -> str:
    """What a file is that is no checkpoint."""
    if not data:
        return "an empty file"
    for start, what in _OTHERS:
        if data.startswith(start):
            return f"{what}, and no checkpoint" if what == "an image" else what
    if data[:512].lstrip()[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page, not a checkpoint: the download failed, or wants to be confirmed"
    if data[4:8] == b"TFL3":
        return "a TensorFlow Lite file; those of MediaPipe are read by `jaxface convert photo`"
    start = one_line(data[:24].decode("latin-1"))
    return f"neither a pickle nor a PyTorch file (it starts with {start!r})"


def _read(data: bytes) -> Any:
    stream = io.BytesIO(data)
    if data[:2] == b"PK" or zipfile.is_zipfile(stream):
        return read_npz(stream, TABLE) if is_npz(stream) else read_zip(stream, TABLE)
    stream.seek(0)
    if is_safetensors(data):
        return read_safetensors(data)
    if data.startswith(NPY_MAGIC):
        return read_npy(stream, TABLE)
    if data[257:262] == b"ustar":
        raise Refusal(
            "a tar file, PyTorch's format of 2016; load it with PyTorch and save it again"
        )
    if data.startswith(MATLAB_SIGNATURE):
        return read_mat(data)
    if data.startswith(TORCH7_SIGNATURE):
        raise Refusal("a file of Torch7 (Lua); load it with a port to PyTorch and save it again")
    if is_expression_basis(data):
        return read_expression_basis(data)
    if is_numbers(data):
        try:
            return read_numbers(data)
        except ValueError as error:
            raise Refusal(f"text that is no list of numbers ({one_line(error)})") from error
    try:
        root = read_pickle(stream, TABLE)
    except Refusal as refusal:
        if data[:1] == b"\x80" or "asks to run" in str(refusal):
            raise
        raise Refusal(_what_else(data)) from refusal
    if root == MAGIC_NUMBER:
        return read_stream_after_magic(stream, TABLE)
    return root
