"""From one file to one file: detect the family, plan, fill, write, and say what was done."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxface.convert.check import check_network
from jaxface.convert.families import (
    arcface,
    basel,
    deca,
    deep3d,
    direction_matrix,
    encoders,
    face_api,
    facenet,
    fan,
    flame,
    ganspace,
    hopenet,
    inception,
    interfacegan,
    latent_difference,
    lpips,
    nvidia_pytorch,
    nvidia_tensorflow,
    rosinality,
    styleclip_global,
    styleclip_mapper,
    torchvision,
    transfer,
    vgg_face,
)
from jaxface.convert.families.strangers import likeliest, trainer_of
from jaxface.convert.formats.budget import unpacking
from jaxface.convert.formats.checkpoint import Checkpoint, read_checkpoint
from jaxface.convert.formats.pickle_machine import Foreign
from jaxface.convert.formats.tensors import ArrayRecord
from jaxface.convert.formats.words import keys_of, one_line
from jaxface.convert.forms import foreign_classes, forms
from jaxface.convert.plan import Plan, fill
from jaxface.convert.refusal import Refusal, refusing
from jaxface.convert.staging import staged
from jaxface.errors import WeightsError
from jaxface.licences import Terms
from jaxface.weights import build_network, load_network, save_network

# Goes up whenever the same source would give another file.
CONVERTER_VERSION = "1"


class Family(Protocol):
    """What the module of a source family offers."""

    NETWORKS: tuple[str, ...]
    """Names of the networks that its files may hold; the first is converted unless another is
    asked for."""
    TERMS: Mapping[str, Terms]
    """Under which terms each network is published."""

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
    TERMS: Mapping[str, Terms]
    EXTRAS: Mapping[str, Mapping[str, str]]
    """Network to the files that it needs beside the first: name to what the file is. Every one of
    them must be given; a network that is not here needs none."""
    OPTIONAL: Mapping[str, Mapping[str, str]]
    """The same of the files that it takes where they are given, and of no others."""

    def matches(self, root: Any) -> bool:
        """Whether the root object of the first file is of this family."""
        ...

    def plan(self, root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
        """How to convert one of its networks; ``extras`` are the further files by name."""
        ...

    def other_parts(self, root: Any, network: str) -> dict[str, str]:
        """What else the first file holds; keys of the others are used or ignored by the plan."""
        ...


FAMILIES: dict[str, Family | FamilyOfSeveralFiles] = {
    "arcface": arcface,
    "basel": basel,
    "deca": deca,
    "deep3d": deep3d,
    "direction_matrix": direction_matrix,
    "e4e": encoders.E4E,
    "face_api": face_api,
    "facenet": facenet,
    "fan": fan,
    "flame": flame,
    "ganspace": ganspace,
    "hopenet": hopenet,
    "inception": inception,
    "interfacegan": interfacegan,
    "latent_difference": latent_difference,
    "lpips": lpips,
    "nvidia_pytorch": nvidia_pytorch,
    "nvidia_tensorflow": nvidia_tensorflow,
    "psp": encoders.PSP,
    "restyle": encoders.RESTYLE,
    "rosinality": rosinality,
    "styleclip_global": styleclip_global,
    "styleclip_mapper": styleclip_mapper,
    "torchvision": torchvision,
    "transfer": transfer,
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
    check: bool = False,
    unpack_limit: int | None = None,
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
        check: load the written file and run it; see ``check.py``.
        unpack_limit: bytes that the files may unpack to; see ``formats/budget.py``.

    Raises:
        Refusal: if the source cannot be converted, the target not written, or the check fails.
    """
    _check_target(target, [source, *(extras or {}).values()])
    with unpacking(unpack_limit):
        conversion = prepare(
            family, source, network=network, extras=extras, reduced_precision=reduced_precision
        )
        with staged(target) as path:
            try:
                checked = write(conversion, path, check=check)
            except Refusal as refusal:
                raise Refusal(f"{source}: {refusal}") from refusal
    report = (*conversion.report, *checked, f"written  {target}")
    return dataclasses.replace(conversion, report=report)


def prepare(
    family: str,
    source: Path,
    *,
    network: str | None = None,
    extras: Mapping[str, Path] | None = None,
    reduced_precision: str = "none",
) -> Conversion:
    """What :func:`convert` would write, and the report so far.

    Raises:
        Refusal: if the source cannot be converted.
    """
    with unpacking():
        return _prepared(family, source, network, extras or {}, reduced_precision)


def _prepared(
    family: str,
    source: Path,
    network: str | None,
    extras: Mapping[str, Path],
    reduced_precision: str,
) -> Conversion:
    checkpoint = read_checkpoint(source)
    others = {name: read_checkpoint(path) for name, path in extras.items()}
    try:
        with refusing():
            return _conversion(family, source, checkpoint, others, network, reduced_precision)
    except (Refusal, WeightsError) as refusal:
        raise Refusal(f"{source}: {refusal}") from refusal


def _conversion(
    family: str,
    source: Path,
    checkpoint: Checkpoint,
    others: dict[str, Checkpoint],
    network: str | None,
    reduced_precision: str,
) -> Conversion:
    name, checkpoint, said = _family(family, checkpoint)
    module = FAMILIES[name]
    network = network or module.NETWORKS[0]
    if network not in module.NETWORKS:
        raise Refusal(
            f"files of the family {name} hold {', '.join(module.NETWORKS)}, not {network}"
        )
    plan = _plan(name, checkpoint, network, others)
    plan = dataclasses.replace(plan, notes=(*said, *plan.notes))
    plan, precision = _with_precision(plan, reduced_precision)
    arrays, lines = fill(plan)
    terms = module.TERMS[network]
    metadata = {
        "source_sha256": checkpoint.sha256,
        **{f"source_sha256_{other}": file.sha256 for other, file in others.items()},
        "source_family": name,
        "source_network": network,
        **terms.header(),
        "converter_version": CONVERTER_VERSION,
        "conversion_notes": "; ".join(plan.notes),
    }
    fields = dataclasses.asdict(plan.config)
    foreign = foreign_classes(checkpoint.root)
    report = [
        f"source   {source}, {name}, network {network}, SHA-256 {checkpoint.sha256}",
        *(f"with     {k}={file.path}, SHA-256 {file.sha256}" for k, file in others.items()),
        f"network  {plan.class_name} " + " ".join(f"{k}={v}" for k, v in fields.items()),
        *lines,
        *(
            f"ignored  {k}: {why}"
            for k, why in module.other_parts(checkpoint.root, network).items()
        ),
        *(f"ignored  {each}: a class that is not known, unread" for each in foreign),
        *precision,
        f"licence  {terms.told()}",
        *(f"note     {note}" for note in plan.notes),
        f"filled   {len(arrays)} of {len(arrays)} arrays, every shape checked",
    ]
    return Conversion(name, plan, arrays, metadata, tuple(report))


def write(conversion: Conversion, path: Path, *, check: bool) -> list[str]:
    """Write what was prepared; the lines of the check, if there is one.

    Raises:
        WeightsError: if the file cannot be written.
        Refusal: if the check fails.
    """
    plan = conversion.plan
    network = build_network(plan.class_name, plan.config, conversion.arrays)
    save_network(path, network, metadata=conversion.metadata)
    return check_network(load_network(path)) if check else []


def _check_target(target: Path, sources: list[Path]) -> None:
    """Refuse early what would fail late."""
    if not os.path.isdir(target.parent):
        raise Refusal(f"{target}: its folder does not exist")
    if os.path.isdir(target):
        raise Refusal(f"{target}: is a folder, expected the name of a file to write")
    for source in sources:
        if os.path.exists(source) and os.path.exists(target) and os.path.samefile(source, target):
            raise Refusal(f"{target}: is the source itself")


def _family(wanted: str, checkpoint: Checkpoint) -> tuple[str, Checkpoint, tuple[str, ...]]:
    """The family of a file, the file in the form that it reads, and what was done for that.

    A family that was named is asked first, and takes files that no guess would give it.
    """
    if wanted == "auto" and (trainer := trainer_of(checkpoint.root)):
        raise Refusal(f"is a file of {trainer}, whose networks are not converted")
    claims: list[str] = []
    for root, notes in forms(checkpoint.root):
        taken = dataclasses.replace(checkpoint, root=root)
        if wanted != "auto" and _accepts(FAMILIES[wanted], root):
            return wanted, taken, notes
        claims = claims or [name for name, module in FAMILIES.items() if module.matches(root)]
        if claims and wanted == "auto":
            return claims[0], taken, notes
        if claims:  # another family's own file: what lies deeper in it is not the wanted one
            break
    if claims:
        raise Refusal(f"is of the family {claims[0]}, not {wanted}")
    if trainer := trainer_of(checkpoint.root):
        raise Refusal(f"is a file of {trainer}, whose networks are not converted")
    held = _contents(checkpoint.root)
    near = ", ".join(likeliest(checkpoint.root))
    raise Refusal(
        f"of no supported family; it holds {held}. The likeliest are {near}; `python -m pydoc "
        "jaxface.convert` lists all"
    )


def _accepts(module: Family | FamilyOfSeveralFiles, root: Any) -> bool:
    """Whether a family takes a file that is said to be its own."""
    accepts = getattr(module, "accepts", module.matches)
    return accepts(root)


def _plan(name: str, checkpoint: Checkpoint, network: str, others: dict[str, Checkpoint]) -> Plan:
    module = FAMILIES[name]
    needed, optional = {}, {}
    if isinstance(module, FamilyOfSeveralFiles):
        needed, optional = module.EXTRAS.get(network, {}), module.OPTIONAL.get(network, {})
    missing = [f"--with {key}=FILE ({what})" for key, what in needed.items() if key not in others]
    if missing:
        raise Refusal(f"{network} of the family {name} also needs {', '.join(missing)}")
    surplus = [one_line(key) for key in others if key not in needed and key not in optional]
    if surplus:
        raise Refusal(f"{network} of the family {name} takes no --with {', '.join(surplus)}")
    if isinstance(module, FamilyOfSeveralFiles):
        return module.plan(checkpoint.root, network, others)
    return module.plan(checkpoint.root, network)


def _contents(root: Any) -> str:
    if isinstance(root, dict):
        return f"the keys {keys_of(root)}"
    if isinstance(root, ArrayRecord):
        return "an array alone"
    if isinstance(root, Foreign):
        return f"an instance of {one_line(root.path)}"
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
