"""From one file to one file: detect the family, plan, fill, write, and say what was done."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxface.errors import WeightsError
from jaxface.weights import build_network, save_network
from tools.convert_weights import (
    arcface,
    deca,
    deep3d,
    encoders,
    face_api,
    facenet,
    fan,
    flame,
    hopenet,
    inception,
    lpips,
    nvidia_pytorch,
    nvidia_tensorflow,
    rosinality,
    torchvision,
    vgg_face,
)
from tools.convert_weights.checkpoint import Checkpoint, read_checkpoint
from tools.convert_weights.pickle_machine import one_line
from tools.convert_weights.plan import Plan, fill
from tools.convert_weights.refusal import Refusal

# Goes up whenever the same source would give another file.
CONVERTER_VERSION = "1"


class Family(Protocol):
    """What the module of a source family offers."""

    NETWORKS: tuple[str, ...]
    """Names of the networks that its files may hold; the first is converted unless another is
    asked for."""

    def matches(self, root: Any) -> bool:
        """Whether a checkpoint's root object is of this family; a Refusal if only the file's
        damage hides the answer."""
        ...

    def plan(self, root: Any, network: str) -> Plan:
        """How to convert one of its networks, a name in ``NETWORKS``."""
        ...

    def other_parts(self, root: Any, network: str) -> dict[str, str]:
        """What else the file holds, by name, with the reason why it is left out."""
        ...


@runtime_checkable
class FamilyOfSeveralFiles(Protocol):
    """A family some of whose networks are published in more than one file."""

    NETWORKS: tuple[str, ...]
    EXTRAS: Mapping[str, Mapping[str, str]]
    """Network to the files that it needs beside the first: name to what the file is. Every one of
    them must be given, and no other; a network that is not here needs none."""

    def matches(self, root: Any) -> bool:
        """Whether the root object of the first file is of this family."""
        ...

    def plan(self, root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
        """How to convert one of its networks; ``extras`` are the files of ``EXTRAS`` by name."""
        ...

    def other_parts(self, root: Any, network: str) -> dict[str, str]:
        """What else the first file holds; keys of the others are used or ignored by the plan."""
        ...


FAMILIES: dict[str, Family | FamilyOfSeveralFiles] = {
    "arcface": arcface,
    "deca": deca,
    "deep3d": deep3d,
    "e4e": encoders.E4E,
    "face_api": face_api,
    "facenet": facenet,
    "fan": fan,
    "flame": flame,
    "hopenet": hopenet,
    "inception": inception,
    "lpips": lpips,
    "nvidia_pytorch": nvidia_pytorch,
    "nvidia_tensorflow": nvidia_tensorflow,
    "psp": encoders.PSP,
    "restyle": encoders.RESTYLE,
    "rosinality": rosinality,
    "torchvision": torchvision,
    "vgg_face": vgg_face,
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
    network: str | None = None,
    extras: Mapping[str, Path] | None = None,
    reduced_precision: str = "none",
) -> Conversion:
    """Convert one network of a checkpoint; the target appears whole or not at all.

    Args:
        family: a key of ``FAMILIES``, or ``auto``.
        source: the checkpoint.
        target: the safetensors file to write, over an existing one if need be.
        network: which of the family's ``NETWORKS``; the first by default.
        extras: the further files that the network needs, by the names of the family's ``EXTRAS``.
        reduced_precision: ``none`` computes every resolution in float32; ``float16`` and
            ``bfloat16`` let those compute in it that the source computes in float16.

    Raises:
        Refusal: if the source cannot be converted or the target not written.
    """
    extras = extras or {}
    _check_target(target, [source, *extras.values()])
    checkpoint = read_checkpoint(source)
    others = {name: read_checkpoint(path) for name, path in extras.items()}
    try:
        name = _family(family, checkpoint)
        module = FAMILIES[name]
        network = network or module.NETWORKS[0]
        if network not in module.NETWORKS:
            raise Refusal(
                f"files of the family {name} hold {', '.join(module.NETWORKS)}, not {network}"
            )
        plan = _plan(name, checkpoint, network, others)
        plan, precision = _with_precision(plan, reduced_precision)
        arrays, lines = fill(plan)
    except Refusal as refusal:
        raise Refusal(f"{source}: {refusal}") from refusal
    metadata = {
        "source_sha256": checkpoint.sha256,
        **{f"source_sha256_{other}": file.sha256 for other, file in others.items()},
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
        *(f"with     {k}={file.path}, SHA-256 {file.sha256}" for k, file in others.items()),
        f"network  {plan.class_name} " + " ".join(f"{k}={v}" for k, v in fields.items()),
        *lines,
        *(
            f"ignored  {k}: {why}"
            for k, why in module.other_parts(checkpoint.root, network).items()
        ),
        *precision,
        *(f"note     {note}" for note in plan.notes),
        f"filled   {len(arrays)} of {len(arrays)} arrays, every shape checked",
        f"written  {target}",
    ]
    return Conversion(name, plan, arrays, metadata, tuple(report))


def _check_target(target: Path, sources: list[Path]) -> None:
    """Refuse early what would fail late."""
    if not os.path.isdir(target.parent):
        raise Refusal(f"{target}: its folder does not exist")
    if os.path.isdir(target):
        raise Refusal(f"{target}: is a folder, expected the name of a file to write")
    for source in sources:
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


def _plan(name: str, checkpoint: Checkpoint, network: str, others: dict[str, Checkpoint]) -> Plan:
    module = FAMILIES[name]
    needed = module.EXTRAS.get(network, {}) if isinstance(module, FamilyOfSeveralFiles) else {}
    missing = [f"--with {key}=FILE ({what})" for key, what in needed.items() if key not in others]
    if missing:
        raise Refusal(f"{network} of the family {name} also needs {', '.join(missing)}")
    surplus = [one_line(key) for key in others if key not in needed]
    if surplus:
        raise Refusal(f"{network} of the family {name} takes no --with {', '.join(surplus)}")
    if isinstance(module, FamilyOfSeveralFiles):
        return module.plan(checkpoint.root, network, others)
    return module.plan(checkpoint.root, network)


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
