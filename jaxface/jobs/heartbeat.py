"""What a running process tells of its progress: one small file each, for `jaxface status`.

The file says who writes it, how far it is and since when. It is replaced every few seconds, so one
that is old belongs to a process that was lost. On an object store, which has no locks, it also
keeps a second process from doing the same work.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from jaxface.errors import UsageError
from jaxface.jobs.launchers import Share
from jaxface.jobs.storage import from_json, join, names_in, read_bytes, write_bytes

FOLDER = ".progress"
INTERVAL = 5.0  # seconds between two writings
HEARTBEAT_TIMEOUT = 60.0  # seconds after which a process counts as lost; twelve writings


class Heartbeat:
    """Writes a process's progress; a context manager.

    Args:
      folder: the job's output, local or remote.
      share: this process's.
      total: inputs of this share, finished ones included.
      done: of them finished before.
    """

    def __init__(self, folder: str, share: Share, *, total: int, done: int):
        self._path = join(folder, FOLDER, f"{share.name}.json")
        self._beat = {
            "process": share.index,
            "processes": share.count,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "state": "running",
            "started": time.time(),
            "updated": 0.0,
            "total": total,
            "before": done,
            "done": done,
            "shard": None,
        }

    def __enter__(self) -> "Heartbeat":
        self.write()
        return self

    def __exit__(self, kind: Any, *_) -> None:
        self._beat["state"] = "stopped" if kind else "finished"
        try:
            self.write()
        except OSError:
            if kind is None:  # else the disk is full, say, and that is what the user hears
                raise

    def advance(self, inputs: int, *, shard: Mapping[str, Any] | None = None) -> None:
        """More inputs are finished.

        Args:
          inputs: how many more.
          shard: of the one that is being written: ``number``, ``inputs``, ``statuses``.
        """
        self._beat["done"] += inputs
        self._beat["shard"] = shard
        if time.time() - self._beat["updated"] >= INTERVAL:
            self.write()

    def write(self) -> None:
        """Writes the file now."""
        self._beat["updated"] = time.time()
        write_bytes(self._path, json.dumps(self._beat).encode())


_NUMBERS = ("process", "processes", "pid", "started", "updated", "total", "before", "done")


def read_heartbeats(folder: str) -> list[dict[str, Any]]:
    """What the processes of a job last said, with ``alive`` for those that still run."""
    beats = []
    for name in names_in(join(folder, FOLDER)):
        if not name.endswith(".json"):
            continue
        try:
            beat = from_json(read_bytes(join(folder, FOLDER, name)))
            if all(type(beat[key]) in (int, float) for key in _NUMBERS):
                beats.append(beat | {"alive": _alive(beat)})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue  # damaged: its process says it again, if it runs
    return sorted(beats, key=lambda beat: (beat["processes"], beat["process"]))


def refuse_running(folder: str, share: Share) -> None:
    """For folders without locks: nobody may be doing this share, or count other processes.

    Raises:
      UsageError: such a process has written lately.
    """
    for beat in read_heartbeats(folder):
        other = beat["processes"] == share.count and beat["process"] != share.index
        if beat["alive"] and not other:
            raise UsageError(
                f"{folder}: process {beat['pid']} on {beat['host']} is writing there; wait for it, "
                "or, if it was lost, until it has been silent for "
                f"{HEARTBEAT_TIMEOUT:.0f} s, or use another --out"
            )


def _alive(beat: Mapping[str, Any]) -> bool:
    if beat["state"] != "running" or time.time() - beat["updated"] > HEARTBEAT_TIMEOUT:
        return False
    if beat["host"] != socket.gethostname():
        return True
    try:
        os.kill(beat["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and is another user's
        return True
    return beat["pid"] != os.getpid()
