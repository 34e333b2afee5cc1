"""Sequences of pictures as files: GIF by Pillow, MP4 by PyAV (the extra "video")."""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.images import to_uint8
from jaxface.runtime.files import atomic_writer


def write_gif(path: str | os.PathLike[str], frames: Any, *, seconds: float) -> None:
    """Writes [T, H, W, 3] in [-1, 1] as a GIF that repeats for ever, over `seconds` each time.

    Every frame has its own 256 colours. GIF counts time in hundredths of a second.
    """
    pictures = [Image.fromarray(frame) for frame in np.asarray(to_uint8(frames))]
    each = max(2, round(100 * seconds / len(pictures))) * 10
    with atomic_writer(path) as file:
        pictures[0].save(
            file, format="GIF", save_all=True, append_images=pictures[1:], duration=each, loop=0
        )


def write_mp4(path: str | os.PathLike[str], frames: Any, *, seconds: float) -> None:
    """Writes [T, H, W, 3] in [-1, 1] as H.264 of `seconds`, at a visually lossless quality.

    Raises:
      UsageError: PyAV is not installed.
      ValueError: an odd height or width, which 4:2:0 video cannot have.
    """
    av = load_av()
    frames = np.asarray(to_uint8(frames))
    count, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"write_mp4: height and width must be even, got {height} and {width}.")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=max(1, round(count / seconds)))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "17"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with atomic_writer(path) as file:
        file.write(buffer.getvalue())


def ping_pong(frames: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The frames and then all but the ends again in reverse, so that repeating has no jump."""
    frames = np.asarray(frames)
    return np.concatenate([frames, frames[-2:0:-1]])


def load_av() -> Any:
    """PyAV's module.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            "MP4 needs PyAV, which is not installed: python -m pip install 'jaxface[video]'"
        ) from error
    return av
