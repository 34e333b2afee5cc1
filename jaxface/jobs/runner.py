"""Cases in, results out: a batcher that is kept full, and the row of each case.

All batches have one size, chosen to fit the memory. Rows of a batch that nothing waits for are
masked out, so nothing recompiles and a case's result does not depend on its neighbours; its random
key comes from its id alone. An input that cannot be read, or whose computation diverges at half the
step size too, gets a row that says so, and the others go on.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
from tqdm import tqdm

from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.inputs.latents import LatentError
from jaxface.jobs.outputs.rows import Result, make_row
from jaxface.jobs.task import Case, Prepared, Task
from jaxface.runtime.devices import divisor_mesh, memory_bytes
from jaxface.runtime.progress import JobProgress, detail, is_quiet
from jaxface.runtime.stopping import Stopped
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.procedure import Batcher

PREFETCH = 64  # inputs that are read before the device is free for them: a few batches


class Runner:
    """Does a task's cases; its compiled programs serve all pieces of a job.

    Args:
      task: what to do.
      batch_size: cases that are computed together, >= 1, split over as many devices as divide it;
        None: the task's default, or as many as fit the memory. No influence on results beyond
        rounding.
      inputs: how many there are to be done, for the default.
      bar: is moved.
      stop: asked between chunks; see `results`.
    """

    def __init__(
        self,
        task: Task,
        *,
        batch_size: int | None,
        inputs: int,
        bar: JobProgress,
        stop: Callable[[], bool] = lambda: False,
    ):
        self._task, self._asked, self._bar, self._stop = task, batch_size, bar, stop
        self.size = batch_size or task.default_batch_size(inputs)
        self._batcher: Batcher | None = None
        self._halved = False
        # Looked up once: they are in every row, and take longer than a row.
        self._shared = task.shared_columns()

    def results(
        self,
        prepared: Iterable[Prepared],
        *,
        known: Callable[[Case], bool] = lambda case: False,
        saved: Mapping[str, Snapshot] | None = None,
    ) -> Iterator[list[Result]]:
        """Does what was prepared; yields results as they are finished, failures included.

        Args:
          prepared: inputs with their cases; read as rows of the batch become free.
          known: whether a case is finished already and is passed over.
          saved: cases that go on where they were stopped, by id.

        Raises:
          Stopped: it was asked to; the cases in flight are in its argument `rows`.
          UsageError: `batch_size` does not fit the devices' memory.
          JaxfaceError: the memory ran out, at half the batch size too.
        """
        failed: list[Result] = []
        in_flight: dict[str, Case] = {}
        problems = self._problems(prepared, known, saved or {}, failed, in_flight)
        first = next(problems, None)
        if first is not None:
            problems = itertools.chain([first], problems)
            self._batcher = self._batcher or self._fitting_batcher()
        while first is not None and (batcher := self._batcher) is not None:
            try:
                for ended in batcher.run(
                    self._task.networks(), problems, stop=self._stop, progress=self._bar.advance
                ):
                    yield self._finished(ended, in_flight) + _taken(failed)
                break
            except jax.errors.JaxRuntimeError as error:
                ended, left = batcher.ended(), batcher.in_flight()
                self._batcher = self._halve(error)
                problems = itertools.chain(left, problems)
            yield self._finished(ended, in_flight)
        if failed:
            yield _taken(failed)
        if self._stop():
            rows = {} if self._batcher is None else self._batcher.saved()
            raise Stopped("stopped", {name: row for name, row in rows.items() if row != Snapshot()})

    def compile(self) -> int:
        """Compiles what `results` would run, ahead of time; nothing is computed.

        Returns:
          How many programs there are.

        Raises:
          UsageError: `batch_size` does not fit the devices' memory.
        """
        self._batcher = self._batcher or self._fitting_batcher()
        return self._batcher.compile(self._task.networks(), self._task.signature())

    def _problems(
        self,
        prepared: Iterable[Prepared],
        known: Callable[[Case], bool],
        saved: Mapping[str, Snapshot],
        failed: list[Result],
        in_flight: dict[str, Case],
    ) -> Iterator[Problem]:
        """Cases as problems; inputs without any, and cases that make none, go to `failed`."""
        for item, cases in prepared:
            if not isinstance(cases, list):
                row = make_row(
                    self._task.columns,
                    self._shared,
                    row_id=item.id,
                    item=item,
                    status=cases.status,
                    reason=str(cases),
                )
                failed.append(Result(row))
                self._bar.update(1)
                continue
            self._bar.add_total(len(cases) - 1)
            for case in cases:
                if known(case):
                    self._bar.update(1)
                    continue
                try:
                    problem = self._task.problem(case, saved.get(case.id, Snapshot()))
                except LatentError as error:
                    said = {"status": error.status, "reason": str(error)}
                    failed.append(Result(self._row(case) | said))
                    self._bar.update(1)
                    continue
                in_flight[case.id] = case
                yield problem

    def _finished(self, ended: list[Outcome], in_flight: dict[str, Case]) -> list[Result]:
        self._bar.update(len(ended))
        return [self._result(in_flight.pop(outcome.name), outcome) for outcome in ended]

    def _result(self, case: Case, outcome: Outcome) -> Result:
        return self._task.result(case, outcome, self._row(case))

    def _row(self, case: Case) -> dict[str, Any]:
        row = make_row(self._task.columns, self._shared, row_id=case.id, item=case.item)
        return row | dict(case.columns)

    def _fitting_batcher(self) -> Batcher:
        """A batcher that fits the memory, by the analysis of the programs that will run."""
        self._bar.compiling()
        # An explicit size is taken at its word; a chosen one leaves room for images that are read
        # and for what an allocator loses between its blocks.
        limit = memory_bytes(0 if self._asked else self._task.reading_bytes)
        usable = limit if self._asked else 0.9 * limit
        while True:
            batcher = self._batcher_of(self.size)
            start = time.perf_counter()
            need = batcher.device_bytes(self._task.networks(), self._task.signature())
            detail(f"compiled for batches of {self.size} in {time.perf_counter() - start:.1f} s")
            devices = divisor_mesh(self.size).size
            numbers = f"{_gigabytes(need)} of {_gigabytes(limit)} on each of {devices} devices"
            if need <= usable:
                if not is_quiet():
                    _say(f"batch size {self.size}: {numbers}")
                return batcher
            if self._asked or self.size <= jax.local_device_count():
                raise UsageError(
                    f"a batch of {self.size} does not fit: it needs {numbers}"
                    + ("; choose a smaller --batch-size, or none" if self.size > 1 else "")
                )
            smaller = _half(self.size)
            while smaller > jax.local_device_count() and need * smaller / self.size > usable:
                smaller = _half(smaller)
            self.size = smaller

    def _halve(self, error: Exception) -> Batcher:
        """A batcher of half the size, after the memory ran out for the first time."""
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise error
        if self._halved or self.size == 1:
            raise JaxfaceError(
                f"out of memory with a batch of {self.size}; what is finished is kept, and the "
                "same command with a smaller --batch-size goes on from there"
            ) from error
        _say(
            f"out of memory with a batch of {self.size}; going on with {_half(self.size)}, and the "
            "portraits under way begin again"
        )
        self._halved, self.size = True, _half(self.size)
        return self._batcher_of(self.size)

    def _batcher_of(self, size: int) -> Batcher:
        return self._task.batcher(size, divisor_mesh(size))


def _half(size: int) -> int:
    """Half a batch, or less where that keeps all devices at work."""
    devices = jax.local_device_count()
    return size // 2 // devices * devices or size // 2


def _taken(results: list[Result]) -> list[Result]:
    """What is in the list, which is empty afterwards."""
    taken = results[:]
    results.clear()
    return taken


def _say(text: str) -> None:
    tqdm.write(f"jaxface: {text}", file=sys.stderr)


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"
