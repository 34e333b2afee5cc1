"""LPIPS as the package ``lpips`` (0.1.x) saves it: the state dictionary of an ``lpips.LPIPS``.

The file is flat; the trunk follows from torchvision's numbers in its keys, widths from biases::

    net.slice{1 ... 5}.{torchvision's number}.weight, .bias     trunk.layers.{index}
    lin{0 ... 4}.model.1.weight [1, C, 1, 1]                    heads.{0 ... 4} [C]
    lins.{0 ... 4}.model.1.weight                               ignored, once equal to lin{0 ... 4}
    scaling_layer.shift, .scale [1, 3, 1, 1]                    ignored, once equal to the
                                                                package's, which the trunk applies

Heads of the package's version 0.0 have the same names and cannot be told from those of 0.1, for
which the network is written: take ``weights/v0.1``.  A file of the heads alone
(``weights/v0.1/vgg.pth``) is half of the network; ``torchvision.py`` joins it with its trunk.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.torch_layers import has_tensors, state_arrays
from jaxface.convert.families.trunks import Trunk, find_trunk
from jaxface.convert.plan import Entry, Plan
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.features.lpips import LPIPSConfig

NETWORKS: tuple[str, ...] = ("LPIPS",)
TERMS: Mapping[str, Terms] = {
    "LPIPS": Terms(
        "BSD-2-Clause", "unstated", "the heads; the trunk was trained on ImageNet, see torchvision"
    )
}

HEADS = tuple(f"lin{index}.model.1.weight" for index in range(5))
# lpips/lpips.py: ScalingLayer.
SCALING = {
    "scaling_layer.shift": (-0.030, -0.088, -0.188),
    "scaling_layer.scale": (0.458, 0.448, 0.450),
}


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, HEADS[0])


def plan(root: Any, network: str) -> Plan:
    """How to convert the file.

    Raises:
        Refusal: if the file holds no trunk, another trunk, or another scaling of the input.
    """
    arrays = state_arrays(root)
    layers = {
        int(found[1]): key.removesuffix(".weight")
        for key in arrays
        if (found := re.fullmatch(r"net\.slice\d+\.(\d+)\.weight", key))
    }
    if not layers:
        raise Refusal(
            "holds LPIPS's linear heads without a trunk; give torchvision's vgg16 or alexnet as "
            "IN, with --network LPIPS and this file as --with heads=FILE"
        )
    trunk = find_trunk(layers, where="net")
    ignored = {}
    for key, expected in SCALING.items():
        if key not in arrays:
            raise Refusal(f"the network lacks {key}")
        # Stored in float32: 1e-6 is some 10 roundings.
        if arrays[key].shape != (1, 3, 1, 1) or not np.allclose(
            arrays[key].reshape(3), expected, rtol=0, atol=1e-6
        ):
            raise Refusal(f"{key} differs from the package's {expected}")
        ignored[key] = "equal to the package's, which the trunk applies"
    for index, head in enumerate(HEADS):
        copy = f"lins.{index}.model.1.weight"
        if copy in arrays:
            if head not in arrays or not np.array_equal(arrays[copy], arrays[head]):
                raise Refusal(f"{copy} differs from {head}, whose copy it is")
            ignored[copy] = f"a copy of {head}"
    return plan_of_parts(arrays, trunk, ignored)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """Nothing: every key of the flat file is in the plan."""
    return {}


def plan_of_parts(
    arrays: Mapping[str, np.ndarray], trunk: Trunk, ignored: Mapping[str, str]
) -> Plan:
    """LPIPS upon a trunk, from arrays that hold the heads too."""
    return Plan(
        class_name="LPIPS",
        config=LPIPSConfig(
            trunk="vgg" if trunk.class_name == "VGG16" else "alex", channels=trunk.channels(arrays)
        ),
        arrays=arrays,
        entries=(
            *trunk.entries("trunk.layers"),
            *(Entry(head, f"heads.{k}", hooks.image_bias) for k, head in enumerate(HEADS)),
        ),
        ignored=ignored,
    )
