"""Results of an earlier run of the reenactment's evaluation, to stand beside those of another.

Every method is measured by itself, so methods that were measured apart can share a report, where
protocol, judges and networks are the same.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError
from jaxface.evaluation.reenactment_report import sheet_name
from jaxface.evaluation.reenactment_tables import CLIP_TABLES, PAIR_TABLES, Tables
from jaxface.evaluation.reenactment_training import Budget

BY_METHOD = ("judge_correlation", "self", "self_true", "cross", "cross_true", "reached")
"""Keys of the document that hold a value for each method."""

OF_TABLES = ("training", *PAIR_TABLES, *CLIP_TABLES)
"""Keys that the document of a run with tables has besides."""


def earlier_document(path: str, decided: Mapping[str, Any]) -> dict[str, Any]:
    """The document ``reenactment.json`` of a run that can stand beside another.

    Args:
      path: of the file.
      decided: of the other run, see `jaxface.evaluation.reenactment.description`.

    Raises:
      UsageError: no such document, or it is of another protocol, other judges or other networks.
    """
    try:
        document = json.loads(Path(path).read_bytes())
        described = document["description"]
        known = {key: described[key] for key in ("digest", "judges", "suite", "methods", "tables")}
        missing = {*BY_METHOD, "judge_floor"} - document.keys()
    except OSError as error:
        raise UsageError(f"--beside: {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--beside: {path} is no reenactment.json of this command") from error
    if missing:
        raise UsageError(f"--beside: {path} lacks {', '.join(sorted(missing))}")
    for key, what in (("digest", "protocol"), ("judges", "judges")):
        if known[key] != decided[key]:
            raise UsageError(f"--beside: {path} was measured with another {what}")
    ours, theirs = decided["suite"], known["suite"]
    changed = sorted(role for role in ours.keys() & theirs.keys() if ours[role] != theirs[role])
    if changed:
        raise UsageError(f"--beside: {path} was measured with another {', '.join(changed)}")
    return document


def joined(found: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """A run's results after an earlier one's; of a method in both, the run's own.

    Args:
      found: of the run, ``judge_floor`` and `BY_METHOD`, and `OF_TABLES` where it has tables.
      earlier: of `earlier_document`.
    """
    both = {key: {**earlier[key], **found[key]} for key in (*BY_METHOD, "judge_floor")}
    tables = {key: earlier[key] for key in OF_TABLES if key in earlier and key not in found}
    return {**found, **both, **tables}


def joined_description(decided: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the joined numbers: methods and tables of both."""
    described = earlier["description"]
    return {
        **decided,
        "methods": {**described["methods"], **decided["methods"]},
        "tables": decided["tables"] or described["tables"],
    }


def tables_of(described: Mapping[str, Any]) -> Tables | None:
    """How much was trained for a document's tables; None where it has none."""
    stored = described["tables"]
    return None if stored is None else Tables(Budget(**stored["budget"]), stored["pairs"])


def copy_sheets(path: str, earlier: Mapping[str, Any], folder: Path) -> None:
    """Copies the sheets of an earlier run's methods, those that lie beside its document."""
    for name in earlier["description"]["methods"]:
        for case in ("self", "cross"):
            sheet = Path(path).parent / sheet_name(name, case)
            if sheet.is_file() and not (folder / sheet.name).exists():
                shutil.copyfile(sheet, folder / sheet.name)
