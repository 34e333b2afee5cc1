"""DECA's ``deca_model.tar`` (a PyTorch file, whatever its ending): the coarse encoder.

The file is a dictionary with a state dictionary for each network; ``E_flame`` is the coarse
encoder.  Its trunk is torchvision's ResNet (``resnet.py``)::

    encoder.*                      trunk
    layers.0.weight, .bias         hidden
    layers.2.weight, .bias         out

``num_batches_tracked`` counters are ignored.
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert.families.resnet import trunk_entries, trunk_sizes
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.families.torch_layers import counters, linear, state_arrays
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import ANOTHER_NETWORK, NO_NETWORK, Plan, make_config
from jaxface.licences import Terms
from jaxface.nets.reconstruction.deca import DECAEncoderConfig

NETWORKS: tuple[str, ...] = ("E_flame",)
TERMS: Mapping[str, Terms] = {
    "E_flame": Terms("LicenseRef-DECA", "no", "for non-commercial scientific research")
}

# E_detail and D_detail make DECA's displacement map; the coarse face needs neither.
OTHER_NETWORKS = ("E_detail", "D_detail")


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and isinstance(root.get("E_flame"), dict)


def plan(root: Any, network: str) -> Plan:
    """How to convert the coarse encoder.

    Raises:
        Refusal: if it is not DECA's.
    """
    arrays = state_arrays(root[network])
    parameters, hidden = shape_of(arrays, "layers.2.weight", 2)
    config = make_config(
        DECAEncoderConfig,
        **trunk_sizes(arrays, "encoder."),
        hidden=hidden,
        parameters=parameters,
    )
    return Plan(
        class_name="DECAEncoder",
        config=config,
        arrays=arrays,
        entries=(
            *trunk_entries(config.blocks, "trunk", prefix="encoder."),
            *linear("layers.0", "hidden", bias=True),
            *linear("layers.2", "out", bias=True),
        ),
        ignored=counters(arrays),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    return {
        one_line(name): ANOTHER_NETWORK if name in OTHER_NETWORKS else NO_NETWORK
        for name in root
        if name != network
    }
