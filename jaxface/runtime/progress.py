"""Progress of a long computation, for people and for log files.

How much is told is the process's: `set_verbosity`. What is said goes to stderr, where a terminal
has one line that is drawn again, and a log gets a line at least every `LOG_INTERVAL` seconds, also
while a single step, a compilation or a rendering takes longer.
"""

import contextlib
import math
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TextIO, TypeVar

from tqdm import tqdm

from jaxface.errors import printable

T = TypeVar("T")

LOG_INTERVAL, TERMINAL_INTERVAL = 9.0, 1.0
"""Seconds without a word after which the line is written again."""

Verbosity = Literal["quiet", "normal", "verbose"]
_verbosity: list[Verbosity] = ["normal"]


def set_verbosity(level: Verbosity) -> None:
    """What this process tells: "quiet" no progress and no notes; "verbose" details too."""
    _verbosity[0] = level


def is_quiet() -> bool:
    """Whether there is to be no progress."""
    return _verbosity[0] == "quiet"


def is_verbose() -> bool:
    """Whether there are to be details."""
    return _verbosity[0] == "verbose"


class _Line:
    """The last line of a stream, which several threads write.

    Attributes:
      drawn: when something was last written, by `time.monotonic`.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream, self._width = stream, 0
        self._lock = threading.RLock()
        self.drawn = time.monotonic()

    @property
    def stream(self) -> TextIO:
        """The given one, or the process's stderr as it is now."""
        return self._stream or sys.stderr

    @property
    def interval(self) -> float:
        """Seconds between two lines of which nothing new is known."""
        return TERMINAL_INTERVAL if self.stream.isatty() else LOG_INTERVAL

    def write(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            blank = "\r" + " " * self._width + "\r" if self._width else ""
            self.stream.write(f"{blank}{text}\n")
            self.stream.flush()
            self._width, self.drawn = 0, time.monotonic()

    def draw(self, text: str) -> None:
        """A line that the next one replaces; in a log it stays."""
        if not self.stream.isatty():
            self.write(text)
            return
        with self._lock:
            self.stream.write("\r" + text.ljust(self._width))
            self.stream.flush()
            self._width, self.drawn = len(text), time.monotonic()

    def end(self) -> None:
        """Leaves what was drawn."""
        with self._lock:
            if self._width:
                self.stream.write("\n")
                self._width = 0


_STDERR = _Line()


class Progress:
    """One line: steps done, items per second, time left. Redrawn on a terminal, appended elsewhere.

    Time spent compiling is told once and left out of the rate and of the time left. A thread writes
    the line again, with the seconds since, where nothing was written for `LOG_INTERVAL`; `close`
    ends it.

    Args:
      total: steps in all.
      unit: of the rate.
      stream: default: stderr.
      text: what the line is before the first update.
    """

    def __init__(
        self, total: int, *, unit: str = "images", stream: TextIO | None = None, text: str = ""
    ):
        self._total, self._unit = total, unit
        self._line = _STDERR if stream is None else _Line(stream)
        self._text, self._since = text, time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        if not is_quiet():
            self._thread.start()

    def say(self, text: str) -> None:
        """A line of its own."""
        if not is_quiet():
            self._line.write(text)

    def doing(self, text: str) -> None:
        """What is being done from now on, told once it has taken a while."""
        self._text, self._since = text, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether nothing was written for so long that the line is to be."""
        return time.monotonic() - self._line.drawn > self._line.interval

    def update(self, done: float, *, rate: float, steps_per_second: float, metrics: str) -> None:
        """Draws the line. Rate in items per second."""
        left = (self._total - done) / steps_per_second if steps_per_second else math.inf
        self.doing(
            f"{done:g}/{self._total} ({100 * done / self._total:.0f}%)  "
            f"{rate:.3g} {self._unit}/s  left {format_seconds(left)}  {metrics}"
        )
        if not is_quiet():
            self._line.draw(self._text)

    def close(self) -> None:
        """Leaves the line as it is; the thread has ended then."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        if not is_quiet():
            self._line.end()

    def _repeat(self) -> None:
        while not self._closed.wait(0.5):
            if self.due and self._text:
                since = format_seconds(time.monotonic() - self._since)
                self._line.draw(f"{self._text}  (for {since})")


def note(text: str) -> None:
    """A remark on stderr, unless it is to be quiet."""
    if not is_quiet():
        _STDERR.write(printable(text))


def detail(text: str) -> None:
    """What only those who asked for details want to know."""
    if is_verbose():
        _STDERR.write(printable(f"jaxface: {text}"))


@contextlib.contextmanager
def working(text: str) -> Iterator[Progress]:
    """Tells what the block does, again and again while it lasts and nothing else is written.

    Yields:
      What takes other texts, by `Progress.doing`.
    """
    progress = Progress(1, text=text)
    try:
        yield progress
    finally:
        progress.close()


_BAR = "{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class JobProgress:
    """A bar over portraits that also moves while they are in flight, so its ETA is known early.

    Args:
      pending: portraits to be done.
      done: those that were done before.
      show: whether there is a bar.
      tell: receives the share that is done, in [0, 1], whenever it is known anew.
    """

    def __init__(
        self,
        pending: int,
        done: int,
        show: bool,
        *,
        tell: Callable[[float], None] = lambda share: None,
    ):
        self._tell = tell
        self._bar = tqdm(
            total=done + pending,
            initial=done,
            disable=not show or is_quiet(),
            # A terminal sees it move; a log gets a line now and then.
            mininterval=0.5 if sys.stderr.isatty() else 30,
            bar_format=_BAR,
            unit=" portraits",
        )
        self._done, self._compiling = done, False

    def __enter__(self) -> "JobProgress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def compiling(self) -> None:
        """Programs are being compiled, which takes a while before the bar moves."""
        self._bar.bar_format = _BAR.replace(
            "<{remaining}, {rate_fmt}", ""
        )  # which nothing tells by then
        self._bar.set_postfix_str("compiling")
        self._compiling = True

    def advance(self, in_flight: float) -> None:
        """Called after each chunk with what is done of the portraits in flight, in portraits."""
        self._bar.set_postfix_str("", refresh=False)
        if self._compiling:  # which is no part of the rate: else the first ETA were hours off
            self._bar.start_t = self._bar.last_print_t = time.time()
            self._bar.initial = self._bar.n
            self._bar.bar_format = _BAR
            self._compiling = False
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
        self._tell(position / max(self._bar.total, 1))


def frames_done(count: int, seconds: float, share: float) -> str:
    """Such as "1200 frames, 31.2 a second, left 0:12, 812 MB".

    Args:
      count: of frames that are done.
      seconds: that they took.
      share: of all, in [0, 1]; what is left is estimated by it.

    Returns:
      With the most memory that the process has held.
    """
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of KB; of bytes on macOS
    memory = memory / 1024 if sys.platform == "darwin" else memory
    left = format_seconds(seconds / share - seconds if share else math.inf)
    rate = count / max(seconds, 1e-9)
    return f"{count} frames, {rate:.1f} a second, left {left}, {memory:.0f} MB"


def one_by_one(parts: Iterable[tuple[str, T]]) -> Iterator[T]:
    """Parts of a computation, told by name, place and the time that is left while each lasts.

    Args:
      parts: (name, part).
    """
    named = list(parts)
    pace = Pace(len(named))
    with working("") as line:
        for place, (name, part) in enumerate(named):
            line.doing(f"{name}, {place + 1} of {len(named)}, {pace.next()}")
            yield part


class Pace:
    """How much time is left of a number of like parts.

    Args:
      count: how many there are to do.
    """

    def __init__(self, count: int):
        self._count, self._begun = count, 0
        self._start = time.monotonic()

    def next(self) -> str:
        """Called when a part begins: "left 1:02:03", or "left ?" before the first one ended."""
        ended, self._begun = self._begun, self._begun + 1
        seconds = time.monotonic() - self._start
        left = seconds / ended * (self._count - ended) if ended else math.inf
        return f"left {format_seconds(left)}"


def format_seconds(seconds: float) -> str:
    """'1:02:03', '2:03' or '?' when unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
