"""A pool of processes that looks for faces, and survives kills and interrupts."""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from jaxface.errors import JaxfaceError
from jaxface.jobs.inputs.crops import Aligner
from jaxface.jobs.inputs.items import Item
from jaxface.runtime.processes import end_with_parent, interrupts_held

_worker_aligner: Aligner | None = None
"""What this process does, where it is a worker."""


class Workers:
    """Processes that align; a context manager."""

    def __init__(self, number: int, aligner: Aligner):
        self.number, self.aligner = number, aligner
        self._pool = ProcessPoolExecutor(
            number,
            # Forking a process that has threads, as JAX's has, can deadlock.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(aligner,),
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, step: str, items: Sequence[Item], size: int, *, ahead: int
    ) -> Iterator[tuple[Item, Any]]:
        """What a step returns, in the order of `items`; `ahead` of them are in flight at a time."""
        rest = iter(items)
        waiting: deque[tuple[Item, Future]] = deque()
        while True:
            for item in islice(rest, ahead - len(waiting)):
                waiting.append((item, self.submit(step, item.load, size)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, self.result(future)

    def submit(self, step: str, *arguments: Any) -> Future:
        """Gives a step of the `Aligner` to the next free worker."""
        with interrupts_held(), _one_error():  # processes that start here never see Ctrl-C
            return self._pool.submit(_work, step, *arguments)

    def result(self, future: Future) -> Any:
        """What the step returned."""
        with _one_error():
            return future.result()


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise JaxfaceError(
            "a process that looks for faces was killed, perhaps for want of memory; what is "
            "finished is kept, and the same command with fewer --workers goes on from there"
        ) from error


def _start_worker(aligner: Aligner) -> None:
    """Sets a worker process up; its detector arrives once, not with every image."""
    global _worker_aligner
    _worker_aligner = aligner
    end_with_parent()


def _work(step: str, *arguments: Any) -> Any:
    if _worker_aligner is None:
        raise RuntimeError("a worker process was not set up")
    return getattr(_worker_aligner, step)(*arguments)


def num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
