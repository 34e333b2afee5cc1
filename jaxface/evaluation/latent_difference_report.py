"""The report of the Latent Difference Encoder's evaluation: its tables and what is reached."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.figures import write_rows
from jaxface.suite import Suite

OPEN = ("embedding", "perfect")
"""Rows that need no network of the method."""

ROWS: Mapping[str, str] = {
    "embedding": "GAN-Embedding",
    "naive": "Naive Enc.",
    "naive_cycle": "Naive Enc. + Cycle (Image)",
    "image_cycle": "Latent Diff. Enc. + Cycle (Image)",
    "keypoints": "Keypoint Enc. + Cycle (Latent)",
    "latent_cycle": "Latent Diff. Enc. + Cycle (Latent)",
    "code_form": "the same in the code's form",
    "suite": "the suite's network",
    "perfect": "the perfect edit",
}
"""In the report's order: the paper's six, the last of them
with the accidents of the authors' code, what the suite has, and what could be had."""

SHORT = {
    "embedding": "inversion",
    "naive_cycle": "naive, cycle",
    "image_cycle": "image cycle",
    "latent_cycle": "latent cycle",
    "code_form": "code's form",
    "suite": "suite",
    "perfect": "perfect",
}

PUBLISHED: Mapping[str, tuple[float | None, ...]] = {
    "embedding": (37.4, None, None, None),
    "naive": (60.2, 81.3, 0.221, 0.263),
    "naive_cycle": (87.7, 84.3, 0.172, 0.235),
    "image_cycle": (36.8, 42.9, 0.192, 0.438),
    "keypoints": (38.1, 38.3, 0.182, 0.459),
    "latent_cycle": (33.2, 36.7, 0.186, 0.480),
}
"""Table 1 of Herrmann and Zengerle 2020, on FFHQ at 128 px."""

_COLUMNS = {
    "fid_reconstruction": ("FID, recon. ↓", ".3f"),
    "fid_manipulation": ("FID, manip. ↓", ".3f"),
    "hausdorff": ("Hausdorff ↓", ".3f"),
    "csim": ("CSIM ↑", ".3f"),
}

_TRUE = {
    "landmarks": ("landmarks, % of the face ↓", ".2f"),
    "rotation": ("rotation that is read, rad ↓", ".3f"),
    "identity": ("identity, share of the inversion's ↑", ".3f"),
    "csim": ("CSIM to the perfect edit ↑", ".3f"),
    "perceptual": ("perceptual distance to the perfect edit ↓", ".3f"),
    "psnr": ("PSNR, dB ↑", ".2f"),
}

_ENCODERS = {
    "l2": ("L2 ↓", ".4f"),
    "perceptual": ("perceptual distance ↓", ".3f"),
    "identity": ("identity ↑", ".3f"),
    "editability": ("editability ↑", ".3f"),
    "identity_turned": ("identity, turned ↑", ".3f"),
}

SHOWN = 8
"""Portraits on the sheet."""

LANDMARKS, KEPT = 2.5, 0.9
"""What was to be reached: percent of the face, and share of the inversion's identity."""


def reached(found: Mapping[str, Any]) -> list[tuple[str, float, str, bool]]:
    """What was to be reached: what it is, its value, the limit in words, and whether it is kept."""
    table, true = found["table"], found["table_true"]
    lines = []
    if "suite" in true:
        own = true["suite"]
        lines = [
            (
                "landmarks of the suite's network, own proportions, % of the face",
                own["landmarks_own"],
                f"at most {LANDMARKS:g}",
                own["landmarks_own"] <= LANDMARKS,
            ),
            (
                "identity of the suite's network, share of the inversion's",
                own["identity_own"],
                f"at least {KEPT:g}",
                own["identity_own"] >= KEPT,
            ),
        ]
    trained = [row for row in PUBLISHED if row in table and row not in OPEN]
    if "latent_cycle" in table and len(trained) > 1:
        best = table["latent_cycle"]
        others = [table[row] for row in trained if row != "latent_cycle"]
        fid, csim = (
            min(each["fid_manipulation"] for each in others),
            max(each["csim"] for each in others),
        )
        lines += [
            (
                "FID of manipulation, latent cycle",
                best["fid_manipulation"],
                f"below the others' {fid:.3f}",
                best["fid_manipulation"] < fid,
            ),
            (
                "CSIM, latent cycle",
                best["csim"],
                f"above the others' {csim:.3f}",
                best["csim"] > csim,
            ),
        ]
    if "naive" in table and "latent_cycle" in table:
        naive, full = table["naive"], table["latent_cycle"]
        lines.append(
            (
                "CSIM, naive",
                naive["csim"],
                f"below the latent cycle's {full['csim']:.3f}",
                naive["csim"] < full["csim"],
            )
        )
    return lines


def latent_difference_report(
    suite: Suite, found: Mapping[str, Any], judges: Mapping[str, str], portraits: int
) -> str:
    """Markdown of everything that was measured.

    Args:
      suite: the one evaluated.
      found: ``table``, ``table_true`` and ``encoders``, and ``wishes`` and ``by_hand`` where
        they were measured.
      judges: which network judges what.
      portraits: how many were redrawn.
    """
    table, true = found["table"], found["table_true"]
    missing = [title for row, title in ROWS.items() if row not in table]
    lines = [
        f"# Latent Difference Encoder on the suite {suite.name}, {suite.generator.resolution} px",
        "",
        f"{portraits} renders of the embedded world, each with the landmarks of the one before it. "
        "Judges: " + ", ".join(f"{what} by {network}" for what, network in judges.items()) + ".",
        "",
    ]
    if missing:
        lines += [f"Not measured, since no networks were given: {'; '.join(missing)}.", ""]
    if goals := reached(found):
        lines += [
            "## What it is to reach",
            "",
            "| | measured | wanted | |",
            "| --- | ---: | --- | --- |",
            *(
                f"| {what} | {value:.3f} | {limit} | {'yes' if held else 'no'} |"
                for what, value, limit, held in goals
            ),
            "",
        ]
    lines += ["## Table 1, networks as judges", "", *_table(table), ""]
    failed = sum(int(each["hausdorff_failed"]) for each in table.values())
    lines += [
        "In brackets: the paper's, on FFHQ at 128 px by Inception-v3, FAN and FaceNet; Fréchet "
        "distances of other features are of another scale. Hausdorff distances are in shares of "
        f"the side, summed over five groups of lines; {failed} of {portraits * len(table)} had a "
        "group without a pixel and are left out.",
        "",
        "## Table 1, the truth as judge",
        "",
        "Wishes with the other's proportions as they are (taken):",
        "",
        *_true_table(true, "taken"),
        "",
        "Wishes normalised to the portrait's own proportions (own):",
        "",
        *_true_table(true, "own"),
        "",
        "The perfect edit is the render of the same person with the other's rotation and "
        "expression. Landmarks are read by the suite's network and compared with the true wished "
        "ones, in percent of the root of the face's box: its row of the perfect edit is what the "
        "reader itself errs by (for taken ones: by how much the perfect edit, with its own "
        "proportions, differs).",
        "",
        *_wishes(found.get("wishes", {})),
        *_by_hand(found.get("by_hand", {})),
        "## Encoders",
        "",
        *_encoders(found["encoders"]),
        "",
        "Of inversions the mean square in [-1, 1], perceptual distance, and cosine of identity. "
        "Editability: of a RigNet's turn by 20 degrees, the share that is read afterwards; and the "
        "cosine of identity of what is turned with the portrait.",
        "",
        "![portrait, each encoder's inversion and the same turned](encoders.png)",
        "",
        "![portrait, other, each row with the other's landmarks](latent_difference.png)",
        "",
    ]
    return "\n".join(lines)


def _table(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = " | ".join(title for title, _ in _COLUMNS.values())
    lines = [f"| | {heads} |", f"| --- |{' ---: |' * len(_COLUMNS)}"]
    for row, values in table.items():
        cells = [format(values[key], how) for key, (_, how) in _COLUMNS.items()]
        for place, said in enumerate(PUBLISHED.get(row, ())):
            cells[place] += "" if said is None else f" ({said:g})"
        lines.append(f"| {ROWS[row]} | {' | '.join(cells)} |")
    return lines


def _true_table(true: Mapping[str, Mapping[str, float]], wish: str) -> list[str]:
    heads = " | ".join(title for title, _ in _TRUE.values())
    lines = [f"| | {heads} |", f"| --- |{' ---: |' * len(_TRUE)}"]
    for row, values in true.items():
        cells = [format(values[f"{name}_{wish}"], how) for name, (_, how) in _TRUE.items()]
        lines.append(f"| {ROWS[row]} | {' | '.join(cells)} |")
    return lines


def _wishes(errors: Mapping[str, float]) -> list[str]:
    if not errors:
        return []
    return [
        f"The wishes are made of landmarks and faces that the suite's networks read, and are "
        f"themselves {errors['taken']:.2f}% (taken) and {errors['own']:.2f}% (own) beside the true "
        "landmarks: a network that follows them exactly is off by that much.",
        "",
    ]


def _by_hand(shares: Mapping[str, float]) -> list[str]:
    if not shares:
        return []
    return [
        "## Edited by hand",
        "",
        "| | share of the wished change that is read |",
        "| --- | ---: |",
        *(f"| {name} | {share:.2f} |" for name, share in shares.items()),
        "",
        "Lower lip and chin are moved down by 12% and 7% of the face's height, or a brow up by 7%; "
        "what is read is how far the lips are apart, and the brow from its eye, less the same with "
        "the own landmarks.",
        "",
    ]


def _encoders(encoders: Mapping[str, Mapping[str, float]]) -> list[str]:
    heads = " | ".join(title for title, _ in _ENCODERS.values())
    lines = [f"| role | {heads} |", f"| --- |{' ---: |' * len(_ENCODERS)}"]
    for role, values in encoders.items():
        cells = (
            format(values[name], how) if name in values else "-"
            for name, (_, how) in _ENCODERS.items()
        )
        lines.append(f"| `{role}` | {' | '.join(cells)} |")
    return lines


def write_encoders_sheet(
    path: Path, images: np.ndarray, encoders: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Of the first portraits: portrait, and what each encoder's code draws, and turned."""
    shown = {"portrait": images}
    for role, values in encoders.items():
        title = "in-domain" if role == "in_domain_encoder" else role
        shown[title] = values["inversion"]
        if "turned" in values:
            shown[f"{title}, turned"] = values["turned"]
    write_redrawn_sheet(path, {title: each[:SHOWN] for title, each in shown.items()})


def write_latent_difference_sheet(
    path: Path, measured: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """Of the first portraits: portrait, whose landmarks it takes, and what each row draws, the
    proportions its own."""
    first = next(iter(measured.values()))
    rows = [
        (
            first["source"][number],
            first["source"][number - 1],
            *(each["drawn_own"][number] for each in measured.values()),
        )
        for number in range(min(SHOWN, len(first["source"])))
    ]
    titles = [SHORT.get(row, row) for row in measured]
    write_rows(path, ("portrait", "other", *titles), rows)


def write_redrawn_sheet(path: Path, shown: Mapping[str, np.ndarray]) -> None:
    """Portraits in rows, each beside the landmark images that it is redrawn by and the results."""
    count = len(next(iter(shown.values())))
    rows = [[images[number] for images in shown.values()] for number in range(count)]
    write_rows(path, list(shown), rows)
