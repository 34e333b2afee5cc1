"""torchvision's ``vgg16``, ``alexnet`` and ``resnet50`` state dictionaries (``vgg16-*.pth``, ...).

The file is flat; which of the first two it is follows from the numbers of its layers, and the
widths from its biases.  ``features`` converts the convolutions::

    VGG16    features.{0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28}    layers.{0 ... 12}
    AlexNet  features.{0, 3, 6, 8, 10}                                    layers.{0 ... 4}
                 .weight [O, I, k, k], .bias                                  .weight, .bias

``classifier.*`` is ignored: only the convolutional features are used.  The mean and the standard
deviation of the input are not in the file; they are ImageNet's, the configuration's default.

A ``resnet50`` (or ``resnet101``, ``resnet152``) is the one with ``layer1`` to ``layer4``; its
``features`` are the trunk of ``resnet.py``, without the classifier ``fc``.

``LPIPS`` makes the perceptual distance of the same file and the linear heads of the ``lpips``
package (``lpips/weights/v0.1/vgg.pth`` or ``alex.pth``), given by ``--with heads=FILE``; see
``lpips.py`` for their names.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.families import lpips
from jaxface.convert.families.resnet import trunk_entries, trunk_sizes
from jaxface.convert.families.torch_layers import counters, has_tensors, state_arrays
from jaxface.convert.families.trunks import find_trunk
from jaxface.convert.formats.checkpoint import Checkpoint
from jaxface.convert.plan import Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.features.alexnet import AlexNetConfig
from jaxface.nets.features.resnet import ResNetConfig
from jaxface.nets.features.vgg import VGGConfig

NETWORKS: tuple[str, ...] = ("features", "LPIPS")
TERMS: Mapping[str, Terms] = dict.fromkeys(
    NETWORKS,
    Terms(
        "BSD-3-Clause",
        "unstated",
        "the code; weights may have terms derived from ImageNet, which they were trained on",
    ),
)
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "LPIPS": {"heads": "the lpips package's weights/v0.1/vgg.pth or alex.pth"}
}
OPTIONAL: Mapping[str, Mapping[str, str]] = {}

CONFIGS = {"VGG16": VGGConfig, "AlexNet": AlexNetConfig}


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, "features.0.weight", "features.0.bias") or _is_resnet(root)


def _is_resnet(root: Any) -> bool:
    return has_tensors(root, "conv1.weight", "layer1.0.conv1.weight", "fc.weight")


def plan(root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
    """How to convert the file's convolutions, or LPIPS upon them.

    Raises:
        Refusal: if the file is none of the networks, or the heads are not of its widths.
    """
    arrays = state_arrays(root)
    if _is_resnet(root):
        return _resnet(arrays, network)
    layers = {
        int(found[1]): key.removesuffix(".weight")
        for key in arrays
        if (found := re.fullmatch(r"features\.(\d+)\.weight", key))
    }
    trunk = find_trunk(layers, where="features")
    ignored = {
        key: "only the convolutional features are used"
        for key in arrays
        if re.fullmatch(r"classifier\.\d+\.(weight|bias)", key)
    }
    if network == "LPIPS":
        arrays = _joined(arrays, extras["heads"])
        return lpips.plan_of_parts(arrays, trunk, ignored)
    return Plan(
        class_name=trunk.class_name,
        config=CONFIGS[trunk.class_name](channels=trunk.channels(arrays)),
        arrays=arrays,
        entries=tuple(trunk.entries("layers")),
        ignored=ignored,
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """Nothing: every key of the flat file is in the plan."""
    return {}


def _resnet(arrays: dict[str, np.ndarray], network: str) -> Plan:
    if network == "LPIPS":
        raise Refusal("LPIPS is made of vgg16 or alexnet, not of a ResNet")
    config = make_config(ResNetConfig, **trunk_sizes(arrays))
    classifier = [key for key in ("fc.weight", "fc.bias") if key in arrays]
    return Plan(
        class_name="ResNetFeatures",
        config=config,
        arrays=arrays,
        entries=tuple(trunk_entries(config.blocks, "trunk")),
        ignored={key: "only the features are used" for key in classifier} | counters(arrays),
    )


def _joined(arrays: dict[str, np.ndarray], heads: Checkpoint) -> dict[str, np.ndarray]:
    """The arrays of both files."""
    if not has_tensors(heads.root, lpips.HEADS[0]):
        raise Refusal(f"{heads.path} holds no {lpips.HEADS[0]}: not the heads of the lpips package")
    more = state_arrays(heads.root)
    twice = sorted(arrays.keys() & more.keys())
    if twice:
        raise Refusal(f"{heads.path} holds {twice[0]} too, expected the linear heads alone")
    return arrays | more
