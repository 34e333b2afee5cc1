"""What drives a reenactment: a clip, an image, or a file of motion, as motion and its times.

Of images only the motion is kept, batch by batch, so that memory does not grow with the clip. In
frames that show no face the motion goes evenly from that of the frame before to that of the next
one, and stays at the clip's ends; the clip keeps all its times. Of a driver of methods that are
driven by images (`jaxface.methods.reenactment.ImageReenactor`) the same holds of their codes.
"""

import contextlib
import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clip_survey import ClipAlignment, frame_items
from jaxface.jobs.inputs.clips import CLIP_SUFFIXES, ClipReading, UnusableClip, clip_digest
from jaxface.jobs.inputs.drivers import Driver, driver_portraits, driver_rows
from jaxface.jobs.inputs.folders import list_images
from jaxface.jobs.inputs.frames import prefetch_frames
from jaxface.jobs.inputs.items import find_clips, find_inputs
from jaxface.jobs.inputs.motion_files import is_motion_file, read_motion_file
from jaxface.jobs.inputs.portraits import Alignment, prefetch_portraits
from jaxface.media.detection import NoFaceError
from jaxface.media.video.timing import resampled
from jaxface.methods.reenactment import BatchReenactor, ImageReenactor
from jaxface.morphable.motion import Basis, Motion
from jaxface.morphable.retargeting import Retargeting
from jaxface.runtime.files import sha256
from jaxface.runtime.progress import working

BATCH = 8
"""Portraits that are read together."""
AHEAD = 32  # of them that are decoded before the device is free

FIELDS = ("rotation", "jaw", "expression", "gaze")
CODE = "code"
"""The field of a driver's codes."""
OPTION = "--driving"
DRIVER = "driver"
"""The folder, in the results', where the survey of the driving clip is kept."""


@dataclasses.dataclass(frozen=True)
class DrivingMotion:
    """A driver's motion.

    Attributes:
      driver: by field of `Motion`, at the times of all frames.
      seen: the motion of the frames that show a face.
      digest: SHA-256 of what it was read from.
      missed: how many frames show none.
    """

    driver: Driver
    seen: Motion
    digest: str
    missed: int = 0

    @property
    def basis(self) -> Basis:
        """Of its expressions."""
        return self.seen.basis

    @property
    def moves(self) -> bool:
        """Whether it has more than one frame."""
        return self.driver.moves

    @property
    def whole(self) -> Motion:
        """The motion of all frames."""
        return motion_of_values(self.driver.values, self.basis)

    def neutral(self, retargeting: Retargeting) -> Motion | None:
        """What `retargeting` counts changes from.

        Raises:
          UsageError: the driver is one frame, which has no change.
        """
        if not retargeting.relative:
            return None
        if not self.moves:
            raise UsageError(
                f"{OPTION} {self.driver.name}: one frame has no motion relative to itself; use "
                "--motion absolute"
            )
        return retargeting.neutral_of(self.seen)


@dataclasses.dataclass(frozen=True)
class DrivingCodes:
    """A driver's codes, for a method that is driven by images.

    Attributes:
      driver: `CODE`, [T, D], at the times of all frames.
      shape: of a frame's code, with D numbers.
      digest: SHA-256 of what it was read from.
      missed: how many frames show no face.
    """

    driver: Driver
    shape: tuple[int, ...]
    digest: str
    missed: int = 0

    @property
    def moves(self) -> bool:
        """Whether it has more than one frame."""
        return self.driver.moves


def motion_of_values(values: Any, basis: Basis) -> Motion:
    """`Motion` of its fields by name."""
    return Motion(basis=basis, **({"jaw": None} | dict(values)))


def is_clip(path: str) -> bool:
    """Whether a driver is a clip by its name: a video, an animation or a folder of images."""
    return os.path.isdir(path) or Path(path).suffix.lower() in {*CLIP_SUFFIXES, ".gif"}


def is_embedded(path: str) -> bool:
    """Whether it is the output folder of `jaxface invert`."""
    return (Path(path) / "results.jsonl").is_file()


def read_driving(
    path: str,
    method: BatchReenactor,
    networks: Any,
    *,
    size: int,
    reading: ClipReading,
    alignment: Alignment | ClipAlignment | None,
    folder: str | None,
) -> DrivingMotion:
    """Reads what drives.

    Args:
      path: a clip, an image, the output folder of `jaxface invert` of a clip, a folder of images,
        or a file of motion.
      method: reads the motion of portraits, with its `networks`.
      networks: of the method; of no use to files of motion.
      size: pixels a side of the portraits that it reads.
      reading: of a clip; its `fps` also of a recording's timecodes.
      alignment: how faces are found, of a clip also followed; None: images are aligned portraits.
      folder: of the job, where a clip's survey is kept; None: nowhere.

    Raises:
      UsageError: it cannot be read, or shows no face.
    """
    if os.path.exists(path) and is_motion_file(path):
        motion, times = read_motion_file(path, rate=reading.fps)
        driver = Driver(Path(path).name, "", times, Fraction(0), _values(motion))
        return DrivingMotion(driver, motion, sha256(path))
    seen = _of_images(
        path,
        jax.jit(method.read),
        networks,
        _values,
        size=size,
        reading=reading,
        alignment=alignment,
        folder=folder,
    )
    return DrivingMotion(seen.driver, seen.read, seen.digest, seen.missed)


def read_driving_codes(
    path: str,
    method: ImageReenactor,
    networks: Any,
    *,
    size: int,
    reading: ClipReading,
    alignment: Alignment | ClipAlignment | None,
    folder: str | None,
) -> DrivingCodes:
    """Reads what drives by its images; see `read_driving`.

    Raises:
      UsageError: it cannot be read, shows no face, or is motion without images.
    """
    if os.path.exists(path) and is_motion_file(path):
        raise UsageError(
            f"{OPTION} {path}: holds motion and no images, and the method is driven by images; "
            "name the clip itself"
        )
    seen = _of_images(
        path,
        jax.jit(method.read),
        networks,
        lambda codes: {CODE: codes.reshape(len(codes), -1)},
        size=size,
        reading=reading,
        alignment=alignment,
        folder=folder,
    )
    return DrivingCodes(seen.driver, seen.read.shape[1:], seen.digest, seen.missed)


class _Seen(NamedTuple):
    """What was read of a driver's portraits, and of which."""

    driver: Driver
    read: Any
    digest: str
    missed: int


def _of_images(
    path: str,
    read: Callable[[Any, Any], Any],
    networks: Any,
    values: Callable[[Any], dict[str, np.ndarray]],
    *,
    size: int,
    reading: ClipReading,
    alignment: Alignment | ClipAlignment | None,
    folder: str | None,
) -> _Seen:
    """Reads a driver's portraits.

    Args:
      path, networks, size, reading, alignment, folder: of `read_driving`.
      read: networks and `BATCH` portraits to what is read of them, a pytree of rows.
      values: of such rows the fields of a `Driver`, [N, D] each.
    """
    if not os.path.exists(path):
        raise UsageError(f"{OPTION} {path}: no such file or folder")
    if Path(path).suffix.lower() == ".safetensors":
        raise UsageError(
            f"{OPTION} {path}: holds a latent code and no motion; name the clip or the image itself"
        )
    with contextlib.ExitStack() as stack:
        if is_embedded(path):
            rows = driver_rows(path, option=OPTION)
            clip, times = rows[0]["path"], [Fraction(row["frame"]["time"]) for row in rows]
            portraits: Iterable[Any] = driver_portraits(path, rows, size=size, option=OPTION)
        elif is_clip(path):
            clip = path
            place = folder or stack.enter_context(tempfile.TemporaryDirectory())
            times, portraits = _of_clip(
                stack, path, reading, alignment, size, os.path.join(place, DRIVER)
            )
        else:
            clip, times = "", [Fraction(0)]
            portraits = _of_image(stack, path, alignment, size)
        with working(f"{path}: reading its motion") as line:
            seen, found = _read(
                portraits,
                read,
                networks,
                lambda count: line.doing(f"{path}: reading its motion, {count} frames"),
            )
        digest = clip_digest(clip or path)
    if found is None:
        raise UsageError(f"{OPTION} {path}: shows no face")
    first = times[0]
    times = [time - first for time in times]
    at = [times[place] for place in seen]
    filled = {
        name: resampled(at, value, times).astype(np.float32)
        for name, value in values(found).items()
    }
    driver = Driver(Path(path).name, clip, tuple(times), first, filled)
    return _Seen(driver, found, digest, len(times) - len(seen))


def _values(motion: Motion) -> dict[str, np.ndarray]:
    fields = {name: getattr(motion, name) for name in FIELDS}
    return {name: np.asarray(value) for name, value in fields.items() if value is not None}


def _of_clip(
    stack: contextlib.ExitStack,
    path: str,
    reading: ClipReading,
    alignment: Any,
    size: int,
    folder: str,
) -> tuple[list[Fraction], Iterator[Any]]:
    """The times of a clip's frames, and their portraits, None where there is no face."""
    if os.path.isdir(path) and not list_images(Path(path), None).images:
        raise UsageError(f"{OPTION} {path}: a folder without images")
    items = frame_items(find_clips([path]), reading, alignment, size=size, folder=folder)
    for item in items:
        if isinstance(item.load, UnusableClip):
            raise UsageError(f"{OPTION} {item.load.reason}")
    times = [Fraction(item.columns["frame"]["time"]) for item in items]
    return times, _portraits(stack.enter_context(prefetch_frames(items, size, ahead=AHEAD)))


def _of_image(stack: contextlib.ExitStack, path: str, alignment: Any, size: int) -> Iterator[Any]:
    """The portrait of an image: its largest face, where faces are found."""
    if isinstance(alignment, ClipAlignment):
        alignment = alignment.found
    if alignment is not None:
        alignment = dataclasses.replace(alignment, faces="largest", workers=0)
    (item,) = find_inputs([path]).items
    return _portraits(stack.enter_context(prefetch_portraits([item], size, alignment, ahead=1)))


def _portraits(prepared: Iterable[tuple[Any, Any]]) -> Iterator[np.ndarray | None]:
    for _, found in prepared:
        if isinstance(found, NoFaceError):
            yield None
        elif isinstance(found, Exception):
            raise UsageError(f"{OPTION} {found}") from found
        elif len(found) > 1:
            raise UsageError(
                f"{OPTION} {found[0].item.path}: {len(found)} faces are followed; --track says "
                "which one drives"
            )
        else:
            yield found[0].image.pixels


def _read(
    portraits: Iterable[np.ndarray | None],
    read: Callable[[Any, Any], Any],
    networks: Any,
    tell: Any,
) -> tuple[list[int], Any]:
    """The places of the portraits that there are, and what is read of them as NumPy arrays."""
    seen: list[int] = []
    parts: list[Any] = []
    there = ((place, each) for place, each in enumerate(portraits) if each is not None)
    while some := list(itertools.islice(there, BATCH)):
        images = [image for _, image in some]
        padded = np.stack([*images, *images[-1:] * (BATCH - len(images))])
        count = len(images)
        found = jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:n], read(networks, padded))
        parts.append(found)
        seen += [place for place, _ in some]
        tell(len(seen))
    if not parts:
        return [], None
    return seen, jax.tree.map(lambda *each: np.concatenate(each), *parts)


def driving_notes(driving: DrivingMotion | DrivingCodes, sources: Sequence[Any]) -> list[str]:
    """What a user should know of a driver.

    Args:
      driving: it.
      sources: of the sources that are frames of a clip, the clips' paths.
    """
    notes = []
    if driving.missed:
        count = len(driving.driver.times)
        notes.append(
            f"{driving.driver.name}: {driving.missed} of {count} frames show no face; the motion "
            "goes evenly through them"
        )
    if sources and not driving.moves:
        notes.append(
            f"{driving.driver.name} is one frame: every frame of {Path(sources[0]).name} takes its "
            "motion; for a portrait that moves as the clip does, swap the two"
        )
    return notes
