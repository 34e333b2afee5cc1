"""Photographs of more pixels than are read: at a reduced size, where their format has one.

JPEG decodes at a half, a quarter and an eighth of its sides, JPEG 2000 at halves of halves; a TIFF
may hold reduced copies of its image.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

from jaxface.media.metadata import count_frames

_SMALLEST_SHARE = 8  # of JPEG's sides
_MOST_FRAMES = 64  # of a TIFF that are looked at
_REDUCED = 254  # TIFF's NewSubfileType, whose lowest bit says so

_lifted_lock = threading.Lock()
_lifted: list[int | None] = []


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Within the block Pillow does not judge sizes, which are checked here before decoding.

    Its limit belongs to the process: it is lifted while any thread reads, and comes back after.
    """
    with _lifted_lock:
        _lifted.append(Image.MAX_IMAGE_PIXELS if not _lifted else None)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lifted_lock:
            before = _lifted[0]
            _lifted.pop()
            if not _lifted:
                Image.MAX_IMAGE_PIXELS = before


@contextlib.contextmanager
def reduced(
    image: Image.Image, most: int
) -> Iterator[tuple[Image.Image, tuple[int, int], tuple[str, ...]]]:
    """The image, prepared to be decoded at a size of at most `most` pixels if its format can.

    With it the width and height that it will have, and notes.

    Args:
      image: opened, not loaded.
      most: pixels.
    """
    width, height = image.size
    if width * height <= most:
        yield image, image.size, ()
        return
    share = 2
    while -(-width // share) * -(-height // share) > most:
        share *= 2
    smaller = image
    if image.format in ("JPEG", "MPO") and share <= _SMALLEST_SHARE:
        image.draft(None, (width // share, height // share))
    elif image.format == "JPEG2000":
        jpeg2000: Any = image
        jpeg2000.reduce = share.bit_length() - 1
    elif image.format == "TIFF":
        smaller = _smaller_copy(image, most)
    size = smaller.size
    if image.format == "JPEG2000":  # which tells it only once it is decoded
        size = ((width + share // 2) // share, (height + share // 2) // share)
    note = f"read at {size[0]}x{size[1]} of {width}x{height} px"
    yield smaller, size, () if size == (width, height) else (note,)


def _smaller_copy(image: Any, most: int) -> Any:
    """The largest reduced copy in a TIFF of at most so many pixels, else the image."""
    width, height = image.size
    best, best_size = 0, 0
    for number in range(1, min(count_frames(image)[0], _MOST_FRAMES)):
        image.seek(number)
        size = image.width * image.height
        alike = abs(image.width * height - image.height * width) <= 2 * max(width, height)
        if alike and image.tag_v2.get(_REDUCED, 0) & 1 and best_size < size <= most:
            best, best_size = number, size
    image.seek(best)
    return image
