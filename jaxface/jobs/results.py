"""A job's output folder: what it holds, who may write it, and how a stopped job goes on.

::

    DIR/
      job.json                          the settings, for comparison on resume
      results.jsonl                     one row per portrait, in the order they were finished
      contact_sheet.png
      latents/<id>.safetensors
      reconstructions/<id>.png          <id> keeps its suffix: photos/anna.jpg.png

A result's files appear whole, each under its final name, before its row is appended and forced to
the disk. So a row is a promise: whatever killed the job, an input without a row is done again and
one with a row is not. Rows whose files somebody removed are taken back.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from jaxface.errors import UsageError
from jaxface.files import atomic_writer

JOB_FILE = "job.json"
ROWS_FILE = "results.jsonl"
SHEET_FILE = "contact_sheet.png"
LOCK_FILE = ".lock"

OK = "ok"


class ResultsFolder:
    """The output folder of one running job, held exclusively; a context manager.

    Args:
      folder: created if it does not exist.
      settings: JSON-like; whatever decides the results. A folder begun with others is refused.

    Attributes:
      rows: {id: row} of everything that is finished, failures included.

    Raises:
      UsageError: on entry, if the folder cannot be written, is in use by another process, was begun
        with other settings, or has a damaged results file.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))  # as the file will hold them
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock: BinaryIO | None = None

    def __enter__(self) -> "ResultsFolder":
        self._lock = _take_lock(self.folder)
        try:
            self._check_settings()
            self.rows = self._read_rows()
            gone = [i for i, row in self.rows.items() if row["status"] == OK and self._gone(i)]
            self.forget(gone)
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.close()  # which releases it

    @property
    def rows_path(self) -> Path:
        return self.folder / ROWS_FILE

    @property
    def sheet_path(self) -> Path:
        return self.folder / SHEET_FILE

    def latents_path(self, item_id: str) -> Path:
        return self.folder / "latents" / f"{item_id}.safetensors"

    def reconstruction_path(self, item_id: str) -> Path:
        return self.folder / "reconstructions" / f"{item_id}.png"

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows; they are on the disk when this returns."""
        rows = [dict(row) for row in rows]
        with open(self.rows_path, "ab") as file:
            file.write(b"".join(_line(row) for row in rows))
            file.flush()
            os.fsync(file.fileno())
        self.rows.update((row["id"], row) for row in rows)

    def forget(self, ids: Iterable[str]) -> None:
        """Takes rows back, so that their inputs are done again."""
        ids = set(ids)
        if not ids:
            return
        self.rows = {item_id: row for item_id, row in self.rows.items() if item_id not in ids}
        with atomic_writer(self.rows_path) as file:
            file.writelines(_line(row) for row in self.rows.values())

    def _gone(self, item_id: str) -> bool:
        files = (self.latents_path(item_id), self.reconstruction_path(item_id))
        return not all(file.is_file() for file in files)

    def _check_settings(self) -> None:
        path = self.folder / JOB_FILE
        try:
            begun = json.loads(path.read_bytes())
        except FileNotFoundError:
            with atomic_writer(path) as file:
                file.write(json.dumps(self.settings, indent=2).encode() + b"\n")
            return
        except ValueError as error:
            raise UsageError(f"{path}: damaged: {error}; use another --out") from error
        there, here = _flat(begun), _flat(self.settings)
        changes = [
            f"{name} was {there.get(name)!r} and is now {here.get(name)!r}"
            for name in sorted(there.keys() | here.keys())
            if there.get(name) != here.get(name)
        ]
        if changes:
            raise UsageError(
                f"{self.folder}: was begun with other settings: {'; '.join(changes)}. "
                "Repeat them, or use another --out"
            )

    def _read_rows(self) -> dict[str, dict[str, Any]]:
        """The rows on disk. A last line that was cut off by a crash is removed."""
        try:
            data = self.rows_path.read_bytes()
        except FileNotFoundError:
            return {}
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            os.truncate(self.rows_path, len(data) - len(rest))
        rows = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                rows[row["id"]] = {"status": row["status"], **row}
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{self.rows_path}, line {number}: not a results row ({error!r}); "
                    "repair or remove the line"
                ) from error
        return rows


def _take_lock(folder: Path) -> BinaryIO:
    """Holds the folder until the file is closed or the process ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK_FILE, "ab")  # noqa: SIM115 (it outlives this function)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UsageError(
            f"{folder}: another process is writing there; wait for it or use another --out"
        ) from error
    return lock


def _line(row: Mapping[str, Any]) -> bytes:
    # NaN and infinity are no JSON; a writer that produces one has a defect.
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {
        key: value
        for branch, leaf in tree.items()
        for key, value in _flat(leaf, f"{name}.{branch}" if name else branch).items()
    }
