"""One network in one safetensors file: its arrays by name, its configuration in the header.

Names are dotted attribute paths, ``synthesis.blocks.0.conv1.weight``. The header's metadata holds
``network`` (the class), ``config`` (JSON), ``format_version``, and whatever the writer adds (a
converter: source SHA-256 and its own version). Loading never initialises: arrays fill the
abstract module by name, and every name must match.
"""

import dataclasses
import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxface.errors import WeightsError

FORMAT_VERSION = "1"

# Class name to (module, configuration class). A new network is one more line.
NETWORKS = {
    "AlexNet": ("jaxface.nets.features.alexnet", "AlexNetConfig"),
    "AlexNetReconstruction": (
        "jaxface.nets.reconstruction.backbones",
        "AlexNetReconstructionConfig",
    ),
    "BaselModel": ("jaxface.morphable.basel", "BaselConfig"),
    "Blendshapes": ("jaxface.nets.landmarks.blendshapes", "BlendshapesConfig"),
    "DECAEncoder": ("jaxface.nets.reconstruction.deca", "DECAEncoderConfig"),
    "Deep3D": ("jaxface.nets.reconstruction.deep3d", "Deep3DConfig"),
    "Discriminator": ("jaxface.nets.stylegan2", "DiscriminatorConfig"),
    "DlibResNet": ("jaxface.nets.recognition.dlib_resnet", "DlibResNetConfig"),
    "E4EEncoder": ("jaxface.nets.encoders", "EncoderConfig"),
    "FaceDetector": ("jaxface.nets.landmarks.face_detector", "FaceDetectorConfig"),
    "FaceLandmarkNet": ("jaxface.nets.landmarks.face_landmarks", "FaceLandmarkConfig"),
    "FaceMesh": ("jaxface.nets.landmarks.face_mesh", "FaceMeshConfig"),
    "FaceNet": ("jaxface.nets.recognition.facenet", "FaceNetConfig"),
    "FaceReconstruction": ("jaxface.nets.reconstruction.regressor", "ReconstructionConfig"),
    "FAN": ("jaxface.nets.landmarks.fan", "FANConfig"),
    "FLAME": ("jaxface.morphable.flame", "FLAMEConfig"),
    "Generator": ("jaxface.nets.stylegan2", "GeneratorConfig"),
    "HopeNet": ("jaxface.nets.reconstruction.hopenet", "HopeNetConfig"),
    "InceptionV3": ("jaxface.nets.features.inception", "InceptionConfig"),
    "IRSE": ("jaxface.nets.recognition.irse", "IRSEConfig"),
    "LatentDirections": ("jaxface.nets.edits.linear_directions", "DirectionsConfig"),
    "LatentMapper": ("jaxface.nets.edits.latent_mapper", "LatentMapperConfig"),
    "LandmarkNet": ("jaxface.nets.landmarks.heatmaps", "LandmarkConfig"),
    "LPIPS": ("jaxface.nets.features.lpips", "LPIPSConfig"),
    "MobileGenerator": ("jaxface.nets.mobile_stylegan", "MobileGeneratorConfig"),
    "PSPEncoder": ("jaxface.nets.encoders", "EncoderConfig"),
    "ResNetFeatures": ("jaxface.nets.features.resnet", "ResNetConfig"),
    "ResNetReconstruction": ("jaxface.nets.reconstruction.backbones", "ResNetReconstructionConfig"),
    "RestyleE4EEncoder": ("jaxface.nets.encoders", "EncoderConfig"),
    "RestylePSPEncoder": ("jaxface.nets.encoders", "EncoderConfig"),
    "RigNet": ("jaxface.nets.edits.rignet", "RigNetConfig"),
    "StyleDirections": ("jaxface.nets.edits.style_directions", "StyleDirectionsConfig"),
    "StyleMapper": ("jaxface.nets.edits.style_mapper", "StyleMapperConfig"),
    "VGG16": ("jaxface.nets.features.vgg", "VGGConfig"),
    "VGGFace": ("jaxface.nets.recognition.vgg_face", "VGGFaceConfig"),
    "VGGFaceReconstruction": (
        "jaxface.nets.reconstruction.backbones",
        "VGGFaceReconstructionConfig",
    ),
    "WEncoder": ("jaxface.nets.encoders", "EncoderConfig"),
}


def network_names(module: nnx.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """Every array of a network, by dotted name, as shape and dtype."""
    return {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in _named_leaves(module).items()
    }


def network_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Every array of a network, by dotted name."""
    return {name: np.asarray(leaf) for name, leaf in _named_leaves(module).items()}


def abstract_network(class_name: str, config: Any) -> nnx.Module:
    """A network of shapes without numbers.

    Args:
        class_name: a key of ``NETWORKS``.
        config: an instance of its configuration class, or a mapping of that class's fields.

    Raises:
        WeightsError: for an unknown class or field, or values that the configuration refuses.
    """
    module, config_class = _home(class_name)
    if isinstance(config, Mapping):
        config = _read_config(config_class, config)
    network_class = getattr(module, class_name)
    return nnx.eval_shape(lambda: network_class(config, rngs=nnx.Rngs(0)))


def build_network(class_name: str, config: Any, arrays: Mapping[str, np.ndarray]) -> nnx.Module:
    """A network from named arrays, each of which must fit and none of which may be left over.

    Args:
        class_name: a key of ``NETWORKS``.
        config: an instance of its configuration class, or a mapping of that class's fields.
        arrays: name to array; floating arrays become float32.

    Raises:
        WeightsError: naming the missing, surplus or wrongly shaped arrays.
    """
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
            leaf = jnp.asarray(np.asarray(arrays[name]), dtype=leaf.dtype)
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
        module: a network of a class in ``NETWORKS``, holding its ``config``.
        metadata: further header entries (names and values are text).
        dtype: how floating arrays are stored: float32 or float16.

    Raises:
        WeightsError: if the class is not registered or the file cannot be written.
    """
    class_name = type(module).__name__
    if class_name not in NETWORKS:
        raise WeightsError(f"save_network: {class_name} is none of {sorted(NETWORKS)}")
    arrays = {
        name: np.asarray(leaf, dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        for name, leaf in _named_leaves(module).items()
    }
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {
        **(metadata or {}),
        "format_version": FORMAT_VERSION,
        "network": class_name,
        "config": json.dumps(dataclasses.asdict(module.config)),  # pyright: ignore
    }
    path = Path(path)
    handle, temporary = None, ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file(arrays, temporary, metadata=header)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be written: {reason}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


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
    return _read_config(_home(header["network"])[1], json.loads(header["config"]))


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
        return build_network(header["network"], json.loads(header["config"]), arrays)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


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


def _home(class_name: str) -> tuple[ModuleType, type]:
    """Where a network's class is, and its configuration class."""
    if class_name not in NETWORKS:
        raise WeightsError(f"network class: expected one of {sorted(NETWORKS)}, got {class_name!r}")
    module_name, config_name = NETWORKS[class_name]
    module = importlib.import_module(module_name)
    return module, getattr(module, config_name)


def _read_config(config_class: type, fields: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise WeightsError(
            f"{config_class.__name__}: unknown {', '.join(unknown)}; expected some of "
            f"{', '.join(sorted(known))}"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(str(error)) from error


def _named_leaves(module: nnx.Module) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(module))
    return {_dotted(path): leaf for path, leaf in leaves}


def _dotted(path: tuple[Any, ...]) -> str:
    parts = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    # An nnx Variable is itself a node whose only child is its value.
    return ".".join(part for part in parts if part not in ("", "value"))
