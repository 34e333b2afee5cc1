"""One network in one safetensors file: its arrays by name, its configuration in the header.

Names are dotted attribute paths, ``synthesis.blocks.0.conv1.weight``. The header's metadata holds
``network`` (the class), ``config`` (JSON), ``format_version``, and whatever the writer adds (a
converter: source SHA-256 and its own version). Loading never initialises: arrays fill the
abstract module by name, and every name must match.

Weights may be stored in 16 or in 8 bits. In 8 bits an array ``NAME`` is int8 and ``NAME:scale``,
float32, has one factor for each index of its last axis, a layer's outputs.
"""

import dataclasses
import functools
import json
import os
import tempfile
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxface import nets
from jaxface.errors import WeightsError
from jaxface.morphable.basel import BaselModel
from jaxface.morphable.flame import FLAME
from jaxface.morphable.mesh_reconstruction import MeshReconstruction
from jaxface.runtime.files import atomic_path

FORMAT_VERSION = "1"

LARGE = 8192
"""Numbers from which on an array is stored in 8 bits, where that is asked for."""

_SCALE = ":scale"
_STEPS = 127


@functools.cache
def network_classes() -> dict[str, type[nnx.Module]]:
    """Every network that a file can hold, by the name of its class.

    They are the modules that ``jaxface.nets`` exports, two face models, ``BaselModel`` and
    ``FLAME``, and ``MeshReconstruction``, which is made of one. The class of a network's
    configuration is the annotation of its constructor's ``config``; see :func:`config_class`.
    """
    exported = [getattr(nets, name) for name in nets.__all__]
    networks = [each for each in exported if issubclass(each, nnx.Module)]
    return {each.__name__: each for each in (*networks, BaselModel, FLAME, MeshReconstruction)}


def config_class(class_name: str) -> type:
    """The dataclass that a network's constructor takes as ``config``.

    Raises:
        WeightsError: for an unknown class.
    """
    return typing.get_type_hints(_network_class(class_name).__init__)["config"]


def network_names(module: nnx.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """Every array of a network, by dotted name, as shape and dtype."""
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in _named_leaves(module).items()
    }


def named_arrays(module: Any) -> dict[str, np.ndarray]:
    """Every array of a network, or of a part of its state, by dotted name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        nnx.state(module) if isinstance(module, nnx.Module) else module
    )
    return {_dotted(path): np.asarray(leaf) for path, leaf in leaves}


def network_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every array of a network, by dotted name."""
    return {name: np.asarray(leaf) for name, leaf in _named_leaves(module).items()}


class _OneKey:
    """In place of ``nnx.Rngs`` where nothing is drawn.

    A traced count of draws takes time that grows with the square of the number of layers.
    """

    def params(self) -> jax.Array:
        return jax.random.key(0)


@functools.lru_cache(maxsize=64)
def _shapes(network_class: Any, config: Any) -> tuple[nnx.GraphDef, nnx.State]:
    """The parts of a network without numbers; a network of hundreds of layers takes a second."""
    return nnx.split(nnx.eval_shape(lambda: network_class(config, rngs=_OneKey())))


def abstract_network(class_name: str, config: Any) -> nnx.Module:
    """A network of shapes without numbers.

    Args:
        class_name: a key of :func:`network_classes`.
        config: an instance of its configuration class, or a mapping of that class's fields.

    Raises:
        WeightsError: for an unknown class or field, or values that the configuration refuses.
    """
    network_class = _network_class(class_name)
    if not isinstance(config, Mapping):
        return nnx.merge(*_shapes(network_class, config))
    read = _read_config(config_class(class_name), config)
    try:
        return nnx.merge(*_shapes(network_class, read))
    except Exception as error:  # a file may combine sizes that no constructor foresees
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{class_name}: no network is of this configuration: {reason}"
        ) from error


def build_network(class_name: str, config: Any, arrays: Mapping[str, np.ndarray]) -> nnx.Module:
    """A network from named arrays, each of which must fit and none of which may be left over.

    Args:
        class_name: a key of :func:`network_classes`.
        config: an instance of its configuration class, or a mapping of that class's fields.
        arrays: name to array; floating arrays become float32.

    Raises:
        WeightsError: naming the missing, surplus or wrongly shaped arrays.
    """
    if isinstance(config, Mapping):
        _check_counts(class_name, config, len(arrays))
    network = abstract_network(class_name, config)
    expected = network_names(network)
    problems = [f"missing {name} {list(expected[name].shape)}" for name in expected.keys() - arrays]
    problems += [f"surplus {name} {list(arrays[name].shape)}" for name in arrays.keys() - expected]
    problems += [
        f"{name} has shape {list(arrays[name].shape)}, expected {list(spec.shape)}"
        for name, spec in expected.items()
        if name in arrays and tuple(arrays[name].shape) != tuple(spec.shape)
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:8])
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise WeightsError(f"{class_name}: its arrays do not fit its configuration: {shown}{more}")
    return with_arrays(network, arrays)


def with_arrays(module: nnx.Module, arrays: Mapping[str, np.ndarray]) -> nnx.Module:
    """The module with the named arrays in place of its own; other arrays stay as they are."""
    graphdef, state = nnx.split(module)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    filled = []
    for path, leaf in leaves:
        name = _dotted(path)
        if name in arrays:
            # `jnp.asarray` compiles a program for each shape: to convert, and on several devices.
            leaf = jax.device_put(np.asarray(arrays[name], leaf.dtype))
        filled.append(leaf)
    return nnx.merge(graphdef, jax.tree_util.tree_unflatten(treedef, filled))


def save_network(
    path: str | os.PathLike[str],
    module: nnx.Module,
    *,
    metadata: Mapping[str, str] | None = None,
    dtype: Any = jnp.float32,
) -> None:
    """Write a network; the file appears whole or not at all.

    Args:
        path: the file to write; its folder must exist.
        module: a network of a class in :func:`network_classes`, holding its ``config``.
        metadata: further header entries (names and values are text).
        dtype: how floating arrays are stored: float32, float16, or int8 for those of at least two
            axes and `LARGE` numbers, and float16 for the others.

    Raises:
        WeightsError: if the class is not registered or the file cannot be written.
    """
    class_name = type(module).__name__
    if class_name not in network_classes():
        raise WeightsError(f"save_network: {class_name} is none of {sorted(network_classes())}")
    arrays: dict[str, np.ndarray] = {}
    for name, leaf in network_arrays(module).items():
        arrays |= _stored(name, leaf, np.dtype(dtype))
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {
        **(metadata or {}),
        "format_version": FORMAT_VERSION,
        "network": class_name,
        "config": json.dumps(dataclasses.asdict(module.config)),  # pyright: ignore
    }
    try:
        with atomic_path(path) as temporary:
            temporary.touch(exist_ok=False)  # its errors say why, unlike those of safetensors
            save_file(arrays, temporary, metadata=header)
            os.chmod(temporary, 0o644)  # safetensors makes files that only their owner can read
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be written: {reason}") from error


def _stored(name: str, array: np.ndarray, dtype: np.dtype) -> dict[str, np.ndarray]:
    """An array as a file has it, by the names that it has there."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return {name: array}
    if dtype != np.int8:
        return {name: np.asarray(array, dtype)}
    if array.ndim < 2 or array.size < LARGE:
        return {name: np.asarray(array, np.float16)}
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    scale = np.where(largest > 0, largest / _STEPS, 1.0).astype(np.float32)
    return {name: np.rint(array / scale).astype(np.int8), name + _SCALE: scale}


def _restored(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a file by their own names; those in 8 bits times their scales.

    Raises:
        WeightsError: a scale does not fit its array.
    """
    restored = {name: array for name, array in arrays.items() if not name.endswith(_SCALE)}
    for name in arrays.keys() - restored.keys():
        steps, scale = restored.get(name.removesuffix(_SCALE)), arrays[name]
        if steps is None or steps.dtype != np.int8 or scale.shape != steps.shape[-1:]:
            raise WeightsError(f"{name} has shape {list(scale.shape)} and is the scale of no array")
        restored[name.removesuffix(_SCALE)] = steps * scale
    return restored


def read_header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a network's file.

    Raises:
        WeightsError: if the file is missing, damaged, or not written by ``save_network``.
    """
    return _read(path, with_arrays=False)[0]


def config_of(header: Mapping[str, str]) -> Any:
    """The configuration that a header from :func:`read_header` describes.

    Raises:
        WeightsError: for an unknown class or field, or values that the configuration refuses.
    """
    return _read_config(config_class(header["network"]), _config_fields(header))


def load_network(path: str | os.PathLike[str]) -> Any:
    """Load one network.

    Returns:
        An instance of the class that the header names, with float32 parameters.

    Raises:
        WeightsError: if the file is missing, damaged, not written by ``save_network``, or its
            arrays do not fit its configuration.
    """
    header, arrays = _read(path, with_arrays=True)
    try:
        return build_network(header["network"], _config_fields(header), _restored(arrays))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def read_arrays(
    source: str | os.PathLike[str] | bytes,
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The header and the arrays of any safetensors file, or of its bytes.

    Raises:
        WeightsError: if it is missing or damaged.
    """
    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            file.write(source)
            file.flush()
            return read_arrays(file.name)
    if not Path(source).is_file():
        raise WeightsError(f"{source}: no such file")
    try:
        with safe_open(source, framework="numpy") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{source}: not a readable safetensors file: {error}") from error


def _read(
    path: str | os.PathLike[str], *, with_arrays: bool
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = file.keys() if with_arrays else []
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from error
    missing = [key for key in ("network", "config", "format_version") if key not in header]
    if missing:
        raise WeightsError(
            f"{path}: its header lacks {', '.join(missing)}; expected a file written by jaxface "
            "(convert other checkpoints with jaxface.convert)"
        )
    if header["format_version"] != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: format version {header['format_version']}, this jaxface reads "
            f"{FORMAT_VERSION}"
        )
    return header, arrays


def _network_class(class_name: str) -> type[nnx.Module]:
    classes = network_classes()
    if class_name not in classes:
        raise WeightsError(f"network class: expected one of {sorted(classes)}, got {class_name!r}")
    return classes[class_name]


LARGEST = 2**24
"""Of the integers in a configuration: no array that fits a memory has a longer side."""
_COUNTS = ("blocks", "convolutions", "depth", "layers", "mapping_layers", "stacks", "units")
_COUNTS += ("mesh_blocks", "mixer_blocks")
"""Fields that count layers, each of which has an array at least."""


def _config_fields(header: Mapping[str, str]) -> dict[str, Any]:
    try:
        fields = json.loads(header["config"])
    except (ValueError, RecursionError) as error:
        raise WeightsError("the header's config is no JSON") from error
    if not isinstance(fields, dict):
        raise WeightsError("the header's config is no JSON object")
    return fields


def _check_counts(class_name: str, fields: Mapping[str, Any], most: int) -> None:
    """Refuses a configuration of more layers than a file has arrays, before they are made."""
    if isinstance(rows := fields.get("num_ws"), int) and rows > 1024:
        raise WeightsError(f"{class_name}: num_ws is {rows}, and no generator has above 1024")
    for name in fields.keys() & set(_COUNTS):
        values = fields[name] if isinstance(fields[name], list | tuple) else [fields[name]]
        numbers = [value for value in values if isinstance(value, int)]
        if numbers and sum(numbers) > most:
            raise WeightsError(
                f"{class_name}: {name} counts {sum(numbers)} layers, and the file has {most} arrays"
            )


def _check_value(kind: type, name: str, value: Any, hint: Any) -> None:
    """Refuses a value that is not of the field's type, or out of all proportion.

    Raises:
        WeightsError: naming the field.
    """
    if not _is_of(value, hint):
        shown = json.dumps(value)[:60]
        raise WeightsError(f"{kind.__name__}: {name} is {shown}, expected {_type_name(hint)}")


def _is_of(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return len(value) <= 4096 and all(_is_of(each, inner[0]) for each in value)
        return len(value) == len(inner) and all(map(_is_of, value, inner))
    if origin is typing.Literal:
        return value in inner if isinstance(value, str | int | type(None)) else False
    if inner:  # a union
        return any(_is_of(value, each) for each in inner)
    if hint is float:
        return type(value) in (int, float) and abs(value) < 1e30
    if hint is int:
        return type(value) is int and abs(value) <= LARGEST
    return type(value) is hint if isinstance(hint, type) else True


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _read_config(kind: type, fields: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise WeightsError(
            f"{kind.__name__}: unknown {', '.join(unknown)}; expected some of "
            f"{', '.join(sorted(known))}"
        )
    hints = typing.get_type_hints(kind)
    for name, value in fields.items():
        _check_value(kind, name, value, hints[name])
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(str(error)) from error


def _named_leaves(module: nnx.Module) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(module))
    return {_dotted(path): leaf for path, leaf in leaves}


def _dotted(path: tuple[Any, ...]) -> str:
    parts = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    # An nnx Variable is itself a node whose only child is its value.
    return ".".join(part for part in parts if part not in ("", "value"))
