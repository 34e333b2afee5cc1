"""Write pickles and PyTorch files by hand, so that tests need neither PyTorch nor real classes."""

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

STORAGES = {
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<f8": "DoubleStorage",
    "<i8": "LongStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class Global:
    """A class or function, by name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call, then optionally the object's state."""

    function: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Persistent:
    """A persistent id."""

    identifier: Any


def dumps(value: Any) -> bytes:
    """The value as a protocol 4 pickle without framing or memo."""
    out = bytearray(b"\x80\x04")
    _write(value, out)
    return bytes(out + b".")


def _write(value: Any, out: bytearray) -> None:
    match value:
        case None | True | False:
            out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
            out += b"\x8a" + bytes([len(data)]) + data
        case float():
            out += b"G" + struct.pack(">d", value)
        case str():
            data = value.encode()
            out += b"X" + struct.pack("<I", len(data)) + data
        case bytes():
            out += b"B" + struct.pack("<I", len(value)) + value
        case tuple() | list():
            out += b"("
            for item in value:
                _write(item, out)
            out += b"t" if isinstance(value, tuple) else b"l"
        case dict():
            out += b"("
            for key, item in value.items():
                _write(key, out)
                _write(item, out)
            out += b"d"
        case Global(module, name):
            out += f"c{module}\n{name}\n".encode()
        case Persistent(identifier):
            _write(identifier, out)
            out += b"Q"
        case Call(function, arguments, state):
            _write(function, out)
            _write(arguments, out)
            out += b"R"
            if state is not None:
                _write(state, out)
                out += b"b"
        case np.ndarray():
            _write(numpy_array(value), out)
        case _:
            raise TypeError(f"cannot write a {type(value).__name__}")


def numpy_array(array: np.ndarray) -> Call:
    """An array as NumPy pickles it."""
    kind = Call(
        Global("numpy", "dtype"),
        (array.dtype.str[1:], False, True),
        (3, "<", None, None, None, -1, -1, 0),
    )
    return Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (0,), b"b"),
        (1, array.shape, kind, False, array.tobytes()),
    )


def _tensor(storage: Any, array: np.ndarray) -> Call:
    strides = tuple(s // array.itemsize for s in array.strides)
    arguments = (
        storage,
        0,
        array.shape,
        strides,
        False,
        Call(Global("collections", "OrderedDict")),
    )
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def _storage_id(array: np.ndarray, key: str, *extra: None) -> Persistent:
    storage = Global("torch", STORAGES[array.dtype.str])
    return Persistent(("storage", storage, key, "cpu", array.size, *extra))


def torch_stream(value: Any, storages: dict[str, np.ndarray]) -> bytes:
    """PyTorch's stream format: the value's pickle, then each storage."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    out = dumps(MAGIC) + dumps(1001) + dumps(system) + dumps(value) + dumps(list(storages))
    for array in storages.values():
        out += struct.pack("<q", array.size) + array.tobytes()
    return out


def pickled_tensor(array: np.ndarray) -> Call:
    """A tensor as plain ``pickle`` writes it: its storage is a stream in a byte string."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    data = torch_stream(_storage_id(array, "1", None), {"1": array})
    return _tensor(Call(Global("torch.storage", "_load_from_bytes"), (data,)), array)


def pickled_parameter(array: np.ndarray) -> Call:
    """The same as a parameter."""
    hooks = Call(Global("collections", "OrderedDict"))
    return Call(Global("torch._utils", "_rebuild_parameter"), (pickled_tensor(array), True, hooks))


def _described(value: Any, storages: dict[str, np.ndarray], *extra: None) -> Any:
    """The value with its arrays as tensors over numbered storages."""
    if isinstance(value, dict):
        return {key: _described(item, storages, *extra) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        key = str(len(storages))
        array = np.ascontiguousarray(value).reshape(value.shape)
        storages[key] = array
        return _tensor(_storage_id(array, key, *extra), array)
    return value


def torch_zip(value: Any, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """What ``torch.save`` writes since 1.6."""
    storages: dict[str, np.ndarray] = {}
    data = dumps(_described(value, storages))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return out.getvalue()


def torch_legacy(value: Any) -> bytes:
    """What ``torch.save`` wrote before 1.6."""
    storages: dict[str, np.ndarray] = {}
    described = _described(value, storages, None)
    return torch_stream(described, storages)
