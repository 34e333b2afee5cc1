"""What an image file says beside its pixels: damage there never costs the pixels.

Editors, messengers and cameras leave EXIF data that break off, text chunks with wrong checksums and
links to frames that are not there. Whatever of it cannot be read is passed over, with a note.
"""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from jaxface.media.image_errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    NotAnImageError,
    UnsupportedImageError,
)
from jaxface.media.image_formats import format_of
from jaxface.runtime.files import open_regular

PASSED_OVER = "damaged metadata passed over"

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_COLOURS = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"})
_ICONS = (b"\0\0\1\0", b"\0\0\2\0", b"icns")
_CAMERA = 0x8769  # the directory of what the camera noted
_OF_COLOURS = (0xA001, 0xA005)  # its colour space, and which of those an old rule says
_LARGEST_XMP = 2**16  # characters; what is longer is an editor's history
_LARGEST_ICON = 2**24  # pixels


def upright(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A loaded image as its EXIF orientation says that it is to be seen, and notes."""
    stated = None
    with contextlib.suppress(Exception):  # of whatever kind: the parsers are many
        stated = image.getexif().get(_ORIENTATION, 1)
    if stated is None:
        return image, (PASSED_OVER,)
    if not isinstance(stated, int) or stated not in _TURNS:
        return image, ()
    return image.transpose(_TURNS[stated]), ("EXIF orientation applied",)


def exif_value(image: Image.Image, directory: int, tag: int) -> Any:
    """A value of the EXIF data; None where there is none, or none that can be read."""
    if image.format == "PNG":
        image.load()  # the data may come last, and damage of the pixels is to be told
    with contextlib.suppress(Exception):
        return image.getexif().get_ifd(directory).get(tag)
    return None


def own_metadata(path: str | os.PathLike[str]) -> tuple[bytes | None, str]:
    """What a photograph's file says beside its pixels, for an image that takes its place.

    Returns:
      EXIF data of an upright image, without its thumbnail and its word on colours, None for none;
      and the packet of XMP, "" for none. What is damaged is passed over.
    """
    exif, xmp = None, ""
    with contextlib.suppress(Exception), open_regular(path) as file, Image.open(file) as image:
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or ""
        packet = packet if isinstance(packet, str) else packet.decode("utf-8")
        xmp = packet if len(packet) <= _LARGEST_XMP else ""
        stated = image.getexif()
        stated.pop(_ORIENTATION, None)
        for tag in _OF_COLOURS:
            stated.get_ifd(_CAMERA).pop(tag, None)
        exif = stated.tobytes() if len(stated) else None
    return exif, xmp


def count_frames(image: Any) -> tuple[int, tuple[str, ...]]:
    """How many frames a file has whose first is at hand, as far as they can be found; and notes."""
    with contextlib.suppress(Exception):
        return getattr(image, "n_frames", 1), ()
    image.seek(0)
    return 1, (PASSED_OVER,)


def plainer(file: BinaryIO) -> Iterator[BinaryIO]:
    """A PNG again without what may be damaged beside its pixels: first all but its colours, then
    these too. Nothing for other files.
    """
    file.seek(0)
    data = file.read()
    if not data.startswith(_PNG):
        return
    before = data
    for kept in (_PIXELS | _COLOURS, _PIXELS):
        plain = _PNG + b"".join(
            chunk
            for name, chunk, whole in _chunks(data)
            if name in _PIXELS or (name in kept and whole)
        )
        if plain != before:
            yield io.BytesIO(plain)
        before = plain


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """(name, the chunk, whether its checksum is right) of a PNG."""
    place = len(_PNG)
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + size
        chunk = data[place:end]
        yield name, chunk, zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        place = end


def refuse_large_icons(file: BinaryIO, head: bytes) -> None:
    """Icons say themselves how large they are, and what they hold, a PNG say, may be larger.

    Raises:
      ImageTooLargeError: something in one has more pixels than any icon.
    """
    if not head.startswith(_ICONS):
        return
    data = file.read()
    file.seek(0)
    for mark, skipped in ((b"IHDR", 0), (b"ihdr", 0), (b"\xff\x4f\xff\x51", 4)):
        place = data.find(mark)
        while place >= 0:
            sides = data[place + 4 + skipped : place + 12 + skipped]
            one, other = struct.unpack(">II", sides.ljust(8, b"\0"))
            if one * other > _LARGEST_ICON:
                raise ImageTooLargeError(f"an icon that holds an image of {one}x{other} px")
            place = data.find(mark, place + 1)


def unidentified(file: BinaryIO, head: bytes) -> ImageError:
    """Why Pillow opens a file as nothing that it knows."""
    file.seek(0)
    known = format_of(head)
    if known is None:
        return NotAnImageError("not a format that is read")
    if known == "TIFF" and (kind := _unread_tiff(file)):
        return UnsupportedImageError(
            f"a TIFF of a kind that is not read ({kind}); save it as PNG, JPEG or plain TIFF"
        )
    return CorruptImageError(f"begins like {known} but its header is damaged")


def _unread_tiff(file: BinaryIO) -> str:
    """What Pillow does not know in the tags of a TIFF that it understands; "" of a damaged one."""
    said: Any = ""
    with contextlib.suppress(Exception):
        try:
            TiffImagePlugin.TiffImageFile(file)
        except SyntaxError as error:
            said = error.args[0] if error.args else ""
    if isinstance(said, KeyError):
        return f"compression {said}"
    return str(said) if "pixel mode" in str(said) else ""
