"""A TFDS builder whose items are made shard by shard, without TensorFlow, and that can be killed.

Shards are written beside the data set's folder and take their names when they are whole; when all
are there they are moved in. The same call goes on after the shards that are finished, and several
processes can share them; a process that was given no share waits for others that are at work.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, splits
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from jaxface.data.scene_items import SPLITS
from jaxface.errors import JaxfaceError
from jaxface.jobs.launchers import Share
from jaxface.jobs.outputs.locks import Lock, wait_for_lock
from jaxface.runtime.files import atomic_path, atomic_writer
from jaxface.runtime.progress import Progress

Settings = TypeVar("Settings", bound=tfds.core.BuilderConfig)


class GenerationError(JaxfaceError):
    """A data set cannot be generated or continued; the message says why and what to do."""


def tensor(*shape: int, dtype: type = np.float32) -> tfds.features.Tensor:
    """A feature that is stored as bytes: decoding it takes a fifth of a PNG's time."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)


@dataclasses.dataclass(frozen=True)
class Shard:
    """What `sizes` counts, from `start` to `stop - 1` of a split, and the name of their file."""

    split: str
    start: int
    stop: int
    name: str


class ShardedBuilder(FileReaderBuilder, Generic[Settings], skip_registration=True):
    """A builder that makes items in order, in array_record files; see the module's words.

    A subclass gives `_info` as for TFDS, and the first two methods below; the next three may differ
    from what they are here. Its words tell of its progress.
    """

    doing: ClassVar[str] = "rendering"
    unit: ClassVar[str] = "items"
    done: ClassVar[str] = "rendered"
    unlike: ClassVar[str] = (
        "an unfinished generation by another version of the face world, another kind of machine or "
        "another shard size"
    )

    def __init__(self, **options):
        super().__init__(file_format="array_record", **options)

    def sizes(self) -> tuple[Mapping[str, int], int]:
        """Units of each split of `SPLITS`, and units per shard; a unit is an item or several."""
        raise NotImplementedError

    def items(self, split: str, start: int, stop: int) -> Iterator[Mapping[str, Any]]:
        """Items of a shard in order; they depend on their number and on nothing else."""
        raise NotImplementedError

    def counted_items(
        self, folder: pathlib.Path, shard: Shard, advance: Callable[[], None]
    ) -> Iterator[Mapping[str, Any]]:
        """`items`; `advance` is called whenever a unit is done.

        Args:
          folder: where shards are written; what else is to be kept of one may be put there.
          shard: which is to be made.
        """
        del folder
        for item in self.items(shard.split, shard.start, shard.stop):
            yield item
            advance()

    def identity(self) -> dict[str, Any]:
        """What tells the data set from others in the same place, JSON: shards must not be mixed."""
        digest = hashlib.sha256()
        for item in self.items("train", 0, 1):
            for name in sorted(item):
                digest.update(np.ascontiguousarray(item[name]).tobytes())
        return {"first_item": digest.hexdigest(), "shard_size": self.sizes()[1]}

    def complete(self, partial: pathlib.Path, folder: pathlib.Path) -> None:
        """Moves what else was kept of the shards into the data set's folder: nothing."""

    @property
    def settings(self) -> Settings:
        """`builder_config`, by its type."""
        return cast(Settings, self.builder_config)

    @property
    def folder(self) -> pathlib.Path:
        """Of the data set, there or not."""
        return pathlib.Path(self.data_path)

    @property
    def is_complete(self) -> bool:
        """Whether the data set is there: nothing is left to do."""
        return (self.folder / "dataset_info.json").is_file()

    def prepare(self, share: Share | None = None) -> bool:
        """Makes the missing shards of a share; whoever makes the last completes the data set.

        While processes that share nothing with this one are at work on the data set it waits, and
        tells so; of those that were killed it goes on with what they left.

        Args:
          share: of several processes with the same folder; None for all shards.

        Returns:
          Whether the data set is complete.

        Raises:
          GenerationError: shards of something else are there already.
          UsageError: the folder cannot be written.
        """
        if self.is_complete:
            return True
        share = share or Share()
        if share.count > 1:
            with self._held(shared=True):
                if not self.is_complete:
                    self._make_shards(self._partial, share)
            if any(not (self._partial / shard.name).exists() for shard in self._shards()):
                return self.is_complete  # completed since by another process
        with self._held():
            if not self.is_complete:
                if share.count == 1:
                    self._make_shards(self._partial, share)
                self.download_and_prepare()
            self._lock_path.unlink(missing_ok=True)
        return True

    def _held(self, *, shared: bool = False) -> contextlib.closing[Lock]:
        """The data set is this process's, or its and those' that share it, from the time on when
        others let go of it."""
        text = f"waiting for another process that makes {self.folder}"
        return contextlib.closing(wait_for_lock(self._lock_path, text, shared=shared))

    def download_and_prepare(self, **options) -> None:
        """TFDS's own call: all of it in this process."""
        self._final_path = self.folder
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS says that it downloads
            super().download_and_prepare(**options)

    @property
    def final_path(self) -> pathlib.Path:
        """The data set's folder; while it is being made TFDS points `data_path` elsewhere."""
        return self._final_path

    @property
    def _partial(self) -> pathlib.Path:
        return self.folder.with_name(f"{self.folder.name}.partial")

    @property
    def _lock_path(self) -> pathlib.Path:
        return self.folder.with_name(f"{self.folder.name}.partial.lock")

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        """Makes the missing shards beside the data set's folder, then moves all of them in."""
        del dl_manager, download_config
        partial = pathlib.Path(f"{self.final_path}.partial")
        shards, folder, infos = list(self._shards()), self.folder, []
        if any(not (partial / shard.name).exists() for shard in shards):
            self._make_shards(partial, Share())
        self.complete(partial, folder)
        for split in SPLITS:
            of_split = [partial / shard.name for shard in shards if shard.split == split]
            lengths = {path: _length(path) for path in of_split}
            held = [path for path in of_split if lengths[path]]
            sizes = [path.stat().st_size for path in held]
            for number, path in enumerate(held):
                os.replace(path, folder / self._name(split, number, len(held)))
            if held:
                infos.append(
                    splits.SplitInfo(
                        name=split,
                        shard_lengths=[lengths[path] for path in held],
                        num_bytes=sum(sizes),
                        filename_template=self._get_filename_template(split),
                    )
                )
        shutil.rmtree(partial)
        self.info.set_splits(splits.SplitDict(infos))

    def _make_shards(self, partial: pathlib.Path, share: Share) -> None:
        """Makes the share's missing shards."""
        partial.mkdir(parents=True, exist_ok=True)
        self._check_identity(partial)
        mine = list(self._shards())[share.index :: share.count]
        missing = [shard for shard in mine if not (partial / shard.name).exists()]
        progress = _ShardProgress(mine, missing, self.doing, self.unit, self.done)
        try:
            for shard in missing:
                self._write(partial / shard.name, shard, progress)
        finally:
            progress.close()

    def _name(self, split: str, number: int, total: int) -> str:
        return f"{self.name}-{split}.array_record-{number:05}-of-{total:05}"

    def _shards(self) -> Iterator[Shard]:
        counts, size = self.sizes()
        for split in SPLITS:
            total = math.ceil(counts[split] / size)
            for i in range(total):
                stop = min((i + 1) * size, counts[split])
                yield Shard(split, i * size, stop, self._name(split, i, total))

    def _write(self, path: pathlib.Path, shard: Shard, progress: "_ShardProgress") -> None:
        """Writes one shard; it takes its name when it is whole."""
        features: Any = self.info.features
        serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        with atomic_path(path) as hidden:
            writer = ArrayRecordWriter(str(hidden), "group_size:1")  # as TFDS: random access
            try:
                for item in self.counted_items(path.parent, shard, progress.advance):
                    record = serializer.get_tf_example(features.encode_example(item))
                    # A proto map has no order of its own: without this, no two processes agree.
                    writer.write(record.SerializeToString(deterministic=True))
            finally:
                writer.close()

    def _check_identity(self, partial: pathlib.Path) -> None:
        """Shards of two data sets must not be mixed."""
        expected = self.identity()
        path = partial / "generation.json"
        if not path.exists():
            with atomic_writer(path) as file:
                file.write(json.dumps(expected).encode())
            return
        got = json.loads(path.read_text(encoding="utf-8"))
        if got != expected:
            raise GenerationError(
                f"{partial}: {self.unlike} (got {got}, expected {expected}). "
                "Finish it as it was begun, or delete the folder."
            )


def _length(path: pathlib.Path) -> int:
    """Records of a file."""
    reader = ArrayRecordReader(str(path))
    try:
        return reader.num_records()
    finally:
        reader.close()


class _ShardProgress:
    """The progress line of a generation, in units."""

    def __init__(self, shards: list[Shard], missing: list[Shard], doing: str, unit: str, done: str):
        counts = [sum(each.stop - each.start for each in some) for some in (shards, missing)]
        total, self._left = counts
        self._line = Progress(total, unit=unit, text=f"{doing} {self._left} {unit}")
        self._done, self._said = total - self._left, done
        if self._done:
            before = len(shards) - len(missing)
            self._line.say(f"{before} of {len(shards)} shards were finished before.")
        self._start = time.perf_counter()
        self._new = 0

    def advance(self) -> None:
        """One more is written."""
        self._new += 1
        if self._new == 1:  # with it the renderer was compiled, which is no part of the rate
            self._start = time.perf_counter()
        if self._line.due or self._new == self._left:
            rate = (self._new - 1) / max(time.perf_counter() - self._start, 1e-9)
            done = self._done + self._new
            self._line.update(done, rate=rate, steps_per_second=rate, metrics=self._said)

    def close(self) -> None:
        self._line.close()
