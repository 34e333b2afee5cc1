"""Folders of numbered images as clips."""

import itertools
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.image_errors import ImageError
from jaxface.media.image_formats import DECODED_SUFFIXES, HEIF_SUFFIXES, JXL_SUFFIXES
from jaxface.media.images import read_image, to_uint8
from jaxface.media.video.errors import DamagedVideoError, NotAVideoError, VideoError
from jaxface.media.video.frames import DEFAULT_RATE, Clip, ClipInfo, Frame, Seconds, Span

SUFFIXES = DECODED_SUFFIXES | HEIF_SUFFIXES | JXL_SUFFIXES

TIMES = "times.json"
"""The file that tells the times of the frames of a folder of images, where there is one."""


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key by which image2 comes before image10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in parts]


def open_folder(folder: Path, fps: Seconds | None, span: Span) -> Clip:
    names = sorted(
        (f.name for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.name[0] != "."),
        key=natural_order,
    )
    if not names:
        raise NotAVideoError(f"{folder}: holds no images")
    times = _folder_times(folder, fps, names)
    try:
        first = to_uint8(read_image(folder / names[0]).pixels)
    except ImageError as error:
        raise DamagedVideoError(f"{folder / names[0]}: {error}") from error
    height, width = first.shape[:2]
    rate = 1 / (times[1] - times[0]) if len(times) > 1 else Fraction(fps or DEFAULT_RATE)
    info = ClipInfo(width, height, rate, common_base(times, rate), times[0])
    if gaps := _gaps(names):
        info.notes.append(f"numbers are missing: {gaps}; the images follow each other all the same")
    return Clip(info, _folder_frames(folder, names, times, span, info))


def _folder_frames(
    folder: Path, names: list[str], times: list[Fraction], span: Span, info: ClipInfo
) -> Iterator[Frame]:
    selected = 0
    for index, (name, time) in enumerate(zip(names, times, strict=True)):
        if span.ended(index, time - times[0]):
            return
        after = times[index + 1] if index + 1 < len(times) else time + 1 / info.rate
        info.frames, info.end, info.share = index + 1, after, (index + 1) / len(names)
        if not span.begun(index, time - times[0]):
            continue
        selected += 1
        if (selected - 1) % span.every:
            continue
        try:
            image = read_image(folder / name)
        except ImageError as error:
            raise DamagedVideoError(f"{folder / name}: {error}") from error
        info.notes += [note for note in image.notes if note not in info.notes]
        pixels = np.asarray(to_uint8(image.pixels))
        if pixels.shape != (info.height, info.width, 3):
            raise DamagedVideoError(
                f"{folder / name}: {pixels.shape[1]}x{pixels.shape[0]} px; expected "
                f"{info.width}x{info.height}, as the folder's first image"
            )
        yield Frame(index, time, pixels)


def _folder_times(folder: Path, fps: Seconds | None, names: list[str]) -> list[Fraction]:
    if fps is not None:
        if not fps > 0:
            raise UsageError(f"{folder}: fps must be more than 0, got {fps}")
        return [index / Fraction(fps) for index in range(len(names))]
    if not (folder / TIMES).exists():
        raise UsageError(
            f"{folder}: a folder of images has no times; say how many fps, such as --fps 25"
        )
    try:
        times = [Fraction(text) for text in json.loads((folder / TIMES).read_text())]
    except (ValueError, TypeError) as error:
        raise VideoError(f"{folder / TIMES}: expected a list of times: {error}") from error
    if len(times) != len(names) or any(b <= a for a, b in itertools.pairwise(times)):
        raise VideoError(
            f"{folder / TIMES}: expected {len(names)} increasing times, got {len(times)}"
        )
    return times


def common_base(times: list[Fraction], rate: Fraction) -> Fraction:
    """Seconds of which all times are multiples."""
    base = 1 / rate
    for time in times:
        if (time / base).denominator > 1:
            base /= (time / base).denominator
    return base


def _gaps(names: list[str]) -> str:
    """Numbers that a row of numbered names leaves out, such as "3, 7-9"; empty if none."""
    numbers = [int(found[-1]) for name in names if (found := re.findall(r"\d+", Path(name).stem))]
    if len(numbers) != len(names):
        return ""
    pairs = [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b > a + 1]
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in pairs[:5]]
    return ", ".join(texts) + (", ..." if len(pairs) > 5 else "")
