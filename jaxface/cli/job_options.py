"""How a job is run, as options: in one piece or in shards, by which processes; and running it."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxface.cli.distributed import add_distributed_arguments, join_processes
from jaxface.errors import UsageError, printable
from jaxface.runtime.progress import is_quiet
from jaxface.runtime.stopping import EXIT_STATUS, Stopped, stop_requests

INTERRUPTED = 130


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Shared by all verbs that are jobs."""
    parser.add_argument(
        "--retry-failed", action="store_true", help="do inputs again whose row is not ok"
    )
    parser.add_argument(
        "--profile",
        metavar="DIR",
        help="trace the second and third chunk of iterations, for XProf and Perfetto, in DIR",
    )
    parser.add_argument(
        "--shard-size",
        type=int,
        metavar="N",
        help="do it in shards of about N inputs, one file each",
    )
    parser.add_argument(
        "--format",
        choices=("parquet", "array_record"),
        help="with --shard-size: of the shards' files (parquet)",
    )
    parser.add_argument(
        "--reconstructions",
        action="store_true",
        help="with --shard-size: store the images too",
    )
    parser.add_argument(
        "--process",
        type=int,
        metavar="I",
        help="with --shard-size: which of the processes this is, from 0 (the launcher's, else 0)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="P",
        help="with --shard-size: how many share the shards (the launcher's, else 1)",
    )
    add_distributed_arguments(parser)
    parser.add_argument(
        "--engine",
        choices=("jax", "ray"),
        default="jax",
        help='with --shard-size: ray (extra "ray") has the shards written by Ray actors, on the '
        "cluster of RAY_ADDRESS or on this host, in "
        "float32 unless --dtype says otherwise (jax)",
    )
    parser.add_argument(
        "--actors",
        type=int,
        metavar="N",
        help="with --engine ray: how many (as many as the cluster has room for)",
    )
    parser.add_argument(
        "--actor-gpus",
        type=float,
        metavar="N",
        help="with --engine ray: GPUs of each (1 where the cluster has any)",
    )
    parser.add_argument(
        "--actor-cpus", type=float, metavar="N", help="with --engine ray: CPU cores of each (1)"
    )


class JobCall:
    """What the arguments of `add_job_arguments` ask for.

    Mistakes are found here, before JAX is set up and networks are loaded.

    Attributes:
      share: this process's `Share` of the shards; None for a job without shards.
      fleet: the `Fleet` of --engine ray; None: this process does the work.

    Raises:
      UsageError: options that do not go together.
    """

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        if arguments.out == "":
            raise UsageError("--out: expected a folder's name, got ''")
        from jaxface.media.credentials import check_certificate

        check_certificate()
        self.share = _share(arguments)
        self.fleet = _fleet(arguments)

    @property
    def keeps_images(self) -> bool:
        """Whether results hold their images."""
        return self.share is None or self._arguments.reconstructions

    def set_up(self) -> None:
        """Joins processes, if there are several, and sets JAX up."""
        import jax

        from jaxface.runtime.devices import tell_devices

        if join_processes(self._arguments):
            from jaxface.jobs.launchers import Share

            self.share = Share(jax.process_index(), jax.process_count())
        if self.fleet is not None:
            jax.config.update("jax_platforms", "cpu")  # this host's accelerators are the actors'
        tell_devices()

    def run(
        self,
        items: Sequence[Any],
        task: Any,
        report: Callable[[Sequence[Any]], str],
        *,
        then: Callable[..., Sequence[str]] | None = None,
        out: Path | None = None,
    ) -> int:
        """Does the job; its exit status.

        Args:
          items: the whole collection.
          task: a `jaxface.jobs.task.Task` that can `draw_sheet`.
          report: rows -> what is printed of a job without shards.
          then: ``then(rows, results, stop=stop)`` makes more of a finished job without shards, and
            gives lines that are printed after the report.
          out: the folder of a job without shards; default: --out.
        """
        from jaxface.runtime.profiling import ChunkTrace

        # Ctrl-C stores what is under way as SIGTERM does, during a compilation too.
        with stop_requests((signal.SIGTERM, signal.SIGINT)) as asked:
            try:
                with ChunkTrace(self._arguments.profile, asked) as stop:
                    if self.share is not None:
                        return self._in_shards(items, task, stop)
                    return self._in_one_piece(items, task, report, stop, then, out)
            except Interrupted:
                return INTERRUPTED
            except Stopped as stopped:
                done = f" with {stopped.done}" if asked.number == signal.SIGINT else " as asked"
                print(
                    f"jaxface: stopped{done}; the same command goes on from there", file=sys.stderr
                )
                if asked.number == signal.SIGINT:
                    return INTERRUPTED
                if self._arguments.distributed:  # else it would wait for the other processes
                    sys.stderr.flush()
                    os._exit(EXIT_STATUS)
                return EXIT_STATUS

    def _in_one_piece(
        self,
        items: Sequence[Any],
        task: Any,
        report: Callable[[Sequence[Any]], str],
        stop: Callable[[], bool],
        then: Callable[..., Sequence[str]] | None,
        out: Path | None,
    ) -> int:
        from jaxface.jobs.job import run_job
        from jaxface.jobs.outputs.results import ResultsFolder

        out = out or Path(self._arguments.out)
        with ResultsFolder(out, task.description(), files=task.files) as results:
            if self._arguments.retry_failed:
                results.retry_failed(items)
            with _told(lambda: f"{_finished(results, items)} of {len(items)} inputs done"):
                run_job(items, results, task, batch_size=self._arguments.batch_size, stop=stop)
                rows = [row for rows in results.finished(items) for row in rows]
                made = [] if then is None else then(rows, results, stop=stop)
            task.draw_sheet(items, results)
        text = printable(report(rows))
        if is_quiet():
            print(text.splitlines()[-1])
        else:
            print(text)
            print("", *map(printable, made), sep="\n")
            print(f"contact sheet: {results.sheet_path}\nresults:       {results.rows_path}")
        return 0 if {row["status"] for row in rows} <= task.expected else 1

    def _in_shards(self, items: Sequence[Any], task: Any, stop: Callable[[], bool]) -> int:
        from jaxface.jobs.job import run_job
        from jaxface.jobs.outputs.shards import ShardsFolder, job_description

        arguments, share = self._arguments, self.share
        settings = task.description() | job_description(
            items,
            shard_size=arguments.shard_size,
            kind=arguments.format or "parquet",
            keep_images=arguments.reconstructions,
        )
        config = task.suite.generator.config
        kept = [kind for kind in task.files if self.keeps_images or kind == "weights"]
        with ShardsFolder(
            arguments.out,
            settings,
            share,
            (config.num_ws, config.w_dim),
            columns=task.columns,
            files=kept,
        ) as folder:
            with _told(lambda: f"{len(folder.finished())} of {folder.count} shards done"):
                statuses = run_job(
                    items,
                    folder,
                    task,
                    batch_size=arguments.batch_size,
                    stop=stop,
                    fleet=self.fleet,
                )
            mine, finished = folder.mine(), folder.finished()
        counts = "; ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
        print(
            f"process {share.index} of {share.count}: {len(mine)} shards done: {counts or 'empty'}"
        )
        print(f"{len(finished)} of {folder.count} shards are in {arguments.out}")
        return 0 if set(statuses) <= task.expected else 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was done by then told already."""


@contextlib.contextmanager
def _told(done: Callable[[], str]) -> Iterator[None]:
    """Where the block is interrupted, tells what was done; where it was stopped, notes it."""
    try:
        yield
    except Stopped as stopped:
        stopped.done = done()
        raise
    except KeyboardInterrupt as error:
        print(
            f"jaxface: stopped with {done()}; the same command goes on from there",
            file=sys.stderr,
        )
        raise Interrupted from error


def _finished(results: Any, items: Sequence[Any]) -> int:
    return sum(map(bool, results.finished(items)))


def _share(arguments: argparse.Namespace) -> Any:
    """This process's `Share` of the shards, or None for a job without shards."""
    from jaxface.jobs.storage import is_remote

    if arguments.shard_size is None:
        for name in ("format", "process", "processes"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} requires --shard-size")
        if arguments.distributed or arguments.engine != "jax":
            name = "distributed" if arguments.distributed else "engine"
            raise UsageError(f"--{name} requires --shard-size")
        if arguments.reconstructions:
            raise UsageError("--reconstructions requires --shard-size")
        if arguments.out is not None and is_remote(arguments.out):
            raise UsageError(f"--out {arguments.out}: results go there only with --shard-size")
        return None
    if arguments.shard_size < 1:
        raise UsageError(f"--shard-size: expected at least 1, got {arguments.shard_size}")
    if arguments.retry_failed:
        raise UsageError(
            "--retry-failed: a finished shard is never written again; do the inputs that failed "
            "with a manifest of them and another --out"
        )

    from jaxface.jobs.launchers import Share, share_of_this_process

    if arguments.engine == "ray":
        return Share()
    return share_of_this_process(arguments.process, arguments.processes)


def _fleet(arguments: argparse.Namespace) -> Any:
    """The `Fleet` that --engine ray asks for, or None."""
    if arguments.engine != "ray":
        for name in ("actors", "actor_gpus", "actor_cpus"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} requires --engine ray")
        return None
    for name in ("distributed", "process", "processes"):
        if getattr(arguments, name) not in (None, False):
            raise UsageError(f"--{name}: with --engine ray, Ray shares the shards; leave it out")
    if arguments.profile is not None:
        raise UsageError("--profile: with --engine ray this process runs nothing; leave it out")

    from jaxface.jobs.ray_backend import Fleet, require_ray

    require_ray()
    cpus = 1 if arguments.actor_cpus is None else arguments.actor_cpus
    return Fleet(arguments.actors, arguments.actor_gpus, cpus)
