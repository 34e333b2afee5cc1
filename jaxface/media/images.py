"""Images, and how files become them.

Inside the library an image is float32, channels last, RGB in [-1, 1], with the sRGB values as
stored (no linear light, no colour management): one image is [H, W, 3], a batch [N, H, W, 3].
uint8 exists only at the edges of the program, through `from_uint8` and `to_uint8`.

Reading accepts what Pillow reads and says in `LoadedImage.notes` whatever it had to change. What
it cannot read raises one subclass of `ImageError` per kind of failure, whose `status` is the word
that a results table uses.
"""

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from jaxface.errors import JaxfaceError
from jaxface.runtime.files import atomic_writer

MIN_SIDE = 16
"""Pixels of the shorter side below which an image holds no portrait worth inverting."""

MAX_PIXELS = 2**27
"""Pixels (134 million, 1.6 GB as float32) above which a file is refused before it is decoded."""

# The suffixes that a folder is searched for. Explicitly named files are read whatever their name.
# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on

# How the formats people use begin: a file that starts so but cannot be opened is a damaged image,
# not a foreign file.
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"BM")

# What Pillow's decoders raise on damaged input, found by truncating and flipping bytes of files.
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError)
_DECODER_ERRORS += (OverflowError, struct.error, zlib.error)


class ImageError(JaxfaceError):
    """An input that is no usable image. `status` is the failure's name in a results table."""

    status: ClassVar[str] = "image_error"


class UnreadableImageError(ImageError):
    """The file could not be opened or read: gone, a folder, no permission."""

    status = "unreadable"


class EmptyImageError(ImageError):
    """The file has no bytes."""

    status = "empty"


class NotAnImageError(ImageError):
    """The bytes are of no format that Pillow knows."""

    status = "not_an_image"


class CorruptImageError(ImageError):
    """The file is an image by its beginning, but truncated or damaged."""

    status = "corrupt"


class UnsupportedImageError(ImageError):
    """The pixels have no defined range (floating point, 32-bit integers)."""

    status = "unsupported"


class ImageTooSmallError(ImageError):
    """The shorter side is below `MIN_SIDE`."""

    status = "too_small"


class ImageTooLargeError(ImageError):
    """More pixels than `MAX_PIXELS`, or a decompression bomb by Pillow's measure."""

    status = "too_large"


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image.

    Attributes:
      pixels: float32 [H, W, 3] in [-1, 1], a NumPy array.
      notes: what reading changed, one short sentence each, in order.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Reads an image file of any size and any format that Pillow reads.

    EXIF orientation is applied; alpha is flattened on white; greyscale, palette, CMYK and 16-bit
    images become RGB (16-bit greyscale keeps its full precision, 16-bit colour is read by Pillow
    with 8 bits a channel); colour profiles are not applied; of several frames the first is taken.
    Each of these that happened is in `notes`.

    Raises:
      ImageError: the subclass tells the kind of failure.
    """
    try:
        with open(path, "rb") as file:
            return decode_image(file)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from error


def decode_image(file: BinaryIO) -> LoadedImage:
    """Decodes an image from a seekable binary file; see `read_image`."""
    head = file.read(4)
    if not head:
        raise EmptyImageError("the file is empty")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata and large images; whatever matters becomes a note
            # or an ImageError here.
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                _check_size(*image.size)
                return _decode(image)
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"more than {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        if head.startswith(_SIGNATURES):
            raise CorruptImageError("begins like an image but its header is damaged") from error
        raise NotAnImageError("not a format that Pillow reads") from error
    except _DECODER_ERRORS as error:
        raise CorruptImageError(f"damaged image data: {error}") from error


def _check_size(width: int, height: int):
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmallError(f"{width}x{height} px; the shorter side needs {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise ImageTooLargeError(f"{width}x{height} px; at most {MAX_PIXELS} pixels are read")


def _decode(image: Image.Image) -> LoadedImage:
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"first of {frames} frames")
    # Pillow drops the low bytes of 16-bit colour; only the decoder's raw mode still tells.
    raw_modes = "".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    profile = _foreign_profile(image.info.get("icc_profile"))
    image.load()
    if image.getexif().get(0x0112, 1) in range(2, 9):
        image = ImageOps.exif_transpose(image)
        notes.append("EXIF orientation applied")
    mode = image.mode
    if mode in ("F", "I"):
        image = _narrow_integers(image)
    if mode.startswith("I"):
        pixels = np.asarray(image, np.float32)[..., None].repeat(3, axis=-1) * (2 / 65535) - 1
        return LoadedImage(pixels, (*notes, "16-bit greyscale made RGB"))
    if "16" in raw_modes:
        notes.append("16 bits a channel read as 8")
    if image.has_transparency_data:
        image, had_holes = _flatten(image)
        notes += ["alpha flattened on white"] if had_holes else []
    if mode in ("1", "L", "LA", "La"):
        notes.append("greyscale made RGB")
    elif mode not in ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA"):
        notes.append(f"{mode} made RGB without a colour profile")
    if profile:
        notes.append(f"colour profile not applied: {profile}")
    return LoadedImage(np.asarray(from_uint8(np.asarray(image.convert("RGB")))), tuple(notes))


def _narrow_integers(image: Image.Image) -> Image.Image:
    """A 32-bit integer image whose values fit 16 bits (Pillow opens some 16-bit files so)."""
    low, high = image.getextrema()
    if image.mode == "F" or not 0 <= low <= high <= 65535 or high < 256:  # type: ignore[operator]
        raise UnsupportedImageError(
            f"pixels of mode {image.mode} from {low} to {high} have no defined range; "
            "save the image with 8 or 16 bits a channel"
        )
    return image


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image on a white ground, and whether any of it was not opaque."""
    image = image.convert("RGBA")
    opacity = image.getchannel("A").getextrema()[0]
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image), opacity < 255  # type: ignore[operator]


def _foreign_profile(icc_profile: bytes | None) -> str | None:
    """The name of an embedded colour profile that is not sRGB, else None."""
    if not icc_profile:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        name = ImageCms.getProfileDescription(profile).strip()
    except (ImageCms.PyCMSError, OSError):
        return "damaged profile"
    return None if "sRGB" in name else name or "unnamed profile"


def write_png(path: str | os.PathLike[str], image: Any):
    """Writes one image, [H, W, 3] in [-1, 1], as an 8-bit PNG that appears whole or not at all."""
    with atomic_writer(path) as file:
        file.write(encode_png(image))


def encode_png(image: Any) -> bytes:
    """One image, [H, W, 3] in [-1, 1], or uint8 as it is, as the bytes of an 8-bit PNG."""
    file = io.BytesIO()
    pixels = np.asarray(image)
    pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def from_uint8(images: Any) -> Any:
    """0..255 to float32 [-1, 1]; NumPy in, NumPy out, else a JAX array. 0 is -1 and 255 is 1."""
    xp = np if isinstance(images, np.ndarray) else jnp
    return xp.asarray(images, xp.float32) * xp.float32(2 / 255) - 1


def to_uint8(images: Any) -> Any:
    """[-1, 1] to 0..255, rounded to nearest and clipped; the inverse of `from_uint8`."""
    xp = np if isinstance(images, np.ndarray) else jnp
    return xp.clip(xp.round((images + 1) * 127.5), 0, 255).astype(xp.uint8)


def center_crop(images: Any) -> Any:
    """The largest centred square: [..., H, W, C] to [..., S, S, C] with S = min(H, W).

    Where the rest is odd, the extra row or column is cut at the bottom or right.
    """
    height, width = images.shape[-3:-1]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side, :]


def resize(images: Any, size: int | tuple[int, int]) -> Any:
    """Resizes [..., H, W, C] to [..., h, w, C], anti-aliased.

    A shrinking axis averages over the exact area that each new pixel covers, so means are kept at
    every ratio; a growing axis is linear between pixel centres. The filters are two constant
    matrices: a NumPy array gives a NumPy array and compiles nothing (files come in any size),
    anything else a JAX array, differentiable and traceable.

    Args:
      size: the new height and width, or one number for both.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rows = _resize_matrix(images.shape[-3], height)
    columns = _resize_matrix(images.shape[-2], width)
    shape = images.shape[:-3]
    flat = images.reshape(*shape, images.shape[-3], -1)
    if isinstance(images, np.ndarray):
        shrunk = np.matmul(rows, flat)
        return np.matmul(columns, shrunk.reshape(*shape, height, -1, images.shape[-1]))
    # HIGHEST: a matrix unit would round the pixels to bfloat16.
    highest = jax.lax.Precision.HIGHEST
    shrunk = jnp.matmul(rows, flat, precision=highest)
    shrunk = shrunk.reshape(*shape, height, -1, images.shape[-1])
    return jnp.matmul(columns, shrunk, precision=highest)


def _resize_matrix(old: int, new: int) -> np.ndarray:
    """float32 [new, old]; each row holds the weights of one new pixel and sums to 1."""
    if new <= old:
        edges = np.arange(new + 1) * (old / new)
        pixels = np.arange(old)
        covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return (covered.clip(0) * (new / old)).astype(np.float32)
    centres = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    return (1 - np.abs(centres[:, None] - np.arange(old))).clip(0).astype(np.float32)


def to_square(image: LoadedImage, size: int) -> LoadedImage:
    """The image's central square at `size` pixels a side; the notes say what that changed."""
    height, width = image.pixels.shape[:2]
    side = min(height, width)
    notes = list(image.notes)
    if height != width:
        notes.append(f"centre-cropped from {width}x{height} to {side}x{side}")
    if side < size:
        notes.append(f"enlarged from {side} to {size} px")
    pixels = center_crop(image.pixels)
    return LoadedImage(pixels if side == size else resize(pixels, size), tuple(notes))


def grid(images: Any, columns: int, *, padding: int = 2) -> np.ndarray:
    """Tiles a batch [N, H, W, 3] into one image, row by row, on white.

    Returns:
      float32 [rows*H + (rows-1)*padding, columns*W + (columns-1)*padding, 3]; cells of the last
      row that have no image stay white.
    """
    images = np.asarray(images, np.float32)
    number, height, width, channels = images.shape
    rows = -(-number // columns)
    cells = np.ones((rows * columns, height + padding, width + padding, channels), np.float32)
    cells[:number, :height, :width] = images
    cells = cells.reshape(rows, columns, height + padding, width + padding, channels)
    sheet = cells.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + padding), columns * (width + padding), channels
    )
    return sheet[: sheet.shape[0] - padding, : sheet.shape[1] - padding]
