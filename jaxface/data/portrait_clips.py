"""`portrait_clips`: a collection of clips as a TFDS data set, one record a frame.

    jaxface data talks/ --layout auto --out data --resolution 256 --align

Layouts are those of `jaxface.data.clips.layouts`. Frames lie in order: by person, clip and frame.
One holds

* ``image`` uint8 [R, R, 3], RGB;
* ``landmarks`` float32 [68, 2], pixels (x, y), where the layout or ``--align`` has them;
* ``time`` float32, seconds after the clip's first stored frame;
* ``person``, ``clip`` and ``frame`` int64: who, which of the person's clips, and the frame's number
  in the file. Persons are numbered through both splits.

Beside the records lie ``manifest.jsonl``, the clips as they were listed (`clips.listing`), which
can be given back in place of the collection; and ``report.jsonl``, what became of each. A clip that
cannot be read is told there and the others go on.

A shard is a number of clips. Which clips and settings a data set is of is part of its name.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxface.data.clips.cropping import Cropping, cropped_frames
from jaxface.data.clips.listing import LayoutError, ListedClip, Listing, write_manifest
from jaxface.data.clips.paths import split_archive
from jaxface.data.scene_items import SPLITS
from jaxface.data.sharded_builder import GenerationError, Shard, ShardedBuilder, tensor
from jaxface.jobs.launchers import Share
from jaxface.media.detection import describe_detector
from jaxface.media.image_errors import ImageError
from jaxface.media.video.errors import VideoError
from jaxface.runtime.files import atomic_writer

MANIFEST, REPORT = "manifest.jsonl", "report.jsonl"

OK = "ok"
CLIPS, IMAGES = 16, 1024
"""Clips per file where nobody says, and images where every clip is one."""


@dataclasses.dataclass(kw_only=True)
class PortraitClipsConfig(tfds.core.BuilderConfig):
    """One data set.

    Attributes:
      listing: the clips, each with a split (`jaxface.data.clips.layouts.list_clips`).
      cropping: how frames become images.
      every: takes each n-th frame of a clip, >= 1.
      frames: takes so many frames of a clip at most; None for all.
      shard_size: clips per file; None for `CLIPS`, or `IMAGES` of a collection of images.
      name: derived from the others if empty: the layout, the size, and a digest of them all.
    """

    name: str = ""
    listing: Listing = dataclasses.field(repr=False)  # TFDS logs the rest
    cropping: Cropping
    every: int = 1
    frames: int | None = None
    shard_size: int | None = None

    def __post_init__(self):
        if self.shard_size is None:
            self.shard_size = IMAGES if self.listing.layout == "ffhq" else CLIPS
        numbers = (self.every, 1 if self.frames is None else self.frames, self.shard_size)
        if self.cropping.resolution < 16 or min(numbers) < 1 or self.cropping.workers < 0:
            raise GenerationError(
                "portrait_clips: need resolution >= 16, every, frames and shard_size >= 1 and "
                f"workers >= 0; got {self.cropping.resolution}, {self.every}, {self.frames}, "
                f"{self.shard_size} and {self.cropping.workers}."
            )
        if not self.listing.clips or any(clip.split not in SPLITS for clip in self.listing.clips):
            raise GenerationError("portrait_clips: need clips, each in a split; list them anew.")
        known = [clip.landmarks is not None for clip in self.listing.clips]
        if self.cropping.align and self.cropping.find_faces is None and not all(known):
            raise GenerationError(
                "portrait_clips: to align, clips without landmarks need a detector."
            )
        if not self.name:
            self.name = f"{self.listing.layout}_{self.cropping.resolution}px_{self.digest()[:8]}"

    @property
    def has_landmarks(self) -> bool:
        """Whether frames are stored with their points."""
        return self.cropping.align or all(clip.landmarks for clip in self.listing.clips)

    def digest(self) -> str:
        """SHA-256 of what decides the items: the rows, the files' sizes, the settings."""
        cropping = dataclasses.asdict(dataclasses.replace(self.cropping, find_faces=None))
        del cropping["workers"]
        if self.cropping.align and self.cropping.find_faces is not None:
            cropping["find_faces"] = describe_detector(self.cropping.find_faces)
        told = hashlib.sha256(json.dumps([cropping, self.every, self.frames]).encode())
        for clip in self.listing.clips:
            told.update(json.dumps([clip.to_json(), self._bytes(clip)]).encode())
        return told.hexdigest()

    def _bytes(self, clip: ListedClip) -> int | None:
        """The size of a clip's file; of folders none is known."""
        path = self.listing.where(split_archive(clip.path)[0])
        return path.stat().st_size if path.is_file() else None


class PortraitClips(ShardedBuilder[PortraitClipsConfig]):
    """TFDS builder of `portrait_clips`; see the module's words."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The first."}

    doing: ClassVar[str] = "reading"
    unit: ClassVar[str] = "clips"
    done: ClassVar[str] = "read"
    unlike: ClassVar[str] = "an unfinished preparation of other clips or with another shard size"

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.settings
        size = config.cropping.resolution
        number = tfds.features.Scalar(dtype=np.int64)
        more = {"landmarks": tensor(68, 2)} if config.has_landmarks else {}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Frames of clips, cropped, in order.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tensor(size, size, 3, dtype=np.uint8),
                    "time": tfds.features.Scalar(dtype=np.float32),
                    "person": number,
                    "clip": number,
                    "frame": number,
                    **more,
                }
            ),
            disable_shuffling=True,
        )

    def sizes(self) -> tuple[dict[str, int], int]:
        """Clips of each split, and per shard."""
        config = self.settings
        counts = {split: len(self._clips[split]) for split in SPLITS}
        return counts, config.shard_size or CLIPS

    def identity(self) -> dict[str, Any]:
        """The digest of clips and settings, and the shard size."""
        return {"clips": self.settings.digest(), "shard_size": self.sizes()[1]}

    def counted_items(
        self, folder: pathlib.Path, shard: Shard, advance: Callable[[], None]
    ) -> Iterator[dict[str, Any]]:
        """Frames of a shard's clips; the clips' rows of the report lie beside the shard then."""
        config, rows = self.settings, []
        for person, number, clip in self._clips[shard.split][shard.start : shard.stop]:
            row = {"clip": clip.clip, "identity": clip.identity, "split": shard.split}
            row |= {"path": clip.path, "person": person, "number": number}
            rows.append(row | {"status": OK, "reason": None, "frames": 0})
            ids = {"person": person, "clip": number}
            for item in _frames(config, clip, rows[-1]):
                yield item | ids
            advance()
        with atomic_writer(_report(folder, shard.name)) as file:
            for row in rows:
                file.write(json.dumps(row).encode() + b"\n")

    def complete(self, partial: pathlib.Path, folder: pathlib.Path) -> None:
        """Puts the manifest and the report beside the records.

        Raises:
          GenerationError: no frame of any clip could be used.
        """
        firsts: dict[str, int] = {split: 0 for split in SPLITS}
        rows = []
        for shard in self._shards():
            lines = _report(partial, shard.name).read_text(encoding="utf-8").splitlines()
            for row in map(json.loads, lines):
                rows.append(row | {"first": firsts[shard.split]})
                firsts[shard.split] += row["frames"]
        if not any(firsts.values()):
            reasons = sorted({f"{row['path']}: {row['reason']}" for row in rows})
            raise GenerationError(
                f"{partial}: no frame of {len(rows)} clips could be used; the first: {reasons[0]}"
            )
        write_manifest(folder / MANIFEST, self.settings.listing)
        with atomic_writer(folder / REPORT) as file:
            for row in rows:
                file.write(json.dumps(row).encode() + b"\n")

    @functools.cached_property
    def _clips(self) -> dict[str, list[tuple[int, int, ListedClip]]]:
        """Of each split the clips, with the numbers of their persons and their own."""
        listing = self.settings.listing
        clips: dict[str, list[tuple[int, int, ListedClip]]] = {split: [] for split in SPLITS}
        persons = {name: number for number, name in enumerate(listing.identities)}
        numbers: Counter[tuple[str, str]] = Counter()
        for clip in listing.clips:
            split = str(clip.split)
            clips[split].append((persons[clip.identity], numbers[split, clip.identity], clip))
            numbers[split, clip.identity] += 1
        return clips


def _report(folder: pathlib.Path, name: str) -> pathlib.Path:
    return folder / f"{name}.report.jsonl"


def _frames(
    config: PortraitClipsConfig, clip: ListedClip, row: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A clip's frames; its row of the report is filled in."""
    notes: list[str] = []
    start = None
    try:
        frames = cropped_frames(
            config.listing,
            clip,
            config.cropping,
            every=config.every,
            most=config.frames,
            notes=notes,
        )
        for frame in frames:
            start = frame.time if start is None else start
            row["frames"] += 1
            item = {
                "image": frame.image,
                "time": np.float32(frame.time - start),
                "frame": frame.index,
            }
            yield item | ({"landmarks": frame.landmarks} if config.has_landmarks else {})
    except (VideoError, ImageError, LayoutError, OSError, KeyError) as error:
        row["status"] = getattr(error, "status", "unreadable")
        row["reason"] = re.sub(r"\s+", " ", str(error))
    if row["status"] == OK and not row["frames"]:
        row["status"], row["reason"] = "empty", "no frame in the part that was to be read"
    row["notes"] = notes


def generate(
    config: PortraitClipsConfig, directory: str | os.PathLike[str], *, share: Share | None = None
) -> tuple[pathlib.Path, bool]:
    """Makes the data set under `directory`, or goes on making it.

    Nothing is done if it is there already. Read it with `tfds.builder_from_directory`, or as
    `jaxface.data.clip_view.ClipView`.

    Args:
      config: of the data set.
      directory: of data sets.
      share: of several processes with the same `directory`; None for all of it.

    Returns:
      Its folder, and whether it is complete: other processes may be at work on it.

    Raises:
      GenerationError: no clip could be used, or shards of something else are there.
    """
    builder = PortraitClips(config=config, data_dir=os.fspath(directory))
    return builder.folder, builder.prepare(share)


def read_report(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a data set's report: one a clip, in the records' order; ``first`` is the place of
    its first record in its split, ``frames`` their number."""
    text = (pathlib.Path(folder) / REPORT).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
