"""PyTorch's two file formats, read without PyTorch.

*Zip* (``torch.save`` since 1.6): ``NAME/data.pkl`` describes the tensors, ``NAME/data/KEY`` holds
each storage's bytes, uncompressed.

*Stream* (before 1.6, and still inside every pickled tensor): four pickles in a row (a magic
number, the protocol version 1001, the writer's system, the object), a pickled list of storage
keys, then for each key its number of elements (int64) and its bytes.
"""

import io
import sys
import zipfile
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from jaxface.convert.formats.budget import spend
from jaxface.convert.formats.pickle_machine import Table, read_pickle
from jaxface.convert.formats.pickle_machine import key as key_of
from jaxface.convert.formats.tensors import Storage, storage_dtype
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION.
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


class _Storages:
    """The storages that a pickle mentions, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def persistent(self, identifier: Any) -> Storage:
        """A persistent id is ("storage", class, key, device, elements[, None])."""
        kind, storage_class, key, _device, size, *view = identifier
        if kind != "storage" or any(part is not None for part in view):
            raise Refusal(f"a persistent id of kind {shown(kind)} is not what a checkpoint needs")
        if key_of(key) not in self.by_key:
            self.by_key[key] = Storage(storage_dtype(storage_class), int(size))
        return self.by_key[key]


def read_zip(stream: BinaryIO, table: Table) -> Any:
    """The object of a zip file written by ``torch.save``.

    Raises:
        Refusal: for a damaged archive or one that ``torch.save`` did not write.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            return _read_archive(archive, table)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, KeyError) as error:
        raise Refusal(f"truncated or damaged zip file ({one_line(error)})") from error


def _read_archive(archive: zipfile.ZipFile, table: Table) -> Any:
    names = archive.namelist()
    pickles = [name for name in names if PurePosixPath(name).name == "data.pkl"]
    if len(pickles) != 1:
        raise Refusal("a zip file without one data.pkl: torch.save did not write it")
    folder = PurePosixPath(pickles[0]).parent
    if any(PurePosixPath(name).name == "constants.pkl" for name in names):
        raise Refusal(
            "a TorchScript archive (it carries code); a plain torch.save file is needed: in place "
            "of NVIDIA's vgg16.pt torchvision's vgg16-397923af.pth, for LPIPS with the lpips "
            "package's vgg.pth; in place of 2DFAN4-*.zip 2DFAN4-11f355bf06.pth.tar"
        )
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refusal(f"{one_line(info.filename)} is compressed, which torch.save never does")
    order = str(folder / "byteorder")
    if order in names and _member(archive, order).strip() != b"little":
        raise Refusal("a big-endian file; save it again on a little-endian machine")
    storages = _Storages()
    value = read_pickle(
        io.BytesIO(_member(archive, pickles[0])), table, persistent=storages.persistent
    )
    for key, storage in storages.by_key.items():
        storage.data = _member(archive, str(folder / "data" / str(key)))
    return value


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes; members may overlap, so that all of them are more than the file."""
    spend(archive.getinfo(name).file_size)
    return archive.read(name)


def read_stream_after_magic(stream: BinaryIO, table: Table) -> Any:
    """The object of a stream file whose first pickle, the magic number, has been read.

    Raises:
        Refusal: for a damaged stream, or one of another version or byte order.
    """
    version = read_pickle(stream, table)
    if version != PROTOCOL_VERSION:
        raise Refusal(f"PyTorch stream version {shown(version)}, expected {PROTOCOL_VERSION}")
    system = read_pickle(stream, table)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refusal("a big-endian file; save it again on a little-endian machine")
    storages = _Storages()
    value = read_pickle(stream, table, persistent=storages.persistent)
    keys = read_pickle(stream, table)
    for key in keys:
        if key_of(key) not in storages.by_key:
            raise Refusal(f"the stream stores a tensor {shown(key)} that it never mentions")
        storage = storages.by_key[key]
        size = int.from_bytes(stream.read(8), "little")
        if size != storage.size:
            raise Refusal(
                f"truncated file: a tensor storage of {storage.size} elements is stored as {size}"
            )
        storage.data = stream.read(size * storage.dtype.itemsize)
    return value


def storage_from_bytes(data: Any, table: Table) -> Storage:
    """``torch.storage._load_from_bytes``: a stream file, in memory, of one storage.

    Raises:
        Refusal: if it is anything else.
    """
    if not isinstance(data, bytes | bytearray):
        raise TypeError(f"a tensor's bytes are a {type(data).__name__}")
    stream = io.BytesIO(data)
    if read_pickle(stream, table) != MAGIC_NUMBER:
        raise Refusal("a tensor's bytes do not start with PyTorch's magic number")
    storage = read_stream_after_magic(stream, table)
    if not isinstance(storage, Storage):
        raise Refusal(f"a tensor's bytes hold a {type(storage).__name__}, expected a storage")
    return storage


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("jaxface.convert reads little-endian files on such machines only")
