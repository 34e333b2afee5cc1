"""Inputs read ahead of the device, by threads: decoding lets other threads run."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.workers import num_cores


@contextlib.contextmanager
def read_items(
    items: Sequence[Item], read: Callable[[Item], Any], *, ahead: int
) -> Iterator[Iterable[tuple[Item, Any]]]:
    """Each item with what `read` gives of it, in the items' order.

    Args:
      items: in their order.
      read: called in threads.
      ahead: items that may be read beyond the one that is asked for.
    """
    with contextlib.closing(_reading(items, read, ahead)) as reading:
        yield reading


def _reading(
    items: Sequence[Item], read: Callable[[Item], Any], ahead: int
) -> Generator[tuple[Item, Any], None, None]:
    """Closing the generator ends the reading."""
    if not items:
        return
    import grain  # takes a second, which calls that end with a message need not wait for

    source = grain.MapDataset.source(items).map(lambda item: (item, read(item)))
    threads = min(num_cores(), ahead, 16)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    with contextlib.closing(iter(source.to_iter_dataset(options))) as reading:
        yield from reading
