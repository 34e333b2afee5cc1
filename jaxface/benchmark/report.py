"""Results as a JSON document and as a table."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

import jaxface
from jaxface.benchmark.peers import Contender
from jaxface.benchmark.problem import Problem
from jaxface.benchmark.runner import OURS, Measurement
from jaxface.errors import UsageError
from jaxface.files import atomic_writer

FORMAT = "jaxface-benchmark/1"

VERSIONED = ("jax", "jaxlib", "flax", "numpy")


def document(
    name: str,
    problem: Problem,
    measurements: Iterable[Measurement],
    *,
    peers: Iterable[Contender],
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    """Everything about a run, in JSON's types.

    Times are seconds, ``flop`` counts a multiply-add as two. ``load_average`` is the machine's
    over the last minute when the run ended (it includes the run): on a busy machine compare
    ratios, not times.
    """
    return {
        "format": FORMAT,
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": {
            "resolution": problem.resolution,
            "channel_base": problem.channel_base,
            "channel_max": problem.channel_max,
            "dtype": problem.dtype,
            "perceptual": problem.perceptual is not None,
            "repeats": repeats,
            "seed": seed,
        },
        "device": _device(),
        "versions": _versions(),
        "contenders": {OURS: {}, **{peer.name: dict(peer.info) for peer in peers}},
        "measurements": [_row(measurement) for measurement in measurements],
    }


def write_report(path: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Write the document; the file appears whole or not at all.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        with atomic_writer(path) as file:
            file.write(json.dumps(report, indent=1).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def table(report: dict[str, Any]) -> str:
    """The document's measurements as text, one line each."""
    settings, device = report["settings"], report["device"]
    energy = " + perceptual" if settings["perceptual"] else ""
    title = (
        f"{report['benchmark']}{energy}, {settings['resolution']} px, channel base "
        f"{settings['channel_base']} (at most {settings['channel_max']}), {settings['dtype']}, "
        f"{settings['repeats']} rounds, on {device['count']} x {device['kind']}"
    )
    header = (
        "method", "batch", "contender", "compile s", "first s", "median s", "min s",
        "images/s", "GFLOP/s", "jaxface is", "difference",
    )  # fmt: skip
    rows = [header, *(_cells(row) for row in report["measurements"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = [title, ""]
    for row in rows:
        text = [
            cell.ljust(width) if i in (0, 2) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(text).rstrip())
    return "\n".join(lines)


def _row(measurement: Measurement) -> dict[str, Any]:
    median = measurement.median
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
        "flop": measurement.flop,
        "flop_per_second": None if measurement.flop is None else measurement.flop / median,
        "speedup_of_jaxface": measurement.speedup,
        "differences": [
            {**dataclasses.asdict(difference), "relative": difference.relative}
            for difference in measurement.differences
        ],
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    speedup = row["speedup_of_jaxface"]
    differences = [difference["relative"] for difference in row["differences"]]
    return (
        row["method"],
        str(row["batch"]),
        row["contender"],
        _number(row["compile_seconds"]),
        _number(row["first_call_seconds"]),
        _number(row["seconds"]["median"]),
        _number(row["seconds"]["min"]),
        _number(row["images_per_second"]),
        "-" if row["flop"] is None else _number(row["flop_per_second"] / 1e9),
        "-" if speedup is None else f"{speedup:.2f}x faster",
        f"{max(differences):.1e}" if differences else "-",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _device() -> dict[str, Any]:
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": device.platform,
        "kind": _cpu_model() if device.platform == "cpu" else device.device_kind,
        # Virtual CPU devices are one CPU.
        "count": cores if device.platform == "cpu" else 1,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "jaxface": jaxface.__version__,
        **{name: importlib.metadata.version(name) for name in VERSIONED},
    }
