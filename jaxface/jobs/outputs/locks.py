"""Locks of output folders: the file system's own, or a file that says who writes.

Some file systems (NFS without its daemon, FUSE, some clusters') have no locks. There a file names
the host and process that hold the folder. A process of the same host can be seen to be gone; of
one on another host only that it has not touched its file for long, so that it is slower to be
taken over.
"""

import contextlib
import errno
import fcntl
import functools
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from jaxface.errors import UsageError
from jaxface.runtime.progress import working

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
STALE = 24 * 3600.0
"""Seconds without a touch after which a holder on another host counts as gone."""
TOUCH = 600.0
"""Seconds between touches, much fewer than `STALE`: hosts' clocks differ."""
POLL = 0.5
"""Seconds between two tries of one who waits."""


class HeldError(UsageError):
    """Another process holds the lock."""


class Lock(Protocol):
    """Held until it is closed, or the process ends."""

    def close(self) -> None: ...


def take_lock(path: Path, *, shared: bool = False) -> Lock:
    """Holds a local file until it is closed or the process ends, however it ends.

    Args:
      path: created if it does not exist.
      shared: with all others that hold it shared.

    Raises:
      HeldError: another process holds it.
      UsageError: it cannot be written.
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
        raise HeldError(_in_use(folder)) from error
    except OSError as error:
        lock.close()
        if error.errno not in _NO_LOCKS:
            raise UsageError(f"{folder}: cannot be locked: {error.strerror}") from error
        _tell_of_files(folder)
        return _FileLock(path, shared=shared)
    return lock


def wait_for_lock(path: Path, text: str, *, shared: bool = False) -> Lock:
    """As `take_lock`, once the processes that hold it have let go or have ended.

    Args:
      path: created if it does not exist.
      text: told while another one holds it.
      shared: with all others that hold it shared.

    Raises:
      UsageError: it cannot be written.
    """
    with contextlib.suppress(HeldError):
        return take_lock(path, shared=shared)
    with working(text):
        while True:
            time.sleep(POLL)
            with contextlib.suppress(HeldError):
                return take_lock(path, shared=shared)


@functools.cache
def _tell_of_files(folder: Path) -> None:
    print(
        f"jaxface: warning: {folder}: its file system has no locks; a file says who writes",
        file=sys.stderr,
    )


class _FileLock:
    """A file beside the lock's own, ``<lock>.<shared or only>.<host>.<process>``."""

    def __init__(self, path: Path, *, shared: bool):
        kind = "shared" if shared else "only"
        self._held = path.with_name(f"{path.name}.{kind}.{socket.gethostname()}.{os.getpid()}")
        try:
            self._held.touch(exist_ok=False)
        except FileExistsError as error:  # this process holds it already
            raise HeldError(_in_use(path.parent)) from error
        except OSError as error:
            raise UsageError(f"{path.parent}: cannot be written: {error.strerror}") from error
        # Whoever comes second sees the other's file, in whichever order; both may then refuse.
        others = [other for other in path.parent.glob(f"{path.name}.*.*") if other != self._held]
        for other in others:
            both_shared = shared and other.name.startswith(f"{path.name}.shared.")
            if not both_shared and not _gone(other):
                self._unlink()
                raise HeldError(_in_use(path.parent))
        self._closed = threading.Event()
        self._toucher = threading.Thread(target=self._touch, daemon=True)
        self._toucher.start()

    def close(self) -> None:
        """Lets go."""
        self._closed.set()
        self._toucher.join()
        self._unlink()

    def _touch(self) -> None:
        """Shows that the process lives, as long as it holds the folder."""
        while not self._closed.wait(TOUCH):
            with contextlib.suppress(OSError):
                os.utime(self._held)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            self._held.unlink(missing_ok=True)


def _gone(held: Path) -> bool:
    """Whether a file's process is known to have ended; its file is removed then."""
    host, _, process = held.name.rpartition(".")
    try:
        if host.endswith(f".{socket.gethostname()}") and process.isdecimal():
            os.kill(int(process), 0)
            return False
        if time.time() - held.stat().st_mtime < STALE:
            return False
    except PermissionError:
        return False
    except OSError:  # no such process, or no such file any more
        pass
    held.unlink(missing_ok=True)
    return True


def _in_use(folder: Path) -> str:
    return f"{folder}: another process is writing there; wait for it or use another --out"
