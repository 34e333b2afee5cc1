"""The face-api package's networks (npm ``@vladmandic/face-api``, folder ``model``): dlib's face
recognition and the two networks of 68 landmarks.

The source is a ``*-weights_manifest.json`` with its ``.bin`` beside it (``weights_manifest.py``).
Kernels are HWIO and dense weights [in, out], as ours.  Sizes come from the arrays.

``face_recognition_model`` (a convolution ``X`` is ``X/conv/filters``, ``X/conv/bias``,
``X/scale/weights``, ``X/scale/biases``; ours ``.conv.weight``, ``.conv.bias``, ``.scale``,
``.shift``)::

    conv32_down                                      stem
    conv32_{1, 2, 3}/conv{1, 2}                      stages.0.{0, 1, 2}.conv{1, 2}
    conv{64, 128, 256}_down/conv{1, 2}               stages.{1, 2, 3}.0.conv{1, 2}
    conv{64, 128, 256}_{j}/conv{1, 2}                stages.{1, 2, 3}.{j}.conv{1, 2}
    conv256_down_out/conv{1, 2}                      last.conv{1, 2}
    fc                                               linear.weight

``face_landmark_68_model`` and ``face_landmark_68_tiny_model``::

    dense0/conv0/{filters, bias}                     blocks.0.first.{weight, bias}
    dense{n}/conv0                                   blocks.{n}.first
    dense{n}/conv{j}                                 blocks.{n}.rest.{j - 1}
        /depthwise_filter [3, 3, C, 1]                   .depthwise.weight [3, 3, 1, C]
        /pointwise_filter, /bias                         .pointwise.weight, .bias
    fc/{weights, bias}                               linear.{weight, bias}

``face_expression_model`` has the landmark network's form and 7 outputs; it is refused, like the
package's detectors and its age network.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.formats.weights_manifest import WeightMap
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.landmarks.face_landmarks import FaceLandmarkConfig
from jaxface.nets.recognition.dlib_resnet import DlibResNetConfig

NETWORKS: tuple[str, ...] = ("model",)
TERMS: Mapping[str, Terms] = {
    "model": Terms("MIT", "unstated", "the package, which states no other terms for its models")
}

# The stages' names in the recognition network: their published widths.
STAGES = (32, 64, 128, 256)
NUM_LANDMARKS = 68


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, WeightMap) and (_is_recognition(root) or _is_landmarks(root))


def plan(root: Any, network: str) -> Plan:
    """How to convert the network of the file.

    Raises:
        Refusal: if its sizes are not those of one of the networks.
    """
    del network  # there is one
    return _recognition_plan(root) if _is_recognition(root) else _landmarks_plan(root)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}


def _is_recognition(root: WeightMap) -> bool:
    return "conv32_down/conv/filters" in root


def _is_landmarks(root: WeightMap) -> bool:
    return "dense0/conv0/filters" in root and "fc/weights" in root


def _recognition_plan(arrays: WeightMap) -> Plan:
    widths = [shape_of(arrays, "conv32_down/conv/bias", 1)[0]]
    widths += [shape_of(arrays, f"conv{n}_down/conv1/conv/bias", 1)[0] for n in STAGES[1:]]
    config = make_config(
        DlibResNetConfig,
        channels=tuple(widths),
        blocks=tuple(count_keys(arrays, rf"conv{n}_\d+/conv1/conv/bias") for n in STAGES),
        embedding=shape_of(arrays, "fc", 2)[1],
    )
    return Plan("DlibResNet", config, arrays, tuple(recognition_entries(config)))


def recognition_entries(config: DlibResNetConfig) -> list[Entry]:
    """The recognition network's name map."""
    entries = _conv_scale("conv32_down", "stem")
    for index, (name, count) in enumerate(zip(STAGES, config.blocks, strict=True)):
        blocks = [f"conv{name}_down"] if index else []
        blocks += [f"conv{name}_{j}" for j in range(1, count + 1)]
        for j, block in enumerate(blocks):
            entries += _residual(block, f"stages.{index}.{j}")
    entries += _residual("conv256_down_out", "last")
    return [*entries, Entry("fc", "linear.weight")]


def _residual(source: str, target: str) -> list[Entry]:
    return [
        entry
        for conv in ("conv1", "conv2")
        for entry in _conv_scale(f"{source}/{conv}", f"{target}.{conv}")
    ]


def _conv_scale(source: str, target: str) -> list[Entry]:
    return [
        Entry(f"{source}/conv/filters", f"{target}.conv.weight"),
        Entry(f"{source}/conv/bias", f"{target}.conv.bias"),
        Entry(f"{source}/scale/weights", f"{target}.scale"),
        Entry(f"{source}/scale/biases", f"{target}.shift"),
    ]


def _landmarks_plan(arrays: WeightMap) -> Plan:
    outputs = shape_of(arrays, "fc/bias", 1)[0]
    if outputs != 2 * NUM_LANDMARKS:
        raise Refusal(
            f"a face-api network of {outputs} outputs; its landmark networks have "
            f"{2 * NUM_LANDMARKS}, two for each of {NUM_LANDMARKS} points"
        )
    blocks = {int(found[1]) for key in arrays if (found := re.match(r"dense(\d+)/", key))}
    config = make_config(
        FaceLandmarkConfig,
        channels=tuple(shape_of(arrays, f"dense{n}/conv0/bias", 1)[0] for n in range(len(blocks))),
        convolutions=count_keys(arrays, r"dense0/conv\d+/bias"),
    )
    return Plan("FaceLandmarkNet", config, arrays, tuple(landmark_entries(config)))


def landmark_entries(config: FaceLandmarkConfig) -> list[Entry]:
    """The landmark networks' name map."""
    entries = [
        Entry("dense0/conv0/filters", "blocks.0.first.weight"),
        Entry("dense0/conv0/bias", "blocks.0.first.bias"),
    ]
    for n in range(len(config.channels)):
        if n > 0:
            entries += _separable(f"dense{n}/conv0", f"blocks.{n}.first")
        for j in range(1, config.convolutions):
            entries += _separable(f"dense{n}/conv{j}", f"blocks.{n}.rest.{j - 1}")
    entries.append(Entry("fc/weights", "linear.weight"))
    return [*entries, Entry("fc/bias", "linear.bias")]


def _separable(source: str, target: str) -> list[Entry]:
    return [
        Entry(f"{source}/depthwise_filter", f"{target}.depthwise.weight", _depthwise),
        Entry(f"{source}/pointwise_filter", f"{target}.pointwise.weight", hooks.same),
        Entry(f"{source}/bias", f"{target}.pointwise.bias"),
    ]


def _depthwise(x: np.ndarray) -> np.ndarray:
    """[H, W, C, 1], a kernel for each channel, to HWIO with one input each."""
    return x.transpose(0, 1, 3, 2)
