"""Graceful shutdown: a signal asks the program to stop, and it stops where nothing is lost.

Whoever sends SIGTERM (a scheduler that takes a machine back) sends SIGKILL some 30 seconds later.
So a program finishes the chunk in progress, writes what there is, and exits with status 143
(128 + 15); 130 after Ctrl-C, where that is caught. Jobs end in any case after `GRACE` seconds, as
in the middle of a long compilation: all that they had finished is on disk.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from jaxface.errors import JaxfaceError

EXIT_STATUS = 128 + signal.SIGTERM
GRACE = 25.0  # seconds


class Stopped(JaxfaceError):
    """The job was asked to stop, and has; it can be gone on with.

    Attributes:
      rows: the portraits in flight, by id; see `jaxface.jobs.outputs.snapshots`.
      done: how far it is, for the user; the command fills it in.
    """

    done = "nothing told"

    def __init__(self, message: str, rows: Mapping[str, Any]):
        super().__init__(message)
        self.rows = rows


class StopFlag:
    """Whether the program was asked to stop; call it to ask.

    Attributes:
      number: of the signal that came; 0 before.
    """

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> bool:
        return self.number != 0

    @property
    def name(self) -> str:
        """Of the signal, such as ``SIGTERM``."""
        return signal.Signals(self.number).name


@contextlib.contextmanager
def stop_requests(
    numbers: Sequence[int] = (signal.SIGTERM,), *, grace: float | None = GRACE
) -> Iterator[StopFlag]:
    """Within the block these signals do not end the process; the flag tells whether one came.

    Outside of the main thread signals cannot be caught, and nothing is changed.

    Args:
      numbers: the signals.
      grace: seconds after which the process ends anyway, unless the block has ended; further
        signals are ignored, but for a second Ctrl-C, which is a KeyboardInterrupt. None: the
        process takes its time, and a second signal has its usual effect.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}
    heard = 0  # by the handler; `_deadline` may have set the flag for the same signal before

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        del frame
        if number == heard == signal.SIGINT:  # Ctrl-C again: at once
            raise KeyboardInterrupt
        flag.number = heard = number
        if grace is None:
            restore()

    for number in numbers:
        before[number] = signal.signal(number, receive)
    try:
        with contextlib.nullcontext() if grace is None else _deadline(flag, numbers, grace):
            yield flag
    finally:
        restore()


@contextlib.contextmanager
def _deadline(flag: StopFlag, numbers: Sequence[int], grace: float) -> Iterator[None]:
    """Ends the process `grace` seconds after a signal, unless the block has ended.

    Python runs handlers in the main thread, when it comes to it; a byte in a pipe is written at
    once, even while the main thread is deep inside a compilation.
    """
    over = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while byte := os.read(reader, 1):
            if byte[0] in numbers:
                flag.number = byte[0]
                if not over.wait(grace):
                    os._exit(128 + flag.number)
                return

    listener = threading.Thread(target=listen, daemon=True)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup_before)
        os.close(writer)
        listener.join()
        os.close(reader)
