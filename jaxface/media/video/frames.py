"""What a clip is made of: frames with their times, and what is known of the whole."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

DEFAULT_RATE = Fraction(25)
"""Frames a second where neither the file nor its frames tell."""

Seconds = Fraction | float | int


class Frame(NamedTuple):
    """One frame.

    Attributes:
      index: in the whole clip, counted from 0 by decoding.
      time: seconds on the clip's own clock, exact.
      pixels: uint8 [H, W, 3], upright RGB.
    """

    index: int
    time: Fraction
    pixels: np.ndarray


@dataclass(frozen=True)
class Span:
    """The part of a clip that is read.

    Attributes:
      start, end: seconds after the clip's first frame; the frame at `end` is left out.
      first, last: the same in frames; the frame `last` is left out.
      every: reads each n-th frame of the part.

    Raises:
      ValueError: a part that ends before it starts, or a step below 1.
    """

    start: Seconds = 0
    end: Seconds | None = None
    first: int = 0
    last: int | None = None
    every: int = 1

    def __post_init__(self):
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise ValueError(f"Span: seconds {self.start} to {self.end} are no part of a clip.")
        if self.first < 0 or (self.last is not None and self.last <= self.first):
            raise ValueError(f"Span: frames {self.first} to {self.last} are no part of a clip.")
        if self.every < 1:
            raise ValueError(f"Span: every must be at least 1, got {self.every}.")

    def begun(self, index: int, seconds: Fraction) -> bool:
        """Whether a frame is not before the part."""
        return index >= self.first and seconds >= _exact(self.start)

    def ended(self, index: int, seconds: Fraction) -> bool:
        """Whether a frame is after the part."""
        late = self.end is not None and seconds >= _exact(self.end)
        return late or (self.last is not None and index >= self.last)


@dataclass
class ClipInfo:
    """What is known of a clip when it is opened, and what reading adds to it.

    Attributes:
      width, height: pixels of the upright frames.
      rate: nominal frames a second; the frames' times decide.
      time_base: seconds of which all times are multiples.
      start: time of the first frame, in seconds.
      rotation: degrees clockwise that frames were turned by, 0, 90, 180 or 270.
      interlaced: whether any frame so far was interlaced.
      frames: decoded so far, read or not.
      share: of the file's bytes or the folder's images, how much was read, in [0, 1]; an estimate
        of how far the clip is read that needs no header.
      end: when the last of them ends, in seconds; None before the first.
      damage: why the clip ended early, or None.
      notes: what reading changed or supposed, one short sentence each.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    start: Fraction
    rotation: int = 0
    interlaced: bool = False
    frames: int = 0
    share: float = 0.0
    end: Fraction | None = None
    damage: str | None = None
    notes: list[str] = field(default_factory=list)


class Clip:
    """An open clip: iterating, once, gives its frames; `info` says what it is.

    Iterating raises DamagedVideoError after the last good frame of a clip that ends early, unless
    it was opened with `allow_truncated`, and UnsupportedVideoError at colours that cannot be shown.
    """

    def __init__(self, info: ClipInfo, frames: Iterator[Frame]):
        self.info, self._frames = info, frames

    def __iter__(self) -> Iterator[Frame]:
        return self._frames


def _exact(seconds: Seconds) -> Fraction:
    """Seconds as they were meant: 0.08 is 2/25."""
    return Fraction(seconds).limit_denominator(1_000_000)
