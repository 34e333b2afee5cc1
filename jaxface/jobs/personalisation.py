"""`jaxface personalise`: a clip becomes an avatar, stage by stage, each kept on the disk.

::

    DIR/job.json                 clip and settings, for comparison when it goes on
    DIR/data/                    frames and motion, see `jaxface.jobs.inputs.person_clips`
    DIR/key_frames.png, .json    the key frames
    DIR/stages/                  pivots, and where tuning and mappers are
    DIR/avatar/                  the avatar, see `jaxface.jobs.avatars`
    DIR/held_out.png             frames that were not learned from, beside what is drawn
    DIR/report.md, report.json   how good it is, and how long it took

A stage that is done is not done again, and one that was stopped goes on where it was, to the same
bits. Everything appears whole or not at all.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.jobs.avatars import FOLDER, read_avatar, write_avatar
from jaxface.jobs.inputs.clip_survey import ClipAlignment
from jaxface.jobs.inputs.clips import ClipReading, clip_digest
from jaxface.jobs.inputs.person_clips import PersonClip, person_clip, with_parts
from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
from jaxface.media.images import from_uint8
from jaxface.methods.direction_matrix.faces import suite_faces
from jaxface.methods.pvp import Avatar, Personalisation, PVPSettings, split_frames
from jaxface.methods.pvp.key_frames import KeyFrames
from jaxface.methods.pvp.scores import SCORES, image_scores, per_frame
from jaxface.methods.pvp.settings import described
from jaxface.runtime.devices import program_bytes
from jaxface.runtime.files import atomic_writer
from jaxface.runtime.progress import format_seconds, note, working
from jaxface.runtime.stopping import Stopped
from jaxface.suite import Suite

STAGES = "stages"
SAVE_EVERY = 60.0
"""Seconds between two saves of a stage that goes on."""

SHOWN = 8
"""Held-out frames on their sheet."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A clip and how it is read.

    Attributes:
      path: of the clip.
      reading: of it.
      alignment: how its face is found and followed; None: frames are aligned portraits.
      chosen: whether the user said whose face is meant.
      mattes: see `jaxface.jobs.inputs.person_clips.person_clip`.
    """

    path: str
    reading: ClipReading
    alignment: ClipAlignment | None = None
    chosen: bool = False
    mattes: str | None = None


def job_description(
    source: Source, suite: Suite, settings: PVPSettings, *, seed: int
) -> dict[str, Any]:
    """Everything that decides an avatar, JSON-like."""
    alignment = None if source.alignment is None else source.alignment.description()
    roles = sorted({*settings.roles(), "reconstruction", "deca", "landmarks"})
    found = {
        "verb": "personalise",
        "clip": clip_digest(source.path),
        "mattes": None if source.mattes is None else clip_digest(source.mattes),
        "reading": source.reading.to_json(),
        "alignment": alignment,
        "suite": {role: suite.digest(role) for role in roles if role in suite},
        "settings": described(settings),
        "seed": seed,
    }
    return json.loads(json.dumps(found))


def tell_unknown_gaze(suite: Suite, settings: PVPSettings) -> None:
    """Says in one line where a loss of gaze was asked for and has no effect."""
    if settings.mappers.gaze_weight and suite_faces(suite).basis != "anatomical":
        note(
            "note: mappers.gaze_weight has no effect: what reads faces in the suite "
            f"{suite.name!r} knows no gaze"
        )


class PersonalisationJob:
    """The stages of a folder that is held by its caller (`ResultsFolder`).

    Args:
      folder: of the job.
      source: the clip.
      suite: has the networks.
      settings: see `PVPSettings`.
      seed: of everything random.
      stop: asked between rounds and chunks; where it says so the stage is kept as it is.
    """

    def __init__(
        self,
        folder: Path,
        source: Source,
        suite: Suite,
        settings: PVPSettings,
        *,
        seed: int,
        stop: Callable[[], bool],
    ):
        if source.alignment is None:
            settings = dataclasses.replace(settings, gap=0.0)  # nothing was smoothed over time
        self.folder, self._source, self._suite = folder, source, suite
        self._settings, self._seed, self._stop = settings, seed, stop
        self._stages = folder / STAGES

    def run(self) -> dict[str, Any]:
        """All stages that are left.

        Returns:
          The report's document.

        Raises:
          UsageError: the clip is of no use; in one sentence.
          Stopped: `stop` said so; what is done is kept.
        """
        self._stages.mkdir(parents=True, exist_ok=True)
        clip = person_clip(
            self._source.path,
            self._suite,
            reading=self._source.reading,
            alignment=self._source.alignment,
            chosen=self._source.chosen,
            mattes=self._source.mattes,
            folder=self.folder,
        )
        seconds = [float(each) for each in clip.times]
        split = split_frames(self._settings, seconds)
        work = Personalisation(
            self._settings,
            self._suite,
            clip.images,
            clip.seen,
            split,
            key=jax.random.key(self._seed),
        )
        if not (self.folder / FOLDER / "avatar.json").is_file():
            self._make(work, clip)
        report = self.folder / "report.json"
        if not report.is_file():
            self._report(work, clip)
        return json.loads(report.read_text(encoding="utf-8"))

    def _make(self, work: Personalisation, clip: PersonClip) -> None:
        key_frames = self._key_frames(work, clip)
        pivots = self._pivots(work, key_frames)
        weights = self._tuned(work, key_frames, pivots)
        mappers, trained = self._mapped(work, weights, key_frames, pivots)
        avatar = work.avatar(mappers, weights, trained, key_frames.frames)
        told = {
            "clip": self._source.path,
            "fps": _rate(clip),
            "settings": described(self._settings),
        }
        write_avatar(
            self.folder / FOLDER, avatar, clip.times, key_frames.frames.tolist(), told=told
        )

    def _key_frames(self, work: Personalisation, clip: PersonClip) -> KeyFrames:
        path = self.folder / "key_frames.json"
        if not path.is_file():
            found = work.key_frames()
            used = [row for row in clip.rows if row["status"] == "ok"]
            told = {
                "rows": found.frames.tolist(),
                "filled": found.filled.tolist(),
                "frames": [used[row]["index"] for row in found.frames],
                "times": [used[row]["time"] for row in found.frames],
            }
            degrees = np.asarray(clip.seen.motion.degrees)
            cells = [
                Cell(
                    f"frame {used[row]['index']}",
                    f"pitch {degrees[row, 0]:+.0f} yaw {degrees[row, 1]:+.0f}",
                    (np.asarray(from_uint8(np.asarray(clip.images[row]))),),
                )
                for row in found.frames
            ]
            title = f"{len(cells)} key frames of {Path(self._source.path).name}"
            side = 96 if len(cells) > 40 else 128
            write_contact_sheet(
                self.folder / "key_frames.png", cells, title=title, columns=12, side=side
            )
            _write_json(path, told)
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["filled"]:
            note(f"note: {len(told['filled'])} clusters were empty; the farthest frames stand for")
        return KeyFrames(np.array(told["rows"], int), np.array(told["filled"], int))

    def _pivots(self, work: Personalisation, key_frames: KeyFrames) -> np.ndarray:
        path = self._stages / "pivots.npy"
        if not path.is_file():
            with _Stage(self._stages, "embedding key frames") as stage:
                pivots = work.pivots(key_frames.frames, progress=stage.told)
                with atomic_writer(path) as file:
                    np.save(file, pivots, allow_pickle=False)
        return np.load(path, allow_pickle=False)

    def _tuned(self, work: Personalisation, key_frames: KeyFrames, pivots: np.ndarray) -> Any:
        tuning = work.tuning(key_frames.frames, pivots)
        state = tuning.start()
        saved = _Saved(self._stages / "tuning", state)
        state, rounds, done = saved.read(state, [])
        if done:
            return state.weights
        with _Stage(self._stages, "tuning the generator") as stage:
            stage.doing("compiling")
            self._tell_memory("tuning the generator", tuning.programs(state))

            def after(state: Any, rounds: Any) -> None:
                said = f"LPIPS {rounds[-1]['lpips']:.3f}"
                stage.told(len(rounds), tuning.rounds, said)
                saved.due(state, rounds)
                if self._stop():
                    saved.write(state, rounds)
                    raise Stopped("asked to stop", {})

            tuned, state = tuning.run(state, rounds, after=after)
            rows = len(next(iter(tuned.trace.values()), []))
            trace = [
                {name: float(values[row]) for name, values in tuned.trace.items()}
                for row in range(rows)
            ]
            saved.write(state, trace, done=True)
        return tuned.weights

    def _mapped(
        self, work: Personalisation, weights: Any, key_frames: KeyFrames, pivots: np.ndarray
    ) -> tuple[Any, Any]:
        training = work.training(weights, key_frames.frames, pivots)
        state = training.start()
        saved = _Saved(self._stages / "mappers", (state, state.params))
        (state, best), trace, done = saved.read((state, None), [])
        steps = self._settings.mappers.steps
        with _Stage(self._stages, "training the mappers") as stage:
            if not done:
                stage.doing("compiling")
                self._tell_memory("training the mappers", training.programs(state))

            def after(state: Any, rows: Any, best: Any) -> None:
                stage.told(int(rows[-1]["step"]), steps, f"loss {rows[-1]['loss']:.3f}")
                kept = (state, state.params if best is None else best)
                saved.due(kept, rows)
                if self._stop() or rows[-1]["step"] == steps:
                    saved.write(kept, rows, done=rows[-1]["step"] == steps)
                if self._stop() and rows[-1]["step"] < steps:
                    raise Stopped("asked to stop", {})

            chosen = best if len(work.split.selection) else None
            mappers, trained, _ = training.run(state, trace, best=chosen, after=after)
        return mappers, trained

    def _tell_memory(self, what: str, programs: Any) -> None:
        held = sum(program_bytes(each) or 0 for each in programs)
        note(f"{what}: {held / 1e6:.0f} MB of the device's memory")

    def _report(self, work: Personalisation, clip: PersonClip) -> None:
        avatar = read_avatar(self.folder, suite=self._suite).avatar
        with working("judging held-out frames") as line:
            held = work.split.held_out
            scores = {}
            for name, rows in (
                ("training", work.split.training[:: max(1, len(work.split.training) // 64)]),
                ("held_out", held),
            ):
                if len(rows):
                    line.doing(f"judging {name.replace('_', '-')} frames")
                    scores[name] = _scored(self._suite, avatar, clip, rows)
        if len(held):
            self._sheet(avatar, clip, held)
        document = {
            "clip": self._source.path,
            "frames": len(clip.rows),
            "used": len(clip.images),
            "parts": {
                name: len(rows)
                for name, rows in zip(
                    ("training", "selection", "held_out"), work.split, strict=True
                )
            },
            "key_frames": len(avatar.w_plus),
            "distance": "LPIPS" if "lpips" in self._suite else "perceptual distance",
            "range_degrees": _range(avatar),
            "scores": scores,
            "tuning": _Saved.trace(self._stages / "tuning"),
            "mappers": _Saved.trace(self._stages / "mappers"),
            "seconds": _Stage.seconds(self._stages),
            "unused": _reasons(clip),
        }
        with atomic_writer(self.folder / "data" / "parts.jsonl") as file:
            for row in with_parts(clip, work.split):
                file.write(json.dumps(row).encode() + b"\n")
        with atomic_writer(self.folder / "report.md") as file:
            file.write(_text(document).encode())
        _write_json(self.folder / "report.json", document)

    def _sheet(self, avatar: Avatar, clip: PersonClip, rows: np.ndarray) -> None:
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
            self.folder / "held_out.png",
            cells,
            title=title,
            columns=4,
            labels=("frame", "avatar"),
            side=128,
        )


class _Saved:
    """Where a stage is: its state's arrays, its trace, and whether it is done."""

    def __init__(self, stem: Path, like: Any):
        self._arrays = stem.with_suffix(".npz")
        self._structure, self._last = jax.tree.structure(like), time.monotonic()

    def read(self, start: Any, trace: list) -> tuple[Any, list[dict[str, float]], bool]:
        """State, trace and whether it is done; `start` and `trace` where nothing is kept."""
        if not self._arrays.is_file():
            return start, trace, False
        with np.load(self._arrays, allow_pickle=False) as stored:
            told = json.loads(str(stored["told"]))
            leaves = [jnp.asarray(stored[f"{place}"]) for place in range(len(stored.files) - 1)]
        return jax.tree.unflatten(self._structure, leaves), told["trace"], told["done"]

    def due(self, state: Any, trace: list[dict[str, float]]) -> None:
        """Writes it if the last time is long ago."""
        if time.monotonic() - self._last > SAVE_EVERY:
            self.write(state, trace)

    def write(self, state: Any, trace: list[dict[str, float]], *, done: bool = False) -> None:
        """Writes all in one file, which is there whole or as it was."""
        told = json.dumps({"trace": trace, "done": done})
        arrays = {f"{place}": np.asarray(leaf) for place, leaf in enumerate(jax.tree.leaves(state))}
        with atomic_writer(self._arrays) as file:
            np.savez(file, allow_pickle=False, told=np.array(told), **arrays)
        self._last = time.monotonic()

    @staticmethod
    def trace(stem: Path) -> list[dict[str, float]]:
        """The trace of a stage that is kept."""
        with np.load(stem.with_suffix(".npz"), allow_pickle=False) as stored:
            return json.loads(str(stored["told"]))["trace"]


class _Stage:
    """Tells a stage's progress and the time that is left, and adds up the time it takes."""

    def __init__(self, folder: Path, name: str):
        self._file, self._name = folder / "seconds.json", name

    def __enter__(self) -> "_Stage":
        self._context = working(self._name)
        self._line, self._begun = self._context.__enter__(), time.monotonic()
        self._first: tuple[int, float] | None = None
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        spent = self.seconds(self._file.parent)
        spent[self._name] = spent.get(self._name, 0.0) + time.monotonic() - self._begun
        _write_json(self._file, {name: round(value, 1) for name, value in spent.items()})

    def doing(self, text: str) -> None:
        """Something that has no steps."""
        self._line.doing(f"{self._name}: {text}")

    def told(self, done: int, total: int, said: str = "") -> None:
        """What is done of a stage; the first time counts from where it went on, compiled."""
        now = time.monotonic()
        self._first = self._first or (done, now)
        first, since = self._first
        left = (now - since) / (done - first) * (total - done) if done > first else float("nan")
        text = f"{self._name}: {done} of {total}, left {format_seconds(left)}"
        self._line.doing(f"{text}, {said}" if said else text)

    @staticmethod
    def seconds(folder: Path) -> dict[str, float]:
        """By stage."""
        path = folder / "seconds.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


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
        name: [round(float(value), 2) for value in degrees[:, place]]
        for place, name in enumerate(("pitch", "yaw"))
    }


def _reasons(clip: PersonClip) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in clip.rows:
        if row["status"] != "ok":
            found[row["reason"]] = found.get(row["reason"], 0) + 1
    return found


def _rate(clip: PersonClip) -> float:
    steps = np.diff([float(each) for each in clip.times])
    return round(1.0 / float(np.median(steps)), 3)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with atomic_writer(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")


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
