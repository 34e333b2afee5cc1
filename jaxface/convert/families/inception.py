"""pytorch-fid's Inception-v3 for the Fréchet distance, ``pt_inception-2015-12-05-6726825d.pth``.

The file is a flat state dictionary with torchvision's names.  Every layer ``X`` is a convolution
``X.conv`` and a batch normalisation ``X.bn``, ours ``.conv`` and ``.norm``::

    Conv2d_1a_3x3, Conv2d_2a_3x3, Conv2d_2b_3x3      stem1.{0, 1, 2}
    Conv2d_3b_1x1, Conv2d_4a_3x3                     stem2.{0, 1}
    Mixed_{5b, 5c, 5d}                               mixed.{0, 1, 2}
        .branch1x1                                       .branches.0.row.0
        .branch5x5_{1, 2}                                .branches.1.row.{0, 1}
        .branch3x3dbl_{1, 2, 3}                          .branches.2.row.{0, 1, 2}
        .branch_pool                                     .after_pool
    Mixed_6a                                         mixed.3
        .branch3x3                                       .branches.0.row.0
        .branch3x3dbl_{1, 2, 3}                          .branches.1.row.{0, 1, 2}
    Mixed_{6b, 6c, 6d, 6e}                           mixed.{4, 5, 6, 7}
        .branch1x1                                       .branches.0.row.0
        .branch7x7_{1, 2, 3}                             .branches.1.row.{0, 1, 2}
        .branch7x7dbl_{1, ..., 5}                        .branches.2.row.{0, ..., 4}
        .branch_pool                                     .after_pool
    Mixed_7a                                         mixed.8
        .branch3x3_{1, 2}                                .branches.0.row.{0, 1}
        .branch7x7x3_{1, ..., 4}                         .branches.1.row.{0, ..., 3}
    Mixed_{7b, 7c}                                   mixed.{9, 10}
        .branch1x1                                       .branches.0.row.0
        .branch3x3_1, .branch3x3_{2a, 2b}                .branches.1.row.0, .branches.1.ends.{0, 1}
        .branch3x3dbl_{1, 2}, .branch3x3dbl_{3a, 3b}     .branches.2.row.{0, 1}, .ends.{0, 1}
        .branch_pool                                     .after_pool

``fc``, the classifier, is not needed, but it has 1008 rows in this network and 1000 in
torchvision's ImageNet one, which has the same names, other weights and other pooling: that one is
refused.
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert.families.sizes import shape_of
from jaxface.convert.families.torch_layers import (
    batch_norm,
    conv,
    counters,
    has_tensors,
    state_arrays,
)
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.features.inception import MIXED, OFFICIAL_UNIT, InceptionConfig

NETWORKS: tuple[str, ...] = ("inception",)
TERMS: Mapping[str, Terms] = {
    "inception": Terms(note="the code is Apache-2.0; a port of TensorFlow's graph")
}

STEM = {
    "Conv2d_1a_3x3": "stem1.0",
    "Conv2d_2a_3x3": "stem1.1",
    "Conv2d_2b_3x3": "stem1.2",
    "Conv2d_3b_1x1": "stem2.0",
    "Conv2d_4a_3x3": "stem2.1",
}


def _row(branch: int, source: str, numbers: str) -> dict[str, str]:
    return {f"{source}_{n}": f"branches.{branch}.row.{i}" for i, n in enumerate(numbers)}


def _ends(branch: int, source: str) -> dict[str, str]:
    return {f"{source}{end}": f"branches.{branch}.ends.{i}" for i, end in enumerate("ab")}


_FIRST, _POOL = {"branch1x1": "branches.0.row.0"}, {"branch_pool": "after_pool"}
_A = {**_FIRST, **_row(1, "branch5x5", "12"), **_row(2, "branch3x3dbl", "123"), **_POOL}
_B = {"branch3x3": "branches.0.row.0", **_row(1, "branch3x3dbl", "123")}
_C = {**_FIRST, **_row(1, "branch7x7", "123"), **_row(2, "branch7x7dbl", "12345"), **_POOL}
_D = {**_row(0, "branch3x3", "12"), **_row(1, "branch7x7x3", "1234")}
_E = {
    **_FIRST,
    **_row(1, "branch3x3", "1"),
    **_ends(1, "branch3x3_2"),
    **_row(2, "branch3x3dbl", "12"),
    **_ends(2, "branch3x3dbl_3"),
    **_POOL,
}
BLOCKS = {
    **dict.fromkeys(("5b", "5c", "5d"), _A),
    "6a": _B,
    **dict.fromkeys(("6b", "6c", "6d", "6e"), _C),
    "7a": _D,
    **dict.fromkeys(("7b", "7c"), _E),
}

# torchvision's first width, and the classes of TensorFlow's graph.
FIRST_WIDTH = 32
CLASSES = 1008


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, "Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch5x5_1.conv.weight")


def plan(root: Any, network: str) -> Plan:
    """How to convert the network of the file.

    Raises:
        Refusal: if it is another Inception-v3, or its widths are not multiples of the published.
    """
    del network  # there is one
    arrays = state_arrays(root)
    classes = shape_of(arrays, "fc.bias", 1)[0]
    if classes != CLASSES:
        raise Refusal(
            f"an Inception-v3 of {classes} classes; the one that the Fréchet distance is defined "
            f"with has {CLASSES} (pt_inception-2015-12-05-6726825d.pth)"
        )
    width = shape_of(arrays, "Conv2d_1a_3x3.conv.weight", 4)[0]
    unit, rest = divmod(width * OFFICIAL_UNIT, FIRST_WIDTH)
    if rest:
        raise Refusal(f"Conv2d_1a_3x3 has {width} channels, expected an even number")
    reason = "the classifier; the distance compares the features before it"
    return Plan(
        class_name="InceptionV3",
        config=make_config(InceptionConfig, unit=unit),
        arrays=arrays,
        entries=tuple(inception_entries()),
        ignored={**counters(arrays), "fc.weight": reason, "fc.bias": reason},
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}


def inception_entries() -> list[Entry]:
    """The name map."""
    layers = dict(STEM)
    for index, name in enumerate(MIXED):
        for source, target in BLOCKS[name].items():
            layers[f"Mixed_{name}.{source}"] = f"mixed.{index}.{target}"
    return [entry for names in layers.items() for entry in conv_norm(*names)]


def conv_norm(source: str, target: str) -> list[Entry]:
    """A ``BasicConv2d`` of torchvision or facenet-pytorch."""
    return [
        *conv(f"{source}.conv", f"{target}.conv", bias=False),
        *batch_norm(f"{source}.bn", f"{target}.norm"),
    ]
