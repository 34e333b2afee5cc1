"""Frames that are read by a thread while those before them are worked on.

Decoding and the conversion to RGB leave the interpreter free, so on two cores they take no time of
whoever changes and encodes frames.
"""

import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

AHEAD = 4
"""Frames that wait at most."""
_END = object()


@contextlib.contextmanager
def read_ahead(items: Iterable[T], *, ahead: int = AHEAD) -> Iterator[Iterator[T]]:
    """Iterates in a thread of its own, a few items ahead, in order.

    The thread has ended when the block is left, so what it reads from can be closed behind it. An
    error of the items is raised where the item was due.

    Args:
      items: anything to iterate over once.
      ahead: items that wait at most.

    Yields:
      The same items.
    """
    waiting: queue.Queue[Any] = queue.Queue(ahead)
    left = threading.Event()

    def put(item: Any) -> bool:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=0.1)
                return True
        return False

    def read():
        try:
            for item in items:
                if not put(item):
                    return
        finally:
            put(_END)

    def given(reading: concurrent.futures.Future[None]) -> Iterator[T]:
        while (item := waiting.get()) is not _END:
            yield item
        reading.result()  # raises what reading raised

    with concurrent.futures.ThreadPoolExecutor(1, "read-ahead") as pool:
        try:
            yield given(pool.submit(read))
        finally:
            left.set()
