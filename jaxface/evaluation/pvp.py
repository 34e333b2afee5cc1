"""PVP's Table 2 on clips of the embedded world, with the truth as judge, and its ablations.

An avatar is learned from the first part of each person's clip by `jaxface personalise`'s own job,
and draws the last part from the poses and expressions that the suite reads in it. Beside it: every
frame inverted by the suite's encoder, with the suite's generator, with one that PTI tuned to the
first frame (PTI without the manifold), and with the avatar's; and the one-shot methods of this
library, which have the first frame and the same motion, or the frames themselves.

The truth judges the same images against the world's parameters. Ablations learn the first person's
avatar again with one setting changed, over the same tuned generator where that is of no matter to
it, and with a share of the mappers' steps. Mappers that begin with the suite's prior are compared
with those that begin with nothing, of every person.
"""

import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.ground_truth import rotation_angle
from jaxface.evaluation.judges import judged_pose
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.parts import Parts
from jaxface.evaluation.pvp_protocol import (
    EVERY,
    HELD_OUT,
    SELECTION,
    YAWS,
    Protocol,
    WorldClip,
    rendered,
    turned_scenes,
    world_clip,
    write_clip,
)
from jaxface.evaluation.pvp_report import pvp_report, write_pvp_sheets
from jaxface.jobs.avatars import read_avatar
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.personalisation import STAGES, PersonalisationJob, Source, job_description
from jaxface.keys import item_keys
from jaxface.losses import identity
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import inversion, pti
from jaxface.methods.pvp import Avatar, Edit, PVPSettings, pvp_preset
from jaxface.methods.pvp.avatar import render_rate
from jaxface.methods.pvp.personalise import see
from jaxface.methods.pvp.scores import image_scores, per_frame
from jaxface.methods.pvp.settings import described
from jaxface.methods.reenactment import Driving, reenact
from jaxface.methods.reenactment_presets import IMAGE_DRIVEN, REENACTMENT_PRESETS
from jaxface.metrics import nme
from jaxface.morphable import FaceParameters, Scene
from jaxface.morphable.annotation import landmarks as true_landmarks
from jaxface.morphable.motion import Motion
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.progress import Pace
from jaxface.settings import apply_overrides
from jaxface.suite import Suite, identity_network

ONE_SHOT = ("pie_rignet_encoder", "direction_matrix_encoder", "transfer")
"""Methods that have the clip's first frame, by their names in the presets of reenactment."""

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
avatars themselves, which begin with nothing and have all."""

EDITS = (Edit("expression", "smile", 2.0), Edit("pose", "yaw", 15.0))
"""Linear edits by which editability is measured (Figure 9)."""

ABLATED_STEPS = 1 / 3
"""Share of the mappers' steps that every avatar of the ablations has, the whole one too."""

SHOWN = 6


def settings_of(preset: str, *, iterations: float) -> PVPSettings:
    """A preset with the protocol's parts, and its numbers of steps times a factor."""
    found = pvp_preset(preset)
    return dataclasses.replace(
        found,
        held_out=HELD_OUT,
        selection=SELECTION,
        tuning=dataclasses.replace(
            found.tuning, steps=max(1, round(found.tuning.steps * iterations))
        ),
        mappers=dataclasses.replace(
            found.mappers, steps=max(1, round(found.mappers.steps * iterations))
        ),
    )


def learned(
    suite: Suite, settings: PVPSettings, clip: WorldClip, folder: Path, *, like: Path | None
) -> tuple[Avatar, dict[str, Any]]:
    """The avatar of a clip and its report, made in a folder or there already.

    Args:
      suite: has the networks.
      settings: see `PVPSettings`.
      clip: of the person.
      folder: of the job.
      like: a finished job with the same key frames and tuning, whose stages are taken over; None:
        all stages are done.
    """
    frames = write_clip(folder.parent / f"{folder.name.split('-')[0]}-clip", clip.images)
    source = Source(str(frames), ClipReading())
    if like is not None and not (folder / STAGES).exists():
        (folder / STAGES).mkdir(parents=True)
        shutil.copytree(like / "data", folder / "data")
        for name in ("pivots.npy", "tuning.npz"):
            shutil.copy(like / STAGES / name, folder / STAGES / name)
        shutil.copy(like / "key_frames.json", folder / "key_frames.json")
    described_job = job_description(source, suite, settings, seed=0)
    with ResultsFolder(folder, described_job, files=()):
        job = PersonalisationJob(folder, source, suite, settings, seed=0, stop=lambda: False)
        report = job.run()
    return read_avatar(folder, suite=suite).avatar, report


def held_out_rows(frames: int) -> np.ndarray:
    """The frames that judge."""
    return np.arange(frames - round(HELD_OUT * frames), frames, EVERY)


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
    pvp_preset("embedded").pivot,
    dataclasses.replace(pti.PTI_EMBEDDED.tuning, steps=200),
)
"""PTI at the encoder's code of one frame."""


def scored(
    suite: Suite, clip: WorldClip, rows: np.ndarray, mattes: np.ndarray, drawn: np.ndarray
) -> dict[str, float]:
    """A row of ``table2`` and of ``table2_true``; `mattes` are the rows' [N, R, R]."""
    images = clip.images[rows]
    found = {name: v.mean() for name, v in image_scores(suite, drawn, images).items()}
    masked = image_scores(suite, drawn, images, matte=mattes)
    found |= {f"masked_{name}": value.mean() for name, value in masked.items()}
    scenes = jax.tree.map(lambda leaf: leaf[rows], clip.scenes)
    found |= {f"true_{name}": v.mean() for name, v in truth(suite, scenes, images, drawn).items()}
    return {name: float(value) for name, value in found.items()}


def truth(
    suite: Suite, scenes: Scene, images: np.ndarray, drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """What the world says of drawn frames, [T]: the angle between the true rotation and that of the
    true face fitted to the image, radians; the landmarks that the suite finds, against the true
    ones, shares of the face's box, and the same of the true frames; and the angle that is read."""
    face, size = scenes.face, images.shape[1]
    drawn = np.clip(np.asarray(drawn), -1, 1)
    targets = np.asarray(from_uint8(images))

    def judged(*rows: Any) -> dict[str, jax.Array]:
        return _truth(suite.reconstruction, suite.landmarks, *rows, size)

    return by_chunks(judged, face, targets, drawn, size=_CHUNK)


_CHUNK = 25


def _truth_terms(
    reader: Any, points: Any, face: FaceParameters, targets: Any, drawn: Any, size: int
) -> dict[str, jax.Array]:
    read = FaceParameters.from_flat(reader(drawn))
    fit = judged_pose(face, face, read, targets, drawn)
    true = true_landmarks(face, size)
    return {
        "rotation": rotation_angle(fit.rotation, face.rotation),
        "turn": rotation_angle(read.rotation, face.rotation),
        "landmarks": nme(points(drawn), true, normaliser="box"),
        "landmarks_floor": nme(points(targets), true, normaliser="box"),
    }


_truth = jax.jit(_truth_terms, static_argnums=5)


def poses(suite: Suite, avatar: Avatar, clip: WorldClip) -> dict[str, np.ndarray]:
    """Heads turned to `YAWS` (Figure 6): their true angle, and PSNR to a render of the person.

    The avatar is asked for the pose that the suite reads in the render: its reader's errors are no
    errors of the avatar."""
    mean = jnp.mean(clip.scenes.face.expression[avatar.training], axis=0)
    scenes = turned_scenes(clip.scenes, mean)
    images = rendered(scenes, clip.images.shape[1])
    asked = see(suite, images).motion
    still = avatar.posed(np.zeros(len(YAWS)), np.zeros(len(YAWS)))
    motion = dataclasses.replace(still, rotation=np.asarray(asked.rotation))
    drawn = avatar.drawn(motion)
    measured = truth(suite, scenes, images, drawn)
    outside = [bool({"yaw", "pitch"} & row.keys()) for row in avatar.outside(motion)]
    return {
        "rotation": measured["rotation"],
        "psnr": image_scores(suite, drawn, images)["psnr"],
        "outside": np.array(outside),
        "drawn": np.asarray(to_uint8(np.clip(drawn, -1, 1))),
        "renders": images,
    }


def likeness(
    suite: Suite, avatar: Avatar, clip: WorldClip, other: WorldClip, driver: Motion
) -> dict[str, Any]:
    """Identity of the avatar as another person's clip drives it.

    Cosines of the recognition network, less those of the two persons with each other (chance):
    ``kept`` is the share of what frames of the person's own clip have among themselves.
    """
    rows = held_out_rows(len(clip.images))
    drawn = avatar.drawn(avatar.own(driver[rows], clip=driver))
    network = identity_network(suite)
    own = _embeddings(network, clip.images[rows])
    reference = _embeddings(network, clip.images[avatar.training[:: max(1, len(own) // 50)]])
    theirs = _embeddings(network, other.images[rows])
    found = _embeddings(network, np.asarray(to_uint8(np.clip(drawn, -1, 1))))
    chance = float((theirs @ reference.T).mean())
    same, kept = float((own @ reference.T).mean()), float((found @ reference.T).mean())
    itself = avatar.own(avatar.clip, clip=avatar.clip)
    difference = max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max())
        for a, b in zip(jax.tree.leaves(itself), jax.tree.leaves(avatar.clip), strict=True)
    )
    return {
        "cosine": kept,
        "same_person": same,
        "chance": chance,
        "kept": (kept - chance) / (same - chance),
        "by_itself": difference,
        "drawn": np.asarray(to_uint8(np.clip(drawn[:: max(1, len(drawn) // SHOWN)], -1, 1))),
        "driver": other.images[rows][:: max(1, len(drawn) // SHOWN)],
    }


def _embeddings(network: Any, images: np.ndarray) -> np.ndarray:
    return by_chunks(functools.partial(_unit, network), images, size=_CHUNK)


@jax.jit
def _unit(network: Any, images: jax.Array) -> jax.Array:
    return identity.unit(portrait_embeddings(network, from_uint8(images)))


def edited(suite: Suite, avatar: Avatar, rows: np.ndarray) -> dict[str, float]:
    """What edits do to an avatar, as to the suite's generator (Figure 9).

    Of each of `EDITS` on held-out frames, means: ``identity``, the cosine of identity between
    edited and not; ``response``, by how much the reader sees the edited number move, as a share of
    what it sees with the suite's own generator at the same latents; ``drift``, by how much it sees
    all other numbers of pose and expression move, the root of the mean square, in deviations of
    the person's clip.
    """
    motion = avatar.clip[rows]
    network = identity_network(suite)
    known = {name: [] for name in ("identity", "response", "drift")}
    plain = dataclasses.replace(avatar, generator=suite.generator)
    scale = _numbers(avatar.clip).std(axis=0)
    scale = np.maximum(scale, _LEAST_DEVIATION * scale.max())
    for edit in EDITS:
        moved = []
        place = 1 if edit.directions == "pose" else 3 + _SMILE
        for who in (avatar, plain):
            pair = [
                np.asarray(to_uint8(np.clip(who.drawn(motion, edits=each), -1, 1)))
                for each in ((), (edit,))
            ]
            before, after = (_numbers(see(suite, images).motion) for images in pair)
            change = after - before
            moved.append(float(change[:, place].mean()))
            if who is avatar:
                first, second = (_embeddings(network, images) for images in pair)
                known["identity"].append(float((first * second).sum(axis=1).mean()))
                others = np.delete(change / scale, place, axis=1)
                known["drift"].append(float(np.sqrt(np.square(others).mean())))
        known["response"].append(moved[0] / moved[1])
    return {name: float(np.mean(values)) for name, values in known.items()}


def _numbers(motion: Motion) -> np.ndarray:
    """Rotation and expression of T frames, [T, 3 + E]."""
    return np.concatenate([np.asarray(motion.rotation), np.asarray(motion.expression)], axis=1)


_LEAST_DEVIATION = 0.1  # of the largest: a number that hardly moves is noise
_SMILE = 1  # among the embedded world's expressions


def description(suite: Suite, protocol: Protocol, settings: PVPSettings) -> dict[str, Any]:
    """Everything that decides the numbers, in JSON's types."""
    roles = ("generator", "encoder", "reconstruction", "landmarks", "recognition", "perceptual")
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
      ablations: whether the first person's avatar is learned again for each of `ABLATIONS`, and
        every person's for each of `PRETRAINED` where the suite has a prior.

    Raises:
      UsageError: no such preset, or a folder that was begun with another description.
      SuiteError: the suite lacks a network.
    """
    judges = dict.fromkeys(("reconstruction", "landmarks", "recognition", "encoder"), "It judges")
    protocol, settings = Protocol(persons, frames), settings_of(preset, iterations=iterations)
    suite.require({**settings.roles(), **judges})
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
    clips = [world_clip(n, protocol.frames, size=size) for n in range(protocol.persons)]
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
                few = images[:: max(1, len(images) // SHOWN)][:SHOWN]
                told[f"shown|{name}"] = np.asarray(to_uint8(np.clip(few, -1, 1)))
            told["shown|frame"] = clip.images[rows][:: max(1, len(rows) // SHOWN)][:SHOWN]
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
        found["ablations"] = _ablations(suite, workspace, parts, settings, clips[0], rows)
        if "avatar_prior" in suite:
            found["pretrained"] = _pretrained(
                suite, workspace, parts, settings, clips, rows, tables
            )
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


def _ablations(
    suite: Suite,
    workspace: Workspace,
    parts: Parts,
    settings: PVPSettings,
    clip: WorldClip,
    rows: np.ndarray,
) -> dict[str, dict[str, float]]:

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


def _pretrained(
    suite: Suite,
    workspace: Workspace,
    parts: Parts,
    settings: PVPSettings,
    clips: list[WorldClip],
    rows: np.ndarray,
    tables: list[dict[str, dict[str, float]]],
) -> dict[str, dict[str, float]]:
    """Means over persons, and the number of steps."""
    each = {"nothing": [table["avatar"] for table in tables]}
    told = {"nothing": settings.mappers.steps}
    for name, (start, share) in PRETRAINED.items():
        told[name] = max(1, round(settings.mappers.steps * share))
        changes = (f"mappers.start={start}", f"mappers.steps={told[name]}")
        changed = apply_overrides(settings, changes)
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
                avatar, _ = learned(suite, changed, clip, place, like=home)
                drawn = avatar.drawn(avatar.clip[rows])
                return scored(suite, clip, rows, clip.mattes(rows), drawn)

            scores = parts.get(f"pretrained-{number:03d}-{name}", judge)
            each[name].append({score: float(value) for score, value in scores.items()})
    return {
        name: {score: float(np.mean([row[score] for row in scores])) for score in scores[0]}
        | {"steps": told[name]}
        for name, scores in each.items()
    }
