"""From one file to one file: detect the family, plan, fill, write, and say what was done."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxface.errors import WeightsError
from jaxface.weights import build_network, save_network
from tools.convert_weights import nvidia_pytorch, nvidia_tensorflow, rosinality
from tools.convert_weights.checkpoint import Checkpoint, PersistentObject, read_checkpoint
from tools.convert_weights.pickle_machine import one_line
from tools.convert_weights.plan import NETWORKS, Plan, fill
from tools.convert_weights.refusal import Refusal

# Goes up whenever the same source would give another file.
CONVERTER_VERSION = "1"


class Family(Protocol):
    """What the module of a source family offers."""

    def matches(self, root: Any) -> bool:
        """Whether a checkpoint's root object is of this family."""
        ...

    def plan(self, root: Any, network: str) -> Plan:
        """How to convert one of its networks."""
        ...


FAMILIES: dict[str, Family] = {
    "nvidia_pytorch": nvidia_pytorch,
    "nvidia_tensorflow": nvidia_tensorflow,
    "rosinality": rosinality,
}


@dataclass(frozen=True)
class Conversion:
    """What was converted: the report has one line for every source key."""

    family: str
    plan: Plan
    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]
    report: tuple[str, ...]


def convert(
    family: str,
    source: Path,
    target: Path,
    *,
    network: str = "G_ema",
    reduced_precision: str = "none",
) -> Conversion:
    """Convert one network of a checkpoint; the target appears whole or not at all.

    Args:
        family: a key of ``FAMILIES``, or ``auto``.
        source: the checkpoint.
        target: the safetensors file to write, over an existing one if need be.
        network: ``G_ema``, ``G`` or ``D``.
        reduced_precision: ``none`` computes every resolution in float32; ``float16`` and
            ``bfloat16`` let those compute in it that the source computes in float16.

    Raises:
        Refusal: if the source cannot be converted or the target not written.
    """
    _check_target(source, target)
    checkpoint = read_checkpoint(source)
    try:
        name = _family(family, checkpoint)
        plan = FAMILIES[name].plan(checkpoint.root, network)
        plan, precision = _with_precision(plan, reduced_precision)
        arrays, lines = fill(plan)
    except Refusal as refusal:
        raise Refusal(f"{source}: {refusal}") from refusal
    metadata = {
        "source_sha256": checkpoint.sha256,
        "source_family": name,
        "source_network": network,
        "converter_version": CONVERTER_VERSION,
        "conversion_notes": "; ".join(plan.notes),
    }
    try:
        save_network(target, build_network(plan.class_name, plan.config, arrays), metadata=metadata)
    except WeightsError as error:
        raise Refusal(str(error)) from error
    fields = dataclasses.asdict(plan.config)
    report = [
        f"source   {source}, {name}, network {network}, SHA-256 {checkpoint.sha256}",
        f"network  {plan.class_name} " + " ".join(f"{k}={v}" for k, v in fields.items()),
        *lines,
        *_other_parts(checkpoint.root, network),
        *precision,
        *(f"note     {note}" for note in plan.notes),
        f"filled   {len(arrays)} of {len(arrays)} arrays, every shape checked",
        f"written  {target}",
    ]
    return Conversion(name, plan, arrays, metadata, tuple(report))


def _check_target(source: Path, target: Path) -> None:
    """Refuse early what would fail late."""
    if not os.path.isdir(target.parent):
        raise Refusal(f"{target}: its folder does not exist")
    if os.path.isdir(target):
        raise Refusal(f"{target}: is a folder, expected the name of a file to write")
    if os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
        raise Refusal(f"{target}: is the source itself")


def _family(wanted: str, checkpoint: Checkpoint) -> str:
    found = [name for name, module in FAMILIES.items() if module.matches(checkpoint.root)]
    if not found:
        raise Refusal(
            f"of no supported family ({', '.join(FAMILIES)}); it holds {_contents(checkpoint.root)}"
        )
    if wanted not in ("auto", found[0]):
        raise Refusal(f"is of the family {found[0]}, not {wanted}")
    return found[0]


def _contents(root: Any) -> str:
    if isinstance(root, dict):
        return "the keys " + (", ".join(one_line(key) for key in list(root)[:8]) or "(none)")
    return f"a {type(root).__name__}"


def _with_precision(plan: Plan, dtype: str) -> tuple[Plan, list[str]]:
    count = plan.reduced_precision_res
    if count == 0:
        return plan, []
    what = f"the source's {count} highest resolutions compute in float16"
    if dtype == "none":
        return plan, [f"note     {what}; here they compute in float32"]
    config = dataclasses.replace(plan.config, num_reduced_precision_res=count, reduced_dtype=dtype)
    return dataclasses.replace(plan, config=config), [f"note     {what}; here in {dtype}"]


def _other_parts(root: Any, network: str) -> list[str]:
    """What else the file holds, by name."""
    if isinstance(root, tuple):
        names = [name for name in NETWORKS if name != network]
    else:
        own = {network, rosinality.KEYS[network], "latent_avg" if network != "D" else network}
        names = [one_line(key) for key in root if key not in own]
    return [f"ignored  {name}: {_why(root, name)}" for name in names]


def _why(root: Any, name: str) -> str:
    value = root.get(name) if isinstance(root, dict) else None
    if (
        isinstance(root, tuple)
        or isinstance(value, PersistentObject)
        or name in ("g", "d", "g_ema")
    ):
        return "another network of the file"
    return "not part of a network"
