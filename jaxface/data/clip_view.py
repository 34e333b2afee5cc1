"""`synthetic_clips` and `portrait_clips` in the shape of VoxCeleb: persons, clips, frames.

    view = ClipView(folder, split="train")
    view.persons                    # ("id00000", "id00001", ...)
    clip = view.clip("id00000", "00001")
    clip[12]["image"]               # uint8 [R, R, 3]
    view.write_videos("vox")        # vox/train/mp4/id00000/clip00001/00001.mp4, ...

VoxCeleb2's layout is ``mp4/<id>/<video>/<utterance>.mp4`` (Chung et al. 2018); in synthetic clips a
video is an occasion and has one utterance. As there, a person is in one split only. The persons and
clips of `portrait_clips` go by the names of its report.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxface.data.pipelines import DataError, Source, tfds_source
from jaxface.errors import on_one_line
from jaxface.media.images import from_uint8
from jaxface.media.video import encode_mp4
from jaxface.morphable.behaviour import FPS
from jaxface.runtime.files import atomic_writer


class Clip(Sequence[Mapping[str, Any]]):
    """The frames of a clip in order, read when they are asked for."""

    def __init__(self, source: Any, frames: range):
        self._source, self._frames = source, frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: Any) -> Any:
        if isinstance(frame, slice):
            return [self._source[i] for i in self._frames[frame]]
        return self._source[self._frames[frame]]

    def stacked(self, *fields: str) -> dict[str, np.ndarray]:
        """Some fields of all frames, [T, ...] each."""
        rows = [{name: item[name] for name in fields} for item in self]
        return {name: np.stack([row[name] for row in rows]) for name in fields}


class Place(NamedTuple):
    """Where a clip's records are in its split, and what it and its person are called."""

    person: str
    clip: str
    rows: range


class ClipView:
    """A split of a data set of clips by person and clip; see the module's words.

    Args:
      folder: of the data set, what `jaxface data` printed.
      split: "train" or "test".

    Attributes:
      folder, split: as given.
      source: the records of the split.
      places: of each clip, in the records' order; clips without frames are left out.

    Raises:
      DataError: the folder holds no clips, or no such split.
    """

    def __init__(self, folder: str | os.PathLike[str], *, split: str = "train"):
        self.folder, self.split = pathlib.Path(folder), split
        self.source: Source = tfds_source(folder, split=split)
        if not {"person", "clip", "frame"} <= set(self.source[0]):
            raise DataError(f"{folder}: a data set of images; expected one of clips.")
        # By name: the builder's module takes seconds to import.
        report = self.folder / "report.jsonl"
        self._rendered = not report.is_file()
        self.places = _even(self.source) if self._rendered else _reported(report, split)
        if sum(len(place.rows) for place in self.places) != len(self.source):
            told = "clips of one length" if self._rendered else "its report.jsonl"
            raise DataError(
                f"{folder}: {told} and the {len(self.source)} records of {split} do not fit; make "
                "the data set anew."
            )
        self._by_name = {(place.person, place.clip): place for place in self.places}

    @property
    def persons(self) -> tuple[str, ...]:
        """Names of the persons; of synthetic clips ``id`` and five digits."""
        return tuple(dict.fromkeys(place.person for place in self.places))

    @property
    def clips(self) -> tuple[str, ...]:
        """Names of clips; of synthetic clips five digits, the same of each person."""
        return tuple(dict.fromkeys(place.clip for place in self.places))

    def clip(self, person: str, clip: str) -> Clip:
        """The frames of a clip.

        Raises:
          DataError: the split has no such person or clip.
        """
        place = self._by_name.get((person, clip))
        if place is None:
            persons, clips = self.persons, self.clips
            raise DataError(
                f"{self.folder}: no clip {person}/{clip} in {self.split}; persons are {persons[0]} "
                f"to {persons[-1]}, clips {clips[0]} to {clips[-1]}."
            )
        return Clip(self.source, place.rows)

    def __iter__(self) -> Iterator[tuple[str, str, Clip]]:
        """Every clip, with the names of its person and of itself."""
        for place in self.places:
            yield place.person, place.clip, Clip(self.source, place.rows)

    def write_videos(self, folder: str | os.PathLike[str]) -> list[pathlib.Path]:
        """Every synthetic clip as MP4 in VoxCeleb2's layout; those that are there are left.

        Returns:
          The files, ``<folder>/<split>/mp4/<person>/clip<clip>/00001.mp4``.

        Raises:
          DataError: the clips were read from files, which are videos already.
          UsageError: PyAV is not installed.
        """
        if not self._rendered:
            raise DataError(
                f"{self.folder}: its clips were videos; write_videos is for synthetic_clips."
            )
        paths = []
        for person, name, clip in self:
            path = pathlib.Path(folder) / self.split / "mp4" / person / f"clip{name}" / "00001.mp4"
            paths.append(path)
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = from_uint8(clip.stacked("image")["image"])
            with atomic_writer(path) as file:
                file.write(encode_mp4(frames, seconds=len(clip) / FPS))
        return paths


def _even(source: Source) -> tuple[Place, ...]:
    """The clips of `synthetic_clips`: everybody has as many, all of one length."""
    first, last = source[0], source[len(source) - 1]
    frames, each = int(last["frame"]) + 1, int(last["clip"]) + 1
    start = int(first["person"])
    return tuple(
        Place(f"id{start + place // each:05}", f"{place % each:05}", range(row, row + frames))
        for place, row in enumerate(range(0, len(source), frames))
    )


def _reported(path: pathlib.Path, split: str) -> tuple[Place, ...]:
    """The clips of `portrait_clips`."""
    from jaxface.data.portrait_clips import read_report

    try:
        return tuple(
            Place(row["identity"], row["clip"], range(row["first"], row["first"] + row["frames"]))
            for row in read_report(path.parent)
            if row["split"] == split and row["frames"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = on_one_line(f"{type(error).__name__}: {error}")
        raise DataError(f"{path}: damaged ({reason}); make the data set anew.") from error
