"""What `jaxface benchmark all` leaves: the document, a Markdown table and a roofline plot."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.benchmark import report
from jaxface.benchmark.published import PUBLISHED, PublishedTime
from jaxface.benchmark.roofline import draw_roofline
from jaxface.benchmark.runner import OURS

DOCUMENT, MARKDOWN, ROOFLINE = "benchmark.json", "benchmark.md", "roofline.png"


def write_summary(folder: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write the three files; each appears whole or not at all.

    Raises:
        UsageError: if they cannot be written.
    """
    folder = Path(folder)
    report.write_report(folder / DOCUMENT, document)
    report.write_file(folder / MARKDOWN, markdown(document).encode())
    report.write_file(folder / ROOFLINE, draw_roofline(document))


COLUMNS = (
    "what", "method", "dtype", "batch", "contender", "ms / image", "images / h", "TFLOP/s",
    "of peak", "GB/s", "of bandwidth", "memory MiB", "compile s", "jaxface is",
)  # fmt: skip


def markdown(document: Mapping[str, Any]) -> str:
    """The document as a page: device, measurements, and the published times beside them."""
    device, versions = document["device"], document["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        "# Benchmark",
        "",
        f"{document['date']}, on {device['count']} x {device['kind']}; {named}.",
        "",
        _peak_text(device),
        "",
        *_table(COLUMNS, (_cells(run, row) for run, row in report.rows(document))),
        "",
        *_compiled_section(document),
        f"![Roofline]({ROOFLINE})",
        "",
        "## Published times",
        "",
        "On other hardware, and not always the same work: the last column says what differs. "
        "Seconds are per image and iteration; ours are of the fastest row that is comparable.",
        "",
        *_table(
            ("system", "figure", "hardware", "seconds", "seconds here", "what differs"),
            (_published_cells(time, document) for time in PUBLISHED),
        ),
        "",
    ]
    return "\n".join(lines)


def _compiled_section(document: Mapping[str, Any]) -> list[str]:
    """The estimates, apart from what was measured; nothing where there are none."""
    estimates = list(report.compiled_rows(document))
    if not estimates:
        return []
    cells = (report.compiled_cells(run, row) for run, row in estimates)
    return [
        f"## {report.COMPILED_TITLE}",
        "",
        f"{report.compiler_text(document)}. In the plot these are hollow.",
        "",
        *_table(report.COMPILED_COLUMNS, cells),
        "",
    ]


def _peak_text(device: Mapping[str, Any]) -> str:
    peak = device["peak"]
    if peak is None:
        return "This device's peak is not known to jaxface, so shares of it are left out."
    speeds = ", ".join(
        f"{report.number(speed / 1e12)} TFLOP/s in {dtype}"
        for dtype, speed in peak["flop_per_second"].items()
    )
    return (
        f"Shares are of {speeds} and {report.number(peak['bytes_per_second'] / 1e9)} GB/s: "
        f"{peak['source']}."
    )


def _cells(run: report.Run, row: Mapping[str, Any]) -> tuple[str, ...]:
    speedup = row["speedup_of_jaxface"]
    return (
        report.label(run),
        row["method"],
        run["settings"]["dtype"],
        str(row["batch"]),
        row["contender"],
        report.number(1e3 * row["seconds"]["median"] / row["batch"]),
        report.number(row["images_per_hour"]),
        _scaled(row["flop_per_second"], 1e12),
        report.share(row["share_of_peak_flop"]),
        _scaled(row["bytes_per_second"], 1e9),
        report.share(row["share_of_peak_bandwidth"]),
        _scaled(row["memory_bytes"], 2**20),
        report.number(row["compile_seconds"]),
        "-" if speedup is None else f"{speedup:.2f}x faster",
    )


def _published_cells(time: PublishedTime, document: Mapping[str, Any]) -> tuple[str, ...]:
    ours = [
        row["seconds"]["median"] / row["batch"]
        for run, row in report.rows(document)
        if run["benchmark"] == time.workload
        and run["settings"]["resolution"] == time.resolution
        and (row["method"], row["contender"]) == (time.method, OURS)
    ]
    return (
        time.system,
        time.figure,
        time.hardware,
        report.number(time.seconds),
        report.number(min(ours, default=None)),
        time.difference if ours else "nothing comparable in this run",
    )


def _scaled(value: float | None, unit: float) -> str:
    return report.number(None if value is None else value / unit)


def _table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
