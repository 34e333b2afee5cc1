"""The report of the reenactment's evaluation: Markdown and sheets of frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.figures import write_rows
from jaxface.evaluation.reenactment_floor import DRAWN, FLOORS, PERFECT
from jaxface.evaluation.reenactment_protocol import (
    EXTREME,
    NEAR,
    NETWORK_MEASURES,
    TRUE_MEASURES,
    Measure,
    Protocol,
)
from jaxface.evaluation.reenactment_scores import BESIDE, TARGETS
from jaxface.suite import Suite

SHOWN = 6  # clips on a sheet


def sheet_name(method: str, case: str) -> str:
    """The file of a method's sheet of a case."""
    return f"{method}_{case}.png"


def reenactment_report(
    suite: Suite,
    protocol: Protocol,
    found: Mapping[str, Mapping[str, Any]],
    judges: Mapping[str, str],
) -> str:
    """Markdown of everything that was measured, with what it means.

    Args:
      suite: the one evaluated.
      protocol: what was measured.
      found: by key of `jaxface.evaluation.reenactment_scores.scores`, then by method; and
        ``judge_floor``, of `jaxface.evaluation.reenactment_floor.judges_floor`.
      judges: which network judges what.
    """
    lines = [
        f"# Reenactment on the suite {suite.name}, {suite.generator.resolution} px",
        "",
        f"{protocol.persons} persons of the embedded world, each embedded from the first of "
        f"{protocol.frames} frames and driven by that clip (self) and by the next person's "
        "(cross). Means over a clip's frames, then over clips.",
        "",
        f"Protocol {protocol.digest[:16]}; networks: "
        + ", ".join(f"{what} by {network}" for what, network in judges.items())
        + ".",
        "",
    ]
    lines += [
        f"## What it is to reach: cross-reenactment, turns of up to {NEAR:g} rad",
        "",
        *_targets(found["reached"]),
        "",
        "Means over frames. Rotations are angles between heads; that of the result is what the "
        "reconstruction network reads, or that of the true face fitted to it, and the driver's is "
        "the truth.",
        "",
        "What the same judges say where nothing went wrong: of those frames' perfect results, "
        "of the same scenes as the generator draws them where it is given their true factors, and "
        "of the reconstructions, which are not moved.",
        "",
        *_floor(found["judge_floor"]),
        "",
        "The fitted face has the person's true shape and colours. On a render it has no error by "
        "construction; where a generator shows a person somewhat otherwise, it explains some of "
        "that by a turn.",
        "",
    ]
    for case, title in (("self", "Self-reenactment"), ("cross", "Cross-reenactment")):
        place = ("self", "cross").index(case)
        lines += [f"## {title}, networks as judges", ""]
        lines += [*_table(found[case], NETWORK_MEASURES, place), ""]
        lines += [f"## {title}, the truth as judge", ""]
        lines += [*_table(found[f"{case}_true"], TRUE_MEASURES, place), ""]
        for name in found[case]:
            lines += [f"![sources, drivers, perfect results, {name}]({sheet_name(name, case)})", ""]
    lines += [
        f"Extreme: frames in which the driver's head is turned more than {EXTREME:g} degrees from "
        "the source's.",
        "",
        "## How far networks judge as the truth does",
        "",
        "Spearman's rank correlation over all frames; 1: both give frames one order. "
        "Pose stands against the fitted rotation's error, expression against the mouth's PSNR.",
        "",
        *_correlations(found["judge_correlation"]),
        "",
    ]
    return "\n".join(lines)


def _targets(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [f"| | wanted | {' | '.join(found)} |", f"| --- | ---: |{' ---: |' * len(found)}"]
    for key, (title, kind, limit) in TARGETS.items():
        cells = (f"{values[key]:.3f}" for values in found.values())
        lines.append(f"| {title} | {kind} {limit:g} | {' | '.join(cells)} |")
    for key, title in BESIDE.items():
        cells = (f"{values[key]:.3f}" for values in found.values())
        lines.append(f"| {title} | | {' | '.join(cells)} |")
    counts = (str(values["frames"]) for values in found.values())
    return [*lines, f"| frames | | {' | '.join(counts)} |"]


def _floor(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = [name if name in (PERFECT, DRAWN) else f"reconstructions, {name}" for name in found]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(found)}"]
    for key, title in FLOORS.items():
        cells = (f"{values[key]:.3f}" for values in found.values())
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _table(
    found: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Measure], place: int
) -> list[str]:
    heads = [head for name in found for head in (name, f"{name}, extreme")]
    lines = [
        f"| measure | better | compared with | {' | '.join(heads)} |",
        f"| --- | --- | --- |{' ---: |' * len(heads)}",
    ]
    for key, measure in measures.items():
        cells = [
            _cell(part.get(key), measure.how)
            for values in found.values()
            for part in (values, values["extreme"])
        ]
        if any(cell != "-" for cell in cells):
            told = f"{measure.title} | {measure.better} | {measure.compared[place]}"
            lines.append(f"| {told} | {' | '.join(cells)} |")
    counts = [
        str(part["frames"]) for values in found.values() for part in (values, values["extreme"])
    ]
    return [*lines, f"| frames | | | {' | '.join(counts)} |"]


def _correlations(found: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> list[str]:
    heads = [f"{name}, {case}" for name, cases in found.items() for case in cases]
    names = dict.fromkeys(
        key for cases in found.values() for values in cases.values() for key in values
    )
    lines = [f"| judge | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for key in names:
        cells = [
            _cell(values.get(key), ".2f") for cases in found.values() for values in cases.values()
        ]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def write_sheet(path: Path, clips: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Of the first clips the frame that turns most: source, driver, perfect result, result."""
    rows = []
    for clip in clips[:SHOWN]:
        most = int(np.argmax(clip["turns"]))
        images = (clip[name][most] for name in ("driving", "perfect", "result"))
        rows.append((clip["source"], *images))
    write_rows(path, ("source", "driver", "perfect", "result"), rows)
