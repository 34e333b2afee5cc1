"""Images, and how files become them.

Inside the library an image is float32, channels last, RGB in [-1, 1], with sRGB's values (no
linear light); what is written says that it is sRGB: one image is [H, W, 3], a batch [N, H, W, 3].
uint8 exists only at the edges of the program, through `from_uint8` and `to_uint8`.

Reading says in `LoadedImage.notes` whatever it had to change. What cannot be read raises one
subclass of `jaxface.media.image_errors.ImageError` per kind of failure.
"""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxface.media.colour import SRGB_CHUNK, Profile, from_srgb, stated_colour, to_srgb
from jaxface.media.credentials import with_credentials
from jaxface.media.image_errors import (
    CorruptImageError,
    EmptyImageError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageError,
    of_one_image,
)
from jaxface.media.image_errors import ImageError as ImageError  # part of this module's surface
from jaxface.media.image_errors import NotAnImageError as NotAnImageError
from jaxface.media.image_errors import UnreadableImageError as UnreadableImageError
from jaxface.media.image_formats import formats_for, refuse_raw
from jaxface.media.large_images import any_size, reduced
from jaxface.media.marks import Kind, marked
from jaxface.media.metadata import (
    PASSED_OVER,
    count_frames,
    plainer,
    refuse_large_icons,
    unidentified,
    upright,
)
from jaxface.runtime.files import atomic_writer, open_regular

MIN_SIDE = 16
"""Pixels of the shorter side below which an image holds no portrait worth inverting."""

MAX_PIXELS = 2**27
"""Pixels (134 million, 1.6 GB as float32) that are read of a file where nobody says. A larger one
is read at a reduced size where its format has one, else refused before it is decoded."""

LARGE = 2**24
"""Pixels above which a process decodes one image at a time, so that its threads' memory is bounded.
"""

_PHOTOMETRIC = 262  # TIFF's PhotometricInterpretation

_one_large = threading.Lock()
_pixel_limit: ContextVar[int] = ContextVar("pixel_limit", default=MAX_PIXELS)


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image.

    Attributes:
      pixels: float32 [H, W, 3] in [-1, 1], a NumPy array.
      notes: what reading changed, one short sentence each, in order.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def decoding_bytes(pixels: int) -> int:
    """What a process may need to read images of at most so many pixels."""
    return 28 * pixels


@contextlib.contextmanager
def pixel_limit(count: int) -> Iterator[None]:
    """Within the block, what is read of a file has at most so many pixels, not `MAX_PIXELS`."""
    token = _pixel_limit.set(count)
    try:
        yield
    finally:
        _pixel_limit.reset(token)


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Reads an image file of any size and any format of `jaxface.media.image_formats`.

    EXIF orientation is applied; alpha is flattened on white; greyscale, palette, CMYK and 16-bit
    images become RGB (16-bit greyscale keeps its full precision, 16-bit colour is read by Pillow
    with 8 bits a channel); colours become sRGB, see `jaxface.media.colour`; of several frames the
    first is taken.
    Each of these that happened is in `notes`. Only regular files are opened.

    Raises:
      ImageError: the subclass tells the kind of failure.
    """
    with of_one_image(), open_regular(path) as file:
        return decode_image(file, name=os.fspath(path))


def in_own_colours(
    path: str | os.PathLike[str], pixels: np.ndarray, changed: np.ndarray
) -> tuple[np.ndarray, bytes | None]:
    """A changed photograph in its file's own colours, where an ICC profile says what they are.

    Args:
      path: the photograph's file.
      pixels: uint8 [H, W, 3] of sRGB: what `read_image` gave, some of it changed.
      changed: bool [H, W], where; elsewhere the file's own values are kept.

    Returns:
      uint8 [H, W, 3] and the profile; or `pixels` and None where the file is of sRGB, has no RGB
      profile, or was read at a reduced size.

    Raises:
      ImageError: the file cannot be read.
    """
    with of_one_image(), open_regular(path) as file, any_size(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = file.read(32)
        file.seek(0)
        with Image.open(file, formats=formats_for(head, os.fspath(path))) as image:
            stated = stated_colour(image, file)
            if not isinstance(stated, Profile) or image.mode != "RGB":
                return pixels, None
            image.load()
            stored = np.asarray(upright(image)[0])
        if stored.shape != pixels.shape:
            return pixels, None
        own = from_srgb(Image.fromarray(pixels), stated)
        if own is None:
            return pixels, None
        return np.where(changed[..., None], np.asarray(own), stored), stated.data


def decode_image(file: BinaryIO, *, name: str = "") -> LoadedImage:
    """Decodes an image from a seekable binary file; see `read_image`.

    Args:
      file: at its beginning.
      name: of the file, where its bytes do not tell the format.
    """
    with of_one_image(), any_size(), warnings.catch_warnings():
        # Pillow warns of odd metadata and large images; whatever matters becomes a note or an
        # ImageError here.
        warnings.simplefilter("ignore")
        try:
            return _opened(file, name)
        except Exception as error:
            told = isinstance(error, ImageError) and not isinstance(error, CorruptImageError)
            for again in () if told or isinstance(error, MemoryError) else plainer(file):
                with contextlib.suppress(Exception):
                    loaded = _opened(again, name)
                    return LoadedImage(loaded.pixels, (PASSED_OVER, *loaded.notes))
            raise


def _opened(file: BinaryIO, name: str) -> LoadedImage:
    head = file.read(32)
    if not head:
        raise EmptyImageError("the file is empty")
    file.seek(0)
    refuse_large_icons(file, head)
    try:
        opened = Image.open(file, formats=formats_for(head, name))
    except UnidentifiedImageError as error:
        raise unidentified(file, head) from error
    with opened as image:
        refuse_raw(image)
        with reduced(image, _pixel_limit.get()) as (smaller, size, notes):
            _check_size(*size)
            large = size[0] * size[1] > LARGE
            with _one_large if large else contextlib.nullcontext():
                loaded = _decode(smaller, file)
        return LoadedImage(loaded.pixels, (*notes, *loaded.notes))


def _check_size(width: int, height: int):
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmallError(f"{width}x{height} px; the shorter side needs {MIN_SIDE}")
    if width * height > (most := _pixel_limit.get()):
        raise ImageTooLargeError(
            f"{width}x{height} px; at most {most} pixels are read, unless --max-pixels allows more"
        )


def _decode(image: Image.Image, file: BinaryIO) -> LoadedImage:
    frames, damage = count_frames(image)
    notes = [*damage]
    if frames > 1 and image.format != "MPO":  # whose others are previews, depth or the other eye
        notes.append(f"first of {frames} frames")
    # Pillow drops the low bytes of 16-bit colour; only the decoder's raw mode still tells.
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    raw_modes = [each if isinstance(each, str) else str(each[0]) for each in arguments if each]
    inverted = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    stated = stated_colour(image, file)
    image.load()
    image, turned = upright(image)
    notes += turned
    mode = image.mode
    if mode in ("F", "I"):
        image = _narrow_integers(image)
    image, converted = to_srgb(image, stated)
    if mode.startswith("I"):
        grey = np.array(image, np.float32)
        grey *= np.float32(2 / 65535)
        grey -= 1
        if inverted:  # 0 is white, which Pillow heeds in 8 bits alone
            grey *= -1
        pixels = grey[..., None].repeat(3, axis=-1)
        return LoadedImage(pixels, (*notes, "16-bit greyscale made RGB", *converted))
    if any("16" in each for each in raw_modes):
        notes.append("16 bits a channel read as 8")
    if image.has_transparency_data:
        image, had_holes = _flatten(image)
        notes += ["alpha flattened on white"] if had_holes else []
    if mode in ("1", "L", "LA", "La"):
        notes.append("greyscale made RGB")
    elif image.mode == mode and mode not in ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA"):
        notes.append(f"{mode} made RGB without a colour profile")
    pixels = np.array(image.convert("RGB"), np.float32)  # in place: there may be many of them
    pixels *= np.float32(2 / 255)
    pixels -= 1
    return LoadedImage(pixels, (*notes, *converted))


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


def write_png(path: str | os.PathLike[str], image: Any):
    """Writes one image, [H, W, 3] in [-1, 1], as an 8-bit PNG that appears whole or not at all."""
    with atomic_writer(path) as file:
        file.write(encode_png(image))


def encode_png(
    image: Any,
    *,
    profile: bytes | None = None,
    exif: bytes | None = None,
    xmp: str = "",
    kind: Kind = "synthetic",
    sources: Sequence[str | os.PathLike[str]] = (),
) -> bytes:
    """One image, [H, W, 3] in [-1, 1], or uint8 as it is, as an 8-bit PNG that says sRGB.

    It also says what made it and of which kind it is, see `jaxface.media.marks`, and is signed
    where that is wanted, see `jaxface.media.credentials`.

    Args:
      image: with a fourth channel, opacity, too.
      profile: data of an ICC profile; it says that these are its colours instead.
      exif, xmp: of the photograph whose place it takes, see `jaxface.media.metadata.own_metadata`.
      kind: of what it is.
      sources: files that it was made from.
    """
    file = io.BytesIO()
    pixels = np.asarray(image)
    pixels = pixels if pixels.dtype == np.uint8 else to_uint8(pixels)
    says = marked(kind, xmp)
    if profile is None:
        says.add(*SRGB_CHUNK)
    Image.fromarray(pixels).save(file, format="PNG", pnginfo=says, icc_profile=profile, exif=exif)
    return with_credentials(file.getvalue(), ".png", kind, sources=[Path(each) for each in sources])


def from_uint8(images: Any) -> Any:
    """0..255 to float32 [-1, 1]; NumPy in, NumPy out, else a JAX array. 0 is -1 and 255 is 1."""
    xp = np if isinstance(images, np.ndarray) else jnp
    return xp.asarray(images, xp.float32) * xp.float32(2 / 255) - 1


def as_float(images: Any) -> Any:
    """Images in [-1, 1] of what may be 0..255: uint8 by `from_uint8`, others as they are."""
    return from_uint8(images) if images.dtype == np.uint8 else images


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
