"""A training run's metrics: `metrics.jsonl`, TensorBoard, one progress line.

`metrics.jsonl` holds one object per logged step. Metrics are means over the steps since the row
before; a resumed run continues the file as if it had not stopped.
"""

import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jaxface.errors import JaxfaceError, UsageError, on_one_line
from jaxface.runtime.files import atomic_writer
from jaxface.runtime.progress import Progress, note


class NonFiniteMetricError(JaxfaceError):
    """A metric became NaN or infinite; the message names the step and the metric."""


class MetricWindow:
    """Means of per-step metrics since the last row. Its state is JSON, for the checkpoint."""

    def __init__(self, totals: Mapping[str, list[float]] | None = None):
        self._totals = {name: list(pair) for name, pair in (totals or {}).items()}

    def add(self, name: str, step: int, value: float) -> None:
        """Raises NonFiniteMetricError if `value` is not finite."""
        if not math.isfinite(value):
            raise NonFiniteMetricError(
                f"Step {step}: metric {name!r} is {value}. The newest checkpoint is from before "
                "it; lower the learning rate, or look at this step's batch and gradients."
            )
        total = self._totals.setdefault(name, [0.0, 0])
        total[0] += value
        total[1] += 1

    def state(self) -> dict[str, list[float]]:
        return {name: list(pair) for name, pair in self._totals.items()}

    def means(self) -> dict[str, float]:
        """Since the last row, so far."""
        return {name: total / count for name, (total, count) in self._totals.items()}

    def pop(self) -> dict[str, float]:
        """The means for a row; the next window begins."""
        means = self.means()
        self._totals = {}
        return means


class MetricLog:
    """Rows of a run in `<directory>/metrics.jsonl`, and in TensorBoard where tensorboardX works.

    Args:
      directory: the run's folder, made if absent.
      resume_at: steps already done; rows after them are dropped, they will be written again.
    """

    def __init__(self, directory: pathlib.Path, *, resume_at: int):
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "metrics.jsonl"
        if self.path.exists():
            _drop_rows(self.path, resume_at)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(directory / "tensorboard", resume_at)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        try:
            self._file.close()
        finally:
            if self._board is not None:
                self._board.close()


def _board(folder: pathlib.Path, resume_at: int) -> Any:
    """A `SummaryWriter`; None where there is none, which is told and stops no training."""
    try:
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(folder), purge_step=resume_at + 1 if resume_at else None)
    except Exception as error:  # noqa: BLE001 (whatever it, or protobuf below it, raises)
        reason = on_one_line(f"{type(error).__name__}: {error}")
        note(f"TensorBoard is off: tensorboardX cannot write {folder} ({reason})")
        return None


def read_metrics(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`, oldest first.

    Raises:
      UsageError: there is no such file, or a line of it is no row.
    """
    path = pathlib.Path(directory) / "metrics.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            raise UsageError(
                f"{path}, line {number}: expected a row of metrics, got "
                f"{on_one_line(line.decode(errors='replace'))!r}; remove the line"
            )
        rows.append(row)
    return rows


def _drop_rows(path: pathlib.Path, after: int) -> None:
    """Rewrites a file of metrics without the rows after a step; damaged lines are told and dropped.

    The last line alone may be cut off: the process was killed while it wrote it.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    kept = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None and line.endswith(b"\n"):
            note(f"{path}, line {number}: no row of metrics; it is left out")
        if row is not None and row["step"] <= after:
            kept.append(line)
    if kept != lines:
        with atomic_writer(path) as file:
            file.writelines(kept)


def _row(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None where it is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


class Reporter:
    """All of it for one run: counts steps, times them, writes rows and draws the line.

    Args:
      directory: the run's folder.
      done: steps done before (a resumed run).
      total: steps in all.
      chief: whether this process writes; the others keep silent.
    """

    def __init__(self, directory: pathlib.Path, done: int, total: int, *, chief: bool):
        self._log = MetricLog(directory, resume_at=done) if chief else None
        self._progress = Progress(total, text=f"{done}/{total}  compiling" if chief else "")
        self._compile_seconds = 0.0
        self._reset()

    def _reset(self) -> None:
        self._start = time.perf_counter()
        self._excluded = self._waited = 0.0
        self._steps = self._items = 0

    def say(self, text: str) -> None:
        if self._log:
            self._progress.say(text)

    def compiled(self, seconds: float) -> None:
        """Tells of time spent compiling, which is no part of the rate."""
        if seconds:
            self._compile_seconds += seconds
            self._excluded += seconds
            self.say(f"Compiled in {seconds:.1f} s.")
            if self._log:
                self._progress.doing("running the first steps")

    def waited(self, seconds: float) -> None:
        """Adds time spent waiting for data."""
        self._waited += seconds

    def count(self, steps: int, *, items: int) -> None:
        self._steps += steps
        self._items += items

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time of the block out of the rate."""
        start = time.perf_counter()
        yield
        self._excluded += time.perf_counter() - start

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Writes a row with the rate since the row before, and draws the line."""
        if self._log is None:
            return
        seconds = max(time.perf_counter() - self._start - self._excluded, 1e-9)
        rate = self._items / seconds
        self._draw(step, row, self._steps, seconds)
        timing = {
            "images_per_second": rate,
            "data_wait": self._waited / seconds,
            "compile_seconds": self._compile_seconds,
        }
        self._log.write(step, {**row, **timing})
        self._reset()

    def tick(self, step: int, means: Mapping[str, float]) -> None:
        """Draws the line between two rows, where it was not for a while.

        Args:
          step: how many steps are finished; later ones may be under way.
          means: of the metrics since the last row.
        """
        if self._log is None or not self._progress.due or not means:
            return
        seconds = max(time.perf_counter() - self._start - self._excluded, 1e-9)
        self._draw(step, means, self._steps, seconds)

    def _draw(self, step: int, row: Mapping[str, float], steps: int, seconds: float) -> None:
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in list(row.items())[:4])
        rate = self._items / seconds
        self._progress.update(step, rate=rate, steps_per_second=steps / seconds, metrics=metrics)

    def close(self) -> None:
        try:
            self._progress.close()
        finally:
            if self._log:
                self._log.close()
