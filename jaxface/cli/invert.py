"""`jaxface invert`: portraits in, latents out, for one picture or a collection."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxface.cli.distributed import add_distributed_arguments, join_processes
from jaxface.cli.inversion_options import (
    add_alignment_arguments,
    add_method_arguments,
    alignment_of,
    inversion_of,
)
from jaxface.errors import UsageError

NAME = "invert"
HELP = "embed portraits in the generator's latent space"

TABLE_ROWS = 40  # a longer table is replaced by a summary

_EPILOG = """\
Inputs count as aligned portraits: a picture that is not square is cropped at its centre, and its
row says so. With --align inputs are photographs: faces are found (dlib; needs the extra "align")
and cut out and turned as FFHQ's are. A photograph of several faces gives a result for each,
numbered from left to right (group.jpg#1, group.jpg#2), one of no face a row that says no_face. Each
row holds the crop's transform, with which jaxface.paste_back puts an edit back.

A folder is searched with its subfolders. DIR receives results.jsonl (one row per portrait),
latents/, reconstructions/ and contact_sheet.png. The same command again goes on where a stopped one
ended and redoes nothing; inputs that failed are tried again with --retry-failed.

A large collection is done in shards, with --shard-size 1000, say: DIR receives shards/, one file
for about so many inputs, which appears whole, and `jaxface merge DIR` makes results.jsonl of them.
Several processes share the shards: --processes 4 --process 0, ... 3, or SLURM's or a TPU's
environment. Each is a program of its own; --distributed is for slices that demand jax.distributed.
`jaxface status DIR` tells how far a job is. See docs/collections.md.

exit status: 0, every input is ok; 1, some are not; 2, the call was wrong; 130, stopped by Ctrl-C;
143, stopped by SIGTERM, with what was under way stored
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="files, folders, quoted globs (here, gs:// or s3://), or the folder of a TFDS or "
        "array_record data set",
    )
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        metavar="FILE",
        help="a file that lists paths: text, .jsonl or .parquet; may be repeated",
    )
    parser.add_argument(
        "--column", default="path", metavar="NAME", help="a manifest's column of paths (path)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    add_method_arguments(parser)
    parser.add_argument(
        "--retry-failed", action="store_true", help="do inputs again whose row is not ok"
    )
    parser.add_argument("--split", metavar="NAME", help="which split of a data set")
    add_alignment_arguments(parser)
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
        help="with --shard-size: store the reconstructions too",
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


def run(arguments: argparse.Namespace) -> int:
    from jaxface.jobs.inputs.items import find_inputs

    # Mistakes in the call are found before JAX is set up and networks are loaded.
    alignment = alignment_of(arguments)
    share = _share(arguments)
    fleet = _fleet(arguments)
    inputs = find_inputs(
        arguments.inputs,
        manifests=arguments.manifest,
        column=arguments.column,
        split=arguments.split,
        outside=arguments.out,
    )
    for remark in inputs.remarks:
        print(f"note: {remark}", file=sys.stderr)

    import jax

    if join_processes(arguments):
        share = _joined_share()
    if fleet is not None:
        jax.config.update("jax_platforms", "cpu")  # this host's accelerators are the actors'

    from jaxface.runtime.profiling import ChunkTrace
    from jaxface.runtime.stopping import EXIT_STATUS, Stopped, stop_requests

    inversion = inversion_of(arguments, alignment, fleet)
    with stop_requests() as asked:
        try:
            with ChunkTrace(arguments.profile, asked) as stop:
                if share is not None:
                    return _in_shards(arguments, inputs.items, inversion, share, fleet, stop)
                return _in_one_piece(arguments, inputs.items, inversion, stop)
        except Stopped:
            print("jaxface: stopped as asked; the same command goes on from there", file=sys.stderr)
            if arguments.distributed:  # else it would wait for the other processes
                sys.stderr.flush()
                os._exit(EXIT_STATUS)
            return EXIT_STATUS


def _in_one_piece(
    arguments: argparse.Namespace,
    items: Sequence[Any],
    inversion: Any,
    stop: Callable[[], bool],
) -> int:
    from jaxface.jobs.inversion import finished_rows, invert_collection
    from jaxface.jobs.outputs.results import ResultsFolder

    with ResultsFolder(Path(arguments.out), inversion.description()) as results:
        try:
            rows = invert_collection(
                items,
                results,
                inversion,
                batch_size=arguments.batch_size,
                stop=stop,
                retry_failed=arguments.retry_failed,
            )
        except KeyboardInterrupt:
            done = sum(map(bool, finished_rows(items, results)))
            print(
                f"jaxface: stopped with {done} of {len(items)} inputs done; the same "
                "command goes on from there",
                file=sys.stderr,
            )
            return 130
    print(report(rows))
    print(f"\ncontact sheet: {results.sheet_path}\nresults:       {results.rows_path}")
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _in_shards(
    arguments: argparse.Namespace,
    items: Sequence[Any],
    inversion: Any,
    share: Any,
    fleet: Any,
    stop: Callable[[], bool],
) -> int:
    from jaxface.jobs.outputs.shards import ShardsFolder, job_description
    from jaxface.jobs.ray_backend import invert_on_ray
    from jaxface.jobs.shard_worker import invert_shards

    settings = inversion.description() | job_description(
        items,
        shard_size=arguments.shard_size,
        kind=arguments.format or "parquet",
        keep_images=arguments.reconstructions,
    )
    generator = inversion.suite.generator
    shape = (generator.num_ws, generator.w_mean.shape[-1])
    with ShardsFolder(arguments.out, settings, share, shape) as folder:
        try:
            options = {
                "batch_size": arguments.batch_size,
                "stop": stop,
                "keep_images": arguments.reconstructions,
            }
            if fleet is None:
                statuses = invert_shards(items, folder, inversion, **options)
            else:
                statuses = invert_on_ray(items, folder, inversion, fleet, **options)
        except KeyboardInterrupt:
            print(
                f"jaxface: stopped with {len(folder.finished())} of {folder.count} shards done; "
                "the same command goes on from there",
                file=sys.stderr,
            )
            return 130
        mine, finished = folder.mine(), folder.finished()
    counts = "; ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    print(f"process {share.index} of {share.count}: {len(mine)} shards done: {counts or 'empty'}")
    print(f"{len(finished)} of {folder.count} shards are in {arguments.out}")
    return 0 if set(statuses) <= {"ok"} else 1


def _share(arguments: argparse.Namespace) -> Any:
    """This process's `Share` of the shards, or None for a job without shards."""
    from jaxface.jobs.storage import is_remote

    if arguments.shard_size is None:
        for name in ("format", "process", "processes"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} is of use only with --shard-size")
        if arguments.distributed or arguments.engine != "jax":
            name = "distributed" if arguments.distributed else "engine"
            raise UsageError(f"--{name} is of use only with --shard-size")
        if arguments.reconstructions:
            raise UsageError("--reconstructions is of use only with --shard-size")
        if is_remote(arguments.out):
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
                raise UsageError(f"--{name.replace('_', '-')} is of use only with --engine ray")
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


def _joined_share() -> Any:
    """The `Share` of one of the processes of a JAX program."""
    import jax

    from jaxface.jobs.launchers import Share

    return Share(jax.process_index(), jax.process_count())


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the rows, or of those that failed where there are many, and a summary."""
    ok = [row for row in rows if row["status"] == "ok"]
    shown = rows if len(rows) <= TABLE_ROWS else [row for row in rows if row["status"] != "ok"]
    lines = [_table(shown[:TABLE_ROWS]), ""] if shown else []
    if len(shown) > TABLE_ROWS:
        lines.append(f"... and {len(shown) - TABLE_ROWS} more that are not ok")
    summary = f"{len(ok)} of {len(rows)} ok"
    ratios = [row["psnr"] for row in ok if row["psnr"] is not None]
    if ratios:
        summary += f", PSNR mean {sum(ratios) / len(ratios):.1f} dB, lowest {min(ratios):.1f} dB"
    failures = Counter(row["status"] for row in rows if row["status"] != "ok")
    lines.append("; ".join([summary, *(f"{count} {name}" for name, count in failures.items())]))
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = ("input", "status", "PSNR dB", "SSIM", "perceptual", "seconds", "notes")
    cells: list[tuple[str, ...]] = [columns]
    for row in rows:
        numbers = (
            ("psnr", ".1f"),
            ("ssim", ".3f"),
            ("perceptual", ".4f"),
            ("seconds", ".1f"),
        )
        cells.append(
            (
                row["id"],
                row["status"],
                *("-" if row[name] is None else format(row[name], how) for name, how in numbers),
                row["reason"] or "; ".join(row["notes"]),
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    text = []
    for line in cells:
        aligned = [
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(aligned).rstrip())
    return "\n".join(text)
