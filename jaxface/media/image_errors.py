"""Inputs that are no usable image: one class for each kind of failure, and the guard of a reader.

`status` is the word that a results table uses.
"""

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from jaxface.errors import JaxfaceError, on_one_line


class ImageError(JaxfaceError):
    """An input that is no usable image. `status` is the failure's name in a results table."""

    status: ClassVar[str] = "image_error"


class UnreadableImageError(ImageError):
    """The file could not be opened or read: gone, a folder, a pipe, no permission."""

    status = "unreadable"


class EmptyImageError(ImageError):
    """The file has no bytes."""

    status = "empty"


class NotAnImageError(ImageError):
    """The bytes are of no format that is read."""

    status = "not_an_image"


class CorruptImageError(ImageError):
    """The file is an image by its beginning, but truncated or damaged."""

    status = "corrupt"


class UnsupportedImageError(ImageError):
    """Pixels without a defined range, or a format whose decoder is not installed."""

    status = "unsupported"


class ImageTooSmallError(ImageError):
    """The shorter side is too short for a portrait."""

    status = "too_small"


class ImageTooLargeError(ImageError):
    """More pixels than are read, or than fit the memory."""

    status = "too_large"


@contextlib.contextmanager
def of_one_image() -> Iterator[None]:
    """Makes whatever is raised within an `ImageError`: a reader's failure is its input's alone.

    The product's own errors pass: they are an `ImageError` already, or concern the whole call (a
    package that is missing). Decoders raise anything on damaged data, so nothing is listed here.
    """
    try:
        yield
    except JaxfaceError:
        raise
    except MemoryError as error:
        raise ImageTooLargeError("does not fit the memory") from error
    except OSError as error:
        if error.errno is None:  # Pillow's decoders say so of damaged data
            raise CorruptImageError(f"damaged image data: {_said(error)}") from error
        raise UnreadableImageError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise CorruptImageError(f"damaged image data: {_said(error)}") from error


def _said(error: Exception) -> str:
    return on_one_line(str(error)) or type(error).__name__
