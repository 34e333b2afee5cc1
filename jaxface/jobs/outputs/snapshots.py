"""Portraits that were stopped on their way, in one safetensors file.

Tensors are named ``row/leaf``; the metadata's ``rows`` is a list of what
`jaxface.solving.continuous_batching.Snapshot` holds besides, with each portrait's id. A portrait
goes on where it was, in whatever batch it falls into.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from jaxface.jobs.storage import from_json, read_bytes, write_bytes
from jaxface.solving.continuous_batching import Snapshot


def write_checkpoint(path: str, rows: Mapping[str, Snapshot]) -> None:
    """Writes a file, local or remote, that appears whole."""
    tensors = {
        f"{number}/{place:04d}": np.asarray(leaf, order="C")
        for number, row in enumerate(rows.values())
        for place, leaf in enumerate(row.leaves)
    }
    told = [
        {"id": name, **{k: v for k, v in vars(row).items() if k != "leaves"}, "of": len(row.leaves)}
        for name, row in rows.items()
    ]
    write_bytes(path, safetensors.numpy.save(tensors, {"rows": json.dumps(told)}))


def read_checkpoint(path: str) -> dict[str, Snapshot]:
    """The rows by their portraits' ids; none where there is no file, or a damaged one."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return {}
    try:
        return _rows(data)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        print(
            f"jaxface: warning: {path}: damaged, its portraits begin again: {reason}",
            file=sys.stderr,
        )
        return {}


def _rows(data: bytes) -> dict[str, Snapshot]:
    rows = {}
    with tempfile.TemporaryDirectory(prefix="jaxface-") as folder:
        local = Path(folder) / "checkpoint.safetensors"
        local.write_bytes(data)  # metadata are read from files only
        with safe_open(local, framework="numpy") as file:
            for number, told in enumerate(from_json(file.metadata()["rows"])):
                name, count = told.pop("id"), told.pop("of")
                leaves = (file.get_tensor(f"{number}/{place:04d}") for place in range(count))
                rows[name] = dataclasses.replace(Snapshot(**told), leaves=tuple(leaves))
    return rows
