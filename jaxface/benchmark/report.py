"""Results as a JSON document and as a table for the terminal."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jaxface
from jaxface.benchmark import hardware
from jaxface.benchmark.catalogue import BENCHMARKS
from jaxface.benchmark.compiled import compilers
from jaxface.benchmark.peers import Contender
from jaxface.benchmark.problem import AnyProblem
from jaxface.benchmark.runner import OURS, Estimate, Measurement
from jaxface.errors import UsageError
from jaxface.runtime.files import atomic_writer
from jaxface.runtime.topologies import Topology

FORMAT = "jaxface-benchmark/2"

VERSIONED = ("jax", "jaxlib", "flax", "numpy")

Run = dict[str, Any]
"""One benchmark of one problem: its name, settings, and its measurements or, of a described device,
its ``compiled`` rows, which are estimates. The two are never in one list."""


def run_entry(
    name: str,
    problem: AnyProblem,
    measurements: Iterable[Measurement],
    *,
    peak: hardware.Peak | None,
    repeats: int,
    seed: int,
) -> Run:
    """A benchmark's part of the document, in JSON's types.

    Times are seconds, ``flop`` counts a multiply-add as two. Shares of the peak are of the
    device's, in the problem's dtype; None where it is not known, and for peers.
    """
    iterations = BENCHMARKS[name].load().iterations
    return {
        "benchmark": name,
        "settings": problem.sizes | {"repeats": repeats, "seed": seed},
        "iterations_per_image": iterations,
        "measurements": [
            _row(measurement, problem.sizes["dtype"], peak, iterations)
            for measurement in measurements
        ],
    }


def compiled_entry(
    name: str, problem: AnyProblem, estimates: Iterable[Estimate], *, topology: Topology, seed: int
) -> Run:
    """A benchmark's part of the document where it was compiled for a described device, not run."""
    iterations = BENCHMARKS[name].load().iterations
    peak = hardware.DEVICES.get(topology.chip.kind)
    return {
        "benchmark": name,
        "settings": problem.sizes | {"seed": seed},
        "iterations_per_image": iterations,
        "measurements": [],
        "compiled": [
            _estimated(estimate, problem.sizes["dtype"], topology, peak, iterations)
            for estimate in estimates
        ],
    }


def _estimated(
    estimate: Estimate,
    dtype: Any,
    topology: Topology,
    peak: hardware.Peak | None,
    iterations: int,
) -> dict[str, Any]:
    cost = estimate.cost
    seconds = floor = None
    if cost is not None:
        seconds = cost.seconds
        if peak is not None:
            floor = cost.roofline(peak.flop_per_second[dtype], peak.bytes_per_second)
    known = [each for each in (seconds, floor) if each is not None]
    at_least = max(known) if seconds is not None else None
    return {
        "kind": "compiled, not measured",
        "topology": topology.name,
        "device": topology.chip.kind,
        "compiler": compilers(),
        "method": estimate.method,
        "batch": estimate.batch,
        "fits": cost is not None,
        "flop": None if cost is None else cost.operations,
        "bytes": None if cost is None else cost.traffic,
        "memory_bytes": None if cost is None else cost.peak,
        "convolutions": None if cost is None else cost.convolutions,
        "roofline_seconds": floor,
        "estimated_seconds": seconds,
        "estimated_images_per_hour": None
        if at_least is None
        else 3600 * estimate.batch / at_least / iterations,
    }


def document(
    runs: Iterable[Run], *, peers: Iterable[Contender], peak: hardware.Peak | None
) -> dict[str, Any]:
    """Everything about a call of the command, in JSON's types."""
    infos = {peer.name: dict(peer.info) for peer in peers}
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": hardware.description(peak),
        "versions": _versions(),
        "contenders": {OURS: {}, **infos},
        "runs": list(runs),
    }


def write_report(path: str | os.PathLike[str], report: Mapping[str, Any]) -> None:
    """Write the document; the file appears whole or not at all.

    Raises:
        UsageError: if it cannot be written.
    """
    write_file(path, json.dumps(report, indent=1).encode() + b"\n")


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes; the file appears whole or not at all.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        with atomic_writer(path) as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`write_report` wrote.

    Raises:
        UsageError: if it cannot be read, or is something else.
    """
    try:
        with open(path, "rb") as file:
            report = json.load(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from error
    given = report.get("format") if isinstance(report, dict) else None
    if given != FORMAT:
        raise UsageError(f"{path}: expected a result of format {FORMAT!r}, got {given!r}")
    return report


def label(run: Run) -> str:
    """What a run measured, and at which size, in a few words."""
    return described(run["benchmark"], run["settings"])


def described(name: str, settings: Mapping[str, Any]) -> str:
    """The same of a benchmark's name and settings."""
    if name == "suite":
        return f"{settings['suite']} {settings['resolution']} px"
    if name == "networks":
        tiny = " (tiny)" if settings["tiny"] else ""
        return f"{settings['network']}{tiny} {settings['resolution']} px"
    chosen = ("perceptual", "lpips") if BENCHMARKS[name].load().energy else ()
    terms = [f" + {term}" for term in chosen if settings[term]]
    return f"{name}{''.join(terms)} {settings['resolution']} px"


def rows(report: Mapping[str, Any]) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Every measurement with its run."""
    for run in report["runs"]:
        for row in run["measurements"]:
            yield run, row


def compiled_rows(report: Mapping[str, Any]) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Every estimate with its run; results of earlier versions have none."""
    for run in report["runs"]:
        for row in run.get("compiled", ()):
            yield run, row


COMPILED_TITLE = "Compiled for devices that are described: XLA's estimates, not measurements"

COMPILED_COLUMNS = (
    "what", "method", "dtype", "batch", "compiled for", "estimate ms/image", "roofline ms/image",
    "estimated images/h", "GFLOP/image", "GB/image", "peak GB",
)  # fmt: skip


def compiled_cells(run: Run, row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of `compiled_rows` as text."""
    batch = row["batch"]

    def each(name: str, unit: float) -> str:
        return "-" if row[name] is None else number(row[name] / batch / unit)

    return (
        label(run),
        row["method"],
        run["settings"]["dtype"],
        str(batch),
        row["topology"] if row["fits"] else f"{row['topology']} (too large)",
        each("estimated_seconds", 1e-3),
        each("roofline_seconds", 1e-3),
        number(row["estimated_images_per_hour"]),
        each("flop", 1e9),
        each("bytes", 1e9),
        "-" if row["memory_bytes"] is None else number(row["memory_bytes"] / 1e9),
    )


def compiler_text(report: Mapping[str, Any]) -> str:
    """What compiled the estimates, and when."""
    found: dict[str, str] = {}
    for _, row in compiled_rows(report):
        found |= row["compiler"]
    return f"{', '.join(f'{name} {version}' for name, version in found.items())}; {report['date']}"


COLUMNS = (
    "what", "method", "dtype", "batch", "contender", "compile s", "first s", "median s", "min s",
    "ms/image", "GFLOP", "GFLOP/s", "of peak", "MiB", "jaxface is", "difference",
)  # fmt: skip


def table(report: Mapping[str, Any]) -> str:
    """The document's measurements as text, one line each, and below them its estimates."""
    measured, estimates = list(rows(report)), list(compiled_rows(report))
    parts = []
    if measured or not estimates:
        cells = [COLUMNS, *(_cells(run, row) for run, row in measured)]
        parts.append(f"{_title(report)}\n\n{_aligned(cells, left=(0, 1, 2, 4))}")
    if estimates:
        cells = [COMPILED_COLUMNS, *(compiled_cells(run, row) for run, row in estimates)]
        title = f"{COMPILED_TITLE} ({compiler_text(report)})"
        parts.append(f"{title}\n\n{_aligned(cells, left=(0, 1, 2, 4))}")
    return "\n\n".join(parts)


def _title(report: Mapping[str, Any]) -> str:
    device, measured = report["device"], [run for run in report["runs"] if run["measurements"]]
    sizes = {_generator(run["settings"]) for run in measured} - {""}
    repeats = sorted({run["settings"]["repeats"] for run in measured})
    parts = [*sorted(sizes), f"{', '.join(map(str, repeats))} rounds"]
    return f"{', '.join(parts)}, on {device['count']} x {device['kind']}"


def _aligned(cells: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = []
    for line in cells:
        text = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(text).rstrip())
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three digits, all that are before the point, or a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"


def share(value: float | None) -> str:
    """A share as a percentage, or a dash for nothing."""
    return "-" if value is None else f"{100 * value:.3g}%"


def _generator(settings: Mapping[str, Any]) -> str:
    if "channel_base" not in settings:
        return ""
    return (
        f"{settings['resolution']} px, channel base {settings['channel_base']} (at most "
        f"{settings['channel_max']})"
    )


def _row(
    measurement: Measurement, dtype: str, peak: hardware.Peak | None, iterations: int
) -> dict[str, Any]:
    median = measurement.median
    flop_per_second, bytes_per_second = (
        None if amount is None else amount / median
        for amount in (measurement.flop, measurement.bytes)
    )
    fastest = None if peak is None else peak.flop_per_second.get(dtype)
    widest = None if peak is None else peak.bytes_per_second
    return {
        "method": measurement.method,
        "batch": measurement.batch,
        "contender": measurement.contender,
        "compile_seconds": measurement.compile_seconds,
        "first_call_seconds": measurement.first_call_seconds,
        "seconds": {
            "median": median,
            "min": min(measurement.seconds),
            "all": measurement.seconds,
        },
        "images_per_second": measurement.images_per_second,
        "images_per_hour": 3600 * measurement.images_per_second / iterations,
        "flop": measurement.flop,
        "flop_per_second": flop_per_second,
        "share_of_peak_flop": _quotient(flop_per_second, fastest),
        "bytes": measurement.bytes,
        "bytes_per_second": bytes_per_second,
        "share_of_peak_bandwidth": _quotient(bytes_per_second, widest),
        "memory_bytes": measurement.memory,
        "speedup_of_jaxface": measurement.speedup,
        "differences": [
            {**dataclasses.asdict(difference), "relative": difference.relative}
            for difference in measurement.differences
        ],
    }


def _quotient(amount: float | None, most: float | None) -> float | None:
    return None if amount is None or most is None else amount / most


def _cells(run: Run, row: Mapping[str, Any]) -> tuple[str, ...]:
    speedup, seconds, batch = row["speedup_of_jaxface"], row["seconds"], row["batch"]
    differences = [difference["relative"] for difference in row["differences"]]
    return (
        label(run),
        row["method"],
        run["settings"]["dtype"],
        str(batch),
        row["contender"],
        number(row["compile_seconds"]),
        number(row["first_call_seconds"]),
        number(seconds["median"]),
        number(seconds["min"]),
        number(1e3 * seconds["median"] / batch),
        "-" if row["flop"] is None else number(row["flop"] / 1e9),
        "-" if row["flop"] is None else number(row["flop_per_second"] / 1e9),
        share(row["share_of_peak_flop"]),
        "-" if row["memory_bytes"] is None else number(row["memory_bytes"] / 2**20),
        "-" if speedup is None else f"{speedup:.2f}x faster",
        f"{max(differences):.1e}" if differences else "-",
    )


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "jaxface": jaxface.__version__,
        **{name: importlib.metadata.version(name) for name in VERSIONED},
    }
