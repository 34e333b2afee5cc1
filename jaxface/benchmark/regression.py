"""Whether a later result is slower than an earlier one, row by row."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jaxface.benchmark import report
from jaxface.benchmark.runner import OURS
from jaxface.errors import UsageError

# What must be equal for times to be comparable.
DEVICE = ("platform", "kind", "count")

# Does not change what is measured, only how often.
IGNORED_SETTINGS = ("repeats",)

Key = tuple[str, str, str, int]


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One measurement in both results.

    Attributes:
        what: its run's label, dtype, method and batch.
        old, new: medians in seconds.
    """

    what: str
    old: float
    new: float

    @property
    def ratio(self) -> float:
        """New time over old."""
        return self.new / self.old


@dataclasses.dataclass(frozen=True)
class Comparison:
    """jaxface's rows of two results.

    Attributes:
        ratios: of every row of the earlier result.
        added: rows that only the later result has.
        tolerance: ratio above which a row is a regression.
    """

    ratios: list[Ratio]
    added: list[str]
    tolerance: float

    @property
    def regressions(self) -> list[Ratio]:
        """Rows that became slower by more than the tolerance."""
        return [ratio for ratio in self.ratios if ratio.ratio > self.tolerance]

    def table(self) -> str:
        """A line for each row, the slower ones marked, and a summary."""
        width = max(len(ratio.what) for ratio in self.ratios)
        lines = []
        for ratio in self.ratios:
            mark = "  slower" if ratio.ratio > self.tolerance else ""
            times = f"{report.number(ratio.old):>8} s  {report.number(ratio.new):>8} s"
            lines.append(f"{ratio.what:<{width}}  {times}  {ratio.ratio:5.2f}x{mark}")
        lines += [f"{what:<{width}}  not in the earlier result" for what in self.added]
        worst = max(ratio.ratio for ratio in self.ratios)
        lines.append(
            f"\n{len(self.regressions)} of {len(self.ratios)} slower by more than "
            f"{self.tolerance:g}x; the slowest is {worst:.2f}x"
        )
        return "\n".join(lines)


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> Comparison:
    """Compare jaxface's medians; peers' rows are left aside.

    Args:
        old, new: documents of :func:`~jaxface.benchmark.report.read_report`.
        tolerance: see :class:`Comparison`.

    Raises:
        UsageError: if the devices differ, or the later result lacks a row of the earlier one with
            equal settings, or the earlier one has none.
    """
    for name in DEVICE:
        before, after = old["device"][name], new["device"][name]
        if before != after:
            raise UsageError(
                f"the results are of different devices: {name} was {before!r} and is {after!r}"
            )
    before, after = _medians(old), _medians(new)
    if not before:
        raise UsageError("the earlier result has no measurements")
    missing = [key for key in before if key not in after]
    if missing:
        raise UsageError(
            f"the results are of different settings: the later one has no {_shown(missing[0])} "
            f"with {missing[0][1]}" + (f", nor {len(missing) - 1} more" if missing[1:] else "")
        )
    ratios = [Ratio(_shown(key), before[key], after[key]) for key in before]
    return Comparison(ratios, [_shown(key) for key in after if key not in before], tolerance)


def _medians(document: Mapping[str, Any]) -> dict[Key, float]:
    """By run, settings, method and batch."""
    medians: dict[Key, float] = {}
    for run, row in report.rows(document):
        if row["contender"] == OURS:
            settings = {k: v for k, v in run["settings"].items() if k not in IGNORED_SETTINGS}
            key = (
                f"{report.label(run)} {settings['dtype']}",
                json.dumps(settings, sort_keys=True),
                row["method"],
                row["batch"],
            )
            medians[key] = row["seconds"]["median"]
    return medians


def _shown(key: Key) -> str:
    what, _, method, batch = key
    return f"{what} {method} batch {batch}"
