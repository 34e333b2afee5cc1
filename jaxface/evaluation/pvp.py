"""PVP's Table 2 on clips of the embedded world, with the truth as judge, and its ablations.

An avatar is learned from the first part of each person's clip by `jaxface personalise`'s own job,
and draws the last part from the poses and expressions that the suite reads in it. Beside it: every
frame inverted by the suite's encoder, with the suite's generator, with one that PTI tuned to the
first frame (PTI without the manifold), and with the avatar's; and the one-shot methods of this
library, which have the first frame and the same motion, or the frames themselves.
"""

import dataclasses
import json
from typing import Any

import jax
import numpy as np

from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.pvp_avatars import held_out_rows, learned, settings_of
from jaxface.evaluation.pvp_judging import likeness, poses, scored, shown_of
from jaxface.evaluation.pvp_protocol import YAWS, Protocol, WorldClip, world_clip
from jaxface.evaluation.pvp_report import ONE_SHOT, pvp_report, write_pvp_sheets
from jaxface.evaluation.pvp_variants import ablations as measured_ablations
from jaxface.evaluation.pvp_variants import starts
from jaxface.evaluation.suite_world import suite_world
from jaxface.keys import item_keys
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import encoder, inversion, pti
from jaxface.methods.pvp import Avatar, PVPSettings
from jaxface.methods.pvp.avatar import render_rate
from jaxface.methods.pvp.personalise import see
from jaxface.methods.pvp.scores import per_frame
from jaxface.methods.pvp.settings import described
from jaxface.methods.reenactment import Driving, reenact
from jaxface.methods.reenactment_presets import IMAGE_DRIVEN, REENACTMENT_PRESETS
from jaxface.runtime.progress import Pace
from jaxface.suite import Suite


def drawn_rows(
    suite: Suite, avatar: Avatar, clip: WorldClip, rows: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """What every method makes of the held-out frames, [T, R, R, 3], not clipped."""
    images, keys = clip.images[rows], item_keys(jax.random.key(0), [name])
    first = np.asarray(from_uint8(clip.images[:1]))
    motion = avatar.clip[rows]
    found = {
        "avatar": avatar.drawn(motion),
        "frame_by_frame": per_frame(suite, suite.generator, images),
        "frame_by_frame_avatar": per_frame(suite, avatar.generator, images),
    }
    tuned = inversion.invert(_PTI, suite, first, keys=keys, networks_key=jax.random.key(1))
    generator = pti.changed_generator(suite.generator, tuned.weights, 0)
    found["frame_by_frame_pti"] = per_frame(suite, generator, images)
    for method in ONE_SHOT:
        if method in IMAGE_DRIVEN:
            if "transfer" not in suite:
                continue
            chosen: Any = IMAGE_DRIVEN[method]
            driving = Driving(images=np.asarray(from_uint8(images)))
        else:
            chosen = REENACTMENT_PRESETS[method]
            if any(role not in suite for role in chosen.driving_roles()):
                continue
            driving = Driving(motion=motion)
        found[method] = reenact(suite, chosen, first, driving, keys=keys)
    return found


_PTI = pti.PivotalTuning(
    encoder.Settings(),
    dataclasses.replace(pti.PTI_EMBEDDED.tuning, steps=200),
)
"""PTI at the encoder's code of one frame."""


JUDGES = ("reconstruction", "landmarks", "recognition", "encoder")
"""Roles of a suite that judge."""


def description(suite: Suite, protocol: Protocol, settings: PVPSettings) -> dict[str, Any]:
    """Everything that decides the numbers, in JSON's types."""
    roles = sorted({*settings.roles(), *JUDGES, "avatar_prior"})
    found = {
        "evaluation": "pvp",
        "protocol": protocol.to_json(),
        "settings": described(settings),
        "networks": {role: suite.digest(role) for role in roles if role in suite},
    }
    return json.loads(json.dumps(found))


def run(
    suite: Suite,
    workspace: Workspace,
    *,
    persons: int,
    frames: int,
    iterations: float,
    preset: str,
    ablations: bool,
) -> Outcome:
    """The experiment of `jaxface evaluate pvp`.

    Parts and stages that a stopped run finished are not done again.

    Args:
      suite: has what avatars need, and what judges.
      workspace: receives ``pvp.md``, ``pvp.json``, a sheet, ``avatars/`` and ``parts/``.
      persons, frames: see `Protocol`.
      iterations: factor of the preset's numbers of rounds and steps.
      preset: of `jaxface.methods.pvp`.
      ablations: whether the first person's avatar is learned again for each ablation, and every
        person's for each way to begin where the suite has a prior.

    Raises:
      UsageError: no such preset, or a folder that was begun with another description.
      SuiteError: the suite lacks a network.
    """
    protocol, settings = Protocol(persons, frames), settings_of(preset, iterations=iterations)
    suite.require({**settings.roles(), **dict.fromkeys(JUDGES, "It judges")})
    decided = description(suite, protocol, settings)
    with workspace.claim(workspace.folder, decided):
        found = _measure(suite, workspace, protocol, settings, ablations=ablations)
        document = {**found, "description": decided}
        report = pvp_report(suite, protocol, document)
        workspace.write("pvp", report, document)
    return Outcome(report)


def _measure(
    suite: Suite,
    workspace: Workspace,
    protocol: Protocol,
    settings: PVPSettings,
    *,
    ablations: bool,
) -> dict[str, Any]:
    parts, folder = Parts(workspace.folder / "parts"), workspace.folder / "avatars"
    size, rows = suite.generator.resolution, held_out_rows(protocol.frames)
    workspace.say("rendering clips")
    of = suite_world(suite)
    clips = [world_clip(n, protocol.frames, size=size, of=of) for n in range(protocol.persons)]
    pace = Pace(protocol.persons)
    tables: list[dict[str, dict[str, float]]] = []
    seconds, turns, likes, rates = [], [], [], {}
    shown: dict[str, np.ndarray] = {}
    for number, clip in enumerate(clips):
        workspace.say(f"person {number + 1} of {protocol.persons}, {pace.next()}")
        home = folder / f"p{number}"
        avatar, report = learned(suite, settings, clip, home, like=None)
        seconds.append(report["seconds"])

        def judge(number: int = number, clip: WorldClip = clip, avatar: Avatar = avatar) -> Any:
            drawn = drawn_rows(suite, avatar, clip, rows, f"p{number}")
            told: dict[str, Any] = {}
            mattes = clip.mattes(rows)
            for name, images in drawn.items():
                workspace.say(f"person {number + 1}: judging {name}")
                for score, value in scored(suite, clip, rows, mattes, images).items():
                    told[f"{name}|{score}"] = value
                told[f"shown|{name}"] = np.asarray(to_uint8(np.clip(shown_of(images), -1, 1)))
            told["shown|frame"] = shown_of(clip.images[rows])
            return told

        judged = parts.get(f"person-{number:03d}", judge)
        table: dict[str, dict[str, float]] = {}
        for name, value in judged.items():
            row, _, score = name.partition("|")
            if row == "shown":
                shown[f"{number}|{score}"] = value
            else:
                table.setdefault(row, {})[score] = float(value)
        tables.append(table)
        turned = parts.get(f"poses-{number:03d}", lambda a=avatar, c=clip: poses(suite, a, c))
        turns.append(turned)
        other = clips[(number + 1) % protocol.persons]

        def alike(avatar: Avatar = avatar, clip: WorldClip = clip, other: WorldClip = other) -> Any:
            return likeness(suite, avatar, clip, other, see(suite, other.images).motion)

        likes.append(parts.get(f"likeness-{number:03d}", alike))
        if number == 0:
            rates = parts.get(
                "speed",
                lambda a=avatar: {f"batch_{n}": render_rate(a, batch=n) for n in (1, 16)},
            )
    found = _tables(tables, turns, likes)
    found["seconds"] = seconds
    found["frames_per_second"] = {name: float(value) for name, value in rates.items()}
    if ablations:
        found["ablations"] = measured_ablations(suite, workspace, parts, settings, clips[0], rows)
        if "avatar_prior" in suite:
            found["pretrained"] = starts(suite, workspace, parts, settings, clips, rows, tables)
    write_pvp_sheets(workspace.folder, shown, turns[0], likes[0])
    return found


def _tables(tables: list[Any], turns: list[Any], likes: list[Any]) -> dict[str, Any]:
    def mean(row: str, score: str) -> float:
        return float(np.mean([table[row][score] for table in tables if row in table]))

    first = tables[0]
    table2, true = {}, {}
    for row, scores in first.items():
        table2[row] = {s: mean(row, s) for s in scores if not s.startswith("true_")}
        true[row] = {s.removeprefix("true_"): mean(row, s) for s in scores if s.startswith("true_")}
    inside = np.concatenate([~turn["outside"].astype(bool) for turn in turns])
    rotation = np.concatenate([turn["rotation"] for turn in turns])
    quality = np.concatenate([turn["psnr"] for turn in turns])

    def told(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    return {
        "table2": table2,
        "table2_true": true,
        "by_person": tables,
        "poses": {
            "yaws": list(YAWS),
            "rotation": np.mean([turn["rotation"] for turn in turns], axis=0).tolist(),
            "psnr": np.mean([turn["psnr"] for turn in turns], axis=0).tolist(),
            "rotation_inside": told(rotation[inside]),
            "rotation_outside": told(rotation[~inside]),
            "psnr_inside": told(quality[inside]),
        },
        "reenactment": {
            name: float(np.mean([each[name] for each in likes]))
            for name in ("cosine", "same_person", "chance", "kept", "by_itself")
        },
    }
