"""Files become images: what is read, what is noted, what is refused, and the resize."""

import io
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxface.media import images

HALF_STEP = 1 / 255  # half of an 8-bit step in [-1, 1]: the rounding of a stored value


def gradient(height: int, width: int) -> np.ndarray:
    """A smooth uint8 image whose corners all differ."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def decode(data: bytes) -> images.LoadedImage:
    return images.decode_image(io.BytesIO(data))


def png16(pixels: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG, which Pillow cannot write in colour. pixels: [H, W, C], 0..65535."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_rgb_png_is_exact_and_has_no_notes():
    pixels = gradient(20, 30)
    loaded = decode(encoded(Image.fromarray(pixels)))
    assert loaded.pixels.dtype == np.float32
    assert loaded.pixels.shape == (20, 30, 3)
    assert loaded.notes == ()
    np.testing.assert_array_equal(images.to_uint8(loaded.pixels), pixels)


def test_uint8_round_trip_covers_every_value():
    values = np.arange(256, dtype=np.uint8)
    floats = images.from_uint8(values)
    assert floats[0] == -1
    assert floats[-1] == 1
    np.testing.assert_array_equal(images.to_uint8(floats), values)
    np.testing.assert_array_equal(images.to_uint8(jnp.asarray(floats)), values)
    np.testing.assert_array_equal(images.as_float(values), floats)
    assert images.as_float(floats) is floats


def test_sixteen_bit_greyscale_keeps_its_precision():
    values = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32, 1)
    loaded = decode(png16(values, colour_type=0))
    assert loaded.notes == ("16-bit greyscale made RGB",)
    expected = (values / 65535 * 2 - 1).repeat(3, axis=-1)
    # float32 arithmetic: a few units in the last place, far below the 16-bit step of 3e-5.
    np.testing.assert_allclose(loaded.pixels, expected, atol=5e-7)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_other_sixteen_bit_pngs_are_read_with_eight_bits(colour_type, channels):
    values = np.full((32, 32, channels), 65535, np.uint16)
    values[..., 0] = 65535 * np.linspace(0, 1, 32)[None]
    loaded = decode(png16(values, colour_type))
    assert "16 bits a channel read as 8" in loaded.notes
    # Truncation to the high byte is off by at most one 8-bit step.
    np.testing.assert_allclose(
        loaded.pixels[..., 0], values[..., 0] / 65535 * 2 - 1, atol=2.1 / 255
    )


def test_sixteen_bit_tiff_and_pgm():
    values = np.linspace(0, 65535, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    pgm = b"P5 32 32 65535\n" + values.astype(">u2").tobytes()
    for data in (encoded(Image.fromarray(values), "TIFF"), pgm):
        loaded = decode(data)
        np.testing.assert_allclose(loaded.pixels[..., 0], values / 65535 * 2 - 1, atol=5e-7)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    format = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    source = Image.fromarray(gradient(24, 24)).convert(mode)
    loaded = decode(encoded(source, format))
    expected = images.from_uint8(np.asarray(source.convert("RGB")))
    np.testing.assert_allclose(loaded.pixels, expected, atol=HALF_STEP)
    note = {
        "L": "greyscale made RGB",
        "1": "greyscale made RGB",
        "LA": "greyscale made RGB",
        "CMYK": "CMYK made RGB without a colour profile",
        "YCbCr": "YCbCr made RGB without a colour profile",
    }.get(mode)
    assert loaded.notes == ((note,) if note else ())


def test_alpha_is_flattened_on_white():
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    loaded = decode(encoded(Image.fromarray(pixels)))
    assert (loaded.pixels[:8] == -1).all()
    assert (loaded.pixels[8:] == 1).all()
    assert loaded.notes == ("alpha flattened on white",)


def test_palette_transparency_is_flattened_too():
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    loaded = decode(encoded(image, transparency=1))
    assert (loaded.pixels == 1).all()
    assert loaded.notes == ("alpha flattened on white",)


def test_exif_orientation_is_applied():
    upright = gradient(16, 32)
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to view
    loaded = decode(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(images.to_uint8(loaded.pixels), upright)
    assert loaded.notes == ("EXIF orientation applied",)


def test_profiles_are_named_and_frames_counted():
    image = Image.fromarray(gradient(16, 16))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(image, icc_profile=srgb)).notes == ()
    (note,) = decode(encoded(image, icc_profile=lab)).notes
    assert note.startswith("colour profile not applied: ")
    frames = [image, Image.new("RGB", (16, 16), "red")]
    notes = decode(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])).notes
    assert notes == ("first of 2 frames",)


JPEG = encoded(Image.fromarray(gradient(64, 64)), "JPEG", quality=95)
PNG = encoded(Image.fromarray(gradient(64, 64)))


@pytest.mark.parametrize(
    ("data", "error", "status"),
    [
        (b"", images.EmptyImageError, "empty"),
        (b"dear diary, " * 99, images.NotAnImageError, "not_an_image"),
        (JPEG[: len(JPEG) // 2], images.CorruptImageError, "corrupt"),
        (PNG[: len(PNG) // 2], images.CorruptImageError, "corrupt"),
        (PNG[:20], images.CorruptImageError, "corrupt"),
        (encoded(Image.new("RGB", (15, 40))), images.ImageTooSmallError, "too_small"),
        (png16(np.zeros((1, 1, 1)), 0), images.ImageTooSmallError, "too_small"),
        (b"P5 20000 20000 255\n", images.ImageTooLargeError, "too_large"),
        (b"P5 12000 12000 255\n", images.ImageTooLargeError, "too_large"),
        (
            encoded(Image.fromarray(np.ones((32, 32), np.float32)), "TIFF"),
            images.UnsupportedImageError,
            "unsupported",
        ),
    ],
)
def test_each_kind_of_bad_file_has_its_error(data, error, status):
    with pytest.raises(error) as raised:
        decode(data)
    assert raised.value.status == status
    assert "\n" not in str(raised.value)


def test_damage_anywhere_is_an_image_error_or_an_image():
    """Flipped bytes never escape as another exception."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    source = Image.fromarray(gradient(32, 32))
    sources = [
        encoded(source, "JPEG", exif=exif),
        encoded(source, "PNG"),
        encoded(source, "TIFF", compression="tiff_lzw"),
        encoded(source, "WEBP"),
        encoded(source.convert("P"), "GIF"),
        encoded(source, "BMP"),
    ]
    for data in sources:
        for _ in range(60):
            damaged = bytearray(data[: rng.integers(1, len(data) + 1)])
            for position in rng.integers(0, len(damaged), 4):
                damaged[position] = rng.integers(256)
            try:
                loaded = decode(bytes(damaged))
            except images.ImageError:
                continue
            assert loaded.pixels.shape[-1] == 3


def test_read_image_of_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(images.UnreadableImageError):
            images.read_image(path)


def test_write_png_round_trip_and_atomicity(tmp_path):
    path = tmp_path / "new" / "a.png"
    pixels = images.from_uint8(gradient(16, 20))
    images.write_png(path, jnp.asarray(pixels))
    np.testing.assert_array_equal(images.read_image(path).pixels, pixels)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        images.write_png(path, np.zeros((16, 16, 7), np.float32))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_center_crop_is_the_middle():
    pixels = gradient(20, 31)
    np.testing.assert_array_equal(images.center_crop(pixels), pixels[:, 5:25])
    np.testing.assert_array_equal(images.center_crop(pixels[:, :9]), pixels[5:14, :9])


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_shrinking_averages_exact_areas(convert):
    pixels = convert(np.random.default_rng(0).normal(size=(2, 12, 18, 3)).astype(np.float32))
    by_three = images.resize(pixels, (4, 6))
    expected = np.asarray(pixels).reshape(2, 4, 3, 6, 3, 3).mean(axis=(2, 4))
    assert isinstance(by_three, type(pixels))
    # float32 sums of nine values of order one
    np.testing.assert_allclose(by_three, expected, atol=2e-6)
    uneven = images.resize(pixels, (5, 7))
    np.testing.assert_allclose(uneven.mean((1, 2)), np.asarray(pixels).mean((1, 2)), atol=2e-6)


def test_growing_is_linear_and_same_size_is_identity():
    ramp = np.broadcast_to(np.linspace(-1, 1, 8, dtype=np.float32)[None, :, None], (8, 8, 3))
    grown = images.resize(ramp, 16)
    steps = np.diff(grown[0, :, 0])
    # inside the outermost centres the ramp keeps its slope, halved
    np.testing.assert_allclose(steps[1:-1], 1 / 7, atol=1e-6)
    np.testing.assert_array_equal(images.resize(ramp, 8), ramp)


def test_resize_is_traceable_and_agrees_with_numpy():
    pixels = np.random.default_rng(1).normal(size=(10, 14, 3)).astype(np.float32)
    traced = jax.jit(lambda x: images.resize(x, 6))(pixels)
    np.testing.assert_allclose(traced, images.resize(pixels, 6), atol=2e-6)


def test_to_square_says_what_it_did():
    loaded = images.LoadedImage(images.from_uint8(gradient(20, 30)), ("EXIF orientation applied",))
    square = images.to_square(loaded, 32)
    assert square.pixels.shape == (32, 32, 3)
    assert square.pixels.dtype == np.float32
    assert square.notes == (
        "EXIF orientation applied",
        "centre-cropped from 30x20 to 20x20",
        "enlarged from 20 to 32 px",
    )


def test_grid_places_images_in_rows():
    batch = np.stack([np.full((4, 5, 3), v, np.float32) for v in (-1, -0.5, 0)])
    sheet = images.grid(batch, columns=2, padding=1)
    assert sheet.shape == (9, 11, 3)
    assert (sheet[:4, :5] == -1).all()
    assert (sheet[:4, 6:] == -0.5).all()
    assert (sheet[5:, :5] == 0).all()
    assert (sheet[5:, 6:] == 1).all()
    assert (sheet[4] == 1).all()
