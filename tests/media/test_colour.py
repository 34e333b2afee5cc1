"""Colours become sRGB whatever says what they are, and stay as they are where they are sRGB."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxface.media.images import (
    decode_image,
    encode_png,
    in_own_colours,
    read_image,
    to_uint8,
)

# XYZ of the primaries, adapted to D50, as profiles of these spaces hold them (ICC, sRGB and P3).
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
D50 = (0.96420, 1.0, 0.82491)


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def profile(primaries, gamma, name: str, space: bytes = b"RGB ") -> bytes:
    """A version 2 matrix profile; with the space GRAY, of one curve."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + b"\0" * 80
    xyz = [b"XYZ \0\0\0\0" + b"".join(map(fixed, each)) for each in (D50, *primaries)]
    tags = dict(zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), xyz, strict=False))
    tags |= {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= (
        {b"kTRC": curve} if space == b"GRAY" else {t + b"TRC": curve for t in (b"r", b"g", b"b")}
    )
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += tag + struct.pack(">II", place + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", place + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ "
    )
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + b"".join(map(fixed, D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def colours() -> np.ndarray:
    """uint8 [24, 27, 3] of smooth colours, greys among them."""
    y, x = np.mgrid[0:24, 0:27]
    rgb = np.stack([x * 9, y * 10, 255 - x * 9], -1)
    rgb[:4] = np.linspace(0, 255, 27).round()[None, :, None]
    return rgb.astype(np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def encoded(pixels, format="PNG", chunks=(), **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format, **options)
    data = file.getvalue()
    return data[:33] + b"".join(chunk(*each) for each in chunks) + data[33:] if chunks else data


def decode(data: bytes):
    loaded = decode_image(io.BytesIO(data))
    return to_uint8(loaded.pixels).astype(int), loaded.notes


def to_linear(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def from_linear(v):
    v = np.clip(v, 0, 1)
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


def expected(pixels, primaries, decoded):
    """sRGB's levels of stored values, by the profiles' own numbers."""
    to_xyz, from_srgb = np.array(primaries).T, np.array(SRGB).T
    light = decoded(pixels / 255) @ np.linalg.solve(from_srgb, to_xyz).T
    return np.round(255 * from_linear(light))


@pytest.mark.parametrize("name", ["Display P3", "sRGB IEC61966-2.1", ""])
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(P3, 2.2), (ADOBE, 2.2), (SRGB, 1.0), (SRGB, 1.8)]
)
def test_profiles_are_applied_whatever_they_are_called(primaries, gamma, name):
    data = encoded(colours(), icc_profile=profile(primaries, gamma, name))
    got, notes = decode(data)
    # littleCMS rounds its 8-bit results from tables of 16 bits.
    assert np.abs(got - expected(colours(), primaries, lambda v: v**gamma)).max() <= 2
    assert [note.split(":")[0] for note in notes] == ["colour profile applied"]


def test_what_is_srgb_stays_bit_for_bit():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in (
        {"icc_profile": srgb},
        {"icc_profile": srgb.replace(b"s\0R\0G\0B", b"X\0Y\0Z\0W")},
        {"chunks": [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))]},
        {"chunks": [(b"gAMA", struct.pack(">I", 45455))]},
        {"chunks": [(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100000))]},
    ):
        got, notes = decode(encoded(colours(), **options))
        np.testing.assert_array_equal(got, colours())
        assert notes == ()


def test_grey_alpha_and_palette_take_their_profiles():
    grey = colours()[..., 1]
    linear = profile((), 1.0, "Linear grey", b"GRAY")
    wanted = np.round(255 * from_linear(grey / 255))[..., None]
    got, notes = decode(encoded(grey, icc_profile=linear))
    assert np.abs(got - wanted).max() <= 2
    assert notes == ("greyscale made RGB", "colour profile applied: Linear grey")
    wide = (grey.astype(np.uint16) * 257) + 100
    got, _ = decode(encoded(wide, icc_profile=linear))
    wanted = np.round(255 * from_linear(wide / 65535))[..., None]
    assert (
        np.abs(got - wanted)[wide >= 2570].max() <= 2
    )  # below, the curve is steep between samples

    p3 = profile(P3, 2.2, "P3")
    straight, _ = decode(encoded(colours(), icc_profile=p3))
    alpha = np.concatenate([colours(), np.full((24, 27, 1), 255, np.uint8)], -1)
    got, _ = decode(encoded(alpha, icc_profile=p3))
    np.testing.assert_array_equal(got, straight)
    palette = Image.fromarray(colours()).quantize(16)
    file = io.BytesIO()
    palette.save(file, format="PNG", icc_profile=p3)
    got, _ = decode(file.getvalue())
    direct, _ = decode(encoded(np.asarray(palette.convert("RGB")), icc_profile=p3))
    np.testing.assert_array_equal(got, direct)


def test_lab_is_converted_and_stays_near():
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours()),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    file = io.BytesIO()
    lab.save(file, format="TIFF")
    got, _ = decode(file.getvalue())
    assert np.abs(got - colours()).mean() < 3  # 8 bits of Lab are coarser than sRGB's


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
def test_pngs_own_gamma_and_primaries(gamma):
    gama = (b"gAMA", struct.pack(">I", round(gamma * 1e5)))
    got, notes = decode(encoded(colours(), chunks=[gama]))
    power = 1 / gamma
    assert np.abs(got - expected(colours(), SRGB, lambda v: v**power)).max() <= 1
    assert notes[0].startswith("converted to sRGB from gamma")
    p3 = [31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000]
    got, _ = decode(encoded(colours(), chunks=[gama, (b"cHRM", struct.pack(">8I", *p3))]))
    assert np.abs(got - expected(colours(), P3, lambda v: v**power)).max() <= 1


@pytest.mark.parametrize(
    ("transfer", "decoded"), [(13, to_linear), (8, lambda v: v), (4, lambda v: v**2.2)]
)
def test_coded_primaries_and_transfer(transfer, decoded):
    got, _ = decode(encoded(colours(), chunks=[(b"cICP", bytes([12, transfer, 0, 1]))]))
    assert np.abs(got - expected(colours(), P3, decoded)).max() <= 1


def test_white_of_high_range_images_is_white():
    # BT.2408: 203 cd/m^2 is 58 % of PQ, and 75 % of HLG.
    for transfer, level in ((16, 148), (18, 191)):
        pixels = np.full((20, 20, 3), level, np.uint8)
        got, _ = decode(encoded(pixels, chunks=[(b"cICP", bytes([9, transfer, 0, 1]))]))
        assert got.min() >= 250


def test_a_camera_that_says_adobe_rgb_in_its_exif():
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 2}
    got, notes = decode(encoded(colours(), exif=exif))
    wanted = expected(colours(), ADOBE, lambda v: v ** (563 / 256))
    assert np.abs(got - wanted).max() <= 1
    assert notes == ("converted to sRGB from Adobe RGB, by its EXIF data",)


def test_damaged_and_nonsensical_words_leave_the_image_as_it_is():
    whole = profile(P3, 2.2, "P3")
    for options in (
        {"icc_profile": whole[:200]},
        {"icc_profile": b"nonsense"},
        {"icc_profile": profile((), 2.2, "grey", b"GRAY")[:150]},
        {"chunks": [(b"gAMA", struct.pack(">I", 0))]},
        {"chunks": [(b"gAMA", struct.pack(">I", 50000)), (b"cHRM", bytes(32))]},
        {"chunks": [(b"cICP", bytes([200, 200, 0, 1]))]},
    ):
        got, _ = decode(encoded(colours(), **options))
        if "icc_profile" in options or b"cICP" in dict(options["chunks"]):
            np.testing.assert_array_equal(got, colours())


def test_what_is_written_says_that_it_is_srgb():
    data = encode_png(colours())
    assert data.index(b"sRGB") < data.index(b"IDAT")
    assert Image.open(io.BytesIO(data)).info["srgb"] == 0
    np.testing.assert_array_equal(decode(data)[0], colours())


def test_a_changed_photograph_keeps_its_profile_and_what_was_not_changed(tmp_path):
    """Display P3: the file's own values outside of the change, and inside what reads as it was."""
    path, data = tmp_path / "p3.png", profile(P3, 2.2, "any name")
    path.write_bytes(encoded(colours(), icc_profile=data))
    read = read_image(path).pixels
    changed = np.zeros(read.shape[:2], bool)
    changed[8:16, 8:16] = True
    pixels = np.array(to_uint8(read))
    pixels[changed] = 90, 120, 150
    own, kept = in_own_colours(path, pixels, changed)
    assert kept == data
    np.testing.assert_array_equal(own[~changed], colours()[~changed])
    again = to_uint8(decode_image(io.BytesIO(encode_png(own, profile=kept))).pixels).astype(int)
    assert np.abs(again[changed] - (90, 120, 150)).max() <= 2
    path.write_bytes(encoded(colours()))
    own, kept = in_own_colours(path, pixels, changed)
    assert kept is None
    assert own is pixels
