"""Frames and parameters at other times than their own: by time, never by counting."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from jaxface.media.video.frames import Frame


def at_constant_rate(frames: Iterable[Frame], rate: Fraction | int) -> Iterator[Frame]:
    """The frame nearest in time at every 1 / rate seconds, from the first frame to the last.

    Times are multiples of 1 / rate after the first frame's; `index` counts what is given. Memory
    holds two frames.
    """
    rate = Fraction(rate)
    before: Frame | None = None
    start, count = Fraction(0), 0
    for frame in frames:
        if before is None:
            before, start = frame, frame.time
            continue
        while start + count / rate <= (before.time + frame.time) / 2:
            yield Frame(count, start + count / rate, before.pixels)
            count += 1
        before = frame
    while before is not None and start + count / rate <= before.time:
        yield Frame(count, start + count / rate, before.pixels)
        count += 1
    if before is not None and count and start + (count - 1) / rate < before.time - 1 / (2 * rate):
        yield Frame(count, start + count / rate, before.pixels)


def resampled(times: Any, values: Any, at: Any) -> np.ndarray:
    """Parameters at other times, linear between their neighbours, held at the ends.

    Args:
      times: [T] seconds, increasing.
      values: [T, D].
      at: [S] seconds.

    Returns:
      float64 [S, D].
    """
    times, at = (np.array([float(t) for t in some]) for some in (times, at))
    values = np.asarray(values, np.float64)
    return np.stack([np.interp(at, times, column) for column in values.T], axis=-1)
