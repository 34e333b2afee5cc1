"""facenet-pytorch's Inception-ResNet-v1: ``20180402-114759-vggface2.pt`` and
``20180408-102900-casia-webface.pt``.

The file is a flat state dictionary.  A layer ``X`` is ``X.conv`` and ``X.bn``, ours ``.conv`` and
``.norm``::

    conv2d_{1a, 2a, 2b}                              stem1.{0, 1, 2}
    conv2d_{3b, 4a, 4b}                              stem2.{0, 1, 2}
    repeat_{1, 2, 3}.{i} (blocks)                    rows.{0, 1, 2}.{i}
    block8 (block)                                   last
        .branch0, .branch{b}.{j}                         .branches.0.row.0, .branches.{b}.row.{j}
        .conv2d.weight, .bias                            .conv
    mixed_6a                                         reduce.0
        .branch0, .branch1.{0, 1, 2}                     .branches.0.row.0, .branches.1.row
    mixed_7a                                         reduce.1
        .branch{0, 1}.{0, 1}, .branch2.{0, 1, 2}         .branches.{b}.row.{j}
    last_linear.weight, last_bn                      linear, norm

``logits``, the classifier over the training set's people, is not needed.
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert.families.inception import conv_norm
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import (
    batch_norm,
    conv,
    counters,
    has_tensors,
    linear,
    state_arrays,
)
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.recognition.facenet import OFFICIAL_UNIT, FaceNetConfig

NETWORKS: tuple[str, ...] = ("recognition",)
TERMS: Mapping[str, Terms] = {
    "recognition": Terms(note="the code is MIT; trained on VGGFace2 or CASIA-WebFace")
}

STEM = {
    "conv2d_1a": "stem1.0",
    "conv2d_2a": "stem1.1",
    "conv2d_2b": "stem1.2",
    "conv2d_3b": "stem2.0",
    "conv2d_4a": "stem2.1",
    "conv2d_4b": "stem2.2",
}

# Layers in each branch of the three kinds of block; a branch of one has no number in the source.
BRANCHES = ((1, 2, 3), (1, 3), (1, 3))
# mixed_6a and mixed_7a.
REDUCTIONS = {"mixed_6a": (1, 3), "mixed_7a": (2, 2, 3)}

# facenet's first width.
FIRST_WIDTH = 32


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, "conv2d_1a.conv.weight", "block8.branch0.conv.weight")


def plan(root: Any, network: str) -> Plan:
    """How to convert the network of the file.

    Raises:
        Refusal: if its sizes are not those of this network.
    """
    del network  # there is one
    arrays = state_arrays(root)
    width = shape_of(arrays, "conv2d_1a.conv.weight", 4)[0]
    unit, rest = divmod(width * OFFICIAL_UNIT, FIRST_WIDTH)
    if rest:
        raise Refusal(f"conv2d_1a has {width} channels, expected an even number")
    config = make_config(
        FaceNetConfig,
        unit=unit,
        blocks=tuple(count_keys(arrays, rf"repeat_{n}\.\d+\.conv2d\.weight") for n in range(1, 4)),
        embedding=shape_of(arrays, "last_linear.weight", 2)[0],
    )
    reason = "the classifier over the training set's people"
    logits = {key: reason for key in ("logits.weight", "logits.bias") if key in arrays}
    return Plan(
        class_name="FaceNet",
        config=config,
        arrays=arrays,
        entries=tuple(facenet_entries(config)),
        ignored={**counters(arrays), **logits},
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}


def facenet_entries(config: FaceNetConfig) -> list[Entry]:
    """The name map."""
    entries = [entry for names in STEM.items() for entry in conv_norm(*names)]
    for n, count in enumerate(config.blocks):
        for i in range(count):
            entries += _block(f"repeat_{n + 1}.{i}", f"rows.{n}.{i}", BRANCHES[n])
    entries += _block("block8", "last", BRANCHES[-1])
    for index, (source, lengths) in enumerate(REDUCTIONS.items()):
        entries += _branches(source, f"reduce.{index}", lengths)
    entries += linear("last_linear", "linear", bias=False)
    return entries + batch_norm("last_bn", "norm")


def _block(source: str, target: str, lengths: tuple[int, ...]) -> list[Entry]:
    joined = conv(f"{source}.conv2d", f"{target}.conv", bias=True)
    return _branches(source, target, lengths) + joined


def _branches(source: str, target: str, lengths: tuple[int, ...]) -> list[Entry]:
    entries = []
    for b, length in enumerate(lengths):
        for j in range(length):
            name = f"branch{b}" if length == 1 else f"branch{b}.{j}"
            entries += conv_norm(f"{source}.{name}", f"{target}.branches.{b}.row.{j}")
    return entries
