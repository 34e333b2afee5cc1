"""The output folder of a collection that is done in shards, by any number of processes.

::

    DIR/
      job.json                            the settings, the number of shards and of inputs
      shards/00007-of-00100.parquet       (or .array_record) the results of a shard
      shards/00007-of-00100.json          what it holds: inputs, portraits, statuses
      unfinished/                         what a process that was asked to stop had of its shard
      .progress/                          what each process last said, for `jaxface status`
      results.jsonl                       written by `jaxface merge`, when all shards are there

An input belongs to the shard that the hash of its id names, so neither the order of the inputs nor
the number of processes matters. A shard's file appears whole when its last input is finished, and
is never touched again: whatever killed a process, a shard without a file is done again, and one
with a file is not. (A process that is asked to stop leaves what it has in ``unfinished/``, and the
next one goes on from there.)
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxface.errors import UsageError
from jaxface.jobs.heartbeat import refuse_running
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.launchers import Share
from jaxface.jobs.outputs.locks import Lock, take_lock
from jaxface.jobs.outputs.results import LOCK_FILE, check_settings
from jaxface.jobs.outputs.rows import Column, Result
from jaxface.jobs.outputs.shard_formats import SUFFIXES, ShardWriter, read_shard, shard_writer
from jaxface.jobs.outputs.snapshots import read_checkpoint, write_checkpoint
from jaxface.jobs.storage import (
    filesystem,
    from_json,
    is_remote,
    join,
    names_in,
    publish,
    read_bytes,
    remove,
    staged,
    write_bytes,
)
from jaxface.jobs.task import Case, Plan
from jaxface.runtime.files import remove_leftovers
from jaxface.runtime.stopping import Stopped
from jaxface.solving.continuous_batching import Snapshot

SHARDS = "shards"
UNFINISHED = "unfinished"
LOCKS = ".locks"
LEFT_OVER = 3600.0  # seconds after which no process is still writing a temporary file


def shard_of(item_id: str, count: int) -> int:
    """The shard that an item belongs to: SHA-256 of its id, first 8 bytes, modulo the count."""
    return int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:8], "big") % count


def job_description(
    items: Sequence[Item], *, shard_size: int, kind: str, keep_images: bool
) -> dict[str, Any]:
    """What a sharded job's settings say about its inputs and outputs, JSON-like.

    Args:
      items: the whole collection.
      shard_size: inputs a shard on average; as many shards as that makes.
      kind: of files, one of `SUFFIXES`.
      keep_images: whether reconstructions are stored.
    """
    # A sum, so that the order of the inputs does not matter.
    digest = sum(
        int.from_bytes(hashlib.sha256(item.id.encode()).digest()[:16], "big") for item in items
    )
    return {
        "inputs": {"count": len(items), "digest": f"{digest % 2**128:032x}"},
        "shards": {
            "count": -(-len(items) // shard_size),
            "format": kind,
            "reconstructions": keep_images,
        },
    }


class ShardsFolder:
    """The output folder of a sharded job, as one of its processes holds it; a context manager.

    Args:
      folder: local or remote; created if it does not exist.
      settings: JSON-like, `job_description` included. A folder begun with others is refused.
      share: this process's part.
      w_plus_shape: (L, w_dim) of the latents.
      columns: of the rows, beside those of all jobs.
      files: kinds of files that are kept of a result, beside its latents.

    Raises:
      UsageError: on entry, if the folder cannot be written, was begun with other settings, or is in
        use: by a process with the same share, by one that counts other processes, or by a job
        without shards.
    """

    def __init__(
        self,
        folder: str,
        settings: Mapping[str, Any],
        share: Share,
        w_plus_shape: tuple[int, int],
        *,
        columns: Mapping[str, Column],
        files: Sequence[str] = (),
    ):
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        self.share = share
        self.count: int = settings["shards"]["count"]
        self._kind: str = settings["shards"]["format"]
        self._shape = w_plus_shape
        self._columns, self._files = dict(columns), tuple(files)
        self._locks: list[Lock] = []

    def __enter__(self) -> "ShardsFolder":
        try:
            if is_remote(self.folder):
                refuse_running(self.folder, self.share)
            else:
                self._take_locks(Path(self.folder))
                remove_leftovers(self.folder, older=LEFT_OVER)
            try:
                check_settings(self.folder, self.settings)
            except OSError as error:
                raise UsageError(
                    f"{self.folder}: cannot be written: {error.strerror or error}"
                ) from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def mine(self) -> list[int]:
        """The shards of this process's share, finished ones included."""
        return list(range(self.share.index, self.count, self.share.count))

    def finished(self) -> dict[int, dict[str, Any]]:
        """{number: summary} of the shards that are done, by whichever process."""
        return finished_shards(self.folder, self.count, self._kind)

    def summary(self, number: int) -> dict[str, Any] | None:
        """What a finished shard holds, whoever wrote it; None for one that is not."""
        return finished_shards(self.folder, self.count, self._kind, [number]).get(number)

    def unlocked(self) -> "ShardsFolder":
        """A copy for another process, which may write shards while this one holds the folder."""
        return ShardsFolder(
            self.folder,
            self.settings,
            self.share,
            self._shape,
            columns=self._columns,
            files=self._files,
        )

    def plan(self, items: Sequence[Item]) -> Plan:
        """What is left of this process's share of the whole collection.

        A shard that no id falls into is left until its empty file is written.
        """
        shards: dict[int, list[Item]] = {number: [] for number in self.mine()}
        for item in items:
            if (number := shard_of(item.id, self.count)) in shards:
                shards[number].append(item)
        finished = self.finished()
        statuses: Counter[str] = Counter()
        for number in finished.keys() & shards.keys():
            statuses.update(finished[number]["statuses"])
        waiting = {number: inputs for number, inputs in shards.items() if number not in finished}
        done = sum(map(len, shards.values())) - sum(map(len, waiting.values()))
        return Plan(waiting, done, statuses)

    @contextlib.contextmanager
    def writer(self, number: int) -> Iterator["OpenShard"]:
        """Collects a shard's results; its file appears when the block ends well.

        What an earlier process left of the shard when it was stopped is in it from the start. If
        the block ends with `Stopped`, what there is is left in the same way.

        Raises:
          OSError: it cannot be written; nothing of it is left.
        """
        name = shard_name(number, self.count, self._kind)
        path = join(self.folder, SHARDS, name)
        left = join(self.folder, UNFINISHED, name)
        checkpoint = join(self.folder, UNFINISHED, f"{name}.safetensors")
        with staged(path) as temporary:
            writer = shard_writer(
                temporary,
                self._kind,
                w_plus_shape=self._shape,
                columns=self._columns,
                files=self._files,
            )
            shard = OpenShard(number, writer, read_checkpoint(checkpoint), files=self._files)
            try:
                if name in names_in(join(self.folder, UNFINISHED)):
                    for result in _readable(left):
                        shard.add([result])
                yield shard
            except Stopped as stopped:
                shard.close()
                write_checkpoint(checkpoint, stopped.rows)
                with staged(left) as copy:
                    shutil.copyfile(temporary, copy)
                    publish(copy, left, replace=True)
                raise
            except BaseException:
                with contextlib.suppress(OSError):  # what ended the block is what counts
                    shard.close()
                raise
            shard.close()
            summary = os.path.splitext(path)[0] + ".json"
            there = name in names_in(join(self.folder, SHARDS))
            damaged = there and not _is_whole(path, self._kind, summary)
            # The summary first: it is read only where the shard's file is.
            write_bytes(summary, json.dumps(shard.summary(self.share)).encode())
            publish(temporary, path, replace=damaged)
        remove(left)
        remove(checkpoint)

    def _take_locks(self, folder: Path) -> None:
        self._locks.append(take_lock(folder / LOCK_FILE, shared=True))
        self._locks.append(take_lock(folder / LOCKS / self.share.name))
        for name in names_in(str(folder / LOCKS)):
            if name.endswith(f"-of-{self.share.count}"):
                continue
            with contextlib.closing(take_lock(folder / LOCKS / name)):
                pass  # nobody holds it: what is left of an earlier run with other processes

    def _release(self) -> None:
        for lock in reversed(self._locks):
            lock.close()
        self._locks = []


class OpenShard:
    """A shard that is being written.

    Attributes:
      saved: portraits of it that go on where they were stopped, by id.
    """

    def __init__(
        self,
        number: int,
        writer: ShardWriter,
        saved: Mapping[str, Snapshot],
        *,
        files: Sequence[str],
    ):
        self.saved = saved
        self._number, self._writer, self._files = number, writer, files
        self._ids: set[str] = set()
        self._inputs: set[str] = set()
        self._statuses: Counter[str] = Counter()
        self._closed = False

    def add(self, results: Sequence[Result]) -> None:
        """Takes results in any number of pieces."""
        self._writer.append([self._kept(result) for result in results])
        for result in results:
            row = result.row
            self._statuses[row["status"]] += 1
            self._inputs.add(row["input"])
            self._ids.add(row["id"])

    def __contains__(self, portrait_id: str) -> bool:
        """Whether a portrait's result, or that of an input without any, is in it."""
        return portrait_id in self._ids

    def has_input(self, item_id: str) -> bool:
        """Whether an earlier process did an input whose result has its id."""
        return item_id in self

    def knows(self, case: Case) -> bool:
        """Whether a case's result is in it."""
        return case.id in self

    @property
    def progress(self) -> Mapping[str, Any]:
        """See `Heartbeat.advance`."""
        return {"number": self._number, "inputs": self.inputs, "statuses": self.statuses}

    @property
    def inputs(self) -> int:
        """Inputs with at least one result."""
        return len(self._inputs)

    @property
    def statuses(self) -> dict[str, int]:
        """Portraits by status."""
        return dict(self._statuses)

    def _kept(self, result: Result) -> Result:
        """A result with the files that this job keeps."""
        files = {kind: data for kind, data in result.files.items() if kind in self._files}
        return dataclasses.replace(result, files=files)

    def close(self) -> None:
        """Ends the file."""
        if not self._closed:
            self._closed = True
            self._writer.close()

    def summary(self, share: Share) -> dict[str, Any]:
        """What `jaxface status` needs to know of the shard."""
        return {
            "inputs": self.inputs,
            "statuses": self.statuses,
            "process": share.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "finished": time.time(),
        }


def shard_name(number: int, count: int, kind: str) -> str:
    """The file of a shard."""
    return f"{number:05d}-of-{count:05d}.{SUFFIXES[kind]}"


def finished_shards(
    folder: str, count: int, kind: str, wanted: Sequence[int] | None = None
) -> dict[int, dict[str, Any]]:
    """{number: summary} of the shards whose files are there and whole, of all or of those wanted.

    One whose file or summary is damaged is not finished: it is done again.
    """
    names = set(names_in(join(folder, SHARDS)))
    found = {}
    for number in range(count) if wanted is None else wanted:
        name = shard_name(number, count, kind)
        if name in names:
            summary = join(folder, SHARDS, os.path.splitext(name)[0] + ".json")
            told = _summary(summary)
            if told is not None and _is_whole(join(folder, SHARDS, name), kind, summary):
                found[number] = told
    return found


def _summary(path: str) -> dict[str, Any] | None:
    """A shard's summary; None where it is gone or damaged."""
    try:
        told = from_json(read_bytes(path))
        counts = [told["inputs"], *told["statuses"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return told if all(type(count) is int for count in counts) else None


def _is_whole(path: str, kind: str, summary: str) -> bool:
    """Whether a shard's file begins and ends as one does; remote files appear whole.

    One that was written to after its summary, which is the last to be written, is read to its end:
    both formats have checksums.
    """
    if is_remote(path):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(-4, os.SEEK_END)
            if kind == "parquet" and not head == file.read(4) == b"PAR1":
                return False
        touched = os.stat(path).st_mtime_ns > os.stat(summary).st_mtime_ns
    except OSError:  # shorter than that, or unreadable
        return False
    return not touched or _reads(path)


def _reads(path: str) -> bool:
    try:
        for _ in read_shard(path):
            pass
    except (OSError, RuntimeError, ValueError, KeyError):
        return False
    return True


def _readable(path: str) -> list[Result]:
    """What a stopped process left of a shard; nothing where it is damaged."""
    try:
        with local_copy(path) as before:
            return list(read_shard(before))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        print(f"jaxface: warning: {path}: damaged, done again: {reason}", file=sys.stderr)
        return []


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A local name for a file: its own, or that of a copy that is gone after the block."""
    if not is_remote(path):
        yield path
        return
    with staged(path) as temporary:
        files, place = filesystem(path)
        files.get_file(place, temporary)
        yield temporary


def results_in(folder: str, number: int, count: int, kind: str) -> Iterator[Result]:
    """A finished shard's results."""
    with local_copy(join(folder, SHARDS, shard_name(number, count, kind))) as path:
        yield from read_shard(path)
