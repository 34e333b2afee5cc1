"""Colours of a file to sRGB: embedded profiles, PNG's and AVIF's own fields, and cameras' word.

What counts is, in this order: the numbers of a ``cICP`` chunk (PNG) or ``nclx`` box (HEIF) of
ITU-T H.273; an ICC profile, applied by littleCMS with the perceptual intent; ``sRGB``; ``gAMA``
with ``cHRM`` (PNG); EXIF's note that a camera wrote Adobe RGB. A file that says nothing is sRGB.
Colours that are sRGB to within one level of 255, whatever they are called, stay as stored.
"""

import functools
import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from jaxface.media.metadata import exif_value

SRGB_CHUNK = b"sRGB", b"\0"
"""PNG's chunk that says so, with the perceptual intent."""

_D65 = (0.3127, 0.3290)
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65)
# Tables 2 and 3 of ITU-T H.273: red, green, blue and white (x, y) by their number.
_PRIMARIES = {
    1: _SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.314, 0.351)),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), _D65),
    22: ((0.63, 0.34), (0.295, 0.605), (0.155, 0.077), _D65),
}
_UNSPECIFIED = 2
_PQ, _HLG = 16, 18
_REFERENCE_WHITE = 203.0  # cd/m^2 of what is 1 in sRGB, by ITU-R BT.2408

_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

_FULL = 65535  # steps of the tables of single channels


@dataclass(frozen=True)
class Encoding:
    """How stored values stand for light.

    Attributes:
      primaries: (x, y) of red, green, blue and white.
      transfer: a number of H.273's table 3, or an exponent, stored value ** exponent = light.
      name: for the note.
    """

    primaries: tuple[tuple[float, float], ...]
    transfer: int | float
    name: str


@dataclass(frozen=True)
class Profile:
    """An embedded ICC profile."""

    data: bytes


def stated_colour(image: Image.Image, file: BinaryIO) -> Encoding | Profile | None:
    """What a file says about its colours; None where it is sRGB by its own word or by none.

    Args:
      image: opened, not yet loaded.
      file: its own; its position is restored.
    """
    coded = _coded(image, file)
    if coded is not None:
        primaries, transfer = coded
        if primaries in _PRIMARIES and transfer != _UNSPECIFIED:
            name = f"primaries {primaries} and transfer {transfer} of H.273"
            return Encoding(_PRIMARIES[primaries], int(transfer), name)
    if profile := image.info.get("icc_profile"):
        return Profile(profile)
    if image.format == "PNG" and ("srgb" in image.info or "gamma" in image.info):
        return None if "srgb" in image.info else _by_gamma(image.info)
    interoperability = str(exif_value(image, 0xA005, 1))
    if exif_value(image, 0x8769, 0xA001) == 2 or interoperability.startswith("R03"):
        return Encoding(_ADOBE, 563 / 256, "Adobe RGB, by its EXIF data")
    return None


def to_srgb(image: Image.Image, stated: Encoding | Profile | None) -> tuple[Image.Image, list[str]]:
    """A loaded image in sRGB, and what was done.

    Args:
      image: of any mode; alpha stays as it is.
      stated: by `stated_colour`.

    Returns:
      The image, of mode L, RGB, RGBA or I;16 where its colours were converted; and notes.
    """
    if image.mode == "LAB":
        return _by_profile(image, ImageCms.ImageCmsProfile(_lab_profile()).tobytes())
    if isinstance(stated, Profile):
        return _by_profile(image, stated.data)
    if stated is None or image.mode.startswith("I") or image.mode == "CMYK":
        return image, []
    table = np.asarray(_decoded(stated.transfer, np.arange(256) / 255), np.float32)
    matrix = np.asarray(_matrix(stated.primaries), np.float32)
    if _near(_encoded(_linear_grid(table) @ matrix.T) * 255):
        return image, []
    colours, alpha = _split(image)
    out = np.empty((colours.height, colours.width, 3), np.uint8)
    for top in range(0, colours.height, 64):  # in strips: floats of all of it may not fit
        strip = np.asarray(colours.crop((0, top, colours.width, min(top + 64, colours.height))))
        light = table[strip] @ matrix.T
        out[top : top + 64] = np.round(_encoded(light) * 255).astype(np.uint8)
    return _joined(Image.fromarray(out), alpha), [f"converted to sRGB from {stated.name}"]


def from_srgb(image: Image.Image, profile: Profile) -> Image.Image | None:
    """An RGB image of sRGB in the colours of a profile, those outside of them at its edge.

    None where the profile is sRGB itself, to within a level of 255, or cannot be applied.
    """
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile.data))
        if _near(np.asarray(ImageCms.applyTransform(_grid(), _transform(own, "RGB")))):
            return None
        back = ImageCms.buildTransform(_srgb_profile(), own, "RGB", "RGB")
        return ImageCms.applyTransform(image, back)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None  # as when it was read


def _by_profile(image: Image.Image, data: bytes) -> tuple[Image.Image, list[str]]:
    name = "damaged profile"
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = " ".join(ImageCms.getProfileDescription(profile).split())[:80] or "unnamed profile"
        if image.mode.startswith("I"):
            return _grey16(image, profile), [f"colour profile applied: {name}"]
        inner: Any = profile.profile
        space = inner.xcolor_space.strip()
        colours, alpha = _split(image, space)
        transform = _transform(profile, colours.mode)
        if colours.mode == "RGB" and _near(np.asarray(ImageCms.applyTransform(_grid(), transform))):
            return image, []
        converted: Any = ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        del error  # its words are littleCMS's
        return image, [f"colour profile not applied: {name}"]
    return _joined(converted, alpha), [f"colour profile applied: {name}"]


def _transform(profile: Any, mode: str) -> Any:
    return ImageCms.buildTransform(profile, _srgb_profile(), mode, "RGB")


def _srgb_profile() -> Any:
    return ImageCms.createProfile("sRGB")  # not shared: littleCMS's contexts are of one thread


def _lab_profile() -> Any:
    return ImageCms.createProfile("LAB")


def _grey16(image: Image.Image, profile: Any) -> Image.Image:
    """16-bit greyscale by a grey profile's curve, sampled at 256 places."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = np.asarray(ImageCms.applyTransform(ramp, _transform(profile, "L")))[0, :, 1]
    values = np.asarray(image, np.float64)
    stored = np.interp(values, np.linspace(0, _FULL, 256), curve.astype(np.float64) * 257)
    return Image.fromarray(np.round(stored).astype(np.uint16))


def _split(image: Image.Image, space: str = "RGB") -> tuple[Image.Image, Image.Image | None]:
    """The colours, in the mode that a profile of this space wants, and alpha."""
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    mode = {"GRAY": "L", "CMYK": "CMYK", "Lab": "LAB", "LAB": "LAB"}.get(space, "RGB")
    if mode != image.mode and {mode, image.mode} & {"CMYK", "LAB"}:
        raise ValueError(f"a profile of {space} in an image of mode {image.mode}")
    return image if image.mode == mode else image.convert(mode), alpha


def _joined(colours: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


@functools.cache
def _grid() -> Image.Image:
    """Every colour of 9 levels a channel."""
    levels = np.round(np.linspace(0, 255, 9)).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Image.fromarray(colours.reshape(27, 27, 3))


def _linear_grid(table: np.ndarray) -> np.ndarray:
    return table[np.asarray(_grid())]


def _near(colours: np.ndarray) -> bool:
    """Whether what became of `_grid` is the grid, to a level of 255."""
    return bool(np.abs(np.asarray(_grid(), np.float64) - colours).max() <= 1)


def _matrix(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """[3, 3]: light of these primaries to sRGB's, white to white by Bradford's transform."""
    return np.linalg.solve(_to_xyz(_SRGB), _adapted(primaries[3]) @ _to_xyz(primaries))


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    columns = np.array([_xyz(each) for each in primaries[:3]]).T
    return columns * np.linalg.solve(columns, _xyz(primaries[3]))


def _adapted(white: tuple[float, float]) -> np.ndarray:
    to, source = _BRADFORD @ _xyz(_D65), _BRADFORD @ _xyz(white)
    return np.linalg.solve(_BRADFORD, (to / source)[:, None] * _BRADFORD)


def _xyz(chromaticity: tuple[float, float]) -> np.ndarray:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _encoded(light: np.ndarray) -> np.ndarray:
    """Light to sRGB's values, in [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _decoded(transfer: int | float, v: np.ndarray) -> np.ndarray:
    """Stored values in [0, 1] to light; what is brighter than the reference white is above 1."""
    if isinstance(transfer, float):
        return v**transfer
    if transfer == _PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        p = v ** (1 / m2)
        return 10000 / _REFERENCE_WHITE * ((p - c1).clip(0) / (c2 - c3 * p)) ** (1 / m1)
    if transfer == _HLG:  # ARIB STD-B67, its 75 % being the reference white
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
        return light / ((np.exp((0.75 - c) / a) + b) / 12)
    powers = {4: 2.2, 5: 2.8, 8: 1.0}
    if transfer in powers:
        return v ** powers[transfer]
    # BT.709's camera curve (1, 6, 14, 15) is shown as sRGB's by whoever shows stills.
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _by_gamma(info: Any) -> Encoding | None:
    """PNG's gAMA and cHRM."""
    gamma = info.get("gamma") or 0
    stated = info.get("chromaticity")
    if not 0.01 < gamma < 100:
        return None
    primaries = _SRGB
    if stated and len(stated) == 8 and min(stated[1::2]) > 0:
        white, red, green, blue = zip(stated[::2], stated[1::2], strict=True)
        primaries = (red, green, blue, white)
        if np.linalg.matrix_rank(np.array([_xyz(each) for each in primaries[:3]])) < 3:
            return None
    # 0.45455 is how a file says sRGB where it cannot name it (PNG, 11.3.2.5).
    transfer = 13 if abs(gamma - 1 / 2.2) < 0.005 else float(1 / gamma)
    return Encoding(primaries, transfer, f"gamma {gamma:.5g}" + " and its primaries" * bool(stated))


def _coded(image: Image.Image, file: BinaryIO) -> tuple[int, int] | None:
    """(primaries, transfer) of a cICP chunk or an nclx box."""
    before = file.tell()
    try:
        if image.format == "PNG":
            chunk = _png_chunk(file, b"cICP")
            return (chunk[0], chunk[1]) if len(chunk) == 4 else None
        if image.format in ("AVIF", "HEIF"):
            file.seek(0)
            head = file.read(1 << 16)
            place = head.find(b"colrnclx")
            if place >= 0 and len(head) >= place + 12:
                primaries, transfer = struct.unpack_from(">HH", head, place + 8)
                return primaries, transfer
        return None
    finally:
        file.seek(before)


def _png_chunk(file: BinaryIO, wanted: bytes) -> bytes:
    """The contents of a chunk before the pixels; empty where there is none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name == wanted:
            return file.read(min(size, 64))
        if name in (b"IDAT", b"IEND"):
            break
        file.seek(size + 4, io.SEEK_CUR)
    return b""
