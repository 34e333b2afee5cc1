"""The output folder of a collection that is done in one piece, and how a stopped job goes on.

Larger collections are done in shards; see `jaxface.jobs.outputs.shards`, which holds the same rows.

::

    DIR/
      job.json                          the settings, for comparison on resume
      results.jsonl                     one row per portrait, in the order they were finished
      contact_sheet.png
      latents/<id>.safetensors
      reconstructions/<id>.png          <id> keeps its suffix: photos/anna.jpg.png
                                        (edits/<id>.png in the folder of an editing job)
      .progress/, .checkpoint.safetensors   for `jaxface status`; portraits under way at a SIGTERM

A result's files appear whole, each under its final name, before its row is appended and forced to
the disk. So a row is a promise: whatever killed the job, an input without a row is done again and
one with a row is not. Rows whose files somebody removed are taken back.
"""

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy

from jaxface.errors import UsageError
from jaxface.jobs.storage import join, read_bytes, write_new
from jaxface.runtime.files import atomic_writer

JOB_FILE = "job.json"
ROWS_FILE = "results.jsonl"
SHEET_FILE = "contact_sheet.png"
LOCK_FILE = ".lock"

OK = "ok"


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a portrait, or of an input that has none.

    Attributes:
      row: of `results.jsonl`; ``latents`` and ``reconstruction`` are null until files hold them.
      w_plus: [L, w_dim] float32; None for a failure.
      png: the reconstruction's bytes; None for a failure, and where it is not kept.
    """

    row: dict[str, Any]
    w_plus: np.ndarray | None = None
    png: bytes | None = None


class ResultsFolder:
    """The output folder of one running job, held exclusively; a context manager.

    Args:
      folder: created if it does not exist.
      settings: JSON-like; whatever decides the results. A folder begun with others is refused.
      pictures: the subfolder of the results' pictures.

    Attributes:
      rows: {id: row} of everything that is finished, failures included.

    Raises:
      UsageError: on entry, if the folder cannot be written, is in use by another process, was begun
        with other settings, or has a damaged results file.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], *, pictures: str = "reconstructions"
    ):
        self.folder = folder
        self.pictures = pictures
        self.settings = json.loads(json.dumps(settings))  # as the file will hold them
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock: BinaryIO | None = None

    def __enter__(self) -> "ResultsFolder":
        self._lock = take_lock(self.folder / LOCK_FILE)
        try:
            check_settings(str(self.folder), self.settings)
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

    def picture_path(self, item_id: str) -> Path:
        return self.folder / self.pictures / f"{item_id}.png"

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
        """Writes an item's latents and reconstruction; its row with their names."""
        row = dict(result.row)
        if result.w_plus is not None:
            latents = self.latents_path(row["id"])
            tensors = {"w_plus": np.ascontiguousarray(result.w_plus, np.float32)}
            with atomic_writer(latents) as file:
                file.write(safetensors.numpy.save(tensors, _latents_metadata(row)))
            row["latents"] = latents.relative_to(self.folder).as_posix()
        if result.png is not None:
            reconstruction = self.picture_path(row["id"])
            with atomic_writer(reconstruction) as file:
                file.write(result.png)
            row["reconstruction"] = reconstruction.relative_to(self.folder).as_posix()
        return row

    def _gone(self, item_id: str) -> bool:
        files = (self.latents_path(item_id), self.picture_path(item_id))
        return not all(file.is_file() for file in files)

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
        return json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: no output folder of `jaxface invert` ({JOB_FILE})") from error
    except ValueError as error:
        raise UsageError(f"{path}: damaged: {error}; use another --out") from error


def take_lock(path: Path, *, shared: bool = False) -> BinaryIO:
    """Holds a local file until it is closed or the process ends, however it ends.

    Args:
      path: created if it does not exist.
      shared: with all others that hold it shared.

    Raises:
      UsageError: another process holds it, or it cannot be written.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(path, "ab")  # noqa: SIM115 (it outlives this function)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UsageError(
            f"{folder}: another process is writing there; wait for it or use another --out"
        ) from error
    return lock


def _latents_metadata(row: Mapping[str, Any]) -> dict[str, str]:
    """What a latents file says about itself."""
    facts = {name: row[name] for name in ("id", "path", "key", "psnr")}
    facts |= {f"settings.{name}": value for name, value in row["settings"].items()}
    facts |= {f"versions.{name}": value for name, value in row["versions"].items()}
    metadata = {name: str(value) for name, value in facts.items()}
    if row["transform"] is not None:
        metadata["transform"] = json.dumps(row["transform"])
    return metadata


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
