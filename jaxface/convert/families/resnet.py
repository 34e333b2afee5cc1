"""torchvision's ResNet with bottlenecks, up to its mean: the trunk of several families' networks.

::

    conv1, bn1                                     stem, stem_norm
    layer{s + 1}.{b}.conv{1, 2, 3}, .bn{...}       stages.{s}.{b}.conv{...}, .norm{...}
    layer{s + 1}.0.downsample.0, .1                stages.{s}.0.shortcut, .shortcut_norm
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import batch_norm, conv
from jaxface.convert.plan import Entry
from jaxface.convert.refusal import Refusal

STAGES = 4


def trunk_sizes(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, Any]:
    """``blocks`` and ``width`` of the trunk whose keys begin with ``prefix``.

    Raises:
        Refusal: if there is no such trunk.
    """
    width = shape_of(arrays, f"{prefix}conv1.weight", 4)[0]
    blocks = tuple(
        count_keys(arrays, rf"{re.escape(prefix)}layer{stage}\.\d+\.conv3\.weight")
        for stage in range(1, STAGES + 1)
    )
    if 0 in blocks:
        raise Refusal(
            f"{prefix}layer1 to {prefix}layer{STAGES} are no ResNet with bottlenecks, such as "
            "that of 50 layers"
        )
    return {"blocks": blocks, "width": width}


def trunk_entries(blocks: tuple[int, ...], target: str, *, prefix: str = "") -> list[Entry]:
    """The trunk's name map."""
    entries = conv(f"{prefix}conv1", f"{target}.stem", bias=False)
    entries += batch_norm(f"{prefix}bn1", f"{target}.stem_norm")
    for stage, count in enumerate(blocks):
        for block in range(count):
            source, ours = f"{prefix}layer{stage + 1}.{block}", f"{target}.stages.{stage}.{block}"
            for n in (1, 2, 3):
                entries += conv(f"{source}.conv{n}", f"{ours}.conv{n}", bias=False)
                entries += batch_norm(f"{source}.bn{n}", f"{ours}.norm{n}")
            if block == 0:
                entries += conv(f"{source}.downsample.0", f"{ours}.shortcut", bias=False)
                entries += batch_norm(f"{source}.downsample.1", f"{ours}.shortcut_norm")
    return entries
