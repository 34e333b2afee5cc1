"""Inverts a process's share of a collection, shard by shard.

Reading goes on across shards, so a device waits for input only at the very beginning. Between two
shards the slots drain: the last portraits of a shard have their batch for themselves, half a batch
in the mean. With batches of 16 and shards of 1000 that is one slot in a hundred, and it keeps the
promise that a kill costs no more than a shard.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxface.jobs.bar import Bar
from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.portraits import Prepared, prefetch_portraits, refuse_face_names
from jaxface.jobs.outputs.results import cannot_write
from jaxface.jobs.outputs.shards import OpenShard, ShardsFolder, shard_of
from jaxface.jobs.runner import PREFETCH, Embedder, Inversion


def invert_shards(
    items: Sequence[Item],
    folder: ShardsFolder,
    inversion: Inversion,
    *,
    batch_size: int | None = None,
    keep_images: bool = False,
    show_progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Counter[str]:
    """Does the unfinished shards of this process's share.

    Args:
      items: the whole collection, with distinct ids.
      folder: open.
      inversion: what to do.
      batch_size: see `jaxface.jobs.runner.Embedder`.
      keep_images: whether to store reconstructions.
      show_progress: a progress bar on stderr.
      stop: asked now and then; when it says so what the shard has is stored, and the same call
        goes on with it.

    Returns:
      How many portraits of the share have which status, those of earlier runs included.

    Raises:
      UsageError: the results cannot be written; the shards that were finished before are kept.
      SuiteError: the suite lacks a network.
      Stopped: `stop` said so.
      JaxfaceError: a process that looks for faces was killed, or the memory ran out.
    """
    waiting, done, statuses = progress_of(items, folder, inversion)
    pending = list(itertools.chain.from_iterable(waiting.values()))
    total = done + len(pending)
    size = inversion.suite.generator.resolution
    with (
        Bar(len(pending), done, show_progress) as bar,
        Heartbeat(folder.folder, folder.share, total=total, done=done) as heartbeat,
        prefetch_portraits(pending, size, inversion.alignment, ahead=PREFETCH) as found,
    ):
        found = iter(found)
        embedder = Embedder(
            inversion,
            batch_size=batch_size,
            inputs=len(pending),
            bar=bar,
            keep_images=keep_images,
            stop=stop,
        )
        for number, inputs in waiting.items():
            shard = write_shard(
                number,
                found,
                len(inputs),
                folder,
                embedder,
                bar,
                advance=heartbeat.advance,
            )
            statuses.update(shard.statuses)
    return statuses


class Progress(NamedTuple):
    """How far a process's share of a collection is."""

    waiting: dict[int, list[Item]]  # the unfinished shards, by number, in order
    done: int  # inputs of the finished ones
    statuses: Counter[str]  # of their portraits


def progress_of(items: Sequence[Item], folder: ShardsFolder, inversion: Inversion) -> Progress:
    """What is done of the share that `folder` is open for, and what is left.

    A shard that no id falls into is left until its empty file is written.

    Raises:
      UsageError: faces are to be found, and an item has a name like a face's.
    """
    if inversion.alignment is not None:
        refuse_face_names([item.id for item in items])
    shards: dict[int, list[Item]] = {number: [] for number in folder.mine()}
    for item in items:
        if (number := shard_of(item.id, folder.count)) in shards:
            shards[number].append(item)
    finished = folder.finished()
    statuses: Counter[str] = Counter()
    for number in finished.keys() & shards.keys():
        statuses.update(finished[number]["statuses"])
    waiting = {number: inputs for number, inputs in shards.items() if number not in finished}
    done = sum(map(len, shards.values())) - sum(map(len, waiting.values()))
    return Progress(waiting, done, statuses)


def write_shard(
    number: int,
    found: Iterator[Prepared],
    inputs: int,
    folder: ShardsFolder,
    embedder: Embedder,
    bar: Bar,
    *,
    advance: Callable[..., Any] = lambda inputs, shard=None: None,
) -> OpenShard:
    """Does one shard; its file is there when this returns.

    Args:
      number: of the shard.
      found: prepared inputs, of which the next `inputs` are the shard's.
      inputs: how many it has.
      folder: where it is written.
      embedder: kept from shard to shard.
      bar: is moved.
      advance: told of finished inputs; see `Heartbeat.advance`.

    Returns:
      The shard, closed.

    Raises:
      As `invert_shards`.
    """
    try:
        with folder.writer(number) as shard:
            rest = (
                (item, portraits)
                for item, portraits in itertools.islice(found, inputs)
                if item.id not in shard  # an earlier process did it before it was stopped
            )
            bar.update(before := shard.inputs)
            advance(before)
            for some in embedder.results(
                rest, known=lambda portrait: portrait.id in shard, saved=shard.saved
            ):
                before = shard.inputs
                shard.add(some)
                so_far = {"inputs": shard.inputs, "statuses": shard.statuses}
                advance(shard.inputs - before, shard={"number": number, **so_far})
    except OSError as error:
        raise cannot_write(folder.folder, error) from error
    return shard
