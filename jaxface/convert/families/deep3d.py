"""``epoch_20.pth`` of sicxu/Deep3DFaceRecon_pytorch: the reconstruction network.

The file is a dictionary: ``net_recon`` is the network's state dictionary, beside it are optimisers
and schedules.  The trunk is torchvision's ResNet (``resnet.py``)::

    backbone.*                                      trunk
    final_layers.{n}.weight [out, in, 1, 1], .bias  heads.{n}

The heads' order is the original's: identity, expression, reflectance, angles, light, translation
in the image plane and along the view. The network puts them in PIE's. The file does not say how its
crops are cut; the configuration gets the square of FFHQ's portraits that they are
(`jaxface.nets.recognition.crops.DEEP3D`).
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert import hooks
from jaxface.convert.families.resnet import trunk_entries, trunk_sizes
from jaxface.convert.families.torch_layers import counters, state_arrays
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import NO_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.recognition.crops import DEEP3D
from jaxface.nets.reconstruction.deep3d import HEADS, Deep3DConfig

NETWORKS: tuple[str, ...] = ("net_recon",)
TERMS: Mapping[str, Terms] = {
    "net_recon": Terms(
        note="the code is MIT, and states no terms for the file; its coefficients belong to the "
        "Basel Face Model"
    )
}


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and isinstance(root.get("net_recon"), dict)


def plan(root: Any, network: str) -> Plan:
    """How to convert the network.

    Raises:
        Refusal: if it is not the published one.
    """
    arrays = state_arrays(root[network])
    if "backbone.fc.weight" in arrays:
        raise Refusal("the network was trained with one last layer (use_last_fc), not seven heads")
    sizes = trunk_sizes(arrays, "backbone.")
    config = make_config(Deep3DConfig, **sizes, portrait_square=tuple(DEEP3D))
    entries = trunk_entries(config.blocks, "trunk", prefix="backbone.")
    for n in range(len(HEADS)):
        source = f"final_layers.{n}"
        entries.append(Entry(f"{source}.weight", f"heads.{n}.weight", hooks.pointwise))
        entries.append(Entry(f"{source}.bias", f"heads.{n}.bias"))
    return Plan(
        class_name="Deep3D",
        config=config,
        arrays=arrays,
        entries=tuple(entries),
        ignored=counters(arrays),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    return {one_line(name): NO_NETWORK for name in root if name != network}
