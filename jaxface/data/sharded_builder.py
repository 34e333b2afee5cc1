"""A TFDS builder whose items are made shard by shard, without TensorFlow, and that can be killed.

Shards are written beside the data set's folder and take their names when they are whole; when all
are there they are moved in. The same call goes on after the shards that are finished.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core import example_serializer, splits
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from jaxface.data.scene_items import SPLITS
from jaxface.errors import JaxfaceError
from jaxface.runtime.files import atomic_path, atomic_writer
from jaxface.runtime.progress import Progress


class GenerationError(JaxfaceError):
    """A data set cannot be generated or continued; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Items `start` to `stop - 1` of a split, and the name of their file."""

    split: str
    start: int
    stop: int
    name: str


class ShardedBuilder(FileReaderBuilder, skip_registration=True):
    """A builder that makes items in order, in array_record files; see the module's words.

    A subclass gives `_info` as for TFDS, and the two methods below.
    """

    def __init__(self, **options):
        super().__init__(file_format="array_record", **options)

    def sizes(self) -> tuple[Mapping[str, int], int]:
        """Items of each split of `SPLITS`, and items per shard."""
        raise NotImplementedError

    def items(self, split: str, start: int, stop: int) -> Iterator[Mapping[str, Any]]:
        """Items of a shard in order; they depend on their number and on nothing else."""
        raise NotImplementedError

    def _download_and_prepare(self, dl_manager, download_config=None) -> None:
        """Makes the missing shards beside the data set's folder, then moves all of them in."""
        del dl_manager, download_config
        partial = pathlib.Path(f"{self.final_path}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        self._check_same_world(partial)
        shards = list(self._shards())
        missing = [shard for shard in shards if not (partial / shard.name).exists()]
        progress = _ShardProgress(shards, missing)
        for shard in missing:
            self._write(partial / shard.name, shard, progress)
        progress.close()

        folder = pathlib.Path(self.data_path)
        infos = []
        for split in SPLITS:
            of_split = [shard for shard in shards if shard.split == split]
            sizes = [(partial / shard.name).stat().st_size for shard in of_split]
            for shard in of_split:
                os.replace(partial / shard.name, folder / shard.name)
            if of_split:
                infos.append(
                    splits.SplitInfo(
                        name=split,
                        shard_lengths=[shard.stop - shard.start for shard in of_split],
                        num_bytes=sum(sizes),
                        filename_template=self._get_filename_template(split),
                    )
                )
        shutil.rmtree(partial)
        self.info.set_splits(splits.SplitDict(infos))

    @property
    def final_path(self) -> pathlib.Path:
        """The data set's folder; while it is being made TFDS points `data_path` elsewhere."""
        return self._final_path

    def download_and_prepare(self, **options) -> None:
        self._final_path = pathlib.Path(self.data_path)
        super().download_and_prepare(**options)

    def _shards(self) -> Iterator[Shard]:
        counts, size = self.sizes()
        for split in SPLITS:
            total = math.ceil(counts[split] / size)
            for i in range(total):
                start = i * size
                name = f"{self.name}-{split}.array_record-{i:05}-of-{total:05}"
                yield Shard(split, start, min(start + size, counts[split]), name)

    def _write(self, path: pathlib.Path, shard: Shard, progress: "_ShardProgress") -> None:
        """Writes one shard; it takes its name when it is whole."""
        features: Any = self.info.features
        serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
        with atomic_path(path) as hidden:
            writer = ArrayRecordWriter(str(hidden), "group_size:1")  # as TFDS: random access
            try:
                for item in self.items(shard.split, shard.start, shard.stop):
                    record = serializer.get_tf_example(features.encode_example(item))
                    # A proto map has no order of its own: without this, no two processes agree.
                    writer.write(record.SerializeToString(deterministic=True))
                    progress.item()
            finally:
                writer.close()

    def _check_same_world(self, partial: pathlib.Path) -> None:
        """Shards of two worlds must not be mixed: the first item's digest tells them apart."""
        digest = hashlib.sha256()
        for item in self.items("train", 0, 1):
            for name in sorted(item):
                digest.update(np.ascontiguousarray(item[name]).tobytes())
        expected = {"first_item": digest.hexdigest(), "shard_size": self.sizes()[1]}
        path = partial / "generation.json"
        if not path.exists():
            with atomic_writer(path) as file:
                file.write(json.dumps(expected).encode())
            return
        got = json.loads(path.read_text(encoding="utf-8"))
        if got != expected:
            raise GenerationError(
                f"{partial}: an unfinished generation by another version of the face world, "
                f"another kind of machine or another shard size (got {got}, expected {expected}). "
                "Finish it as it was begun, or delete the folder."
            )


class _ShardProgress:
    """The progress line of a generation, in items."""

    def __init__(self, shards: list[Shard], missing: list[Shard]):
        counts = [sum(each.stop - each.start for each in some) for some in (shards, missing)]
        total, self._left = counts
        self._line = Progress(total, text=f"rendering {self._left} items")
        self._done = total - self._left
        if self._done:
            before = len(shards) - len(missing)
            self._line.say(f"{before} of {len(shards)} shards were finished before.")
        self._start = time.perf_counter()
        self._new = 0

    def item(self) -> None:
        """One more is written."""
        self._new += 1
        if self._new == 1:  # with it the renderer was compiled, which is no part of the rate
            self._start = time.perf_counter()
        if self._line.due or self._new == self._left:
            rate = (self._new - 1) / max(time.perf_counter() - self._start, 1e-9)
            done = self._done + self._new
            self._line.update(done, rate=rate, steps_per_second=rate, metrics="rendered")

    def close(self) -> None:
        self._line.close()
