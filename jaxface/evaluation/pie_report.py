"""The report of PIE's evaluation: Markdown, figures and the document they are made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.figures import write_rows, write_scatter
from jaxface.evaluation.held_out import LARGEST_EDIT, Protocol
from jaxface.evaluation.pie_together import together_report
from jaxface.methods import pie
from jaxface.suite import Suite

SHOWN = 8  # portraits in a figure

_TITLES = {
    "synthesis": "synthesis",
    "synthesis_recognition": "+ recognition",
    "synthesis_modification": "+ modification",
    "all": "all terms",
    "all_direct": "all, direct",
    "image2stylegan": "Image2StyleGAN",
}

_ROWS = (
    ("psnr", "PSNR, dB", ".2f"),
    ("ssim", "SSIM", ".3f"),
    ("editing_error_rad", "editing error, rad", ".4f"),
    ("recognition_error", "recognition error", ".4f"),
)
_TRUE_ROWS = (
    *_ROWS,
    ("residual", "residual of the true face", ".4f"),
    ("edited_psnr", "PSNR of the edit, dB", ".2f"),
    ("edited_ssim", "SSIM of the edit", ".3f"),
)


def pie_report(
    suite: Suite,
    protocol: Protocol,
    chosen: Mapping[str, pie.Settings],
    scores: Mapping[str, Any],
) -> str:
    """Markdown of everything that was measured, with what it means.

    Args:
      suite: the one evaluated.
      protocol: how much.
      chosen: the columns' settings.
      scores: of `table2` and `table3`.
    """
    size = suite.generator.resolution
    judges = scores["judges"]
    lines = [
        f"# PIE on the suite {suite.name}, {size} px",
        "",
        f"{protocol.portraits} held-out renders, {protocol.edits} edits of the pose of each, up to "
        f"{LARGEST_EDIT} rad from the portrait's own, with one round of feedback.",
        "",
        "## Table 2, the networks as judge",
        "",
        *_table(scores["table2"], _ROWS),
        "",
        "Editing error: the angle between wanted rotation and the one that the reconstruction "
        "network reads, which is the network that steered the edit. Recognition error: one minus "
        "the cosine of the recognition network's embeddings of edit and portrait.",
        "",
        "## Table 2, the truth as judge",
        "",
        *_table(scores["table2_true"], _TRUE_ROWS),
        "",
        "Editing error: the true face, with nothing free but its pose, is fitted to the edited "
        "image; the angle between wanted and fitted rotation. The residual is the mean RGB "
        "distance, in [-1, 1], that is left between them. Recognition error, and PSNR and SSIM of "
        "the edit: against a render of the same scene in the wanted pose.",
        "",
        "The judges' own errors: the network's on renders in the wanted poses "
        f"{judges['network']:.4f} rad; the truth's on the portraits, judged as if they were the "
        f"edits and so up to {LARGEST_EDIT} rad from what was wanted, {judges['truth']:.4f} rad.",
        "",
        "The first edit of the first portraits, beside a perfect one:",
        "",
        "![portraits, perfect edits, and the columns' edits](edits.png)",
        "",
        "## Figure 13, errors over the size of the edit, the truth as judge",
        "",
        "![editing and recognition error over the size of the edit](scatter.png)",
        "",
    ]
    if "feedback" in scores:
        lines += ["## Feedback", "", *_feedback(scores["feedback"]), ""]
    if "table3" in scores:
        lines += _transfers(scores)
    if "together" in scores:
        lines += together_report(scores["together"])
    lines += ["## How the portraits were inverted", "", *_settings(chosen, scores), ""]
    lines += ["## What the generator had learned before", "", _recipe(suite), ""]
    return "\n".join(lines)


def _table(columns: Mapping[str, Mapping[str, Any]], rows: Sequence[tuple[str, str, str]]):
    names = [_TITLES.get(name, name) for name in columns]
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
    for key, title, how in rows:
        cells = [_cell(scores[key], how) for scores in columns.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    diverged = {name: scores["diverged"] for name, scores in columns.items() if scores["diverged"]}
    if diverged:
        listed = ", ".join(f"{_TITLES.get(n, n)} {count}" for n, count in diverged.items())
        lines += ["", f"Portraits left out because their inversion diverged: {listed}."]
    return lines


def _feedback(scores: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    lines = ["| judge | without, rad | with, rad | change |", "| --- | ---: | ---: | ---: |"]
    for judge, errors in scores.items():
        before, after = errors["without"], errors["with"]
        change = "-" if not before or after is None else f"{100 * (after / before - 1):+.0f}%"
        lines.append(f"| {judge} | {_cell(before, '.4f')} | {_cell(after, '.4f')} | {change} |")
    return lines


def _transfers(scores: Mapping[str, Any]) -> list[str]:
    title = _TITLES.get(scores["transferred"], scores["transferred"])
    lines = [
        f"## Table 3, transfer of pose ({title})",
        "",
        "Landmarks: mean distance after 2D Procrustes alignment, in percent of the face's size; "
        "self: the driver is the same scene in another's pose; cross: the driver is another "
        "person, and the floor is what a perfect transfer has.",
        "",
        "| | judge | landmarks, % | unedited, % | floor, % | recognition error |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for kind in ("self", "cross"):
        for judge, table in (("network", "table3"), ("truth", "table3_true")):
            errors = scores[table][kind]
            percent = [
                _cell(None if errors.get(n) is None else 100 * errors[n], ".2f")
                for n in ("landmarks", "unedited", "floor")
            ]
            error = _cell(errors["recognition_error"], ".4f")
            lines.append(f"| {kind} | {judge} | {' | '.join(percent)} | {error} |")
    lines += ["", "![portrait, driver, transferred pose, a perfect transfer](pose.png)", ""]
    if (light := scores["illumination"]) is not None:
        lines += [
            "## Transfer of light",
            "",
            "Scale-invariant relative error. By the network, of the light that it reads of result "
            f"and reference: {_cell(light['network'], '.3f')}. By the truth, of the face's colours "
            "against a render in the reference's light: "
            f"{_cell(light['true'], '.3f')}; without an edit {_cell(light['unedited'], '.3f')}. "
            "The reconstructions alone, in their own light, have "
            f"{_cell(light['floor'], '.3f')} of it.",
            "",
            "![portrait, reference, transferred light, a perfect transfer](light.png)",
            "",
        ]
    return lines


def _settings(chosen: Mapping[str, pie.Settings], scores: Mapping[str, Any]) -> list[str]:
    lines = [
        "| column | terms | steps in W, W+ | optimiser | seconds a portrait |",
        "| --- | --- | ---: | --- | ---: |",
    ]
    for name, settings in chosen.items():
        seconds = _cell(scores["table2"][name]["seconds_per_portrait"], ".1f")
        lines.append(
            f"| {_TITLES.get(name, name)} | {', '.join(settings.terms).replace('_', ' ')} | "
            f"{settings.w_steps}, {settings.w_plus_steps} | {type(settings.optimizer).__name__} | "
            f"{seconds} |"
        )
    return lines


def _recipe(suite: Suite) -> str:
    header = suite.metadata("generator")
    facts = [f"{key} `{header[key]}`" for key in ("recipe", "method") if key in header]
    note = header.get("note", "")
    told = "; ".join([*facts, note]).strip("; ") or "its file does not say"
    text = f"The generator's training: {told}."
    if header.get("method") == "RegressionSettings":
        text += (
            " It was trained by regression from the scenes' factors, which its z begins with, so "
            "its W is disentangled by construction; a generator that was trained on images alone "
            "cannot be expected to be edited as well as the numbers above."
        )
    return text


def write_figures(
    folder: Path,
    measured: Mapping[str, Mapping[str, np.ndarray]],
    transfers: Mapping[str, np.ndarray] | None,
) -> list[str]:
    """Writes PNG figures of what was measured; returns their names.

    ``edits.png``: portraits, what a perfect edit shows, and the columns' edits. ``scatter.png``:
    the paper's Figure 13, by the truth. ``pose.png`` and ``light.png``: transfers.
    """
    portraits = measured["portraits"]
    names = [name for name in measured if name != "portraits"]
    rows = range(min(SHOWN, len(portraits["images"])))
    write_rows(
        folder / "edits.png",
        ["portrait", "true edit", *(_TITLES.get(name, name) for name in names)],
        [
            [
                portraits["images"][i],
                portraits["targets"][i, 0],
                *(measured[name]["edited"][i, 0] for name in names),
            ]
            for i in rows
        ],
    )
    shown = [name for name in ("all", "image2stylegan") if name in measured] or names[:2]
    panels = {"editing error, rad": "true_error"}
    if all("true_recognition" in measured[name] for name in shown):
        panels["recognition error"] = "true_recognition"
    write_scatter(
        folder / "scatter.png",
        {
            label: {
                _TITLES.get(name, name): (
                    measured[name]["size"].ravel(),
                    measured[name][key].ravel(),
                )
                for name in shown
            }
            for label, key in panels.items()
        },
        across="size of the edit, rad",
    )
    written = ["edits.png", "scatter.png"]
    if transfers is not None:
        headings = {
            "portrait": portraits["images"],
            "driver": transfers["driver"],
            "cross": transfers["cross_image"],
            "perfect": transfers["self_driver"],
        }
        write_rows(
            folder / "pose.png",
            list(headings),
            [[images[i] for images in headings.values()] for i in rows],
        )
        written.append("pose.png")
        if "light_image" in transfers:
            headings = {
                "portrait": portraits["images"],
                "reference": transfers["driver"],
                "relit": transfers["light_image"],
                "perfect": transfers["light_perfect"],
            }
            write_rows(
                folder / "light.png",
                list(headings),
                [[images[i] for images in headings.values()] for i in rows],
            )
            written.append("light.png")
    return written


def scatter_data(measured: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Figure 13's points for the JSON report, by column: a list for each measure."""
    keys = ("size", "network_error", "true_error", "network_recognition", "true_recognition")
    return {
        name: {k: np.round(arrays[k], 5).ravel().tolist() for k in keys if k in arrays}
        for name, arrays in measured.items()
        if name != "portraits"
    }


def _cell(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)
