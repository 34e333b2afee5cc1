"""Drivers: clips whose pose, expression or light, frame by frame, others are to take over.

A driver is the output folder of `jaxface invert` of a clip. Its portraits are read by the suite's
reconstruction network, and what they show is resampled by time, so that a driver's rate need not be
that of what it drives.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.inputs.clips import FrameReader
from jaxface.jobs.inputs.frames import frame_portrait
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import Latent
from jaxface.jobs.outputs.rows import rows_in
from jaxface.media.following.smoothing import smooth_values
from jaxface.media.video.timing import resampled
from jaxface.methods import pie
from jaxface.suite import Suite

BATCH = 4  # portraits that are read together
Beyond = Literal["hold", "loop", "stop"]


@dataclasses.dataclass(frozen=True)
class Driver:
    """What the portraits of a clip show.

    Attributes:
      name: of its folder.
      clip: the file, or the folder of images.
      times: [T] seconds after the first of its portraits.
      start: of that one, on the clip's own clock.
      values: by group, [T, P].
    """

    name: str
    clip: str
    times: tuple[Fraction, ...]
    start: Fraction
    values: Mapping[str, np.ndarray]

    @property
    def moves(self) -> bool:
        """Whether it has more than one frame."""
        return len(self.times) > 1

    def relative_to(self, neutral: str | int) -> "Driver":
        """Differences to a neutral face.

        Args:
          neutral: "first", "mean" of all portraits, or the number of a portrait, from 0.

        Raises:
          UsageError: there is no such portrait.
        """
        if isinstance(neutral, int) and neutral >= len(self.times):
            raise UsageError(
                f"--neutral {neutral}: the driver has portraits 0 to {len(self.times) - 1}"
            )
        place = 0 if neutral == "first" else neutral
        values = {
            group: each - (each.mean(0) if isinstance(place, str) else each[place])
            for group, each in self.values.items()
        }
        return dataclasses.replace(self, values=values)

    def smoothed(self, sigma: float) -> "Driver":
        """Values without jitter: a Gaussian over true times of `sigma` seconds, over the whole
        clip, so that batches and chunks have no part in it."""
        times = [float(time) for time in self.times]
        values = {name: smooth_values(times, each, sigma) for name, each in self.values.items()}
        return dataclasses.replace(self, values=values)

    def at(self, times: Sequence[Fraction], beyond: Beyond) -> list[dict[str, np.ndarray] | None]:
        """What is driven at some times, linear between the driver's portraits.

        Args:
          times: seconds after the beginning.
          beyond: what is after the driver's end: its last portrait, it from its beginning again, or
            nothing, None.
        """
        last = self.times[-1]
        taken = list(times)
        if beyond == "loop" and len(self.times) > 1:
            period = last + last / (len(self.times) - 1)
            taken = [time % period for time in times]
        found = {name: resampled(self.times, each, taken) for name, each in self.values.items()}
        return [
            None
            if beyond == "stop" and time > last
            else {name: each[place].astype(np.float32) for name, each in found.items()}
            for place, time in enumerate(times)
        ]


def read_driver(folder: str, suite: Suite, groups: Sequence[str]) -> Driver:
    """Reads a driver's portraits.

    Args:
      folder: what `jaxface invert` wrote of one clip, of one face.
      suite: has a reconstruction network.
      groups: that are read.

    Raises:
      UsageError: the folder is none, has several clips or faces, or its clip cannot be read.
      SuiteError: the suite lacks the network.
    """
    rows = driver_rows(folder, option="--like")
    portraits = list(
        driver_portraits(folder, rows, size=suite.generator.resolution, option="--like")
    )
    read: dict[str, list[np.ndarray]] = {group: [] for group in groups}
    for place in range(0, len(portraits), BATCH):
        some = portraits[place : place + BATCH]
        padded = [*some, *[some[-1]] * (BATCH - len(some))]
        face = pie.read_parameters(suite, np.stack(padded))
        for group in groups:
            read[group] += list(np.asarray(face.group(group))[: len(some)])
    times = [Fraction(row["frame"]["time"]) for row in rows]
    return Driver(
        Path(folder).name,
        rows[0]["path"],
        tuple(time - times[0] for time in times),
        times[0],
        {group: np.stack(each) for group, each in read.items()},
    )


def driver_rows(folder: str, *, option: str) -> list[dict[str, Any]]:
    """The rows of a driver's frames, in their order.

    Args:
      folder: what `jaxface invert` wrote of one clip, of one face.
      option: that named it, for errors.

    Raises:
      UsageError: the folder is none, or has several clips or faces.
    """
    try:
        path = Path(folder) / "results.jsonl"
        known = rows_in(path.read_bytes(), str(path))
        rows = [row for row in known if row["status"] == "ok" and row.get("frame")]
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: expected the output folder of `jaxface invert` of a clip"
        ) from error
    rows.sort(key=lambda row: row["frame"]["index"])
    if len({row["frame"]["index"] for row in rows}) != len(rows) or not rows:
        raise UsageError(
            f"{option} {folder}: expected one face of one clip's frames, got {len(rows)} "
            "embeddings; choose one with jaxface invert --track"
        )
    return rows


def driver_portraits(
    folder: str, rows: Sequence[Mapping[str, Any]], *, size: int, option: str
) -> Iterator[np.ndarray]:
    """The portraits [size, size, 3] in [-1, 1] of a driver's rows, read as they are asked for.

    Raises:
      UsageError: the clip cannot be read any more.
    """
    with FrameReader() as reader:
        for row in rows:
            portrait = frame_portrait({**row, "source": row["path"]}, size, reader)
            if portrait is None:
                raise UsageError(f"{option} {folder}: {row['path']} cannot be read any more")
            yield portrait


def driven_items(
    items: Sequence[Item], driver: Driver, beyond: Beyond
) -> tuple[list[Item], dict[str, dict[str, np.ndarray]]]:
    """The embeddings that a driver moves, and what each is to become, by id and group.

    Frames of a clip keep their times, counted from the first of them. Of a single portrait each
    portrait of the driver makes a frame.

    Args:
      items: of embeddings.
      driver: of all of them.
      beyond: see `Driver.at`; frames of a clip for which nothing is driven are left out.

    Raises:
      LatentError: an embedding cannot be read.
    """
    found: list[Item] = []
    wanted: dict[str, dict[str, np.ndarray]] = {}
    firsts: dict[str, Fraction] = {}
    for item in items:
        latent: Latent = item.load()  # type: ignore (of images elsewhere)
        if "frame" in latent.header:
            frame = json.loads(latent.header["frame"])
            time = Fraction(frame["time"])
            first = firsts.setdefault(frame["clip"], time)
            (values,) = driver.at([max(time - first, Fraction(0))], beyond)
            if values is not None:
                found.append(item)
                wanted[item.id] = values
            continue
        for index, values in enumerate(driver.at(driver.times, "hold")):
            frame = {"clip": item.id, "index": index, "time": str(driver.times[index])}
            header = latent.header | {"frame": json.dumps(frame | {"still": True})}
            name = f"{item.id}/{index:06d}"
            load: Any = functools.partial(dataclasses.replace, latent, header=header)
            found.append(Item(name, item.path, load))
            assert values is not None
            wanted[name] = values
    return found, wanted
