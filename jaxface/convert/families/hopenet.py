"""HopeNet's ``hopenet_robust_alpha1.pkl`` and its siblings: a flat PyTorch state dictionary.

The trunk is torchvision's ResNet (``resnet.py``), its keys without a prefix::

    conv1, bn1, layer1 ... layer4              trunk
    fc_yaw, fc_pitch, fc_roll .weight, .bias   yaw, pitch, roll

``fc_finetune`` is ignored: the original's forward never reaches it.
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert.families.resnet import trunk_entries, trunk_sizes
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.families.torch_layers import counters, has_tensors, linear, state_arrays
from jaxface.convert.plan import Plan, make_config
from jaxface.licences import Terms
from jaxface.nets.reconstruction.hopenet import HopeNetConfig

NETWORKS: tuple[str, ...] = ("HopeNet",)
TERMS: Mapping[str, Terms] = {
    "HopeNet": Terms(note="the code is Apache-2.0, and states no terms for the file")
}
ANGLES = ("yaw", "pitch", "roll")
UNREACHED = ("fc_finetune.weight", "fc_finetune.bias")


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, *(f"fc_{angle}.weight" for angle in ANGLES))


def plan(root: Any, network: str) -> Plan:
    """How to convert the network.

    Raises:
        Refusal: if it is not HopeNet's.
    """
    del network  # there is one
    arrays = state_arrays(root)
    bins = shape_of(arrays, "fc_yaw.weight", 2)[0]
    config = make_config(HopeNetConfig, **trunk_sizes(arrays), bins=bins)
    unreached = {key: "a layer that the original never uses" for key in UNREACHED if key in arrays}
    return Plan(
        class_name="HopeNet",
        config=config,
        arrays=arrays,
        entries=(
            *trunk_entries(config.blocks, "trunk"),
            *(entry for angle in ANGLES for entry in linear(f"fc_{angle}", angle, bias=True)),
        ),
        ignored={**counters(arrays), **unreached},
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing, every key is the network's."""
    del root, network
    return {}
