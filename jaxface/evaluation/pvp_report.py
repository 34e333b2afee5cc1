"""The report of PVP's evaluation: Table 2 beside the paper's, the truth's, what is reached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.figures import write_rows
from jaxface.evaluation.pvp_protocol import YAWS, Protocol
from jaxface.runtime.progress import format_seconds
from jaxface.suite import Suite

ROWS: Mapping[str, str] = {
    "avatar": "the avatar",
    "frame_by_frame": "frame by frame, the suite's generator",
    "frame_by_frame_pti": "frame by frame, PTI on the first frame",
    "frame_by_frame_avatar": "frame by frame, the avatar's generator",
    "pie_rignet_encoder": "one shot: PIE's RigNets",
    "direction_matrix_encoder": "one shot: Directions",
    "transfer": "one shot: Transfer",
}

PUBLISHED = {
    "PIRenderer": (21.49, 0.7540, 0.2431),
    "LIA": (23.47, 0.8545, 0.1796),
    "StyleHEAT": (20.29, 0.7685, 0.2494),
    "NHA": (25.31, 0.8746, 0.1538),
    "PVP": (26.63, 0.8803, 0.1119),
}
"""PSNR, SSIM and LPIPS of Table 2."""

_SHORT = {
    "pie_rignet_encoder": "RigNets",
    "direction_matrix_encoder": "Directions",
    "transfer": "Transfer",
    "frame_by_frame_pti": "frame by frame + PTI",
    "frame_by_frame_avatar": "frame by frame + avatar's",
}
"""Above the columns of the sheet."""

ONE_SHOT = ("pie_rignet_encoder", "direction_matrix_encoder", "transfer")

_COLUMNS = {
    "psnr": ("PSNR, dB ↑", ".2f"),
    "ssim": ("SSIM ↑", ".4f"),
    "lpips": ("perceptual ↓", ".4f"),
    "masked_psnr": ("masked PSNR ↑", ".2f"),
    "masked_ssim": ("masked SSIM ↑", ".4f"),
    "masked_lpips": ("masked perceptual ↓", ".4f"),
}
_TRUE = {
    "rotation": ("rotation of the fitted face, rad ↓", ".4f"),
    "turn": ("rotation that is read, rad ↓", ".4f"),
    "landmarks": ("landmarks, share of the face's box ↓", ".4f"),
    "landmarks_floor": ("the same of the true frames", ".4f"),
}
_EDITED = {
    "identity": ("identity after an edit ↑", ".3f"),
    "response": ("response to an edit, share of the suite's", ".3f"),
    "drift": ("what else an edit moves, deviations ↓", ".3f"),
}


_STARTS = {
    "nothing_tenth": "from nothing, a tenth of the steps",
    "nothing": "from nothing, all steps",
    "prior_hundredth": "from the prior, a hundredth",
    "prior_tenth": "from the prior, a tenth",
    "prior": "from the prior, all steps",
}


def reached(found: Mapping[str, Any]) -> list[tuple[str, float, str, float]]:
    """What was to be reached: what it is, its value, the kind of limit, and the limit."""
    table, true = found["table2"], found["table2_true"]
    avatar, per_frame = table["avatar"], table["frame_by_frame"]
    lines = [
        ("PSNR above frame by frame, dB", avatar["psnr"] - per_frame["psnr"], "at least", 3.0),
        ("perceptual distance", avatar["lpips"], "below", per_frame["lpips"]),
    ]
    shots = [table[row]["psnr"] for row in ONE_SHOT if row in table]
    if shots:
        lines.append(
            ("PSNR, above the best one-shot method's", avatar["psnr"], "above", max(shots))
        )
    lines += [
        ("rotation drawn against true, rad", true["avatar"]["rotation"], "at most", 0.05),
        ("landmarks, share of the face's size", true["avatar"]["landmarks"], "at most", 0.02),
        ("identity driven by another, share", found["reenactment"]["kept"], "at least", 0.95),
    ]
    inside = found["poses"]["rotation_inside"]
    if inside is not None:
        lines.append(("rotation of asked poses in range, rad", inside, "at most", 0.05))
    spent = [sum(each.values()) / 60 for each in found["seconds"]]
    lines.append(("minutes to an avatar, the longest", max(spent), "at most", 25.0))
    rate = found["frames_per_second"].get("batch_1")
    if rate is not None:
        lines.append(("frames a second, one by one", rate, "at least", 54.0))
    return lines


def holds(value: float, kind: str, limit: float) -> bool:
    """Whether a value keeps its limit."""
    return {
        "at least": value >= limit,
        "above": value > limit,
        "at most": value <= limit,
        "below": value < limit,
    }[kind]


def pvp_report(suite: Suite, protocol: Protocol, found: Mapping[str, Any]) -> str:
    """Markdown of everything that was measured.

    Args:
      suite: the one evaluated.
      protocol: of the clips.
      found: the document.
    """
    lines = [
        f"# PVP on the suite {suite.name}, {suite.generator.resolution} px",
        "",
        f"{protocol.persons} persons of the embedded world, clips of {protocol.frames} frames at "
        "25 a second. Avatars are learned from the first part of a clip and judged on its last "
        "three tenths; means over frames, then over persons. The perceptual distance is "
        + ("LPIPS." if "lpips" in suite else "LPIPS' form on the suite's perceptual features."),
        "",
        "## What it is to reach",
        "",
        "| | wanted | measured | |",
        "| --- | --- | ---: | --- |",
    ]
    for what, value, kind, limit in reached(found):
        yes = "yes" if holds(value, kind, limit) else "no"
        lines.append(f"| {what} | {kind} {limit:.4g} | {value:.4g} | {yes} |")
    lines += ["", "## Table 2, held-out frames", "", *_table(found["table2"], _COLUMNS), ""]
    lines += [
        "Of the paper, real clips at 512 px: "
        + "; ".join(
            f"{name} {psnr:.2f} dB, SSIM {ssim:.4f}, LPIPS {lpips:.4f}"
            for name, (psnr, ssim, lpips) in PUBLISHED.items()
        )
        + ". Masked: all but the person is black in both images, by the true matte (Table 4).",
        "",
        "## Table 2, the truth as judge",
        "",
        *_table(found["table2_true"], _TRUE),
        "",
        "Rotation is the angle between the true head and the true face fitted to the image. "
        "Landmarks are the suite's, against the true ones; its own error on the true frames is the "
        "floor.",
        "",
        "## Asked poses",
        "",
        "The mean expression, looking to each side, beside a render of the person (Figure 6).",
        "",
        "| yaw, degrees | " + " | ".join(f"{yaw:+.0f}" for yaw in found["poses"]["yaws"]) + " |",
        "| --- |" + " ---: |" * len(found["poses"]["yaws"]),
        "| rotation, rad | " + " | ".join(f"{v:.3f}" for v in found["poses"]["rotation"]) + " |",
        "| PSNR, dB | " + " | ".join(f"{v:.2f}" for v in found["poses"]["psnr"]) + " |",
        "",
    ]
    like = found["reenactment"]
    lines += [
        "## Driven by another person",
        "",
        f"Cosine of identity with frames of the person's clip: {like['cosine']:.3f}; of other "
        f"frames of that clip {like['same_person']:.3f}, of the driver {like['chance']:.3f}. "
        f"Driven by its own clip its numbers change by {like['by_itself']:.1g} at most.",
        "",
    ]
    if "ablations" in found:
        columns = {**_COLUMNS, **{f"true_{k}": v for k, v in _TRUE.items()}, **_EDITED}
        chosen = ("psnr", "lpips", "true_rotation", "true_landmarks", *_EDITED)
        titles = {name: name.replace("_", " ") for name in found["ablations"]}
        table = _table(found["ablations"], {k: columns[k] for k in chosen}, titles=titles)
        lines += [
            "## Ablations, the first person",
            "",
            "Every avatar with a third of the mappers' steps, the whole one too.",
            "",
            *table,
            "",
        ]
    if "pretrained" in found:
        columns = {"steps": ("steps", "d"), **_COLUMNS}
        columns |= {f"true_{name}": how for name, how in _TRUE.items()}
        chosen = ("steps", "psnr", "ssim", "lpips", "true_rotation", "true_turn", "true_landmarks")
        rows = {name: found["pretrained"][name] for name in _STARTS if name in found["pretrained"]}
        table = _table(rows, {name: columns[name] for name in chosen}, titles=_STARTS)
        lines += [
            "## Mappers that are pre-trained over many persons",
            "",
            "Means over persons whom the prior has not seen; from the prior over moved pivots.",
            "",
            *table,
            "",
        ]
    lines += ["## Time", "", "| stage | " + " | ".join(_persons(found)) + " |"]
    lines.append("| --- |" + " ---: |" * len(found["seconds"]))
    for stage in found["seconds"][0]:
        spent = [format_seconds(each.get(stage, 0.0)) for each in found["seconds"]]
        lines.append(f"| {stage} | {' | '.join(spent)} |")
    rates = ", ".join(
        f"{rate:.0f} in batches of {name.removeprefix('batch_')}"
        for name, rate in found["frames_per_second"].items()
    )
    lines += ["", f"Frames a second: {rates}.", "", "![held-out frames](pvp.png)"]
    lines += ["", "![asked poses](pvp_poses.png)", "", "![driven by another](pvp_driven.png)"]
    return "\n".join(lines) + "\n"


def _persons(found: Mapping[str, Any]) -> list[str]:
    return [f"person {number + 1}" for number in range(len(found["seconds"]))]


def _table(
    rows: Mapping[str, Mapping[str, float]],
    columns: Mapping[str, tuple[str, str]],
    *,
    titles: Mapping[str, str] = ROWS,
) -> list[str]:
    there = {
        name: how for name, how in columns.items() if all(name in row for row in rows.values())
    }
    lines = ["| | " + " | ".join(title for title, _ in there.values()) + " |"]
    lines.append("| --- |" + " ---: |" * len(there))
    for name, row in rows.items():
        values = [format(row[column], how) for column, (_, how) in there.items()]
        lines.append(f"| {titles.get(name, name)} | {' | '.join(values)} |")
    return lines


def write_pvp_sheets(
    folder: Path,
    shown: Mapping[str, np.ndarray],
    turns: Mapping[str, np.ndarray],
    likes: Mapping[str, np.ndarray],
) -> None:
    """Of the first person: held-out frames by every method, asked poses, and a reenactment.

    Args:
      folder: receives ``pvp.png``, ``pvp_poses.png`` and ``pvp_driven.png``.
      shown: by ``person|row``, uint8 [N, R, R, 3].
      turns: ``renders`` and ``drawn`` of asked poses.
      likes: ``driver`` and ``drawn`` of another person's clip.
    """
    columns = {"frame": shown["0|frame"]}
    columns |= {_SHORT.get(row, row): shown[f"0|{row}"] for row in ROWS if f"0|{row}" in shown}
    write_rows(folder / "pvp.png", list(columns), list(zip(*columns.values(), strict=True)))
    yaws = [f"{yaw:+.0f}" for yaw in YAWS]
    write_rows(folder / "pvp_poses.png", yaws, [list(turns["renders"]), list(turns["drawn"])])
    pair = [likes["driver"], likes["drawn"]]
    write_rows(folder / "pvp_driven.png", ["driver", "avatar"], list(zip(*pair, strict=True)))
