"""Short sequences that are held whole: GIF by Pillow, MP4 by the library's writer."""

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxface.media.credentials import with_credentials
from jaxface.media.images import to_uint8
from jaxface.media.marks import comment

SIDE = 256
"""Pixels a side, the least, that sequences are enlarged to: viewers show them as they are."""

_LEVELS = np.rint(np.rint(np.arange(256) * 63 / 255) * 255 / 63).astype(np.uint8)
"""Of 8 bits, the nearest of 64 even ones; both ends are among them."""


def encode_gif(frames: Any, *, seconds: float) -> bytes:
    """[T, H, W, 3] in [-1, 1] as a GIF that repeats for ever, over `seconds` each time.

    Every frame has its own 256 colours, chosen and given in 64 levels a channel: Pillow's median
    cut takes six times as long over 256, and is nearer by 0.15 of them. GIF counts time in
    hundredths of a second.
    """
    images = [Image.fromarray(frame).quantize() for frame in _LEVELS[np.asarray(to_uint8(frames))]]
    each = max(2, round(100 * seconds / len(images))) * 10
    file = io.BytesIO()
    images[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=each,
        loop=0,
        comment=comment("synthetic"),
    )
    return with_credentials(file.getvalue(), ".gif", "synthetic")


def enlarged(frames: Any, side: int = SIDE) -> np.ndarray:
    """[T, H, W, 3] in [-1, 1], by the least whole factor that makes the shorter side `side`."""
    frames = np.asarray(frames, np.float32)
    count, height, width, channels = frames.shape
    factor = -(-side // min(height, width))
    if factor == 1:
        return frames
    size = (width * factor, height * factor)
    large = np.empty((count, height * factor, width * factor, channels), np.float32)
    for number, frame in enumerate(frames):
        for channel in range(channels):
            image = Image.fromarray(np.ascontiguousarray(frame[..., channel]))
            large[number, ..., channel] = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return large.clip(-1, 1)


def encode_mp4(frames: Any, *, seconds: float) -> bytes:
    """[T, H, W, 3] in [-1, 1] as H.264 of `seconds`, at a visually lossless quality.

    Frames are evenly spaced, at T / seconds a second exactly; colours are BT.709 and say so.

    Raises:
      UsageError: PyAV is not installed.
      ValueError: an odd height or width, which 4:2:0 video cannot have.
    """
    from jaxface.media.video.writing import VideoWriter

    frames = np.asarray(to_uint8(frames))
    count, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"encode_mp4: height and width must be even, got {height} and {width}.")
    rate = count / Fraction(seconds).limit_denominator(1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sequence.mp4"
        with VideoWriter(path, width=width, height=height, rate=rate) as writer:
            for index, frame in enumerate(frames):
                writer.write(index / rate, frame)
        return path.read_bytes()


def ping_pong(frames: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The frames and then all but the ends again in reverse, so that repeating has no jump."""
    frames = np.asarray(frames)
    return np.concatenate([frames, frames[-2:0:-1]])
