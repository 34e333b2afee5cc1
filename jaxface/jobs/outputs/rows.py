"""Results: what became of an input, as a row of `results.jsonl` and the files that belong to it.

A row has the columns of every job (`COMMON`), those of its task, which say what kind of value they
hold, and ``settings`` and ``versions``, which are the same in every row of a job.
"""

import dataclasses
import importlib.metadata
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np

from jaxface import __version__
from jaxface.errors import UsageError, on_one_line
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.storage import from_json

OK = "ok"

Kind = Literal["text", "texts", "number", "integer", "face", "json", "file", "files"]
"""Of values: "face" is {"number", "of"}; "file" and "files" name what is stored beside the row."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a task's rows.

    Attributes:
      kind: of its values.
      empty: what it holds where there is no value.
    """

    kind: Kind
    empty: Any = None


COMMON: dict[str, Column] = {
    "id": Column("text"),
    "input": Column("text"),
    "path": Column("text"),
    "status": Column("text"),
    "reason": Column("text"),
    "notes": Column("texts", ()),
}
SHARED = ("settings", "versions")
FRAME_COLUMNS = ("frame", "track")
"""Of rows of clips, as JSON: the clip, the frame's index and time; the face's track."""


@dataclasses.dataclass(frozen=True)
class FileKind:
    """Files that a result can have beside its latents.

    Attributes:
      column: of the row, which names the file; a list of names in a column of kind "files".
      folder: in the output folder.
      suffix: of the file, whose name begins with the result's id.
    """

    column: str
    folder: str
    suffix: str


FILES: dict[str, FileKind] = {
    "reconstruction": FileKind("reconstruction", "reconstructions", ".png"),
    "edited": FileKind("edited", "edits", ".png"),
    "unedited": FileKind("unedited", "unedited", ".png"),
    "pasted": FileKind("pasted", "pasted", ".png"),
    "weights": FileKind("weights", "generators", ".safetensors"),
    "gif": FileKind("sequence", "sequences", ".gif"),
    "mp4": FileKind("sequence", "sequences", ".mp4"),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a portrait, or of an input that has none.

    Attributes:
      row: of `results.jsonl`; columns that name files are empty until files are there.
      w_plus: [L, w_dim] float32; None for a failure.
      files: the bytes of its files, by names of `FILES`; none for a failure.
      header: what the latents' file says about itself; None: `latents_header` of the row.
    """

    row: dict[str, Any]
    w_plus: np.ndarray | None = None
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    header: Mapping[str, str] | None = None


def make_row(
    columns: Mapping[str, Column],
    shared: Mapping[str, Any],
    *,
    row_id: str,
    item: Item,
    status: str = OK,
    reason: str | None = None,
) -> dict[str, Any]:
    """A row with every column; those that a failed input lacks are empty."""
    known = {
        "id": row_id,
        "input": item.id,
        "path": item.path,
        "status": status,
        "reason": reason,
    }
    empty = {name: _copied(column.empty) for name, column in {**COMMON, **columns}.items()}
    return {**empty, **known, **item.columns, **shared}


def versions(others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of what makes a result, for its row."""
    known = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    return {
        "jaxface": __version__,
        **known,
        **(others or {}),
        "platform": jax.default_backend(),
    }


def number(value: Any) -> float | None:
    """A JSON number; null where it is not finite."""
    return float(value) if math.isfinite(value) else None


def numbers(values: np.ndarray, digits: int = 5) -> list[float | None]:
    """JSON numbers of a vector, rounded."""
    return [number(round(float(value), digits)) for value in np.asarray(values).ravel()]


def rows_in(data: bytes, path: str) -> list[dict[str, Any]]:
    """The rows of a results file.

    Args:
      data: its whole lines.
      path: its own, for the message.

    Raises:
      UsageError: a line is no row.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = from_json(line)
            kinds = [type(row[name]).__name__ for name in ("id", "status")]
            if type(row.get("input", "")) is not str or set(kinds) != {"str"}:
                raise TypeError("id, input and status are text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path}, line {number}: not a results row ({on_one_line(repr(error))}); "
                "repair or remove the line"
            ) from error
        rows.append(row)
    return rows


def photographs_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a result was made from, one file; none for a frame, whose clip is not read for each."""
    source = row.get("source") or row.get("path")
    return () if source is None or row.get("frame") is not None else (source,)


def input_of(row: Mapping[str, Any]) -> str:
    """The id of the input that a row belongs to."""
    return row.get("input", row["id"])


def finished_rows(
    items: Sequence[Item], rows: Iterable[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Each item's rows, faces from left to right; none for an item that is not finished.

    An item of several faces is finished when all of them are.
    """
    known: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        known[input_of(row)].append(row)
    finished = []
    for item in items:
        mine = known.get(item.id, [])
        if mine and mine[0]["id"] != item.id:  # faces with numbers of their own
            complete = len(mine) == mine[0]["face"]["of"]
            mine = sorted(mine, key=lambda row: row["face"]["number"]) if complete else []
        finished.append(mine)
    return finished


def latents_header(row: Mapping[str, Any]) -> dict[str, str]:
    """What a latents file says about itself."""
    facts = {name: row.get(name) for name in ("id", "path", "key", "psnr")}
    facts |= {f"settings.{name}": value for name, value in row["settings"].items()}
    facts |= {f"versions.{name}": value for name, value in row["versions"].items()}
    header = {name: str(value) for name, value in facts.items()}
    if row.get("weights") is not None:
        header["weights"] = row["weights"]
    for name in ("transform", *FRAME_COLUMNS):
        if row.get(name) is not None:
            header[name] = json.dumps(row[name])
    return header


def _copied(value: Any) -> Any:
    """A list or dictionary of the row's own."""
    return list(value) if isinstance(value, (list, tuple)) else value
