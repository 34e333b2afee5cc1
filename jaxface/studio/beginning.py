"""How a studio begins: with the page that the same command showed before, until networks are there.

It is kept in the studio's folder, and holds as long as the files that it came of are the same::

    DIR/beginning/hello.json      what the page was told, and of which files
    DIR/beginning/first.frame   the first portrait, as it went to the page
    DIR/beginning/<key>.png       thumbnails

Nothing here imports JAX: that takes longer than to show the page.
"""

import contextlib
import json
import shutil
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface import __version__
from jaxface.runtime.files import atomic_writer

PLAIN = {"values": {}, "light": None, "moves": {}}
"""The edit that changes nothing, as a page sends it."""


class Beginning:
    """What a studio's folder keeps of how it began.

    Args:
      folder: the studio's.
      call: what was asked for, in words; of another call nothing is known.

    Attributes:
      hello: what pages were told when they came; None where nothing is kept, or files changed.
    """

    def __init__(self, folder: Path, call: Sequence[str]):
        self._folder, self._studio = folder / "beginning", folder
        self._call = [__version__, *call]
        self.hello: dict[str, Any] | None = None
        self._first, self._thumbnails = b"", {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self._folder / "hello.json").read_text(encoding="utf-8"))
            if told["call"] == self._call and told["files"] == self._stamps(told["files"]):
                self._first = (self._folder / "first.frame").read_bytes()
                self._thumbnails = {
                    path.stem: path.read_bytes() for path in self._folder.glob("*.png")
                }
                self.hello = told["hello"]

    def answer(self, message: Mapping[str, Any]) -> bytes | None:
        """The image that a page asks for, if it is the first portrait as it was."""
        if self.hello is None or message.get("edit") != PLAIN:
            return None
        header, image = unpacked(self._first)
        if message.get("portrait") != header["portrait"]:
            return None
        return packed(header | {name: message.get(name) for name in ("number", "at")}, image)

    def thumbnail(self, key: str) -> bytes | None:
        """A portrait's thumbnail, a PNG; None where it is not kept."""
        return self._thumbnails.get(key)

    def keep(
        self,
        hello: dict[str, Any],
        first: bytes,
        thumbnails: Mapping[str, bytes],
        files: Iterable[str],
    ) -> None:
        """Keeps what the next start begins with, in place of what was kept.

        Args:
          hello: what pages are told.
          first: the first portrait as it was, as `packed` makes it.
          thumbnails: PNGs by portraits' keys.
          files: that all of it came of.
        """
        with contextlib.suppress(OSError):  # a full disk: the next start is a slow one
            told = {"call": self._call, "files": self._stamps(files), "hello": hello}
            written = {f"{key}.png": data for key, data in thumbnails.items()}
            written |= {"first.frame": first, "hello.json": json.dumps(told).encode()}
            shutil.rmtree(self._folder, ignore_errors=True)
            for name, data in written.items():
                with atomic_writer(self._folder / name) as file:
                    file.write(data)

    def _stamps(self, files: Iterable[str]) -> dict[str, list[int]]:
        """Sizes and times of files, with those that the studio itself embedded."""
        own = map(str, self._studio.glob("embedded/*/*/results.jsonl"))
        found = {}
        for path in sorted({*files, *own}):
            told = Path(path).stat()
            found[path] = [told.st_size, told.st_mtime_ns]
        return found


def packed(header: Mapping[str, Any], image: bytes) -> bytes:
    """An image as it goes to a page: the length of a header, the header as JSON, the image."""
    told = json.dumps(header).encode()
    return struct.pack("<I", len(told)) + told + image


def unpacked(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and image of `packed`."""
    (length,) = struct.unpack_from("<I", frame)
    return json.loads(frame[4 : 4 + length]), frame[4 + length :]
