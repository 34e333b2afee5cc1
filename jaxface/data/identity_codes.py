"""Identity codes of frames on disk: encoded once, read by row while training.

Shards of safetensors files, mapped into memory when they are read: 4,096 codes of a 1024 px
generator are 150 MB. The folder's name is a digest of what the codes are of (frames, networks,
settings), so another encoder gets another folder. A shard appears whole; what was interrupted goes
on with the next one.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxface.data.pipelines import DataError, Source
from jaxface.errors import UsageError
from jaxface.media.images import from_uint8
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.files import atomic_path
from jaxface.runtime.progress import working

SHARD = 4096
"""Codes in a file, at most."""

Encode = Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class IdentityCodes:
    """Codes, and what else was read, of some records of a split.

    Attributes:
      folder: of the shards.
      rows: the records, [N] in ascending order.
    """

    folder: pathlib.Path
    rows: np.ndarray
    _files: dict[int, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def get(self, name: str, row: int) -> np.ndarray:
        """One array of one record.

        Raises:
          DataError: it was not encoded, or its file is damaged.
        """
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise DataError(f"{self.folder}: record {row} has no code.")
        shard, inside = divmod(place, SHARD)
        try:
            if shard not in self._files:
                self._files[shard] = safe_open(_path(self.folder, shard), framework="numpy")
            return self._files[shard].get_slice(name)[inside : inside + 1][0]
        except (SafetensorError, OSError) as error:
            raise DataError(
                f"{_path(self.folder, shard)}: cannot be read ({error}); remove it, and it is made "
                "anew."
            ) from error

    def column(self, name: str) -> np.ndarray:
        """One array of all records, [N, ...]."""
        shards = range(-(-len(self.rows) // SHARD))
        parts = []
        for shard in shards:
            with safe_open(_path(self.folder, shard), framework="numpy") as file:
                parts.append(file.get_tensor(name))
        return np.concatenate(parts)


def encoded(
    directory: str | os.PathLike[str],
    source: Source,
    rows: np.ndarray,
    encode: Encode,
    *,
    origin: Mapping[str, Any],
    chunk: int,
) -> IdentityCodes:
    """The codes of records, made unless they are there.

    Args:
      directory: of all codes.
      source: has the records, with ``image``.
      rows: which, [N], each once.
      encode: images [chunk, R, R, 3] in [-1, 1] and their records [chunk] to arrays [chunk, ...]
        by name.
      origin: JSON that says what the codes are of: data, networks, settings.
      chunk: images encoded together; the last ones are filled up.

    Raises:
      DataError: there are no rows.
      UsageError: of several processes none makes what is missing.
    """
    rows = np.sort(np.asarray(rows, np.int64))
    if not len(rows):
        raise DataError("identity codes: no frame is left to encode.")
    told = json.dumps([dict(origin), hashlib.sha256(rows.tobytes()).hexdigest()], sort_keys=True)
    folder = pathlib.Path(directory) / hashlib.sha256(told.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(rows), SHARD)
    missing = [n for n, _ in enumerate(starts) if not _path(folder, n).is_file()]
    if missing and jax.process_count() > 1:
        raise UsageError(
            f"{folder}: {len(missing)} files of identity codes are not there, and "
            f"{jax.process_count()} processes would make them at once; start the training with one "
            "process first"
        )
    with working("encoding identities") as progress:
        for count, shard in enumerate(missing):
            progress.doing(f"encoding identities, file {count + 1} of {len(missing)}")
            arrays = _shard(source, rows[starts[shard] :][:SHARD], encode, chunk)
            with atomic_path(_path(folder, shard)) as temporary:
                save_file(arrays, temporary, metadata={"origin": told})
                os.chmod(temporary, 0o644)
    return IdentityCodes(folder, rows)


def _shard(
    source: Source,
    rows: np.ndarray,
    encode: Encode,
    chunk: int,
) -> dict[str, np.ndarray]:
    def encoded(part: np.ndarray) -> dict[str, Any]:
        images = from_uint8(np.stack([source[int(row)]["image"] for row in part]))
        return dict(encode(images, part))

    joined = by_chunks(encoded, rows, size=chunk)
    return {name: np.ascontiguousarray(array) for name, array in joined.items()} | {"row": rows}


def _path(folder: pathlib.Path, shard: int) -> pathlib.Path:
    return folder / f"codes-{shard:05}.safetensors"
