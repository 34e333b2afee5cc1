"""The output folder of a collection that is done in one piece, and how a stopped job goes on.

Larger collections are done in shards; see `jaxface.jobs.outputs.shards`, which holds the same rows.

::

    DIR/
      job.json                          the settings, for comparison on resume
      results.jsonl                     one row per portrait, in the order they were finished
      contact_sheet.png
      latents/<id>.safetensors          <id> keeps its suffix: photos/anna.jpg.safetensors; where
                                        it is too long for a name, see `jaxface.jobs.outputs.names`
      reconstructions/<id>.png          and others of `jaxface.jobs.outputs.rows.FILES`, by task
      .progress/, .checkpoint.safetensors   for `jaxface status`; portraits in flight at a SIGTERM

A result's files appear whole, each under its final name, before its row is appended and forced to
the disk. So a row is a promise: whatever killed the job, an input without a row is done again and
one with a row is not. Rows whose files somebody removed are taken back.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import safetensors.numpy

from jaxface.errors import UsageError, on_one_line
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.launchers import Share
from jaxface.jobs.outputs.locks import Lock, take_lock
from jaxface.jobs.outputs.names import file_name
from jaxface.jobs.outputs.rows import (
    FILES,
    OK,
    Result,
    finished_rows,
    input_of,
    latents_header,
    rows_in,
)
from jaxface.jobs.outputs.shard_formats import SUFFIXES
from jaxface.jobs.outputs.snapshots import read_checkpoint, write_checkpoint
from jaxface.jobs.storage import from_json, join, read_bytes, remove, write_new
from jaxface.jobs.task import Case, Plan
from jaxface.runtime.files import atomic_writer, remove_leftovers
from jaxface.runtime.stopping import Stopped
from jaxface.solving.continuous_batching import Snapshot

JOB_FILE = "job.json"
ROWS_FILE = "results.jsonl"
SHEET_FILE = "contact_sheet.png"
LOCK_FILE = ".lock"

CHECKPOINT_FILE = ".checkpoint.safetensors"  # of the portraits in flight when it was stopped


class ResultsFolder:
    """The output folder of one running job, held exclusively; a context manager.

    Args:
      folder: created if it does not exist.
      settings: JSON-like; whatever decides the results. A folder begun with others is refused.
      files: kinds of files that an `ok` result has, names of `jaxface.jobs.outputs.rows.FILES`.

    Attributes:
      share: the whole of the job.
      rows: {id: row} of everything that is finished, failures included.

    Raises:
      UsageError: on entry, if the folder cannot be written, is in use by another process, was begun
        with other settings, or has a damaged results file.
    """

    share = Share()

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        files: Sequence[str] = ("reconstruction",),
    ):
        self.folder = folder
        self._files = tuple(files)
        self.settings = json.loads(json.dumps(settings))  # as the file will hold them
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock: Lock | None = None

    def __enter__(self) -> "ResultsFolder":
        self._lock = take_lock(self.folder / LOCK_FILE)
        try:
            remove_leftovers(self.folder)
            check_settings(str(self.folder), self.settings)
            self.rows = self._read_rows()
            gone = [i for i, row in self.rows.items() if row["status"] == OK and self._gone(i)]
            self.forget(gone)
        except OSError as error:  # a full disk, say
            self._lock.close()
            raise cannot_write(str(self.folder), error) from error
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
        return self.folder / "latents" / file_name(item_id, ".safetensors")

    def file_path(self, kind: str, item_id: str) -> Path:
        """A result's file of a kind of `jaxface.jobs.outputs.rows.FILES`."""
        return self.folder / FILES[kind].folder / file_name(item_id, FILES[kind].suffix)

    def retry_failed(self, items: Sequence[Item]) -> None:
        """Takes the rows of items back that are not `ok`."""
        wanted = {item.id for item in items}
        failed = [row for row in self.rows.values() if row["status"] != OK]
        self.forget([row["id"] for row in failed if input_of(row) in wanted])

    def finished(self, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
        """See `jaxface.jobs.outputs.rows.finished_rows`."""
        return finished_rows(items, self.rows.values())

    def plan(self, items: Sequence[Item]) -> Plan:
        """What is left of the items, as one piece.

        Raises:
          UsageError: an item's id belongs to another input of this folder.
        """
        self._refuse_other_inputs(items)
        finished = self.finished(items)
        pending = [item for item, rows in zip(items, finished, strict=True) if not rows]
        statuses = Counter(row["status"] for rows in finished for row in rows)
        return Plan({0: pending}, len(items) - len(pending), statuses)

    @contextlib.contextmanager
    def writer(self, number: int) -> Iterator["OpenResults"]:
        """Takes the results of the plan's piece.

        If the block ends with `Stopped`, the portraits in flight are stored as they are.

        Raises:
          OSError: they cannot be written.
        """
        del number  # there is one piece
        checkpoint = str(self.folder / CHECKPOINT_FILE)
        piece = OpenResults(self, read_checkpoint(checkpoint))
        try:
            yield piece
        except Stopped as stopped:
            write_checkpoint(checkpoint, stopped.rows)
            raise
        remove(checkpoint)

    def add(self, results: Sequence[Result]) -> None:
        """Writes results' files, enters their names in the rows, and adds these.

        Raises:
          OSError: they cannot be written; no row was added then.
        """
        self.append([self._with_files(result) for result in results])

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows; they are on the disk when this returns, or none is.

        An interrupt (Ctrl-C) that finds them all written leaves them there before it passes on.
        """
        rows = [dict(row) for row in rows]
        lines = b"".join(_line(row) for row in rows)
        with open(self.rows_path, "ab", buffering=0) as file:
            before = file.tell()
            data = memoryview(lines)
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except BaseException as error:
                if isinstance(error, OSError) or file.tell() < before + len(lines):
                    os.ftruncate(file.fileno(), before)
                else:
                    self._enter(rows)
                raise
        self._enter(rows)

    def _enter(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows.update((row["id"], row) for row in rows)

    def forget(self, ids: Iterable[str]) -> None:
        """Takes rows back, so that their inputs are done again."""
        ids = set(ids)
        if not ids:
            return
        self.rows = {item_id: row for item_id, row in self.rows.items() if item_id not in ids}
        with atomic_writer(self.rows_path) as file:
            file.writelines(_line(row) for row in self.rows.values())

    def _with_files(self, result: Result) -> dict[str, Any]:
        """Writes a result's latents and files; its row with their names."""
        row = dict(result.row)
        for kind, data in result.files.items():
            column, name = FILES[kind].column, self._written(self.file_path(kind, row["id"]), data)
            several = isinstance(row.get(column), list)
            row[column] = [*row[column], name] if several else name
        if result.w_plus is not None:
            tensors = {"w_plus": np.ascontiguousarray(result.w_plus, np.float32)}
            header = dict(result.header or latents_header(row))
            row["latents"] = self._written(
                self.latents_path(row["id"]), safetensors.numpy.save(tensors, header)
            )
        return row

    def _written(self, path: Path, data: bytes) -> str:
        """Writes a file; its name in the folder."""
        with atomic_writer(path) as file:
            file.write(data)
        return path.relative_to(self.folder).as_posix()

    def _gone(self, item_id: str) -> bool:
        files = [self.file_path(kind, item_id) for kind in self._files]
        return not all(file.is_file() for file in (self.latents_path(item_id), *files))

    def _refuse_other_inputs(self, items: Sequence[Item]) -> None:
        """An id that is finished must have come from the same path."""
        paths = {input_of(row): row.get("path") for row in self.rows.values()}
        for item in items:
            before = paths.get(item.id) or item.path
            if before != item.path and Path(before).absolute() != Path(item.path).absolute():
                raise UsageError(
                    f"{self.folder}: {item.id} was made from {before} there, and is {item.path} "
                    "now; use another --out"
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
        return {row["id"]: row for row in rows_in(whole, str(self.rows_path))}


class OpenResults:
    """The one piece of a job without shards, while it is done.

    Attributes:
      saved: portraits that go on where they were stopped, by id.
      inputs: that have at least one result by now.
      statuses: how many results have which status.
      progress: see `Heartbeat.advance`.
    """

    progress = None

    def __init__(self, folder: ResultsFolder, saved: Mapping[str, Snapshot]):
        self.saved, self._folder = saved, folder
        self._inputs: set[str] = set()
        self.statuses: Counter[str] = Counter()

    @property
    def inputs(self) -> int:
        return len(self._inputs)

    def has_input(self, item_id: str) -> bool:
        """Whether an input is finished; the plan leaves those out."""
        return False

    def knows(self, case: Case) -> bool:
        """Whether a portrait is finished already.

        Raises:
          UsageError: another one is, of the same id: the image changed between two runs.
        """
        row = self._folder.rows.get(case.id)
        if row is None:
            return False
        if any(row.get(name) != value for name, value in case.columns.items()):
            raise UsageError(
                f"{self._folder.folder}: {case.item.path} has other faces now than when it was "
                "begun; use another --out"
            )
        return True

    def add(self, results: Sequence[Result]) -> None:
        """See `ResultsFolder.add`."""
        self._folder.add(results)
        self._inputs |= {result.row["input"] for result in results}
        self.statuses.update(result.row["status"] for result in results)


_RENAMED = {"settings.edits": "settings.groups_per_step"}
"""Settings whose names in older job files were others."""

_ADDED = {
    "settings.start": "mean",
    "settings.spread_weight": 0.0,
    "settings.pivot.spread_weight": 0.0,
    "settings.tuning.distance": "lpips",
    "settings.tuning.resolution": None,
}
"""Settings that older job files lack, with what was done then."""


def check_settings(folder: str, settings: Mapping[str, Any]) -> None:
    """Records a job's settings in its folder, or refuses those that differ from the recorded.

    Args:
      folder: local or remote.
      settings: as JSON gives them back (lists, no tuples).

    Raises:
      UsageError: the folder was begun with other settings; the message names the differences.
    """
    path = join(folder, JOB_FILE)
    write_new(path, json.dumps(settings, indent=2).encode() + b"\n")
    there, here = _flat(read_job(folder)), _flat(settings)
    there = {_RENAMED.get(name, name): value for name, value in there.items()}
    there |= {name: value for name, value in _ADDED.items() if name in here.keys() - there.keys()}
    changes = [
        f"{name} was {there.get(name)!r} and is now {here.get(name)!r}"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if changes:
        raise UsageError(
            f"{folder}: was begun with other settings: {'; '.join(changes)}. "
            "Repeat them, or use another --out"
        )


def read_job(folder: str) -> dict[str, Any]:
    """The settings that a job's folder was begun with.

    Raises:
      UsageError: it is no job's folder, or the file is damaged.
    """
    path = join(folder, JOB_FILE)
    try:
        job = from_json(read_bytes(path))
        if not isinstance(job, dict) or not job:
            raise ValueError("no settings in it")
        if "shards" in job:
            count, kind = job["shards"]["count"], job["shards"]["format"]
            inputs = job["inputs"]["count"]
            if type(count) is not int or count < 1 or type(inputs) is not int:
                raise ValueError("no number of shards and inputs in it")
            if kind not in SUFFIXES:
                raise ValueError(f"shards of the format {on_one_line(str(kind))}")
        return job
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: no output folder of `jaxface invert` ({JOB_FILE})") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        reason = on_one_line(str(error)) if isinstance(error, ValueError) else "of another form"
        raise UsageError(f"{path}: damaged: {reason}; use another --out") from error


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


def cannot_write(folder: str, error: OSError) -> UsageError:
    """What the user is told where results cannot be written, as on a full disk."""
    return UsageError(
        f"{folder}: cannot be written: {error.strerror or error}; what is finished is kept, and "
        "the same command goes on from there"
    )
