"""`jaxface evaluate NAME`: what a suite reaches, measured."""

import argparse
import json
import sys
from pathlib import Path

from jaxface.errors import UsageError

NAME = "evaluate"
HELP = "measure a suite against the embedded world's truth"

_EPILOG = """\
generator: DIR receives generator.json, generator.md and contact sheets of samples, truncation,
interpolation and style mixing (PNG).

pie: held-out renders are embedded by the six columns of PIE's Table 2, edited, and judged by the
suite's networks and by the truth. DIR receives pie.json, pie.md, figures (PNG) and parts/, what is
finished: the same command again goes on where a stopped one ended.

precision: held-out renders are embedded in float32 and in bfloat16, from several starts each. DIR
receives precision.json and precision.md; the exit status is 1 if bfloat16 is worse by more than the
noise of float32 runs.

The renders that a suite is compared with are drawn anew, from keys that no training uses. With the
defaults a generator takes some minutes of a CPU; pie, which embeds every portrait six times, takes
much longer: --portraits, --edits, --iterations and --columns make it smaller.

exit status: 0, measured; 1, bfloat16 is worse; 2, the call was wrong; 130, stopped by Ctrl-C
"""

ONLY = {
    "samples": ("generator",),
    "plain": ("generator",),
    "edits": ("pie",),
    "iterations": ("pie", "precision"),
    "columns": ("pie",),
    "batch_size": ("pie",),
    "full": ("pie",),
    "preset": ("precision",),
    "runs": ("precision",),
}
"""Options that not every evaluation has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "name",
        choices=("generator", "pie", "precision"),
        metavar="NAME",
        help="generator, pie or precision",
    )
    parser.add_argument(
        "--suite",
        default="embedded",
        metavar="NAME|DIR",
        help="a shipped suite's name or a folder of networks (embedded)",
    )
    parser.add_argument(
        "--portraits",
        type=int,
        metavar="N",
        help="held-out renders to embed (64 for a generator, 100 for pie, 8 for precision)",
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="generator: items in each set (10000)"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="generator: z is plain noise, its first coordinates are no factors of a scene",
    )
    parser.add_argument(
        "--edits", type=int, metavar="N", help="pie: edits of each portrait's pose (4)"
    )
    parser.add_argument(
        "--full", action="store_true", help="pie: the paper's 2500 edits, 25 of each portrait"
    )
    parser.add_argument(
        "--iterations",
        type=float,
        metavar="F",
        help="pie, precision: factor of the numbers of steps (1)",
    )
    parser.add_argument(
        "--columns", metavar="NAME,...", help="pie: columns of Table 2 to measure (all six)"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="pie: portraits embedded together (20)"
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="precision: how they are embedded (pie_embedded)"
    )
    parser.add_argument(
        "--runs", type=int, metavar="N", help="precision: starts, for each dtype (4)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report")


def run(arguments: argparse.Namespace) -> int:
    for option, names in ONLY.items():
        if getattr(arguments, option) not in (None, False) and arguments.name not in names:
            known = " and ".join(names)
            raise UsageError(f"--{option.replace('_', '-')} is of use only with {known}")
    if arguments.iterations is not None and not 0 < arguments.iterations < float("inf"):
        raise UsageError(f"--iterations: expected more than 0, got {arguments.iterations}")
    verbs = {"generator": _generator, "pie": _pie, "precision": _precision}
    return verbs[arguments.name](arguments)


def _generator(arguments: argparse.Namespace) -> int:
    samples = 10_000 if arguments.samples is None else arguments.samples
    portraits = 64 if arguments.portraits is None else arguments.portraits
    if samples < 10:
        raise UsageError(f"--samples: expected at least 10, got {samples}")
    if portraits < 0:
        raise UsageError(f"--portraits: expected 0 or more, got {portraits}")

    import dataclasses

    from jaxface import load_suite
    from jaxface.evaluation.generator import evaluate_generator
    from jaxface.evaluation.report import generator_report
    from jaxface.evaluation.sheets import generator_sheets
    from jaxface.media.images import grid, write_png
    from jaxface.runtime.files import atomic_writer

    suite = load_suite(arguments.suite)
    scores = evaluate_generator(
        suite,
        samples=samples,
        portraits=portraits,
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


def _pie(arguments: argparse.Namespace) -> int:
    for name, least in (("portraits", 2), ("edits", 1), ("batch_size", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')}: expected at least {least}, got {value}")
    if arguments.full and arguments.edits is not None:
        raise UsageError("--full and --edits both say how many edits")

    from jaxface import load_suite
    from jaxface.evaluation import pie as evaluation
    from jaxface.evaluation.held_out import Protocol, held_out
    from jaxface.evaluation.parts import Parts
    from jaxface.evaluation.pie_report import pie_report, scatter_data, write_figures
    from jaxface.evaluation.pie_transfer import evaluate_transfers, table3
    from jaxface.jobs.outputs.results import ResultsFolder
    from jaxface.runtime.files import atomic_writer

    portraits = arguments.portraits or 100
    protocol = Protocol(
        portraits=portraits,
        edits=25 if arguments.full else arguments.edits or 4,
        iterations=arguments.iterations or 1.0,
        batch_size=min(arguments.batch_size or 20, portraits),
    )
    chosen = evaluation.columns(iterations=protocol.iterations)
    if arguments.columns is not None:
        wanted = arguments.columns.split(",")
        for name in wanted:
            if name not in chosen:
                raise UsageError(f"--columns: unknown {name!r}; known: {', '.join(chosen)}")
        chosen = {name: settings for name, settings in chosen.items() if name in wanted}
    suite = load_suite(arguments.suite)
    out = Path(arguments.out)
    digests = {role: suite.digest(role) for role in sorted(suite.files)}
    decided = evaluation.description(suite, protocol, chosen, digests)
    evaluation.check_networks(suite, chosen)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with ResultsFolder(out, decided):
        parts = Parts(out / "parts")
        found = evaluation.evaluate_pie(suite, protocol, chosen, parts, say=say)
        transferred = "all" if "all" in found else next(iter(chosen))
        transfers = evaluate_transfers(
            suite,
            protocol,
            held_out(protocol)[0],
            found["portraits"]["images"],
            found[transferred]["w_plus"],
            parts=parts,
            say=say,
        )
        scores = evaluation.table2(found) | table3(transfers) | {"transferred": transferred}
        report = pie_report(suite, protocol, chosen, scores)
        document = decided | scores | {"figure13": scatter_data(found)}
        for name, text in (("pie.md", report), ("pie.json", json.dumps(document, indent=1))):
            with atomic_writer(out / name) as file:
                file.write(text.encode() + b"\n")
        write_figures(out, found, transfers)
    print(report)
    return 0


def _precision(arguments: argparse.Namespace) -> int:
    for name, least in (("portraits", 1), ("runs", 2)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise UsageError(f"--{name}: expected at least {least}, got {value}")

    from jaxface import load_suite
    from jaxface.evaluation.pie import scaled
    from jaxface.evaluation.precision import evaluate_precision, precision_report
    from jaxface.methods.presets import preset
    from jaxface.runtime.files import atomic_writer

    chosen = arguments.preset or "pie_embedded"
    settings = scaled(preset(chosen), arguments.iterations or 1.0)
    suite = load_suite(arguments.suite)
    parity = evaluate_precision(
        suite,
        settings,
        portraits=arguments.portraits or 8,
        keys=arguments.runs or 4,
        say=lambda text: print(text, file=sys.stderr),
    )
    report = precision_report(suite, chosen, parity)
    out = Path(arguments.out)
    document = {"suite": suite.name, "preset": chosen, **parity.document()}
    for name, text in (
        ("precision.md", report),
        ("precision.json", json.dumps(document, indent=1)),
    ):
        with atomic_writer(out / name) as file:
            file.write(text.encode())
    print(report)
    return 0 if parity.passed else 1
