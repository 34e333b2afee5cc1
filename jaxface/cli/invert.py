"""`jaxface invert`: portraits in, latents out, for one image or a collection."""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxface.cli.clip_options import (
    add_clip_arguments,
    clip_alignment_of,
    clips_of,
    coherence_of,
    frames_of,
)
from jaxface.cli.inversion_options import (
    add_alignment_arguments,
    add_method_arguments,
    alignment_of,
    inversion_of,
)
from jaxface.cli.job_options import JobCall, add_job_arguments
from jaxface.cli.refusals import refuse_options
from jaxface.errors import printable

NAME = "invert"
HELP = "embed portraits in the generator's latent space"

TABLE_ROWS = 40  # a longer table is replaced by a summary

_EPILOG = """\
Inputs count as aligned portraits: an image that is not square is cropped at its centre, and its
row says so. With --align inputs are photographs: faces are found (dlib; needs the extra "align")
and cut out and turned as FFHQ's are. A photograph of several faces gives a result for each,
numbered from left to right (group.jpg#1, group.jpg#2), one of no face a row that says no_face. Each
row holds the crop's transform, with which jaxface.paste_back puts an edit back.

A video file is a clip, whose frames are the inputs: a row for each with its index and exact time.
With --align its faces are followed through it, through cuts and short gaps, and cut out smoothly;
frames without a face stay as they are. `jaxface edit` makes a clip with the sound of what this
wrote. See docs/video.md.

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
        "--max-pixels",
        type=_pixels,
        default=2**27,
        metavar="N",
        help="read larger images at a reduced size where their format has one (JPEG, JPEG 2000, "
        "TIFF), else refuse them (134217728); decoding takes up to 28 bytes a pixel, "
        "which a chosen batch size leaves free",
    )
    parser.add_argument("--split", metavar="NAME", help="which split of a data set")
    add_alignment_arguments(parser)
    add_clip_arguments(parser)
    add_job_arguments(parser)


def _pixels(text: str) -> int:
    if not text.isdecimal() or int(text) < 256:
        raise argparse.ArgumentTypeError(f"expected a number of pixels from 256 on, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    return embed(arguments, report)


def embed(arguments: argparse.Namespace, tell: Callable[[Sequence[dict[str, Any]]], str]) -> int:
    """Does what the arguments ask for; its exit status.

    Args:
      arguments: of `add_arguments`.
      tell: rows -> what is printed of a job without shards.
    """
    from jaxface.jobs.inputs.items import find_inputs
    from jaxface.runtime.progress import note

    clips, reading = clips_of(arguments)
    if clips:
        of_images = ("column", "split", "max_pixels")
        refuse_options(arguments, add_arguments, of_images, "is of images; the inputs are clips")
    alignment = alignment_of(arguments)
    call = JobCall(arguments)
    if reading is None:
        inputs = find_inputs(
            arguments.inputs,
            manifests=arguments.manifest,
            column=arguments.column,
            split=arguments.split,
            outside=arguments.out,
            max_pixels=arguments.max_pixels,
        )
        items = inputs.items
        for remark in inputs.remarks:
            note(f"note: {remark}")
    call.set_up()
    inversion = inversion_of(
        arguments,
        alignment,
        fleet=call.fleet,
        keep_images=call.keeps_images,
        max_pixels=arguments.max_pixels,
    )
    if reading is not None:
        if alignment is not None:
            alignment = clip_alignment_of(arguments, alignment, inversion.suite)
        inversion = dataclasses.replace(inversion, alignment=alignment, clips=reading)
        items = frames_of(clips, inversion, folder=arguments.out)
        coherence = coherence_of(arguments, inversion, items)
        inversion = dataclasses.replace(inversion, coherence=coherence)
    return call.run(items, inversion, tell)


def report(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the rows, or of those that failed where there are many, and a summary."""
    from jaxface.jobs.outputs import outliers

    ok = [row for row in rows if row["status"] == "ok"]
    shown = rows if len(rows) <= TABLE_ROWS else [row for row in rows if row["status"] != "ok"]
    distance = outliers.distance_of(ok)
    remarks = outliers.outliers(ok, distance)
    lines = [_table(shown[:TABLE_ROWS], distance, remarks), ""] if shown else []
    if len(shown) > TABLE_ROWS:
        lines.append(f"... and {len(shown) - TABLE_ROWS} more that are not ok")
    summary = f"{len(ok)} of {len(rows)} ok"
    ratios = [row["psnr"] for row in ok if row["psnr"] is not None]
    if ratios:
        summary += f", PSNR mean {sum(ratios) / len(ratios):.1f} dB, lowest {min(ratios):.1f} dB"
    summary += outliers.summary(ok, distance)
    failures = Counter(row["status"] for row in rows if row["status"] != "ok")
    lines.append("; ".join([summary, *(f"{count} {name}" for name, count in failures.items())]))
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]], distance: str, remarks: Mapping[str, str]) -> str:
    columns = ("input", "status", "PSNR dB", "SSIM", distance, "seconds", "notes")
    cells: list[tuple[str, ...]] = [columns]
    for row in rows:
        numbers = (
            ("psnr", ".1f"),
            ("ssim", ".3f"),
            (distance, ".4f"),
            ("seconds", ".1f"),
        )
        cells.append(
            (
                row["id"],
                row["status"],
                *(
                    "-" if row.get(name) is None else format(row[name], how)
                    for name, how in numbers
                ),
                row["reason"] or "; ".join([*row["notes"], *_of(remarks, row["id"])]),
            )
        )
    cells = [tuple(printable(cell, lines=False) for cell in line) for line in cells]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    text = []
    for line in cells:
        aligned = [
            cell.rjust(width) if 2 <= column <= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(aligned).rstrip())
    return "\n".join(text)


def _of(remarks: Mapping[str, str], name: str) -> list[str]:
    return [remarks[name]] if name in remarks else []
