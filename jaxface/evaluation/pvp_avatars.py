"""Avatars of the evaluation's persons: of which frames they learn, by which settings, where."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.evaluation.pvp_protocol import EVERY, HELD_OUT, SELECTION, WorldClip, write_clip
from jaxface.jobs.avatars import read_avatar
from jaxface.jobs.inputs.clips import ClipReading
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.personalisation import PersonalisationJob, Source, job_description
from jaxface.jobs.stages import STAGES
from jaxface.methods.pvp import Avatar, PVPSettings, pvp_preset
from jaxface.suite import Suite


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
