"""A clip written again with other frames: its times and its sound, or a constant rate."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxface.media.video.ahead import read_ahead
from jaxface.media.video.folder_writing import FolderWriter
from jaxface.media.video.frames import Clip, Frame, Span
from jaxface.media.video.sound import Sound
from jaxface.media.video.timing import at_constant_rate
from jaxface.media.video.writing import Encoding, VideoWriter

Change = Callable[[int, Frame], np.ndarray]
"""``change(place, frame)``: what is written for a frame, uint8 [H, W, 3]; `place` counts those that
are read."""


class Rewritten(NamedTuple):
    """What was written.

    Attributes:
      frames: in it.
      notes: of reading and writing, one short sentence each.
    """

    frames: int
    notes: list[str]


def rewrite_clip(
    clip: Clip,
    path: str | os.PathLike[str],
    change: Change,
    *,
    span: Span | None = None,
    size: tuple[int, int] | None = None,
    rate: Fraction | None = None,
    sound: str | os.PathLike[str] | Callable[[Fraction], Sound] | None = None,
    encoding: Encoding | None = None,
    resume: Mapping[str, Any] | None = None,
    pngs: bool = False,
    sources: Sequence[str | os.PathLike[str]] = (),
) -> Rewritten:
    """Writes every frame of an open clip, changed.

    Times are the clip's own; those of a part that does not begin with the clip count from its first
    frame, and so does the sound.

    Args:
      clip: just opened.
      path: a file, see `VideoWriter`; of `pngs` a folder, see `FolderWriter`.
      change: not called for what an earlier run has stored.
      span: that the clip was opened with.
      size: (width, height) of what `change` gives; None: the clip's.
      rate: frames a second, chosen by their times; None: the clip's times.
      sound: where sound is taken from, of the same times; or what makes it of the clip's time that
        is 0 in what is written; None for none. Folders have none.
      encoding: of a file; of a folder its `kind` alone; None for the defaults.
      resume: see `VideoWriter`.
      pngs: a folder of images and their times is written.
      sources: see `VideoWriter`.

    Raises:
      ValueError: the part has no frames.
      VideoError: the clip cannot be read or written.
    """
    info, span = clip.info, span or Span()
    width, height = (info.width, info.height) if size is None else size
    frames = iter(clip)
    first = next(frames, None)
    if first is None:
        raise ValueError("rewrite_clip: the clip has no frames in this part.")
    origin = first.time if span.first or span.start else Fraction(0)
    frames = itertools.chain([first], frames)
    if pngs:
        kind = (encoding or Encoding()).kind
        writer = FolderWriter(path, width=width, height=height, kind=kind, resume=resume)
    else:
        end = None if span.end is None else info.start + Fraction(span.end)
        writer = VideoWriter(
            path,
            width=width,
            height=height,
            rate=rate or info.rate / span.every,
            time_base=info.time_base if rate is None else _base(first.time - origin, rate),
            encoding=encoding,
            sound=_sound(sound, origin, end),
            resume=resume,
            sources=sources,
        )
    count = 0
    with writer, read_ahead(frames) as coming:
        for count, (time, place, frame) in enumerate(_timed(coming, rate), start=1):
            if count > writer.done:
                writer.write(time - origin, change(place, frame))
    return Rewritten(count, [*info.notes, *writer.notes])


def _sound(sound: Any, origin: Fraction, end: Fraction | None) -> Sound | None:
    if sound is None:
        return None
    if callable(sound):
        made: Any = sound(origin)
        return made
    return Sound(sound, origin=origin, end=end, cut=origin > 0)


def _timed(frames: Iterable[Frame], rate: Fraction | None) -> Iterator[tuple[Fraction, int, Frame]]:
    """Times of what is written, and of which frame it is: its place among those read, and itself.

    Args:
      frames: of the clip.
      rate: see `rewrite_clip`.
    """
    placed = enumerate(frames)
    if rate is None:
        yield from ((frame.time, place, frame) for place, frame in placed)
        return
    carried: Any = (Frame(place, frame.time, (place, frame)) for place, frame in placed)  # type: ignore
    for chosen in at_constant_rate(carried, rate):
        place, frame = chosen.pixels
        yield chosen.time, place, frame


def _base(start: Fraction, rate: Fraction) -> Fraction:
    """Seconds of which `start`, and every 1 / `rate` after it, are multiples."""
    return 1 / rate / (start * rate).denominator
