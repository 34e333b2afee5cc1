"""What some benchmarks print below their table: a line for each measurement, then the published."""

from collections.abc import Callable, Mapping
from typing import Any


def summary_lines(
    report: Mapping[str, Any],
    title: str,
    told: Callable[[Mapping[str, Any]], str],
    published: str,
) -> str:
    """The lines as one text.

    Args:
      report: see `jaxface.benchmark.report`.
      title: the first line.
      told: what a measurement comes to, in the method's own units.
      published: the last line: the paper's figures and their hardware.
    """
    lines = [
        f"  {row['contender']}, {run['settings']['resolution']} px, {run['settings']['dtype']}, "
        f"batch {row['batch']}: {told(row)}"
        for run in report["runs"]
        for row in run["measurements"]
    ]
    return "\n".join([f"{title}:", *lines, f"  {published}"])
