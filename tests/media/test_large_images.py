"""Photographs of more pixels than are read come at a reduced size, or are refused undecoded."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxface.media.image_errors import ImageTooLargeError
from jaxface.media.images import decode_image, pixel_limit, to_uint8
from jaxface.media.large_images import any_size


def smooth(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 / width, y * 255 / height, 128 + 0 * x], -1)
    return Image.fromarray(rgb.astype(np.uint8))


def encoded(format: str, image=None, **options) -> io.BytesIO:
    file = io.BytesIO()
    (image or smooth(400, 300)).save(file, format=format, **options)
    return io.BytesIO(file.getvalue())


@pytest.mark.parametrize("format", ["JPEG", "MPO", "JPEG2000"])
@pytest.mark.parametrize(("limit", "size"), [(30_001, (200, 150)), (10_000, (100, 75))])
def test_formats_with_reduced_sizes_are_read_at_one(format, limit, size):
    with pixel_limit(limit):
        loaded = decode_image(encoded(format))
    assert loaded.pixels.shape == (size[1], size[0], 3)
    assert loaded.notes[0] == f"read at {size[0]}x{size[1]} of 400x300 px"
    expected = np.asarray(smooth(*size)).astype(int)
    # What is left of the pixels' offset and of compression.
    assert np.abs(to_uint8(loaded.pixels).astype(int) - expected).mean() < 4


def test_a_tiff_of_several_levels():
    small, other = smooth(100, 75), Image.new("RGB", (90, 75))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    file = encoded("TIFF", save_all=True, append_images=[other, small])
    with pixel_limit(10_000):
        loaded = decode_image(file)
    assert loaded.pixels.shape == (75, 100, 3)
    assert "read at 100x75 of 400x300 px" in loaded.notes


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "BMP"])
def test_others_are_refused_with_what_to_do(format):
    with pixel_limit(10_000), pytest.raises(ImageTooLargeError, match="--max-pixels"):
        decode_image(encoded(format))
    with pixel_limit(200_000):
        assert decode_image(encoded(format)).pixels.shape == (300, 400, 3)


def test_two_hundred_megapixels_are_opened_and_pillows_limit_comes_back():
    before = Image.MAX_IMAGE_PIXELS
    header = b"P5 20000 10000 255\n"
    with pytest.raises(ImageTooLargeError, match="20000x10000"):
        decode_image(io.BytesIO(header))
    assert before == Image.MAX_IMAGE_PIXELS
    with any_size(), any_size():
        assert Image.MAX_IMAGE_PIXELS is None
    assert before == Image.MAX_IMAGE_PIXELS
