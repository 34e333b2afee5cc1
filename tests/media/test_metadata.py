"""Damage beside the pixels costs a note, not the image, and hides no damage of the pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxface.media.image_errors import (
    CorruptImageError,
    ImageTooLargeError,
    NotAnImageError,
    UnsupportedImageError,
)
from jaxface.media.images import decode_image, to_uint8
from jaxface.media.metadata import PASSED_OVER

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)


def encoded(format: str, pixels=PIXELS, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def with_chunks(*chunks: bytes) -> bytes:
    data = encoded("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def decode(data: bytes):
    return decode_image(io.BytesIO(data))


@pytest.mark.parametrize(
    "damage",
    [
        chunk(b"tEXt", b"a\0b", crc=0),
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000), 9)),
        chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(20_000_000), 9)),
        chunk(b"gAMA", b"\0"),
        chunk(b"cHRM", b"\0" * 5),
        chunk(b"pHYs", b"\0"),
    ],
)
def test_damaged_chunks_of_a_png_cost_a_note(damage):
    loaded = decode(with_chunks(damage))
    np.testing.assert_array_equal(to_uint8(loaded.pixels), PIXELS)
    assert PASSED_OVER in loaded.notes


def test_colours_stay_where_something_else_is_damaged():
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    whole = decode(with_chunks(gamma))
    damaged = decode(with_chunks(gamma, chunk(b"tEXt", b"a\0b", crc=0)))
    np.testing.assert_array_equal(damaged.pixels, whole.pixels)
    assert damaged.notes == (PASSED_OVER, *whole.notes)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\1", b"Exif\0\0II*\0\xff\xff\xff\xff"],
)
def test_damaged_exif_data_cost_nothing(format, exif):
    if format == "PNG":
        data = with_chunks(chunk(b"eXIf", exif[6:]))
    elif format == "TIFF":
        data = encoded(format) + exif
    else:
        data = encoded(format, exif=exif)
    assert decode(data).pixels.shape == (24, 20, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_as_pillow_has_them(orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x112] = orientation
    data = encoded("PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(to_uint8(decode(data).pixels), expected)


def tag(data: bytes, wanted: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a short tag, in its first directory."""
    out = bytearray(data)
    (place,) = struct.unpack_from("<I", out, 4)
    (count,) = struct.unpack_from("<H", out, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", out, entry)[0] == wanted:
            struct.pack_into("<H", out, entry + 8, value)
    return bytes(out)


def test_a_tiff_whose_next_frame_is_nowhere():
    data = bytearray(encoded("TIFF"))
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    struct.pack_into("<I", data, place + 2 + 12 * count, 0x7FFFFFF0)
    loaded = decode(bytes(data))
    np.testing.assert_array_equal(to_uint8(loaded.pixels), PIXELS)
    assert loaded.notes == (PASSED_OVER,)


def test_sixteen_bits_of_which_zero_is_white():
    grey = np.linspace(0, 65535, 480).astype(np.uint16).reshape(24, 20)
    data = encoded("TIFF", grey)
    np.testing.assert_array_equal(decode(tag(data, 262, 0)).pixels, -decode(data).pixels)


@pytest.mark.parametrize("compression", [34887, 50002])
def test_a_tiff_of_another_kind_is_not_said_to_be_damaged(compression):
    with pytest.raises(UnsupportedImageError, match=f"compression {compression}"):
        decode(tag(encoded("TIFF"), 259, compression))


def test_notes_of_sixteen_bits_are_true():
    assert decode(encoded("TIFF", compression="lzma")).notes == ()
    assert decode(encoded("TIFF", np.zeros((1650, 16, 3), np.uint8))).notes == ()


def test_damaged_pixels_stay_damaged():
    data = with_chunks(chunk(b"tEXt", b"a\0b", crc=0))
    with pytest.raises(CorruptImageError):
        decode(data[: len(data) // 2])
    with pytest.raises(CorruptImageError):
        decode(data[:20])


def test_an_icon_that_holds_more_than_an_icon():
    inner = encoded("PNG", np.zeros((32, 32, 3), np.uint8))
    for sides, error in (((32, 32), None), ((6000, 6000), ImageTooLargeError)):
        told = inner[:16] + struct.pack(">II", *sides) + inner[24:]
        told = told[:29] + struct.pack(">I", zlib.crc32(told[12:29])) + told[33:]
        icon = b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(told), 22) + told
        if error is None:
            assert decode(icon).pixels.shape == (32, 32, 3)
        else:
            with pytest.raises(error, match="icon"):
                decode(icon)


@pytest.mark.parametrize(
    "data",
    [b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(40)],
)
def test_sounds_and_videos_are_no_damaged_images(data):
    with pytest.raises(NotAnImageError):
        decode(data)
