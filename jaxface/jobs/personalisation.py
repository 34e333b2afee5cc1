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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.jobs.avatars import FOLDER, write_avatar
from jaxface.jobs.inputs.clip_survey import ClipAlignment
from jaxface.jobs.inputs.clips import ClipReading, clip_digest
from jaxface.jobs.inputs.person_clips import PersonClip, person_clip
from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
from jaxface.jobs.personalisation_report import write_report
from jaxface.jobs.stages import STAGES, SavedStage, TimedStage
from jaxface.media.images import from_uint8
from jaxface.methods.direction_matrix.faces import reading_roles, suite_faces
from jaxface.methods.pvp import Personalisation, PVPSettings, split_frames
from jaxface.methods.pvp.key_frames import KeyFrames
from jaxface.methods.pvp.settings import described
from jaxface.runtime.arrays import read_array
from jaxface.runtime.devices import program_bytes
from jaxface.runtime.files import atomic_writer, write_json
from jaxface.runtime.progress import note
from jaxface.runtime.stopping import Stopped
from jaxface.suite import Suite


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
    roles = sorted({*settings.roles(), *reading_roles(suite)})
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
            write_report(self.folder, self._suite, clip, path=self._source.path, split=work.split)
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
            write_json(path, told)
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["filled"]:
            note(f"note: {len(told['filled'])} clusters were empty; the farthest frames stand for")
        return KeyFrames(np.array(told["rows"], int), np.array(told["filled"], int))

    def _pivots(self, work: Personalisation, key_frames: KeyFrames) -> np.ndarray:
        path = self._stages / "pivots.npy"
        if not path.is_file():
            with TimedStage(self._stages, "embedding key frames") as stage:
                pivots = work.pivots(key_frames.frames, progress=stage.told)
                with atomic_writer(path) as file:
                    np.save(file, pivots, allow_pickle=False)
        return read_array(path)

    def _tuned(self, work: Personalisation, key_frames: KeyFrames, pivots: np.ndarray) -> Any:
        tuning = work.tuning(key_frames.frames, pivots)
        state = tuning.start()
        saved = SavedStage(self._stages / "tuning", state)
        state, rounds, done = saved.read(state, [])
        if done:
            return state.weights
        with TimedStage(self._stages, "tuning the generator") as stage:
            stage.doing("compiling")
            self._tell_memory("tuning the generator", tuning.programs(state))

            def after(state: Any, rounds: Any) -> None:
                said = f"LPIPS {rounds[-1]['lpips']:.3f}"
                stage.told(len(rounds), tuning.rounds, said=said)
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
        saved = SavedStage(self._stages / "mappers", (state, state.params))
        (state, best), trace, done = saved.read((state, None), [])
        steps = self._settings.mappers.steps
        with TimedStage(self._stages, "training the mappers") as stage:
            if not done:
                stage.doing("compiling")
                self._tell_memory("training the mappers", training.programs(state))

            def after(state: Any, rows: Any, best: Any) -> None:
                stage.told(int(rows[-1]["step"]), steps, said=f"loss {rows[-1]['loss']:.3f}")
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


def _rate(clip: PersonClip) -> float:
    steps = np.diff([float(each) for each in clip.times])
    return round(1.0 / float(np.median(steps)), 3)
