"""Inverts a process's share of a collection, shard by shard.

Reading goes on across shards, so a device waits for input only at the very beginning. Between two
shards the slots drain: the last portraits of a shard have their batch for themselves, half a batch
in the mean. With batches of 16 and shards of 1000 that is one slot in a hundred, and it keeps the
promise that a kill costs no more than a shard.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from jaxface.jobs.bar import Bar
from jaxface.jobs.embedding import AHEAD, Embedder, Inversion
from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs import Item
from jaxface.jobs.portraits import Prepared, prepared, refuse_face_names
from jaxface.jobs.results import cannot_write
from jaxface.jobs.shards import OpenShard, ShardsFolder, shard_of


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
      batch_size: see `jaxface.jobs.embedding.Embedder`.
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
    if inversion.alignment is not None:
        refuse_face_names([item.id for item in items])
    share = by_shard(items, folder.count, folder.mine())
    finished = {number: found for number, found in folder.finished().items() if number in share}
    statuses: Counter[str] = Counter()
    for summary in finished.values():
        statuses.update(summary["statuses"])
    waiting = sorted(share.keys() - finished.keys())
    pending = [item for number in waiting for item in share[number]]
    total = sum(map(len, share.values()))
    size = inversion.suite.generator.resolution
    with (
        Bar(len(pending), total - len(pending), show_progress) as bar,
        Heartbeat(folder.folder, folder.share, total=total, done=total - len(pending)) as heartbeat,
        prepared(pending, size, inversion.alignment, ahead=AHEAD) as found,
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
        for number in waiting:
            shard = write_shard(
                number,
                found,
                len(share[number]),
                folder,
                embedder,
                bar,
                advance=heartbeat.advance,
            )
            statuses.update(shard.statuses)
    return statuses


def by_shard(items: Iterable[Item], count: int, wanted: Iterable[int]) -> dict[int, list[Item]]:
    """The items of each wanted shard, of `count`; none for a shard that no id falls into."""
    shards: dict[int, list[Item]] = {number: [] for number in wanted}
    for item in items:
        if (number := shard_of(item.id, count)) in shards:
            shards[number].append(item)
    return shards


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
                for item, portraits in islice(found, inputs)
                if item.id not in shard  # an earlier process did it before it was stopped
            )
            bar.finish(before := shard.inputs)
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
