"""`synthetic_clips` in the shape of VoxCeleb: persons, their clips, the clips' frames.

    view = ClipView(folder, split="train")
    view.persons                    # ("id00000", "id00001", ...)
    clip = view.clip("id00000", "00001")
    clip[12]["image"]               # uint8 [R, R, 3]
    view.write_videos("vox")        # vox/train/mp4/id00000/clip00001/00001.mp4, ...

VoxCeleb2's layout is ``mp4/<id>/<video>/<utterance>.mp4`` (Chung et al. 2018); here a video is an
occasion and has one utterance. As there, a person is in one split only.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxface.data.pipelines import DataError, tfds_source
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


class ClipView:
    """A split of `synthetic_clips` by person and clip; see the module's words.

    Args:
      folder: of the data set, what `jaxface data` printed.
      split: "train" or "test".

    Raises:
      DataError: the folder holds no clips, or no such split.
    """

    def __init__(self, folder: str | os.PathLike[str], *, split: str = "train"):
        self.split, self._source = split, tfds_source(folder, split=split)
        first = self._source[0]
        if not {"person", "clip", "frame"} <= set(first):
            raise DataError(f"{folder}: a data set of images; expected one of synthetic_clips.")
        last = self._source[len(self._source) - 1]
        self.frames, self.clips_each = int(last["frame"]) + 1, int(last["clip"]) + 1
        self._first = int(first["person"])
        self.persons = tuple(f"id{i:05}" for i in range(self._first, int(last["person"]) + 1))
        """Names of the persons, ``id`` and five digits."""

    @property
    def clips(self) -> tuple[str, ...]:
        """Names of each person's clips, five digits."""
        return tuple(f"{i:05}" for i in range(self.clips_each))

    def clip(self, person: str, clip: str) -> Clip:
        """The frames of a clip.

        Raises:
          DataError: the split has no such person or clip.
        """
        if person not in self.persons or clip not in self.clips:
            raise DataError(
                f"ClipView: no clip {person}/{clip} in {self.split}; persons are "
                f"{self.persons[0]} to {self.persons[-1]}, clips {self.clips[0]} to "
                f"{self.clips[-1]}."
            )
        place = self.persons.index(person) * self.clips_each + self.clips.index(clip)
        return Clip(self._source, range(place * self.frames, (place + 1) * self.frames))

    def __iter__(self) -> Iterator[tuple[str, str, Clip]]:
        """Every clip, with the names of its person and of itself."""
        for person in self.persons:
            for clip in self.clips:
                yield person, clip, self.clip(person, clip)

    def write_videos(self, folder: str | os.PathLike[str]) -> list[pathlib.Path]:
        """Every clip as MP4 in VoxCeleb2's layout; those that are there already are left.

        Returns:
          The files, ``<folder>/<split>/mp4/<person>/clip<clip>/00001.mp4``.

        Raises:
          UsageError: PyAV is not installed.
        """
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
