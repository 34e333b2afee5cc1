"""`jaxface benchmark input`: whether an inversion waits for its input."""

import argparse
import sys

from jaxface.cli.inversion_options import (
    add_alignment_arguments,
    add_method_arguments,
    alignment_of,
    inversion_of,
)
from jaxface.errors import UsageError

NAME = "input"
HELP = "an inversion from files beside one from memory: whether the devices wait for input"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="as for `jaxface invert`; a few hundred will do"
    )
    parser.add_argument("--split", metavar="NAME", help="which split of a data set")
    parser.add_argument(
        "--portraits", type=int, default=128, metavar="N", help="inputs that are taken (128)"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="passes of each (3)")
    add_alignment_arguments(parser)
    add_method_arguments(parser)
    parser.add_argument("--out", metavar="FILE.json", help="write the result there")


def run(arguments: argparse.Namespace) -> int:
    for name in ("portraits", "repeats"):
        if getattr(arguments, name) < 1:
            raise UsageError(f"--{name}: expected at least 1, got {getattr(arguments, name)}")

    from jaxface.jobs.inputs.items import find_inputs

    alignment = alignment_of(arguments)
    found = find_inputs(arguments.inputs, split=arguments.split)
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)
    items = found.items[: arguments.portraits]

    from jaxface.benchmark.reading import compare_reading, table
    from jaxface.benchmark.report import write_report

    report = compare_reading(
        items,
        inversion_of(arguments, alignment),
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
    )
    print(table(report))
    if arguments.out is not None:
        write_report(arguments.out, report)
    return 0
