"""`jaxface invert`: portraits in, latents out, for one picture or a collection."""

import argparse
import ast
import dataclasses
import sys
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

exit status: 0, every input is ok; 1, some are not; 2, the call was wrong; 130, stopped by Ctrl-C
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders, quoted globs, or the folder of a TFDS or array_record data set",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    add_method_arguments(parser)
    parser.add_argument("--split", metavar="NAME", help="which split of a data set")
    parser.add_argument(
        "--align",
        action="store_true",
        help="inputs are photographs: find their faces, cut them out",
    )
    parser.add_argument(
        "--face",
        choices=("all", "largest"),
        help="with --align: every face of a photograph, or only its largest (all)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="with --align: processes that look for faces (one a core; 0, none beside this one)",
    )


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """How inputs are embedded; shared with `jaxface demo`."""
    parser.add_argument(
        "--suite",
        default="embedded",
        metavar="NAME|DIR",
        help="the networks: a shipped suite's name or a folder of converted ones (embedded)",
    )
    parser.add_argument(
        "--preset",
        default="pie_embedded",
        metavar="NAME",
        help="pie_embedded, pie_paper or image2stylegan (pie_embedded)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="NAME=VALUE",
        help="change a setting of the preset, such as w_plus_steps=500; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random keys (0)")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="portraits that are embedded together, split over the devices (16 for each; on CPU 4)",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="do inputs again whose row is not ok"
    )


def run(arguments: argparse.Namespace) -> int:
    from jaxface.jobs.inputs import find_inputs

    # Mistakes in the call are found before JAX is set up and networks are loaded.
    alignment = _alignment(arguments)
    out = Path(arguments.out)
    inputs = find_inputs(arguments.inputs, split=arguments.split, outside=out)
    for remark in inputs.remarks:
        print(f"note: {remark}", file=sys.stderr)

    from jaxface import load_suite
    from jaxface.jobs.inversion import (
        Inversion,
        default_batch_size,
        finished_rows,
        invert_collection,
    )
    from jaxface.jobs.results import ResultsFolder
    from jaxface.methods import pie
    from jaxface.methods.presets import preset

    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, got {arguments.batch_size}")
    changes = _changes(arguments.changes, pie.Settings)
    try:
        settings = preset(arguments.preset, **changes)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error
    suite = load_suite(arguments.suite)
    inversion = Inversion(suite, arguments.preset, settings, arguments.seed, alignment)
    batch_size = arguments.batch_size or default_batch_size(
        suite.generator.resolution, len(inputs.items)
    )
    with ResultsFolder(out, inversion.description()) as results:
        try:
            rows = invert_collection(
                inputs.items,
                results,
                inversion,
                batch_size=batch_size,
                retry_failed=arguments.retry_failed,
            )
        except KeyboardInterrupt:
            done = sum(map(bool, finished_rows(inputs.items, results)))
            print(
                f"jaxface: stopped with {done} of {len(inputs.items)} inputs done; the same "
                "command goes on from there",
                file=sys.stderr,
            )
            return 130
    print(report(rows))
    print(f"\ncontact sheet: {results.sheet_path}\nresults:       {results.rows_path}")
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _alignment(arguments: argparse.Namespace) -> Any:
    """The `Alignment` that is asked for, or None."""
    if not arguments.align:
        for name in ("face", "workers"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} is of use only with --align")
        return None
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"--workers: expected 0 or more, got {arguments.workers}")

    from jaxface.faces import DlibFaces
    from jaxface.jobs.portraits import Alignment

    return Alignment(DlibFaces(), arguments.face or "all", arguments.workers)


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


def _changes(assignments: Sequence[str], settings: type) -> dict[str, Any]:
    """["w_steps=5", ...] as {"w_steps": 5, ...}; a value that is no Python literal is text.

    Names that `settings` lacks are left for the preset to refuse, with the nearest one.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(settings)}
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set: expected NAME=VALUE, got {assignment!r}")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        kind = kinds.get(name)
        if kind is not None and not _fits(value, kind):
            shown = getattr(kind, "__name__", str(kind))
            raise UsageError(f"--set {name}: expected {shown}, got {text!r}")
        changes[name] = value
    return changes


def _fits(value: Any, kind: Any) -> bool:
    """Whether a literal is of a field's type: a number, text, None, or one of a `Literal`."""
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    kinds = typing.get_args(kind) or (kind,)
    return type(value) in kinds or (type(value) is int and float in kinds)
