"""One image's failure is that image's: whatever a file, its name or its decoder does."""

import errno
import io
import os
import socket
import sys
import types

import numpy as np
import pytest
from PIL import Image

from jaxface.media import image_formats
from jaxface.media.image_errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedImageError,
    of_one_image,
)
from jaxface.media.images import decode_image, read_image


def encoded(format: str) -> bytes:
    y, x = np.mgrid[0:40, 0:40] * 6
    file = io.BytesIO()
    Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).save(file, format=format)
    return file.getvalue()


@pytest.mark.parametrize(
    "format", ["AVIF", "JPEG2000", "PCX", "ICO", "ICNS", "TGA", "PPM", "QOI", "SGI", "MPO", "DIB"]
)
def test_damage_of_every_format_is_an_image_error_or_an_image(format):
    rng = np.random.default_rng(0)
    data = encoded(format)
    for _ in range(30):
        damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
        for position in rng.integers(0, len(damaged), 4):
            damaged[position] = rng.integers(256)
        try:
            loaded = decode_image(io.BytesIO(damaged), name=f"x.{format.lower()}")
        except ImageError:
            continue
        assert loaded.pixels.shape[-1] == 3


def test_what_is_no_regular_file_is_never_opened_to_wait(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "file").write_text("x")
    paths = [tmp_path / "pipe.png", tmp_path / "loop.png", tmp_path / "file" / "x.png", tmp_path]
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's name has a hundred letters at most
        listener.bind("socket.png")
        for path in [*paths, "socket.png", "/dev/zero", "a\0b.png", "\ud800.png", "x" * 300]:
            with pytest.raises(UnreadableImageError) as raised:
                read_image(path)
            assert "\n" not in str(raised.value)


def test_an_error_of_the_disk_is_no_damage_of_the_image(tmp_path):
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(UnreadableImageError, match="Input/output error"):
        decode_image(Failing(encoded("PNG")))


def test_no_program_is_started_and_programs_are_named_as_such(monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", started)
    monkeypatch.setattr("subprocess.Popen", started)
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("page.eps", "page.png"):
        with pytest.raises(UnsupportedImageError, match="PostScript"):
            decode_image(io.BytesIO(page), name=name)
    assert "EPS" not in image_formats.FORMATS
    assert "WMF" not in image_formats.FORMATS


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError(), ImageTooLargeError),
        (OSError(errno.ESTALE, "Stale file handle"), UnreadableImageError),
        (OSError("image file is truncated"), CorruptImageError),
        (RuntimeError("Failed to decode\nframe 0"), CorruptImageError),
        (AssertionError(), CorruptImageError),
    ],
)
def test_whatever_a_decoder_raises_is_one_kind_of_failure(raised, expected):
    with pytest.raises(expected) as error, of_one_image():
        raise raised
    assert "\n" not in str(error.value)
    with pytest.raises(KeyboardInterrupt), of_one_image():
        raise KeyboardInterrupt


def clear_decoders():
    image_formats._heif.cache_clear()
    image_formats._jxl.cache_clear()


def heif(brand: bytes = b"heic") -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 40


JXL = b"\xff\x0a" + b"\0" * 40


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        (heif(), "IMG_0001.HEIC", r"HEIC/HEIF needs pillow-heif, .*jaxface\[heic\]"),
        (heif(b"mif1"), "renamed.jpg", "HEIC/HEIF needs pillow-heif"),
        (JXL, "a.jxl", r"JPEG XL needs pillow-jxl-plugin, .*jaxface\[jxl\]"),
        (encoded("TIFF"), "a.NEF", "a camera's raw file; develop it"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 40, "renamed.tif", "a camera's raw file"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01" + b"\0" * 40, "a.cr3", "a camera's raw file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>" + b" " * 9, "a.svg", "not read"),
    ],
)
def test_formats_without_a_decoder_are_named_with_what_to_do(monkeypatch, data, name, says):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    clear_decoders()
    with pytest.raises(UnsupportedImageError, match=says):
        decode_image(io.BytesIO(data), name=name)


def test_a_dng_is_no_thumbnail():
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, format="TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with pytest.raises(UnsupportedImageError, match="raw"):
        decode_image(io.BytesIO(file.getvalue()))


def test_a_decoder_that_is_installed_is_used(monkeypatch):
    """A stand-in for pillow-heif, whose registered opener reads what its brand promises."""

    def register():
        def factory(file, name):
            assert file.read(12)[8:] == b"heic"
            file.close = lambda: None
            return Image.open(io.BytesIO(encoded("PNG")))

        Image.register_open("HEIF", factory, lambda head: head[8:12] == b"heic")

    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    package = types.SimpleNamespace(register_heif_opener=register)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    clear_decoders()
    assert decode_image(io.BytesIO(heif()), name="IMG.heic").pixels.shape == (40, 40, 3)
    clear_decoders()


def test_heic_is_read_where_pillow_heif_is_installed():
    pillow_heif = pytest.importorskip("pillow_heif")
    source = Image.open(io.BytesIO(encoded("PNG")))
    file = io.BytesIO()
    pillow_heif.from_pillow(source).save(file, quality=100)
    loaded = decode_image(io.BytesIO(file.getvalue()), name="a.heic")
    np.testing.assert_allclose(loaded.pixels, np.asarray(source) / 127.5 - 1, atol=0.1)
