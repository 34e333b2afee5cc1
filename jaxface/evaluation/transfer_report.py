"""The report of Transfer's evaluation: Table 1 beside the paper's, the truth's, what is reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.figures import write_rows
from jaxface.evaluation.reenactment_protocol import TRUE_MEASURES, Protocol
from jaxface.methods.encoder import Kind
from jaxface.suite import Suite

BASES: Mapping[str, Kind] = {"base_psp": "psp", "base_e4e": "e4e"}
"""Rows of the baseline, and the kind of their encoder."""

ROWS: Mapping[str, str] = {
    "base_psp": "base, pSp",
    "base_e4e": "base, e4e",
    "gen": "ours, Gen",
    "cos": "ours, Cos",
    "ours": "ours",
    "still": "the target's inversion, undriven",
    "perfect": "the perfect result",
}
"""In the report's order, by their titles: the paper's five, and two to compare with."""
_SHORT = {"still": "undriven", "perfect": "perfect result"}  # above the columns of the sheet

PUBLISHED: Mapping[str, tuple[float, float, float]] = {
    "base_psp": (8.491, 0.656, 0.671),
    "base_e4e": (8.720, 0.621, 0.563),
    "gen": (8.325, 0.556, 0.760),
    "cos": (7.968, 0.528, 0.762),
    "ours": (7.673, 0.620, 0.801),
}
"""Pose error in degrees, FL and identity of Table 1; the bound of identity is 0.83 there."""

_COLUMNS = {
    "pose_mae": ("pose MAE, degrees ↓", ".3f"),
    "fl": ("FL ↑", ".3f"),
    "csim": ("CSIM ↑", ".3f"),
}
_SIGNALS = ("left_eye", "right_eye", "mouth", "left_brow", "right_brow")

SHOWN = 6  # persons on the sheet


def reached(found: Mapping[str, Any]) -> list[tuple[str, float, str, float]]:
    """What the method was to reach: what it is, its value, the kind of limit, and the limit.

    Empty where the row ``ours`` was not measured.
    """
    table, true = found["table1"], found["table1_true"]
    if "ours" not in table:
        return []
    ours, still = table["ours"], table["still"]
    bases = [table[row] for row in BASES if row in table]
    lines = [
        ("CSIM, share of the inversion's", ours["csim"] / still["csim"], "at least", 0.96),
        (
            "true rotation's error, share of the undriven portrait's",
            true["ours"]["rotation"] / true["still"]["rotation"],
            "at most",
            0.5,
        ),
    ]
    if "fl" in ours:
        lines.append(("FL", ours["fl"], "at least", 0.62))
    if bases:
        pose, csim = min(b["pose_mae"] for b in bases), max(b["csim"] for b in bases)
        lines += [
            ("pose MAE, below the better baseline's", ours["pose_mae"], "below", pose),
            ("CSIM, above the better baseline's", ours["csim"], "above", csim),
        ]
    if "speed" in found:
        speed = found["speed"]
        rate = speed["frames_per_second"]
        lines += [
            ("frames a second", rate, "at least", 20.0),
            (
                "seconds of a clip of 5 s, 24 a second",
                speed["identity_seconds"] + 120 / rate,
                "below",
                6.0,
            ),
        ]
    return lines


def holds(value: float, kind: str, limit: float) -> bool:
    """Whether a value keeps its limit."""
    if kind in ("at least", "above"):
        return value >= limit if kind == "at least" else value > limit
    return value <= limit if kind == "at most" else value < limit


def transfer_report(
    suite: Suite, protocol: Protocol, found: Mapping[str, Any], judges: Mapping[str, str]
) -> str:
    """Markdown of everything that was measured.

    Args:
      suite: the one evaluated.
      protocol: of the clips.
      found: ``table1``, ``table1_true`` and, where there is one, ``speed``.
      judges: which network judges what.
    """
    table, true = found["table1"], found["table1_true"]
    missing = [title for row, title in ROWS.items() if row not in table]
    lines = [
        f"# Transfer on the suite {suite.name}, {suite.generator.resolution} px",
        "",
        f"{protocol.persons} persons of the embedded world, the first frame of each driven by the "
        f"{protocol.frames} frames of the next person's clip; the baselines have the person's "
        "whole clip. Means over a clip's frames, then over clips.",
        "",
        f"Protocol {protocol.digest[:16]}; networks: "
        + ", ".join(f"{what} by {network}" for what, network in judges.items())
        + ".",
        "",
    ]
    if missing:
        lines += [f"Not measured, since no networks were given: {'; '.join(missing)}.", ""]
    if goals := reached(found):
        lines += [
            "## What it is to reach",
            "",
            "| | wanted | measured | |",
            "| --- | --- | ---: | --- |",
        ]
        lines += [
            f"| {what} | {kind} {limit:.3g} | {value:.3f} | {_yes(holds(value, kind, limit))} |"
            for what, value, kind, limit in goals
        ]
        lines.append("")
    lines += [
        "## Table 1, networks as judges",
        "",
        *_table1(table),
        "",
        "In brackets: the paper's, on VoxCeleb2 at 1024 px by HopeNet, dlib and ArcFace. FL is the "
        "mean of five correlations:",
        "",
        *_signals(table),
        "",
        "## Table 1, the truth as judge",
        "",
        *_true(true),
        "",
        "Against the render of the target's person with the driver's rotation and expression. "
        "Rotation is that of the true face fitted to the result. This world's eyes look straight "
        "ahead: gaze is not measured.",
        "",
        "![target, driver, perfect result and each row](transfer.png)",
        "",
    ]
    return "\n".join(lines)


def _yes(held: bool) -> str:
    return "yes" if held else "no"


def _table1(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = " | ".join(title for title, _ in _COLUMNS.values())
    lines = [f"| | {heads} |", f"| --- |{' ---: |' * len(_COLUMNS)}"]
    for row, values in table.items():
        cells = [_cell(values.get(key), how) for key, (_, how) in _COLUMNS.items()]
        for place, said in enumerate(PUBLISHED.get(row, ())):
            cells[place] += f" ({said:.3f})"
        lines.append(f"| {ROWS[row]} | {' | '.join(cells)} |")
    return lines


def _signals(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = " | ".join(name.replace("_", " ") for name in _SIGNALS)
    lines = [f"| | {heads} | clips |", f"| --- |{' ---: |' * (len(_SIGNALS) + 1)}"]
    for row, values in table.items():
        cells = [_cell(values.get(f"fl_{name}"), ".3f") for name in _SIGNALS]
        cells.append(_cell(values.get("fl_clips"), ".0f"))
        lines.append(f"| {ROWS[row]} | {' | '.join(cells)} |")
    return lines


def _true(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = list(next(iter(table.values())))
    lines = [
        f"| measure | better | {' | '.join(ROWS[row] for row in table)} |",
        f"| --- | --- |{' ---: |' * len(table)}",
    ]
    for name in names:
        measure = TRUE_MEASURES[name]
        cells = [_cell(values[name], measure.how) for values in table.values()]
        lines.append(f"| {measure.title} | {measure.better} | {' | '.join(cells)} |")
    return lines


def _cell(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def write_transfer_sheet(
    path: Path, shown: Mapping[str, Sequence[Mapping[str, np.ndarray]]]
) -> None:
    """Of the first persons the frame that turns most: target, driver, and what each row draws."""
    rows = []
    known = next(iter(shown.values()))
    for number, clip in enumerate(known[:SHOWN]):
        most = int(np.argmax(clip["turns"]))
        drawn = [clips[number]["result"][most] for clips in shown.values()]
        rows.append((clip["source"], clip["driving"][most], *drawn))
    titles = (_SHORT.get(row, ROWS[row]) for row in shown)
    write_rows(path, ("target", "driver", *titles), rows)
