"""`jaxface evaluate NAME`: what a suite reaches, measured."""

import argparse
import json
from pathlib import Path

NAME = "evaluate"
HELP = "measure a suite against the embedded world's truth"

_EPILOG = """\
DIR receives generator.json, generator.md and contact sheets of samples, truncation, interpolation
and style mixing (PNG). The renders that it compares with are drawn anew, from keys that no training
uses; with the defaults that takes some minutes of a CPU.

exit status: 0, measured; 2, the call was wrong
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("name", choices=("generator",), metavar="NAME", help="generator")
    parser.add_argument(
        "--suite",
        default="embedded",
        metavar="NAME|DIR",
        help="a shipped suite's name or a folder of networks (embedded)",
    )
    parser.add_argument(
        "--samples", type=int, default=10_000, metavar="N", help="items in each set (10000)"
    )
    parser.add_argument(
        "--portraits", type=int, default=64, metavar="N", help="held-out renders to embed (64)"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="z is plain noise: its first coordinates are no factors of a scene",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report")


def run(arguments: argparse.Namespace) -> int:
    from jaxface.errors import UsageError

    if arguments.samples < 10:
        raise UsageError(f"--samples: expected at least 10, got {arguments.samples}")
    if arguments.portraits < 0:
        raise UsageError(f"--portraits: expected 0 or more, got {arguments.portraits}")

    import dataclasses
    import sys

    from jaxface import load_suite
    from jaxface.evaluation.generator import evaluate_generator
    from jaxface.evaluation.report import generator_report
    from jaxface.evaluation.sheets import generator_sheets
    from jaxface.files import atomic_writer
    from jaxface.images import grid, write_png

    suite = load_suite(arguments.suite)
    scores = evaluate_generator(
        suite,
        samples=arguments.samples,
        portraits=arguments.portraits,
        knows_factors=not arguments.plain,
        say=lambda text: print(text, file=sys.stderr),
    )
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    report = generator_report(suite, scores)
    document = {"suite": suite.name, **dataclasses.asdict(scores)}
    for name, text in (
        ("generator.md", report),
        ("generator.json", json.dumps(document, indent=1) + "\n"),
    ):
        with atomic_writer(out / name) as file:
            file.write(text.encode())
    for name, (pictures, columns) in generator_sheets(suite.generator).items():
        write_png(out / f"{name}.png", grid(pictures, columns))
    print(report)
    return 0
