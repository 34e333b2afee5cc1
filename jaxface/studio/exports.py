"""What leaves the studio: results with their rows, gestures as clips and as motion templates."""

import bisect
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.editing import FEEDBACK, MOTION_FEEDBACK, Editing
from jaxface.jobs.inputs.latents import load_latent
from jaxface.jobs.job import run_job
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.media.images import from_uint8
from jaxface.media.video import encode_gif, encode_mp4, enlarged
from jaxface.methods.edit_targets import edit_targets
from jaxface.methods.linear_directions import Move
from jaxface.runtime.files import atomic_writer
from jaxface.studio.drawing import Drawer
from jaxface.studio.edits import AskedEdit
from jaxface.studio.subjects import Gallery, LatentGallery, Portrait, new_path

RATE = 25
"""Frames a second of a recorded gesture."""

LONGEST = 60.0
"""Seconds of a gesture that are kept."""

KINDS = ("mp4", "gif", "motion")
"""Of files of a gesture."""


def save(gallery: LatentGallery, portrait: Portrait, edit: AskedEdit, *, paste_back: bool) -> Path:
    """Makes an edit as `jaxface edit` does, with its row and its files.

    Args:
      gallery: has the folder.
      portrait: who.
      edit: what.
      paste_back: whether the edited face also goes back into its photograph.

    Returns:
      A new folder, which holds what the command writes.

    Raises:
      UsageError: nothing is asked for, or the edit's row tells that it failed; no folder is left.
    """
    if edit.empty:
        raise UsageError("nothing is edited yet: turn the head first, or move a slider")
    suite, controls = gallery.engine.suite, gallery.engine.controls
    light, strength = (None, None) if edit.lamp is None else (edit.lamp.name, edit.lamp.strength)
    targets = edit_targets(suite, edit.values, light=light, strength=strength)
    moves = [_move(name, strength) for name, strength in edit.moves.items()]
    together = len(controls.groups_of(edit.values, edit.lamp is not None)) > 1
    asked: dict[str, Any] = dict(edit.values)
    asked |= {"light": light, "strength": strength} if light is not None else {}
    asked |= {"moves": [dataclasses.asdict(move) for move in moves]} if moves else {}
    asked |= {"paste_back": True} if paste_back else {}
    asked |= {"together": True} if together else {}
    task = Editing(
        suite,
        targets.groups,
        moves,
        asked,
        targets.attributes,
        FEEDBACK if targets.motion is None else MOTION_FEEDBACK,
        tuned=load_latent(portrait.item).weights is not None,
        motion=targets.motion,
        paste_back=paste_back,
        together=together,
    )
    folder = new_path(gallery.folder / "saved", Path(portrait.name).stem, make=Path.mkdir)
    try:
        with ResultsFolder(folder, task.description(), files=task.files) as results:
            run_job([portrait.item], results, task, batch_size=1, show_progress=False)
            (row,) = results.finished([portrait.item])[0]
            if row["status"] != "ok":
                raise UsageError(f"{portrait.name}: {row['reason']}")
            task.draw_sheet([portrait.item], results)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _move(name: str, strength: float) -> Move:
    """Of a name such as ``age.boundary``."""
    own, _, direction = name.partition(".")
    return Move(own, direction, strength)


def saved_image(folder: Path) -> Path:
    """The image of a result: the photograph with the face put back, or the edited face."""
    for kind in ("pasted", "edits"):
        found = sorted((folder / kind).rglob("*.png"))
        if found:
            return found[0]
    raise UsageError(f"{folder}: holds no image")


class Gesture:
    """What the hand asked for, and when."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._edits: list[AskedEdit] = []

    def add(self, time: float, edit: AskedEdit) -> None:
        """An edit at a time, in seconds that do not decrease; after `LONGEST` nothing is kept."""
        if self._times and time - self._times[0] > LONGEST:
            return
        self._times.append(time)
        self._edits.append(edit)

    @property
    def seconds(self) -> float:
        """From the first edit to the last."""
        return self._times[-1] - self._times[0] if self._times else 0.0

    def frames(self, rate: int = RATE) -> list[AskedEdit]:
        """At even times, what was asked for last by then."""
        count = int(self.seconds * rate + 1e-6) + 1 if self._times else 0
        return [
            self._edits[bisect.bisect_right(self._times, self._times[0] + number / rate + 1e-6) - 1]
            for number in range(count)
        ]


def record(
    gallery: Gallery,
    portrait: Portrait,
    gesture: Gesture,
    kinds: Sequence[str],
    *,
    tell: Callable[[float], None] = lambda share: None,
) -> list[Path]:
    """Draws a gesture with full feedback, and writes it.

    Args:
      gallery: has the folder.
      portrait: who.
      gesture: of at least two frames.
      kinds: of `KINDS`: clips that loop once, or the motion that is read of the frames, as
        `jaxface reenact --driving` takes it.
      tell: receives the share that is done.

    Returns:
      The files, in the order of `kinds`.

    Raises:
      UsageError: the gesture is too short, a kind is unknown, MP4 without PyAV, or motion that
        nothing reads.
    """
    engine, edits = gallery.engine, gesture.frames()
    if len(edits) < 2:
        raise UsageError("the gesture is too short: record, move, and stop")
    if unknown := set(kinds) - set(KINDS):
        raise UsageError(f"a gesture is written as {', '.join(KINDS)}; not {sorted(unknown)[0]!r}")
    if "mp4" in kinds:
        from jaxface.media.video import load_av

        load_av()
    subject, images, last = gallery.subject(portrait.key), [], None
    for number, edit in enumerate(edits):
        last = images[-1] if number and edit == edits[number - 1] else engine.draw(subject, edit)
        images.append(last)
        tell((number + 1) / (len(edits) + 1))
    frames = from_uint8(np.stack([image.pixels for image in images]))
    paths = []
    for kind in kinds:
        suffix = {"motion": "safetensors"}.get(kind, kind)
        path = new_path(gallery.folder / "recorded", f"{Path(portrait.name).stem}.{suffix}")
        try:
            if kind == "motion":
                _write_motion(engine, images, path)
            else:
                seconds = len(frames) / RATE
                large = enlarged(frames)
                data = (encode_gif if kind == "gif" else encode_mp4)(large, seconds=seconds)
                with atomic_writer(path) as file:
                    file.write(data)
        except BaseException:
            path.unlink()
            raise
        paths.append(path)
    tell(1.0)
    return paths


def _write_motion(engine: Drawer, images: Sequence[Any], path: Path) -> None:
    from jaxface.jobs.inputs.motion_files import write_motion

    motions = [engine.motion(each.after) for each in images if each.after is not None]
    if len(motions) < len(images) or any(motion is None for motion in motions):
        raise UsageError("this suite has nothing that reads a motion template of an image")
    whole = jax.tree.map(lambda *rows: np.concatenate(rows), *motions)
    times = [Fraction(number, RATE) for number in range(len(images))]
    write_motion(path, whole, times)
