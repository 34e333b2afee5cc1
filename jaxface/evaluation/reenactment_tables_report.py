"""The report of Tables 2 to 5 of Bounareli et al. 2022, beside what the paper has."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxface.evaluation.reenactment_protocol import Protocol
from jaxface.evaluation.reenactment_tables import SHIPPED, Tables
from jaxface.evaluation.reenactment_training import ROWS

PUBLISHED: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "table2": {"synthetic": (0.52, 2.4, 1.4), "no_identity": (0.42, 2.5, 1.4)},
    "table3": {"synthetic": (0.52, 2.4, 1.4), "no_eyes": (0.52, 2.6, 1.8)},
    "table4": {
        "synthetic-tuned": (0.60, 1.7, 1.1),
        "mixed-tuned": (0.63, 1.6, 1.1),
        "paired-tuned": (0.66, 1.1, 0.8),
    },
    "table5": {"paired-untuned": (0.45, 1.4, 1.0), "paired-tuned": (0.66, 1.1, 0.8)},
}
"""CSIM, pose in degrees and expression of the paper's tables."""

TITLES: Mapping[str, str] = {
    "table2": "Table 2: the identity and the perceptual loss",
    "table3": "Table 3: the losses of eyes and mouth",
    "table4": "Table 4: trained on samples, on portraits too, and on pairs",
    "table5": "Table 5: the generator tuned to the source, or not",
}

_PAIR_COLUMNS: Mapping[str, tuple[str, str]] = {
    "csim": ("CSIM ↑", ".3f"),
    "pose": ("pose, degrees ↓", ".2f"),
    "expression": ("expression ↓", ".3f"),
    "eyes": ("eyes, px of 224 ↓", ".3f"),
    "mouth": ("mouth, px of 224 ↓", ".3f"),
    "pose_true": ("pose, truth ↓", ".2f"),
    "expression_true": ("expression, truth ↓", ".3f"),
    "landmarks_true": ("landmarks, truth, of the face ↓", ".4f"),
}
_CLIP_COLUMNS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("self", "csim"): ("CSIM ↑", ".3f"),
    ("self", "pose"): ("pose, degrees ↓", ".2f"),
    ("self", "expression_raw"): ("expression ↓", ".3f"),
    ("self_true", "pose"): ("pose, truth ↓", ".2f"),
    ("self_true", "expression_raw"): ("expression, truth ↓", ".3f"),
    ("self_true", "landmarks"): ("landmarks, truth, % ↓", ".2f"),
    ("self_true", "psnr"): ("PSNR, dB ↑", ".2f"),
    ("self_true", "mouth_psnr"): ("mouth's PSNR ↑", ".2f"),
}


def tables_report(found: Mapping[str, Any], tables: Tables, protocol: Protocol) -> str:
    """Markdown of `jaxface.evaluation.reenactment.table_scores`, to follow a report."""
    budget = tables.budget
    lines = [
        "",
        "## Tables 2 to 5 of Finding Directions",
        "",
        f"Every matrix went on from the suite's own, the row `{SHIPPED}`, for {budget.steps} steps "
        f"of {budget.batch_size} sources, with the embedded suite's settings and a learning rate "
        f"that falls from {budget.learning_rate:g}; what a loss has done before is still in it. "
        f"Mixed and paired stages have two frames of each of {budget.clips} persons, embedded "
        "by the suite's encoder; the paired row has half of its steps on pairs. Tables 2 and 3 are "
        f"of {tables.pairs} pairs of sampled latents, Tables 4 and 5 of the self-reenactment of "
        f"{protocol.persons} clips of {protocol.frames} frames, the source embedded by the encoder "
        "and the generator tuned to it. No feedback. In brackets: the paper's CSIM, pose and "
        "expression, whose units are others.",
        "",
    ]
    for table in ("table2", "table3"):
        rows = {name: values for name, values in found[table].items()}
        lines += [f"### {TITLES[table]}", "", *_rows(table, rows, _PAIR_COLUMNS), ""]
    for table in ("table4", "table5"):
        rows = {
            name: {pair: values[pair[0]][pair[1]] for pair in _CLIP_COLUMNS}
            for name, values in found[table].items()
        }
        lines += [f"### {TITLES[table]}", "", *_rows(table, rows, _CLIP_COLUMNS), ""]
    return "\n".join(lines)


def _rows(
    table: str, rows: Mapping[str, Mapping[Any, float]], columns: Mapping[Any, tuple[str, str]]
) -> Sequence[str]:
    heads = " | ".join(title for title, _ in columns.values())
    lines = [f"| | {heads} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, values in rows.items():
        cells = [
            "-" if values[key] is None else format(values[key], how)
            for key, (_, how) in columns.items()
        ]
        for place, said in enumerate(PUBLISHED[table].get(name, ())):
            cells[place] += f" ({said:g})"
        lines.append(f"| {_title(name)} | {' | '.join(cells)} |")
    return lines


def _title(name: str) -> str:
    row, _, tuning = name.partition("-")
    title = ROWS[row].title if row in ROWS else row
    return title if not tuning else f"{title}, generator {tuning}"
