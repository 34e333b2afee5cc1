"""Folders of numbered PNGs as clips that are written; `open_clip` reads them back with their times.

The interface is that of `jaxface.media.video.writing.VideoWriter`. Frames are written into a hidden
folder beside the result, which takes its name when all are there.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.images import encode_png
from jaxface.media.marks import Kind
from jaxface.media.video.folders import TIMES
from jaxface.runtime.files import atomic_path, atomic_writer

_MANIFEST, _SO_FAR = "manifest.json", "times.txt"


class FolderWriter:
    """Writes one folder; a context manager. Leaving it with an error leaves no folder of that name.

    Args:
      path: the folder; one that an earlier run wrote is replaced.
      width, height: pixels of the frames that are given.
      kind: what the frames say they are, see `jaxface.media.marks`.
      resume: see `VideoWriter`.

    Attributes:
      done: frames that an earlier run has stored; the first frame to write is the one after them.
      notes: none.

    Raises:
      UsageError: the folder is there and is no clip, or an earlier run with another `resume` key
        has left its frames.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        width: int,
        height: int,
        kind: Kind = "synthetic",
        resume: Mapping[str, Any] | None = None,
    ):
        self._path, self._size = Path(path), (height, width)
        self._kind: Kind = kind
        self._key = None if resume is None else {"frames": dict(resume), "size": [height, width]}
        self.done, self.notes = 0, list[str]()
        if self._path.exists() and not (self._path / TIMES).exists():
            raise UsageError(f"{path}: is there and is no folder of a clip; name another")

    def __enter__(self) -> "FolderWriter":
        name = uuid.uuid4().hex if self._key is None else self._path.name
        self._folder = self._path.parent / f".{name}.part"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._times: list[str] = []
        if self._key is not None:
            self._begin_or_resume(json.loads(json.dumps(self._key)))
        self.done = len(self._times)
        return self

    def write(self, time: Fraction, pixels: np.ndarray):
        """Stores a frame.

        Args:
          time: seconds, later than the frame before.
          pixels: uint8 [H, W, 3], or [H, W, 4] with alpha.

        Raises:
          ValueError: another shape or type, or a time that does not fit.
        """
        if pixels.shape[:2] != self._size or pixels.shape[2:] not in ((3,), (4,)):
            raise ValueError(
                f"FolderWriter: expected uint8 {[*self._size]} with 3 or 4 channels, got "
                f"{pixels.dtype} {list(pixels.shape)}."
            )
        if self._times and time <= Fraction(self._times[-1]):
            raise ValueError(f"FolderWriter: time {time} is not after the frame before it.")
        with atomic_writer(self._name(len(self._times))) as file:
            file.write(encode_png(pixels, kind=self._kind))
        with open(self._folder / _SO_FAR, "a") as file:
            file.write(f"{time}\n")
        self._times.append(str(time))

    def __exit__(self, kind: Any, error: Any, trace: Any):
        if kind is not None:
            if self._key is None:
                shutil.rmtree(self._folder, ignore_errors=True)
            return
        if not self._times:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ValueError("FolderWriter: no frame was written.")
        (self._folder / TIMES).write_text(json.dumps(self._times))
        for name in (_MANIFEST, _SO_FAR):
            (self._folder / name).unlink(missing_ok=True)
        if self._path.exists():
            shutil.rmtree(self._path)
        self._folder.rename(self._path)

    def _name(self, place: int) -> Path:
        return self._folder / f"{place:06d}.png"

    def _begin_or_resume(self, key: dict[str, Any]):
        manifest = self._folder / _MANIFEST
        if not manifest.exists():
            with atomic_path(manifest) as temporary:
                temporary.write_text(json.dumps(key))
            return
        if json.loads(manifest.read_text()) != key:
            raise UsageError(
                f"{self._path}: was begun with another input or other settings; use the same, or "
                f"remove {self._folder}"
            )
        so_far = self._folder / _SO_FAR
        lines = so_far.read_text().split("\n")[:-1] if so_far.exists() else []
        while lines and not self._name(len(lines) - 1).exists():
            lines.pop()
        so_far.write_text("".join(f"{line}\n" for line in lines))
        self._times = lines
