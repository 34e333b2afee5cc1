"""ArcFace's IR-50 and IR-SE50 of TreB1eN/InsightFace_Pytorch (``model_ir_se50.pth``).

The file is the state dictionary of ``model.py``'s ``Backbone``, and nothing else.  Sizes come from
the arrays: the stages' widths and depths from the units, the crops' side from the output layer's
weight, and whether there is squeeze-and-excitation (IR-SE) or none (IR) from its keys.

Network (unit u counts through all stages)::

    input_layer.{0, 1, 2}                     body.{conv, norm, prelu}
    body.{u}.shortcut_layer.{0, 1}            body.units.{u}.{shortcut, shortcut_norm}
    body.{u}.res_layer.{0, 1, 2, 3, 4}        body.units.{u}.{norm1, conv1, prelu, conv2, norm2}
    body.{u}.res_layer.5.{fc1, fc2}           body.units.{u}.{squeeze, excite}
    output_layer.0                            norm
    output_layer.3  [D, C * s * s]            dense
    output_layer.4                            output_norm

A unit has a shortcut where its width changes; otherwise the source's is a pooling without weights.
``num_batches_tracked`` is ignored.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import batch_norm, conv, counters, linear, prelu
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.recognition.irse import BODY_STRIDE, STAGES, IRSEBodyConfig, IRSEConfig

NETWORKS: tuple[str, ...] = ("recognition",)
TERMS: Mapping[str, Terms] = {
    "recognition": Terms(note="the code is MIT, and states no terms for the file")
}

# Keys that tell this state dictionary from others.
SIGNATURE = ("input_layer.0.weight", "body.0.res_layer.1.weight", "output_layer.3.weight")


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and all(key in root for key in SIGNATURE)


def plan(root: Any, network: str) -> Plan:
    """How to convert the network.

    Raises:
        Refusal: if the arrays are not such a network's.
    """
    del network  # there is one
    arrays = {str(key): as_array(value, where=str(key)) for key, value in root.items()}
    return recognition_plan(arrays)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}


def recognition_plan(arrays: Mapping[str, np.ndarray]) -> Plan:
    """How to convert the network of these arrays."""
    sizes = body_sizes(arrays)
    embedding_dim, inputs = shape_of(arrays, "output_layer.3.weight", 2)
    side = round((inputs / max(sizes["channels"][-1], 1)) ** 0.5)
    config = make_config(
        IRSEConfig,
        **sizes,
        embedding_dim=embedding_dim,
        resolution=side * BODY_STRIDE,
        output_affine="output_layer.4.weight" in arrays,
    )
    entries = [
        *body_entries(config),
        *batch_norm("output_layer.0", "norm"),
        *linear("output_layer.3", "dense", hook=hooks.flattened(max(side, 1))),
        *batch_norm("output_layer.4", "output_norm", affine=config.output_affine),
    ]
    return Plan("IRSE", config, arrays, tuple(entries), ignored=counters(arrays))


def body_sizes(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """The fields of ``IRSEBodyConfig`` as the arrays have them.

    Raises:
        Refusal: if there are not four stages.
    """
    units = f"{prefix}body"
    count = count_keys(arrays, rf"{re.escape(units)}\.(\d+)\.res_layer\.3\.weight")
    widths = [shape_of(arrays, f"{units}.{u}.res_layer.3.weight", 4)[0] for u in range(count)]
    stages = [(width, len(list(group))) for width, group in itertools.groupby(widths)]
    if len(stages) != STAGES:
        raise Refusal(
            f"{units} has {len(stages)} stages of widths {[width for width, _ in stages]}, "
            f"expected {STAGES}"
        )
    squeeze = f"{units}.{count - 1}.res_layer.5.fc1.weight"
    narrow = shape_of(arrays, squeeze, 4)[0] if squeeze in arrays else None
    return {
        "channels": tuple(width for width, _ in stages),
        "units": tuple(length for _, length in stages),
        "reduction": None if narrow is None else widths[-1] // max(narrow, 1),
    }


def body_entries(config: IRSEBodyConfig, prefix: str = "") -> list[Entry]:
    """The name map of stem and stages; ``prefix`` is the source's."""
    entries = [
        *conv(f"{prefix}input_layer.0", "body.conv", bias=False),
        *batch_norm(f"{prefix}input_layer.1", "body.norm"),
        *prelu(f"{prefix}input_layer.2", "body.prelu"),
    ]
    width, number = config.channels[0], itertools.count()
    for channels, count in zip(config.channels, config.units, strict=True):
        for _ in range(count):
            u = next(number)
            source, target = f"{prefix}body.{u}", f"body.units.{u}"
            if width != channels:
                entries += conv(f"{source}.shortcut_layer.0", f"{target}.shortcut", bias=False)
                entries += batch_norm(f"{source}.shortcut_layer.1", f"{target}.shortcut_norm")
            entries += _residual(
                f"{source}.res_layer", target, squeeze=config.reduction is not None
            )
            width = channels
    return entries


def _residual(source: str, target: str, *, squeeze: bool) -> list[Entry]:
    entries = [
        *batch_norm(f"{source}.0", f"{target}.norm1"),
        *conv(f"{source}.1", f"{target}.conv1", bias=False),
        *prelu(f"{source}.2", f"{target}.prelu"),
        *conv(f"{source}.3", f"{target}.conv2", bias=False),
        *batch_norm(f"{source}.4", f"{target}.norm2"),
    ]
    if squeeze:
        for name, ours in (("fc1", "squeeze"), ("fc2", "excite")):
            source_name = f"{source}.5.{name}"
            entries += linear(source_name, f"{target}.{ours}", bias=False, hook=hooks.pointwise)
    return entries
