"""How much a file may unpack to: one budget for all that its readers make of it.

A small file can stand for a large object: by compression, by members of a zip file that overlap, by
a text that is encoded a thousand times, by tensors that share one storage. Readers say what they
are about to make, and beyond the limit the file is refused before it is made.
"""

import contextlib
from collections.abc import Iterator, Sized
from contextvars import ContextVar
from typing import Any

from jaxface.convert.refusal import Refusal

DEFAULT_LIMIT = 16 * 10**9
"""Bytes: several times what the largest published checkpoint holds."""

ITEM = 64
"""Bytes that an item of a list or dictionary counts for."""


class Budget:
    """What is left, in bytes."""

    def __init__(self, limit: int):
        self.limit, self.left = limit, limit

    def spend(self, count: int) -> None:
        """Takes so many bytes.

        Raises:
            Refusal: fewer are left.
        """
        self.left -= count
        if self.left < 0:
            raise Refusal(
                f"unpacks to more than {self.limit / 1e9:.3g} GB; if that is right, allow it with "
                "--unpack-limit GB"
            )


_BUDGET: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def unpacking(limit: int | None = None) -> Iterator[Budget]:
    """The budget of what is read within, `DEFAULT_LIMIT` unless one is given.

    Inside of another one it is that one's: a conversion has one budget for all of its files.
    """
    if (outer := _BUDGET.get()) is not None:
        yield outer
        return
    token = _BUDGET.set(Budget(DEFAULT_LIMIT if limit is None else limit))
    try:
        budget = _BUDGET.get()
        assert budget is not None
        yield budget
    finally:
        _BUDGET.reset(token)


def spend(count: int) -> None:
    """Takes bytes from the budget in force; without one there is no limit."""
    if (budget := _BUDGET.get()) is not None:
        budget.spend(count)


def remaining() -> int:
    """Bytes that may still be made."""
    budget = _BUDGET.get()
    return DEFAULT_LIMIT if budget is None else max(budget.left, 0)


def size_of(value: Any) -> int:
    """What a copy of a value would take: of text and bytes a byte each, of others `ITEM`."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return ITEM * len(value) if isinstance(value, Sized) else ITEM
