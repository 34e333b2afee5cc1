"""Clips that cannot be read or written: one class for each kind of failure.

`status` is the word that a report uses.
"""

from typing import Any, ClassVar

from jaxface.errors import JaxfaceError, UsageError


class VideoError(JaxfaceError):
    """A clip that cannot be used. `status` is the failure's name in a report."""

    status: ClassVar[str] = "video_error"


class UnreadableVideoError(VideoError):
    """The file could not be opened: gone, a pipe, no permission."""

    status = "unreadable"


class NotAVideoError(VideoError):
    """The file holds no frames of a format that is read."""

    status = "not_a_video"


class DamagedVideoError(VideoError):
    """The clip begins well and then ends early or cannot be decoded."""

    status = "damaged"


class UnsupportedVideoError(VideoError):
    """A codec that is not installed, or colours that 8 bits cannot show."""

    status = "unsupported"


def load_av() -> Any:
    """PyAV's module.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "MP4 and other video need PyAV, which is not installed: "
            "python -m pip install 'jaxface[video]'"
        ) from error
    return av
