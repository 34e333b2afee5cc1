"""Progress of a long computation, for people and for log files."""

import math
import sys
from typing import TextIO

from tqdm import tqdm


class Progress:
    """One line: steps done, items per second, time left. Redrawn on a terminal, appended elsewhere.

    Time spent compiling is told once and left out of the rate and of the time left.
    """

    def __init__(self, total: int, *, unit: str = "images", stream: TextIO | None = None):
        self._total, self._unit = total, unit
        self._stream = stream or sys.stderr
        self._redraw = self._stream.isatty()
        self._width = 0

    def say(self, text: str) -> None:
        """A line of its own."""
        self._stream.write(("\r" + " " * self._width + "\r" if self._width else "") + text + "\n")
        self._stream.flush()
        self._width = 0

    def update(self, done: int, *, rate: float, steps_per_second: float, metrics: str) -> None:
        """Draws the line. Rate in items per second."""
        left = (self._total - done) / steps_per_second if steps_per_second else math.inf
        text = (
            f"{done}/{self._total} ({100 * done / self._total:.0f}%)  "
            f"{rate:.3g} {self._unit}/s  left {format_seconds(left)}  {metrics}"
        )
        if not self._redraw:
            self.say(text)
            return
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._width = 0


class JobProgress:
    """A bar over portraits that also moves while they are in flight, so its ETA is known early."""

    def __init__(self, pending: int, done: int, show: bool):
        self._bar = tqdm(
            total=done + pending,
            initial=done,
            disable=not show,
            # A terminal sees it move; a log gets a line now and then.
            mininterval=0.5 if sys.stderr.isatty() else 30,
            bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]",
        )
        self._done = done

    def __enter__(self) -> "JobProgress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def compiling(self) -> None:
        """Programs are being compiled, which takes a while before the bar moves."""
        self._bar.set_postfix_str("compiling")

    def advance(self, in_flight: float) -> None:
        """Called after each chunk with what is done of the portraits in flight, in portraits."""
        self._bar.set_postfix_str("", refresh=False)
        self._to(self._done + in_flight)

    def update(self, count: int) -> None:
        """`count` more portraits have their rows."""
        self._done += count
        self._to(self._done)

    def add_total(self, count: int) -> None:
        """`count` more portraits are to be done than was known."""
        self._bar.total += count

    def _to(self, position: float) -> None:
        self._bar.update(position - self._bar.n)


def format_seconds(seconds: float) -> str:
    """'1:02:03', '2:03' or '?' when unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
