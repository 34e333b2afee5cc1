"""FAN of face-alignment, ``2DFAN4-11f355bf06.pth.tar`` (3DFAN4 has the same form).

The file is a flat state dictionary.  A block ``X`` is ``bn{1, 2, 3}``, ``conv{1, 2, 3}`` and,
where it changes the width, ``downsample.{0, 2}``: ours are ``.norms``, ``.convs`` and ``.project``.
Stack k; the level runs from the depth, the full size, down to 1::

    conv1, bn1                                       conv, norm
    conv2, conv3, conv4 (blocks)                     blocks.{0, 1, 2}
    m{k}.b1_{level}, .b2_{level}, .b3_{level}        stacks.{k}.hourglass.beside, .down, .up
                                                         .{depth - level}
    m{k}.b2_plus_1                                   stacks.{k}.hourglass.bottom
    top_m_{k}                                        stacks.{k}.block
    conv_last{k}, bn_end{k}                          stacks.{k}.conv, .norm
    l{k}                                             stacks.{k}.heat
    bl{k}, al{k} (not of the last)                   stacks.{k}.back.{0, 1}

Releases of the package between 2021 and 2026 read TorchScript archives (``2DFAN4-*.zip``), which
carry code: those are refused.
"""

from collections.abc import Mapping
from typing import Any

from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import (
    batch_norm,
    conv,
    counters,
    has_tensors,
    state_arrays,
)
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.licences import Terms
from jaxface.nets.landmarks.fan import FANConfig

NETWORKS: tuple[str, ...] = ("landmarks",)
TERMS: Mapping[str, Terms] = {
    "landmarks": Terms(note="the code is BSD-3-Clause, and states no terms for the file")
}


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, "m0.b2_plus_1.conv1.weight", "top_m_0.conv1.weight", "l0.weight")


def plan(root: Any, network: str) -> Plan:
    """How to convert the network of the file.

    Raises:
        Refusal: if its sizes are not a FAN's.
    """
    del network  # there is one
    arrays = state_arrays(root)
    config = make_config(
        FANConfig,
        stacks=count_keys(arrays, r"top_m_\d+\.conv1\.weight"),
        depth=count_keys(arrays, r"m0\.b1_\d+\.conv1\.weight"),
        channels=(
            shape_of(arrays, "conv1.weight", 4)[0],
            shape_of(arrays, "conv3.bn1.weight", 1)[0],
            shape_of(arrays, "bn_end0.weight", 1)[0],
        ),
        num_landmarks=shape_of(arrays, "l0.weight", 4)[0],
    )
    return Plan(
        class_name="FAN",
        config=config,
        arrays=arrays,
        entries=tuple(fan_entries(config)),
        ignored=counters(arrays),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}


def fan_entries(config: FANConfig) -> list[Entry]:
    """The name map."""
    first, middle, width = config.channels
    entries = [*conv("conv1", "conv", bias=True), *batch_norm("bn1", "norm")]
    entries += _block("conv2", "blocks.0", projects=first != middle)
    entries += _block("conv3", "blocks.1")
    entries += _block("conv4", "blocks.2", projects=middle != width)
    for k in range(config.stacks):
        target = f"stacks.{k}"
        for i in range(config.depth):
            level = config.depth - i
            for source, ours in (("b1", "beside"), ("b2", "down"), ("b3", "up")):
                entries += _block(f"m{k}.{source}_{level}", f"{target}.hourglass.{ours}.{i}")
        entries += _block(f"m{k}.b2_plus_1", f"{target}.hourglass.bottom")
        entries += _block(f"top_m_{k}", f"{target}.block")
        entries += conv(f"conv_last{k}", f"{target}.conv", bias=True)
        entries += batch_norm(f"bn_end{k}", f"{target}.norm")
        entries += conv(f"l{k}", f"{target}.heat", bias=True)
        if k < config.stacks - 1:
            entries += conv(f"bl{k}", f"{target}.back.0", bias=True)
            entries += conv(f"al{k}", f"{target}.back.1", bias=True)
    return entries


def _block(source: str, target: str, *, projects: bool = False) -> list[Entry]:
    entries = []
    for i in range(3):
        entries += batch_norm(f"{source}.bn{i + 1}", f"{target}.norms.{i}")
        entries += conv(f"{source}.conv{i + 1}", f"{target}.convs.{i}", bias=False)
    if projects:
        entries += batch_norm(f"{source}.downsample.0", f"{target}.project.0")
        entries += conv(f"{source}.downsample.2", f"{target}.project.1", bias=False)
    return entries
