"""Traces of what the devices do, in the form that XProf and Perfetto open.

A trace is a folder ``plugins/profile/<date>/`` with ``<host>.xplane.pb``, for XProf (``xprof
--logdir DIR``) and ``jax.profiler.ProfileData``, and ``<host>.trace.json.gz``, for ui.perfetto.dev.
Python's own calls are left out: they are many, and the programs are compiled.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from jaxface.errors import UsageError

SKIPPED_CHUNKS, TRACED_CHUNKS = 1, 2


@contextlib.contextmanager
def trace(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Traces the block; wait for its results inside it.

    Raises:
      UsageError: the folder cannot be written.
    """
    writable(folder)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with jax.profiler.trace(str(folder), profiler_options=options):
        yield


def writable(folder: str | os.PathLike[str]) -> None:
    """Makes the folder; better known before the work than after it.

    Raises:
      UsageError: it cannot be made or written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"--profile {folder}: cannot be written: {reason}") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--profile {folder}: cannot be written: no permission")


class ChunkTrace:
    """Traces the second and third chunk of a loop that asks before each whether to stop.

    A context manager that takes the place of the question; a trace that is still open when it
    ends, ends with it. The first chunk is left out because it may compile; where it is the only
    one, what remains to be done after it is traced.

    Args:
      folder: for the trace; None: nothing is traced.
      stop: the question.
      settle: waits for what the loop has dispatched, so that the trace holds whole chunks; called
        before the trace begins and before it ends.

    Attributes:
      begun: whether there is a trace; where there is none at the end, a note on stderr says so.

    Raises:
      UsageError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        stop: Callable[[], bool] = lambda: False,
        settle: Callable[[], object] = lambda: None,
    ):
        self.begun = False
        self._folder, self._stop, self._settle = folder, stop, settle
        self._asked = 0
        self._open = contextlib.ExitStack()
        if folder is not None:
            writable(folder)

    def __call__(self) -> bool:
        if self._folder is not None:
            if self._asked in (SKIPPED_CHUNKS, SKIPPED_CHUNKS + TRACED_CHUNKS):
                self._settle()
            if self._asked == SKIPPED_CHUNKS:
                self._open.enter_context(trace(self._folder))
                self.begun = True
            elif self._asked == SKIPPED_CHUNKS + TRACED_CHUNKS:
                self._open.close()
            self._asked += 1
        return self._stop()

    def __enter__(self) -> "ChunkTrace":
        return self

    def __exit__(self, kind: object, *_) -> None:
        if self.begun and kind is None:
            self._settle()
        self._open.close()
        if self._folder is not None and not self.begun:
            print(
                f"note: --profile {self._folder}: no iterations, so nothing was traced",
                file=sys.stderr,
            )
