"""A job: what is left of a collection, done piece by piece into a sink. There is one driver.

A folder of results is one piece; a collection in shards has one for each. Reading goes on across
pieces, so a device waits for input only at the very beginning. Between two shards the batch drains:
the last cases of a shard have it for themselves, half a batch in the mean. With batches of 16 and
shards of 1000 that is one row in a hundred, and it keeps the promise that a kill costs no more than
a shard.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxface.jobs.heartbeat import Heartbeat
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.outputs.results import cannot_write
from jaxface.jobs.runner import PREFETCH, Runner
from jaxface.jobs.task import Piece, Prepared, Sink, Task
from jaxface.runtime.progress import JobProgress


def run_job(
    items: Sequence[Item],
    sink: Sink,
    task: Task,
    *,
    batch_size: int | None = None,
    show_progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
    fleet: Any = None,
    tell: Callable[[float], None] = lambda share: None,
) -> Counter[str]:
    """Does what is left of a collection, or of this process's share of it.

    Args:
      items: the whole collection, with distinct ids.
      sink: open.
      task: what to do.
      batch_size: see `jaxface.jobs.runner.Runner`.
      show_progress: a progress bar on stderr.
      stop: asked now and then; when it says so what is in flight is stored, and the same call goes
        on with it.
      fleet: the `jaxface.jobs.ray_backend.Fleet` that does the pieces; None: this process.
      tell: receives the share that is done, see `JobProgress`.

    Returns:
      How many results have which status, those of earlier runs included.

    Raises:
      UsageError: an item's id belongs to another input, or the results cannot be written; what was
        finished before is kept.
      SuiteError: the suite lacks a network.
      Stopped: `stop` said so.
      JaxfaceError: a process that reads was killed, or the memory ran out.
    """
    task.check_ids([item.id for item in items])
    plan = sink.plan(items)
    statuses = plan.statuses
    pending = list(itertools.chain.from_iterable(plan.waiting.values()))
    with (
        JobProgress(len(pending), plan.done, show_progress, tell=tell) as bar,
        Heartbeat(
            str(sink.folder), sink.share, total=plan.done + len(pending), done=plan.done
        ) as heartbeat,
    ):
        if fleet is not None:
            from jaxface.jobs.ray_backend import pieces_on_ray

            pieces = pieces_on_ray(
                plan, sink, task, fleet, batch_size=batch_size, stop=stop, heartbeat=heartbeat
            )
            for summary in pieces:
                statuses.update(summary["statuses"])
                bar.update(summary["inputs"])
                heartbeat.advance(summary["inputs"])
            return statuses
        with task.prefetch(pending, ahead=PREFETCH) as prepared:
            runner = Runner(task, batch_size=batch_size, inputs=len(pending), bar=bar, stop=stop)
            prepared = iter(prepared)
            for number, inputs in plan.waiting.items():
                piece = do_piece(
                    number, prepared, len(inputs), sink, runner, bar, advance=heartbeat.advance
                )
                statuses.update(piece.statuses)
    return statuses


def do_piece(
    number: int,
    prepared: Iterator[Prepared],
    inputs: int,
    sink: Sink,
    runner: Runner,
    bar: JobProgress,
    *,
    advance: Callable[..., Any] = lambda inputs, shard=None: None,
) -> Piece:
    """Does one piece; its results are stored when this returns.

    Args:
      number: of the piece.
      prepared: inputs with their cases, of which the next `inputs` are the piece's.
      inputs: how many it has.
      sink: where results go.
      runner: kept from piece to piece.
      bar: is moved.
      advance: told of finished inputs; see `Heartbeat.advance`.

    Returns:
      The piece, closed.

    Raises:
      As `run_job`.
    """
    try:
        with sink.writer(number) as piece:
            rest = (
                (item, cases)
                for item, cases in itertools.islice(prepared, inputs)
                if not piece.has_input(item.id)  # an earlier process did it before it was stopped
            )
            bar.update(before := piece.inputs)
            advance(before)
            for results in runner.results(rest, known=piece.knows, saved=piece.saved):
                before = piece.inputs
                piece.add(results)
                advance(piece.inputs - before, shard=piece.progress)
    except OSError as error:
        raise cannot_write(str(sink.folder), error) from error
    return piece
