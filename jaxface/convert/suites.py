"""Assemble a suite: ``jaxface convert suite SUITE.toml OUT/``.

The file names the parts, a table for each, called as the suite calls the role
(`jaxface.suite.Suite`; ``<prefix>_<name>`` where a role is several networks)::

    [generator]
    file = "stylegan2-ffhq-config-f.pkl"

    [discriminator]
    file = "stylegan2-ffhq-config-f.pkl"
    network = "D"

    [flame]
    file = "generic_model.pkl"
    with = { landmarks = "landmark_embedding.npy" }

    [reconstruction]
    file = "reconstruction.safetensors"

``file`` and the files of ``with`` are relative to SUITE.toml.  ``family`` (``auto``), ``network``
(the family's first) and ``reduced_precision`` (``none``) are what the command's arguments of these
names are.  A part whose file ends in ``.safetensors`` is converted already, or trained by jaxface:
it is loaded, which checks every array, and copied; it takes no further key.  The folder appears
whole or not at all: one part that is refused, or that does not fit the others, refuses them all.
"""

import dataclasses
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.convert.check import check_network
from jaxface.convert.convert import FAMILIES, prepare, write
from jaxface.convert.formats.budget import unpacking
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.refusal import Refusal
from jaxface.convert.staging import staged
from jaxface.errors import SuiteError, WeightsError, did_you_mean
from jaxface.runtime.files import read_regular, sha256
from jaxface.suite import check_group, check_role, load_suite, role_of
from jaxface.vocabulary import REDUCED_PRECISIONS
from jaxface.weights import load_network, read_header

CONVERTED = ".safetensors"
"""How the file of a part that needs no conversion ends."""


@dataclass(frozen=True)
class Part:
    """One table of SUITE.toml."""

    role: str
    file: Path
    family: str = "auto"
    network: str | None = None
    extras: dict[str, Path] = field(default_factory=dict)
    reduced_precision: str = "none"


def convert_suite(
    source: Path, target: Path, *, check: bool = False, unpack_limit: int | None = None
) -> list[str]:
    """Convert every part of a suite, or copy it where it is converted already.

    Args:
        source: SUITE.toml.
        target: the folder to make; it may exist, empty.
        check: load and run every part; see ``check.py``.
        unpack_limit: bytes that the files may unpack to, all together.

    Returns:
        The report: each part's, under its role.

    Raises:
        Refusal: if SUITE.toml is not as described, a part is refused or its check fails, a part
            cannot play its role or does not fit another, or the folder cannot be written.
    """
    parts = read_parts(source)
    check_suite_target(target)
    report = []
    with unpacking(unpack_limit), staged(target) as folder:
        folder.mkdir()
        for part in parts:
            try:
                make = _copy if part.file.suffix == CONVERTED else _convert
                report += [f"[{part.role}]", *make(part, folder, check=check)]
            except Refusal as refusal:
                raise Refusal(f"{source}, [{part.role}]: {refusal}") from refusal
        try:
            load_suite(folder).check(staged=folder)
        except SuiteError as error:
            raise Refusal(f"{source}: {error}") from error
    return [*report, f"written  {target}: {', '.join(part.role for part in parts)}"]


def read_parts(path: Path) -> list[Part]:
    """The parts that a SUITE.toml names.

    Raises:
        Refusal: if it cannot be read, is no TOML, or says what it should not.
    """
    try:
        tables = tomllib.loads(read_regular(path).decode())
    except OSError as error:
        raise Refusal(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"{path}: no TOML file: {one_line(error)}") from error
    if not tables:
        raise Refusal(f"{path}: names no part; expected tables such as [generator]")
    try:
        return [_part(role, table, path.parent) for role, table in tables.items()]
    except Refusal as refusal:
        raise Refusal(f"{path}, {refusal}") from refusal


def _part(role: str, table: Any, folder: Path) -> Part:
    where = f"[{one_line(role)}]"
    if role_of(role) is None:
        raise Refusal(f"{where}: a suite has no such role")
    if not isinstance(table, dict):
        raise Refusal(f"{where}: expected a table with a file, got {shown(table)}")
    known = ("file", "family", "network", "reduced_precision", "with")
    for key in table.keys() - set(known):
        raise Refusal(f"{where}: unknown {key!r}; {did_you_mean(key, known)}")
    extras = table.get("with", {})
    texts = {key: value for key, value in table.items() if key != "with"}
    if not isinstance(extras, dict):
        raise Refusal(f"{where}: with: expected names and files, got {shown(extras)}")
    for key, value in {**texts, **{f"with.{name}": file for name, file in extras.items()}}.items():
        if not isinstance(value, str):
            raise Refusal(f"{where}: {key}: expected text, got {shown(value)}")
    if "file" not in table:
        raise Refusal(f"{where}: names no file")
    for key, choices in (
        ("family", ("auto", *FAMILIES)),
        ("reduced_precision", REDUCED_PRECISIONS),
    ):
        if table.get(key, choices[0]) not in choices:
            raise Refusal(f"{where}: {key}: expected one of {', '.join(choices)}")
    surplus = sorted(table.keys() - {"file"})
    if table["file"].endswith(CONVERTED) and surplus:
        raise Refusal(f"{where}: {table['file']} is converted already; remove {', '.join(surplus)}")
    files = {name: folder / file for name, file in extras.items()}
    part = Part(role, folder / texts.pop("file"), extras=files, **texts)
    for file in (part.file, *files.values()):
        if not file.is_file():
            raise Refusal(f"{where}: {file}: no such file")
    return part


def check_suite_target(target: Path) -> None:
    """Refuse early a folder that could not be made."""
    if not target.parent.is_dir():
        raise Refusal(f"{target}: its folder does not exist")
    if target.exists() and not target.is_dir():
        raise Refusal(f"{target}: is a file, expected the name of a folder to make")
    if target.is_dir() and any(target.iterdir()):
        raise Refusal(f"{target}: is not empty; name another folder, or empty it")


def _convert(part: Part, folder: Path, *, check: bool) -> list[str]:
    conversion = prepare(
        part.family,
        part.file,
        network=part.network,
        extras=part.extras,
        reduced_precision=part.reduced_precision,
    )
    try:
        check_role(part.role, conversion.plan.class_name, where=part.file)
    except SuiteError as error:
        names = ", ".join(FAMILIES[conversion.family].NETWORKS)
        raise Refusal(f"{error}; its family's networks are {names}: choose by network") from error
    checked = write(conversion, folder / f"{part.role}{CONVERTED}", check=check)
    return [*conversion.report, *checked]


def _copy(part: Part, folder: Path, *, check: bool) -> list[str]:
    """The converted file byte for byte; loading it says whether every array is there and fits."""
    try:
        header = read_header(part.file)
        check_role(part.role, header["network"], where=part.file)
        network = load_network(part.file)
        check_group(part.role, network.config, where=part.file)
    except (SuiteError, WeightsError) as error:
        raise Refusal(str(error)) from error
    fields = dataclasses.asdict(network.config)
    checked = check_network(network) if check else []
    shutil.copyfile(part.file, folder / f"{part.role}{CONVERTED}")
    return [
        f"source   {part.file}, converted already, SHA-256 {sha256(part.file)}",
        f"network  {header['network']} " + " ".join(f"{k}={v}" for k, v in fields.items()),
        *checked,
        "copied   every array of it, its header with them",
    ]
