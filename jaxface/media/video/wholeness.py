"""Whether a file that ended without an error has all that its own index promises.

FFmpeg reports the end of a truncated file as an ordinary end, so a clip that lost its second half
in a download looks whole.
"""

import os
import pathlib
from typing import Any

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # Matroska's element numbers


def missing_bytes(path: str | os.PathLike[str], stream: Any) -> str | None:
    """What is missing at the file's end, in words, or None.

    Args:
      path: of the file.
      stream: its `av.VideoStream`, whose index is read where the container has one.
    """
    have = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(256)
    if head.startswith(_EBML):
        needed = _matroska_size(head)
    elif head[:4] == b"RIFF":
        needed = 8 + int.from_bytes(head[4:8], "little")
    elif head[:3] == b"GIF":
        return None if pathlib.Path(path).read_bytes()[-1:] == b";" else "the trailer is missing"
    else:
        needed = max((e.pos + e.size for e in stream.index_entries), default=0)
    return f"{needed - have} bytes are missing" if needed > have else None


def _matroska_size(head: bytes) -> int:
    """Bytes that a Matroska or WebM file should have; 0 where it does not say."""
    length, after = _number(head, 4)
    place = after + length
    if head[place : place + 4] != _SEGMENT:
        return 0
    length, after = _number(head, place + 4)
    unknown = length == (1 << 7 * (after - place - 4)) - 1
    return 0 if unknown else after + length


def _number(data: bytes, place: int) -> tuple[int, int]:
    """An EBML number of variable length and the place after it."""
    if place >= len(data) or not data[place]:
        return 0, place + 1
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return value, place + length
