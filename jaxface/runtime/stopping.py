"""A polite end on SIGTERM: what is under way is kept, and the process is gone in time.

Whoever sends SIGTERM (a scheduler that takes a machine back) sends SIGKILL some 30 seconds later.
So the chunk under way is finished, what there is is written, and the exit status is 143 (128 + 15).
Where that cannot be done in time, as in the middle of a long compilation, the process ends anyway
after `GRACE` seconds: all that it had finished is on the disk.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxface.errors import JaxfaceError

EXIT_STATUS = 128 + signal.SIGTERM
GRACE = 25.0  # seconds


class Stopped(JaxfaceError):
    """The job was asked to stop, and has; it can be gone on with.

    Attributes:
      rows: the portraits under way, by id; see `jaxface.jobs.outputs.snapshots`.
    """

    def __init__(self, message: str, rows: Mapping[str, Any]):
        super().__init__(message)
        self.rows = rows


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM does not end the process; the function tells whether it came.

    Outside of the main thread signals cannot be caught, and nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked, over = threading.Event(), threading.Event()
    # Python runs handlers in the main thread, when it comes to it; a byte in a pipe is written at
    # once, even while the main thread is deep inside a compilation.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while byte := os.read(reader, 1):
            if byte[0] == signal.SIGTERM:
                asked.set()
                if not over.wait(GRACE):
                    os._exit(EXIT_STATUS)
                return

    listener = threading.Thread(target=listen, daemon=True)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener.start()
    try:
        yield asked.is_set
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup_before)
        signal.signal(signal.SIGTERM, before)
        os.close(writer)
        listener.join()
        os.close(reader)
