"""How good an avatar is on frames of its clip that were not learned from: ``report.md``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.jobs.avatars import read_avatar
from jaxface.jobs.inputs.person_clips import PersonClip, with_parts
from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
from jaxface.jobs.stages import STAGES, SavedStage, TimedStage
from jaxface.media.images import from_uint8
from jaxface.methods.pvp import Avatar
from jaxface.methods.pvp.features import ANGLES
from jaxface.methods.pvp.personalise import Split
from jaxface.methods.pvp.scores import SCORES, image_scores, per_frame
from jaxface.runtime.files import atomic_writer, write_json
from jaxface.runtime.progress import format_seconds, working
from jaxface.suite import Suite

SHOWN = 8
"""Held-out frames on their sheet."""


def write_report(folder: Path, suite: Suite, clip: PersonClip, *, path: str, split: Split) -> None:
    """Judges the avatar that a personalisation's folder has, and writes what was found there.

    Args:
      folder: of the job, whose stages are done; receives ``report.md``, ``report.json`` and, where
        frames are held out, ``held_out.png``.
      suite: has the networks.
      clip: its frames.
      path: of the clip, as the user named it.
      split: of the frames.
    """
    avatar = read_avatar(folder, suite=suite).avatar
    with working("judging held-out frames") as line:
        held = split.held_out
        scores = {}
        for name, rows in (
            ("training", split.training[:: max(1, len(split.training) // 64)]),
            ("held_out", held),
        ):
            if len(rows):
                line.doing(f"judging {name.replace('_', '-')} frames")
                scores[name] = _scored(suite, avatar, clip, rows)
    if len(held):
        _sheet(folder, avatar, clip, held)
    document = {
        "clip": path,
        "frames": len(clip.rows),
        "used": len(clip.images),
        "parts": {
            name: len(rows)
            for name, rows in zip(("training", "selection", "held_out"), split, strict=True)
        },
        "key_frames": len(avatar.w_plus),
        "distance": "LPIPS" if "lpips" in suite else "perceptual distance",
        "range_degrees": _range(avatar),
        "scores": scores,
        "tuning": SavedStage.trace(folder / STAGES / "tuning"),
        "mappers": SavedStage.trace(folder / STAGES / "mappers"),
        "seconds": TimedStage.seconds(folder / STAGES),
        "unused": _reasons(clip),
    }
    with atomic_writer(folder / "data" / "parts.jsonl") as file:
        for row in with_parts(clip, split):
            file.write(json.dumps(row).encode() + b"\n")
    with atomic_writer(folder / "report.md") as file:
        file.write(_text(document).encode())
    write_json(folder / "report.json", document)


def _sheet(folder: Path, avatar: Avatar, clip: PersonClip, rows: np.ndarray) -> None:
    shown = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)]
    drawn = np.clip(avatar.drawn(avatar.clip[shown]), -1, 1)
    used = [row for row in clip.rows if row["status"] == "ok"]
    cells = [
        Cell(
            f"frame {used[row]['index']}",
            "",
            (np.asarray(from_uint8(np.asarray(clip.images[row]))), image),
        )
        for row, image in zip(shown, drawn, strict=True)
    ]
    title = "held-out frames, and the avatar in their pose and expression"
    write_contact_sheet(
        folder / "held_out.png",
        cells,
        title=title,
        columns=4,
        labels=("frame", "avatar"),
        side=128,
    )


def _scored(
    suite: Suite, avatar: Avatar, clip: PersonClip, rows: np.ndarray
) -> dict[str, dict[str, float]]:
    targets = np.asarray(clip.images[rows])
    drawn = {"avatar": avatar.drawn(avatar.clip[rows])}
    if "encoder" in suite:
        drawn["frame by frame"] = per_frame(suite, suite.generator, targets)
        drawn["frame by frame, tuned generator"] = per_frame(suite, avatar.generator, targets)
    return {
        name: {
            score: round(float(values.mean()), 4)
            for score, values in image_scores(suite, images, targets).items()
        }
        for name, images in drawn.items()
    }


def _range(avatar: Avatar) -> dict[str, list[float]]:
    degrees = np.rad2deg(avatar.range.pose)
    return {
        name: [round(float(value), 2) for value in column]
        for name, column in zip(ANGLES, degrees.T, strict=False)
    }


def _reasons(clip: PersonClip) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in clip.rows:
        if row["status"] != "ok":
            found[row["reason"]] = found.get(row["reason"], 0) + 1
    return found


def _text(document: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = document["parts"]
    lines = [
        f"# Avatar of {Path(document['clip']).name}",
        "",
        f"{document['used']} of {document['frames']} frames are used: {parts['training']} to learn "
        f"from, {parts['selection']} to choose by, {parts['held_out']} to judge by; "
        f"{document['key_frames']} key frames.",
        "",
    ]
    for reason, count in document["unused"].items():
        lines += [f"Not used: {count} frames, {reason}.", ""]
    ranges = document["range_degrees"]
    lines += [
        "It was learned from pitches of {:g} to {:g} and yaws of {:g} to {:g} degrees.".format(
            *ranges["pitch"], *ranges["yaw"]
        ),
        "",
    ]
    for part, title in (("held_out", "Held-out frames"), ("training", "Training frames")):
        if part not in document["scores"]:
            continue
        rows = document["scores"][part]
        names = [name for name in SCORES if name in next(iter(rows.values()))]
        heads = {"psnr": "PSNR, dB ↑", "ssim": "SSIM ↑", "lpips": f"{document['distance']} ↓"}
        lines += [f"## {title}", "", f"| | {' | '.join(heads[name] for name in names)} |"]
        lines.append("| --- |" + " ---: |" * len(names))
        for name, scores in rows.items():
            shown = [
                f"{scores[each]:.2f}" if each == "psnr" else f"{scores[each]:.4f}" for each in names
            ]
            lines.append(f"| {name} | {' | '.join(shown)} |")
        lines.append("")
    tuning = document["tuning"]
    if tuning:
        lines += [
            f"The generator was tuned for {len(tuning)} rounds over the key frames, to a mean "
            f"{document['distance']} of {tuning[-1]['lpips']:.4f}.",
            "",
        ]
    lines += ["| stage | time |", "| --- | ---: |"]
    lines += [f"| {n} | {format_seconds(s)} |" for n, s in document["seconds"].items()]
    return "\n".join(lines) + "\n"
