"""Avatars learned again with something changed: PVP's ablations, and how the mappers begin.

Ablations learn the first person's avatar again with one setting changed, over the same tuned
generator where that is of no matter to it, and with a share of the mappers' steps. Mappers that
begin with the suite's prior are compared with those that begin with nothing, of every person.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxface.evaluation.outputs import Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.pvp_avatars import learned
from jaxface.evaluation.pvp_judging import edited, scored
from jaxface.evaluation.pvp_protocol import WorldClip
from jaxface.methods.pvp import PVPSettings, pvp_preset
from jaxface.settings import apply_overrides
from jaxface.suite import Suite

ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "no_regulariser": ("tuning.locality=False",),
    "uniform_key_frames": ("key_frames.choice=uniform",),
    "no_expression_loss": ("mappers.expression_weight=0",),
    "no_consistency_losses": ("mappers.pose_weight=0", "mappers.consistency_weight=0"),
    "direct_regression": ("mappers.rotation=direct",),
}
"""What is changed of the preset, by name."""

PRETRAINED: Mapping[str, tuple[str, float]] = {
    "nothing_tenth": ("zero", 0.1),
    "prior_tenth": ("prior", 0.1),
    "prior_hundredth": ("prior", 0.01),
    "prior": ("prior", 1.0),
}
"""How mappers begin, and for what share of the preset's steps they are trained, by name; beside the
avatars themselves, which begin with nothing and have all. Those that begin with the prior have the
pivots and the learning rate of `jaxface.methods.pvp.PRETRAINED`."""

ABLATED_STEPS = 1 / 3
"""Share of the mappers' steps that every avatar of the ablations has, the whole one too."""


def ablations(
    suite: Suite,
    workspace: Workspace,
    parts: Parts,
    settings: PVPSettings,
    clip: WorldClip,
    rows: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Scores of the first person's avatar, whole and without each of its parts.

    Args:
      suite: has what avatars need, and what judges.
      workspace: its ``avatars/p0`` is finished.
      parts: keep what is measured already.
      settings: of that avatar.
      clip: of the first person.
      rows: its frames that judge.
    """
    home, mattes = workspace.folder / "avatars" / "p0", clip.mattes(rows)
    steps = max(1, round(settings.mappers.steps * ABLATED_STEPS))
    found = {}
    for name, changes in {"whole": (), **ABLATIONS}.items():
        changed = apply_overrides(settings, (f"mappers.steps={steps}", *changes))

        def judge(name: str = name, changed: PVPSettings = changed) -> dict[str, float]:
            workspace.say(f"ablation: {name}")
            alike = changed.tuning == settings.tuning and changed.key_frames == settings.key_frames
            place = home.with_name(f"p0-{name}")
            avatar, _ = learned(suite, changed, clip, place, like=home if alike else None)
            drawn = avatar.drawn(avatar.clip[rows])
            return scored(suite, clip, rows, mattes, drawn) | edited(suite, avatar, rows)

        found[name] = {
            score: float(value) for score, value in parts.get(f"ablation-{name}", judge).items()
        }
    return found


def starts(
    suite: Suite,
    workspace: Workspace,
    parts: Parts,
    settings: PVPSettings,
    clips: list[WorldClip],
    rows: np.ndarray,
    tables: list[dict[str, dict[str, float]]],
) -> dict[str, dict[str, float]]:
    """Scores of avatars by how their mappers began, means over persons, and the numbers of steps.

    Args:
      suite: has a prior.
      workspace, parts, settings, clips, rows: as `ablations` has them, of every person.
      tables: each person's scores, whose row ``avatar`` began with nothing and had all steps.
    """
    each = {"nothing": [table["avatar"] for table in tables]}
    told = {"nothing": settings.mappers.steps}
    for name, (start, share) in PRETRAINED.items():
        told[name] = max(1, round(settings.mappers.steps * share))
        changed = started(settings, start, told[name])
        each[name] = []
        for number, clip in enumerate(clips):

            def judge(
                name: str = name,
                number: int = number,
                clip: WorldClip = clip,
                changed: PVPSettings = changed,
            ) -> dict[str, float]:
                workspace.say(f"pre-trained mappers, person {number + 1}: {name}")
                home = workspace.folder / "avatars" / f"p{number}"
                place = home.with_name(f"p{number}-{name}")
                like = home if changed.pivots == settings.pivots else _moved_like(home)
                avatar, _ = learned(suite, changed, clip, place, like=like)
                drawn = avatar.drawn(avatar.clip[rows])
                return scored(suite, clip, rows, clip.mattes(rows), drawn)

            scores = parts.get(f"pretrained-{number:03d}-{name}", judge)
            each[name].append({score: float(value) for score, value in scores.items()})
    return {
        name: {score: float(np.mean([row[score] for row in scores])) for score in scores[0]}
        | {"steps": told[name]}
        for name, scores in each.items()
    }


def started(settings: PVPSettings, start: str, steps: int) -> PVPSettings:
    """An avatar's settings with mappers that begin so and have so many steps."""
    if start == "prior":
        preset = pvp_preset("pretrained")
        mappers = dataclasses.replace(preset.mappers, steps=steps)
        return dataclasses.replace(
            settings, pivot=preset.pivot, pivots=preset.pivots, mappers=mappers
        )
    return apply_overrides(settings, (f"mappers.start={start}", f"mappers.steps={steps}"))


def _moved_like(home: Path) -> Path | None:
    """A finished job of the same person over moved pivots, if there is one."""
    names = (name for name, (start, _) in PRETRAINED.items() if start == "prior")
    made = (home.with_name(f"{home.name}-{name}") for name in names)
    return next((place for place in made if (place / "avatar").is_dir()), None)
