"""Manifests: files that list a collection's images, so that nothing has to be searched.

Three forms, told apart by the suffix:

* ``.jsonl`` (or ``.ndjson``): one object a line; a column names the path;
* ``.parquet``: a table; a column names the path;
* anything else: text, one path a line. Empty lines are passed over.

The first two may have a column ``id``: the items' ids, unique and stable. Elsewhere an id is made
of the path's last parts, as for files that are named. A relative path counts from the manifest's
own folder. Whether the files exist is not asked here: one that does not gets a row that says so.
"""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from jaxface.errors import UsageError, on_one_line
from jaxface.jobs.storage import from_json, is_remote, join, open_reading

ID_COLUMN = "id"
LONGEST_LINE = 2**20
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a manifest: where the image is, and its id if the manifest gives one."""

    path: str
    id: str | None = None


def read_manifest(path: str, column: str) -> Iterator[Entry]:
    """The entries in order.

    Args:
      path: of the manifest, local or remote.
      column: the one that holds the paths, in the forms that have columns.

    Raises:
      UsageError: the manifest cannot be read, has no such column, or a line that is none.
    """
    suffix = os.path.splitext(path)[1].lower()
    folder = path.rpartition("/")[0] if is_remote(path) else os.path.dirname(os.path.abspath(path))
    if suffix in (".jsonl", ".ndjson"):
        entries = _json_lines(path, column)
    elif suffix == ".parquet":
        entries = _parquet(path, column)
    else:
        entries = _text(path)
    for where, file, item_id in entries:
        if not isinstance(file, str) or not file:
            raise UsageError(f"{where}: expected a path as text, got {file!r}")
        if item_id is not None:
            _check_id(where, item_id)
        whole = file if is_remote(file) or os.path.isabs(file) else join(folder, file)
        yield Entry(whole, item_id)


_Line = tuple[str, object, str | None]


def _lines(path: str, file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file, as long as it seems to be a manifest."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UsageError(f"{path}, line {number}: no manifest, it has no end in a megabyte")
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _text(path: str) -> Iterator[_Line]:
    with open_reading(path, pipes=True) as file:
        for number, line in enumerate(_lines(path, file), start=1):
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UsageError(f"{path}, line {number}: no text in UTF-8") from error
            if text.strip():
                yield f"{path}, line {number}", text, None


def _json_lines(path: str, column: str) -> Iterator[_Line]:
    with open_reading(path, pipes=True) as file:
        for number, line in enumerate(_lines(path, file), start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                entry = from_json(line)
            except ValueError as error:
                raise UsageError(f"{where}: no JSON: {on_one_line(str(error))}") from error
            if not isinstance(entry, dict) or column not in entry:
                has = ", ".join(sorted(entry)) if isinstance(entry, dict) else "no object"
                raise UsageError(f"{where}: no {column!r} (there: {has}); name it with --column")
            yield where, entry[column], entry.get(ID_COLUMN)


def _parquet(path: str, column: str) -> Iterator[_Line]:
    import pyarrow
    import pyarrow.parquet as pq

    with open_reading(path) as file:
        try:
            yield from _rows(path, pq.ParquetFile(file), column)
        except (pyarrow.ArrowException, OSError) as error:
            reason = on_one_line(str(error))
            raise UsageError(f"{path}: damaged, or no Parquet file: {reason}") from error


def _rows(path: str, table: Any, column: str) -> Iterator[_Line]:
    names = table.schema_arrow.names
    if column not in names:
        raise UsageError(
            f"{path}: no column {column!r} (there: {', '.join(names)}); name it with --column"
        )
    wanted = [column, ID_COLUMN] if ID_COLUMN in names else [column]
    row = 0
    for batch in table.iter_batches(columns=wanted):
        paths = batch.column(column).to_pylist()
        ids = batch.column(ID_COLUMN).to_pylist() if len(wanted) > 1 else [None] * len(paths)
        for file_name, item_id in zip(paths, ids, strict=True):
            yield f"{path}, row {row}", file_name, item_id
            row += 1


def _check_id(where: str, item_id: object) -> None:
    """An id becomes the name of files below the output folder."""
    parts = PurePosixPath(item_id).parts if isinstance(item_id, str) else ()
    no_name = any(c == "\0" or "\ud800" <= c <= "\udfff" for c in str(item_id))
    if (
        not parts
        or no_name
        or ".." in parts
        or parts[0] == "/"
        or str(PurePosixPath(*parts)) != item_id
    ):
        raise UsageError(
            f"{where}: expected an id such as 'photos/anna.jpg' (text, no '..', no leading or "
            f"doubled '/'), got {item_id!r}"
        )
