"""Training items rendered by worker processes ahead of the training, without end.

Where a device trains, `jaxface.data.scene_items.LivePortraits` renders on it, between its steps.
Here processes on the CPU render beside it, and a batch may come back a few times, which costs less
than rendering as many.

Batches are numbered as `LivePortraits` numbers them: batch b holds items b * batch_size onwards.
Step t takes batch t where each is used once. Where each is used n times, the steps n * q + j, j = 0
to n - 1, take the batches q + (n - 1 - j) * `DELAY`: a new one, and n - 1 that were new so many
rounds before. So what a step gets depends on its number alone. At the beginning, and after a
resumption, batches that were new before are not there and are rendered when their turn comes.
"""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import jax
import numpy as np

from jaxface.data.scene_items import RENDER_BATCH, SceneError, numbered_items
from jaxface.runtime.processes import end_with_parent, interrupts_held

DELAY = 32
"""Batches between two uses of one, over the number of uses."""

_AHEAD = 2
"""Batches that each worker is asked for in advance."""


class RenderedAhead:
    """Endless batches of training items from worker processes; `get_state` and `set_state`.

    An iterator for `jaxface.training.loop.fit`. Each process of several renders its own contiguous
    rows. The workers start with the first batch and end with this process.

    Args:
      resolution: pixels per side.
      batch_size: items per batch over all processes; each process's share is a multiple of 32.
      seed: of all items.
      fields: names to keep.
      version: of the world.
      uses: how often a batch comes, at least 1.
      workers: processes that render, at least 1.

    Raises:
      SceneError: the batch does not divide, or uses or workers are below 1.
    """

    def __init__(
        self,
        resolution: int,
        *,
        batch_size: int,
        seed: int,
        fields: Sequence[str],
        version: str,
        uses: int = 1,
        workers: int = 1,
    ):
        self._pool: ProcessPoolExecutor | None = None
        self._batches: dict[int, Future[dict[str, np.ndarray]]] = {}
        processes = jax.process_count()
        if batch_size < 1 or batch_size % (processes * RENDER_BATCH):
            raise SceneError(
                "RenderedAhead: batch_size must be a positive multiple of "
                f"{processes * RENDER_BATCH}, {RENDER_BATCH} for each of {processes} processes; "
                f"got {batch_size}."
            )
        if uses < 1 or workers < 1:
            raise SceneError(
                f"RenderedAhead: uses and workers must be at least 1, got {uses} and {workers}."
            )
        self._work = (resolution, seed, tuple(fields), version)
        self._batch_size, self._rows = batch_size, batch_size // processes
        self._uses, self._workers, self._position = uses, workers, 0

    def batch_of_step(self, step: int) -> int:
        """The number of the batch that a step takes."""
        new, turn = divmod(step, self._uses)
        return new + (self._uses - 1 - turn) * DELAY

    def __next__(self) -> dict[str, np.ndarray]:
        number = self.batch_of_step(self._position)
        self._ask_ahead()
        try:
            batch = self._batches[number].result()
        except BrokenProcessPool as error:
            raise SceneError(
                "RenderedAhead: a process that renders was killed, perhaps for want of memory; "
                "resume the run, with fewer data.workers"
            ) from error
        self._position += 1
        # What was new before this step's oldest batch has had its last use.
        oldest = self._position // self._uses
        self._batches = {n: kept for n, kept in self._batches.items() if n >= oldest}
        return batch

    def _ask_ahead(self) -> None:
        """Has the next steps' batches rendered, a few that are not yet at a time."""
        free = _AHEAD * self._workers - sum(not b.done() for b in self._batches.values())
        step = self._position
        last = step + self._uses * DELAY
        while step == self._position or (free > 0 and step < last):
            number = self.batch_of_step(step)
            if number not in self._batches:
                self._batches[number] = self._submit(number)
                free -= 1
            step += 1

    def _submit(self, number: int) -> Future[dict[str, np.ndarray]]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers,
                # Forking a process that has threads, as JAX's has, can deadlock.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(jax.config.jax_compilation_cache_dir,),  # pyright: ignore
            )
        first = number * self._batch_size + jax.process_index() * self._rows
        with interrupts_held():  # Ctrl-C is for the training, which checkpoints
            return self._pool.submit(_render, first, self._rows, *self._work)

    def get_state(self) -> dict[str, int]:
        """The position, as JSON."""
        return {"position": self._position}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Back, or ahead, to a position that `get_state` gave."""
        self._position = int(state["position"])

    def close(self) -> None:
        """Ends the workers; the next batch would start others."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool, self._batches = None, {}

    def __del__(self):
        self.close()


def _start_worker(compilation_cache: str | None) -> None:
    """Renders on the CPU, at a lower priority than the training."""
    end_with_parent()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", compilation_cache)
    os.nice(5)


def _render(
    first: int, count: int, resolution: int, seed: int, fields: Sequence[str], version: str
) -> dict[str, np.ndarray]:
    items = numbered_items(seed, "train", first, count, resolution, version=version)
    return {name: items[name] for name in fields}
