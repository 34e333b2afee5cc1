"""VGG-Face (Parkhi et al. 2015) in three forms; the descriptor's layers, without the classifier.

A flat state dictionary of ``vgg_face_dag`` (Albanie's import of MatConvNet's file), for RGB with
the mean (129.186, 104.762, 93.594) subtracted::

    conv1_1 ... conv5_3   .weight [O, I, 3, 3], .bias               trunk.layers.{0 ... 12}
    fc6                   .weight [O, C * 7 * 7], .bias             fc6, over a flattened HWC
    fc7                   .weight [O, I], .bias                     fc7
    fc8                                                             ignored: the classifier

The same with keys ``conv_1_1 ... conv_5_3``, which ports of Torch's ``VGG_FACE.t7`` save.  Torch's
and Caffe's weights take BGR, so the first kernel is turned to RGB.  Caffe's demonstration subtracts
(93.594, 104.762, 129.186) in that order, as here; Torch's and that of its port vgg-face.pytorch
subtract the three numbers the other way round, 129.186 from blue.  The channels' order is not in a
file: a port of ``VGG_FACE.t7`` that names its layers ``conv1_1`` would be taken for RGB.

MatConvNet's ``vgg-face.mat`` (variables ``layers`` and ``meta``) and ``vgg_face.mat`` (``net``
with ``layers`` and ``normalization``), for RGB; the mean is the file's ``averageImage``::

    layers{i}.name, .weights{1} [k, k, I, O], .weights{2} [O]       as above; fc6 is [7, 7, C, O],
                                                                    fc7 [1, 1, I, O]
    layers of other names (ReLUs, poolings, dropouts, prob)         ignored: without weights
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.families.torch_layers import conv, has_tensors, linear, state_arrays
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.features.vgg import STAGES
from jaxface.nets.recognition.vgg_face import REDUCTION, VGGFaceConfig

NETWORKS: tuple[str, ...] = ("VGGFace",)
TERMS: Mapping[str, Terms] = {"VGGFace": Terms(note="see the authors' page")}

POSITIONS = [(stage, i + 1) for stage, count in enumerate(STAGES, 1) for i in range(count)]
# Indices of the convolutions that open a stage.
FIRSTS = [POSITIONS.index((stage, 1)) for stage in range(1, len(STAGES) + 1)]
CLASSIFIER = "the classifier of the training identities, which the descriptor does not need"


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    layers = _matlab_layers(root)
    if layers is not None:
        return {"conv1_1", "fc6"} <= {str(layer.get("name")) for layer in layers}
    return any(
        has_tensors(root, f"{first}.weight", "fc6.weight") for first in ("conv1_1", "conv_1_1")
    )


def plan(root: Any, network: str) -> Plan:
    """How to convert the file.

    Raises:
        Refusal: if its sizes are not those of a VGG-16 with two fully connected layers, or its
            mean is not one colour.
    """
    layers = _matlab_layers(root)
    if layers is not None:
        return _matlab_plan(root, layers)
    arrays = state_arrays(root)
    is_bgr = "conv_1_1.weight" in arrays
    names = [f"conv_{s}_{i}" if is_bgr else f"conv{s}_{i}" for s, i in POSITIONS]
    inputs = shape_of(arrays, "fc6.weight", 2)[1]
    config, side = _config(arrays, names, inputs)
    entries = [entry for k, name in enumerate(names) for entry in conv(name, _trunk(k), bias=True)]
    if is_bgr:
        entries[0] = Entry(entries[0].source, entries[0].target, _kernel_of_bgr)
    entries += [
        Entry("fc6.weight", "fc6.weight", _flattened_dense(side)),
        Entry("fc6.bias", "fc6.bias"),
        *linear("fc7", "fc7", bias=True),
    ]
    return Plan(
        class_name="VGGFace",
        config=config,
        arrays=arrays,
        entries=tuple(entries),
        ignored={key: CLASSIFIER for key in ("fc8.weight", "fc8.bias") if key in arrays},
        notes=("the first kernel was for BGR and is turned to RGB",) if is_bgr else (),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What MatConvNet's file holds beside its layers."""
    if _matlab_layers(root) is None:
        return {}
    net = root.get("net", root)
    return {
        one_line(name): "all but its averageImage"
        if name in ("meta", "normalization")
        else "not part of the descriptor"
        for name in net
        if name != "layers"
    }


def _matlab_layers(root: Any) -> list[dict[str, Any]] | None:
    """The layers of MatConvNet's file; None for anything else."""
    net = root.get("net", root) if isinstance(root, dict) else None
    layers = net.get("layers") if isinstance(net, dict) else None
    is_list = isinstance(layers, list) and all(isinstance(layer, dict) for layer in layers)
    return layers if is_list else None


def _matlab_plan(root: Any, layers: list[dict[str, Any]]) -> Plan:
    arrays: dict[str, np.ndarray] = {}
    ignored = {}
    for layer in layers:
        name = one_line(layer.get("name"))
        weights = layer.get("weights")
        if not isinstance(weights, list) or not weights:
            ignored[name] = "a layer without weights"
            continue
        if len(weights) != 2:
            raise Refusal(f"{name} has {len(weights)} arrays, expected a kernel and a bias")
        for kind, value in zip(("weight", "bias"), weights, strict=True):
            arrays[f"{name}.{kind}"] = as_array(value, where=f"{name}.{kind}")
    names = [f"conv{s}_{i}" for s, i in POSITIONS]
    for name in (*names, "fc6", "fc7"):
        key = f"{name}.bias"  # MATLAB has no vectors, only a row or a column
        arrays |= {key: arrays[key].reshape(-1)} if key in arrays else {}
    height, width, channels, _ = shape_of(arrays, "fc6.weight", 4)
    config, _ = _config(arrays, names, height * width * channels, mean=_average_image(root))
    entries = []
    for index, name in enumerate(names):
        entries.append(Entry(f"{name}.weight", f"{_trunk(index)}.weight"))
        entries.append(Entry(f"{name}.bias", f"{_trunk(index)}.bias"))
    for name in ("fc6", "fc7"):
        entries.append(Entry(f"{name}.weight", f"{name}.weight", _dense_of_kernel))
        entries.append(Entry(f"{name}.bias", f"{name}.bias"))
    ignored |= {key: CLASSIFIER for key in ("fc8.weight", "fc8.bias") if key in arrays}
    return Plan(
        class_name="VGGFace",
        config=config,
        arrays=arrays,
        entries=tuple(entries),
        ignored=ignored,
    )


def _config(
    arrays: Mapping[str, np.ndarray], names: list[str], inputs: int, **settings: Any
) -> tuple[VGGFaceConfig, int]:
    """Sizes from the arrays, and how many positions a side fc6 sees; `inputs` are all it sees."""
    channels = tuple(shape_of(arrays, f"{names[k]}.bias", 1)[0] for k in FIRSTS)
    side = math.isqrt(inputs // max(channels[-1], 1))
    if side < 1 or side * side * channels[-1] != inputs:
        raise Refusal(
            f"fc6.weight takes {inputs} inputs, which is no square of positions with "
            f"{channels[-1]} channels"
        )
    config = make_config(
        VGGFaceConfig,
        channels=channels,
        width=shape_of(arrays, "fc6.bias", 1)[0],
        resolution=REDUCTION * side,
        **settings,
    )
    return config, side


def _average_image(root: Any) -> tuple[float, float, float]:
    """The mean colour, RGB: MatConvNet stores it as [1, 1, 3], [3] or a whole image of it."""
    net = root.get("net", root)
    holder = net.get("meta", net)
    normalization = holder.get("normalization") if isinstance(holder, dict) else None
    if not isinstance(normalization, dict) or "averageImage" not in normalization:
        raise Refusal("lacks normalization.averageImage, the mean of the input")
    image = as_array(normalization["averageImage"], where="averageImage").astype(np.float64)
    colours = image.reshape(-1, 3) if image.size == 3 or image.shape[-1:] == (3,) else image
    # A whole image of one colour, in float32: some roundings of 129.
    if colours.ndim != 2 or not len(colours) or np.ptp(colours, axis=0).max() > 1e-3:
        raise Refusal(f"averageImage of shape {list(image.shape)} is not one RGB colour")
    red, green, blue = colours[0].tolist()
    return red, green, blue


def _trunk(index: int) -> str:
    return f"trunk.layers.{index}"


def _kernel_of_bgr(x: np.ndarray) -> np.ndarray:
    """OIHW over BGR to HWIO over RGB."""
    return hooks.kernel(x)[:, :, ::-1]


def _flattened_dense(side: int) -> Callable[[np.ndarray], np.ndarray]:
    """[out, C * side * side], over a flattened CHW, to [side * side * C, out]."""

    def hook(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, side, side).transpose(2, 3, 1, 0).reshape(-1, len(x))

    return hook


def _dense_of_kernel(x: np.ndarray) -> np.ndarray:
    """[H, W, I, O], a convolution over all there is, to [H * W * I, O]."""
    if x.ndim != 4:
        raise ValueError("expected 4 dimensions")
    return x.reshape(-1, x.shape[-1])
