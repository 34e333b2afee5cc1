"""Which formats of images are read, by what; and what is said of those that are not.

Pillow hands some formats to other programs (EPS to Ghostscript), so it is told which to try. The
formats of phones and cameras need decoders of their own, which are used where they are installed.
"""

import functools
import os
from typing import Any

from PIL import Image

from jaxface.media.image_errors import UnsupportedImageError

# fmt: off
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD",
    "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP",
)
"""Pillow's names of what it may decode, all of it in this process; JPEG brings MPO."""

DECODED_SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".icns", ".ico", ".j2c", ".j2k", ".jfif",
    ".jif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pgm",
    ".pjp", ".pjpeg", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif",
    ".tiff", ".webp",
})
"""Suffixes of what Pillow decodes by itself."""

HEIF_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
JXL_SUFFIXES = frozenset({".jxl"})
RAW_SUFFIXES = frozenset({
    ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng", ".drf",
    ".eip", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kdc", ".lfp", ".lfr", ".mdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".pef", ".ptx", ".pxn", ".raf", ".raw", ".rw2", ".rwl", ".rwz",
    ".sr2", ".srf", ".srw", ".x3f",
})
OTHER_SUFFIXES = frozenset({
    ".afphoto", ".ai", ".bpg", ".cur", ".dcm", ".dds", ".djvu", ".emf", ".eps", ".exr", ".flif",
    ".hdp", ".hdr", ".jls", ".jxr", ".kra", ".ora", ".pcd", ".pct", ".pict", ".psb", ".svg",
    ".svgz", ".wdp", ".wmf", ".xcf",
})
# fmt: on

IMAGE_SUFFIXES = DECODED_SUFFIXES | HEIF_SUFFIXES | JXL_SUFFIXES | RAW_SUFFIXES | OTHER_SUFFIXES
"""What a folder is searched for: whoever keeps images under these names gets a row for each."""

# How the formats people use begin: a file that starts so but cannot be opened is a damaged image,
# not a foreign file.
_SIGNATURES = {
    "PNG": b"\x89PNG",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "BMP": b"BM",
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "PSD": b"8BPS",
    "QOI": b"qoif",
}
_BRANDS = frozenset({b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"crx "})

_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_JXL_SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_DNG_VERSION, _CFA = 50706, 32803  # a TIFF tag; the value of PhotometricInterpretation


def formats_for(head: bytes, name: str) -> tuple[str, ...]:
    """What Pillow is to try on a file.

    Args:
      head: its first bytes, 32 at least.
      name: its own, for formats that its bytes do not tell; "" if it has none.

    Raises:
      UnsupportedImageError: it is of a format without a decoder here; what to do is said.
    """
    suffix = os.path.splitext(name)[1].lower()
    if head[4:8] == b"ftyp" and _HEIF_BRANDS & {head[8:12], head[16:20], head[20:24]}:
        if b"avif" not in head:
            return _heif()
    elif head.startswith(_JXL_SIGNATURES):
        return _jxl()
    elif (suffix in RAW_SUFFIXES and format_of(head) != "JPEG") or (
        head[8:10] == b"CR" or head[4:12] == b"ftypcrx "
    ):
        raise UnsupportedImageError(_RAW)
    elif head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        raise UnsupportedImageError(f"PostScript, which is a program; {_SAVE_AS}")
    elif suffix in OTHER_SUFFIXES and format_of(head) is None:
        raise UnsupportedImageError(f"a {suffix} file, of a format that is not read; {_SAVE_AS}")
    return FORMATS


def refuse_raw(image: Image.Image) -> None:
    """Camera raw in a TIFF: what Pillow would decode is a thumbnail.

    Raises:
      UnsupportedImageError: it is.
    """
    tags: Any = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(262) == _CFA:
        raise UnsupportedImageError(_RAW)


def format_of(head: bytes) -> str | None:
    """Which of the usual formats a file begins like, by its first 32 bytes."""
    for name, signature in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    return "AVIF or HEIF" if head[4:8] == b"ftyp" and head[8:12] in _BRANDS else None


_SAVE_AS = "save it as PNG, JPEG or TIFF"
_RAW = "a camera's raw file; develop it and save it as TIFF or JPEG"


@functools.cache
def _heif() -> tuple[str, ...]:
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UnsupportedImageError(
            "HEIC/HEIF needs pillow-heif, which is not installed: python -m pip install "
            "'jaxface[heic]'"
        ) from error
    pillow_heif.register_heif_opener()
    return ("HEIF",)


@functools.cache
def _jxl() -> tuple[str, ...]:
    try:
        import pillow_jxl  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UnsupportedImageError(
            "JPEG XL needs pillow-jxl-plugin, which is not installed: python -m pip install "
            "'jaxface[jxl]'"
        ) from error
    del pillow_jxl  # importing it has registered it
    return ("JXL",)
