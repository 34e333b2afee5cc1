"""Segments of a clip, encoded one by one, in one container with exact times and with sound."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from jaxface.media.video.errors import load_av
from jaxface.media.video.sound import Sound

# The index before the frames; and no shift of all times where sound begins a little before 0.
_OPTIONS = {"mp4": {"movflags": "+faststart"}, "mov": {"movflags": "+faststart"}}
_MATROSKA = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}  # no random number of its own
_OPTIONS |= {"matroska": _MATROSKA, "webm": _MATROSKA}


class SegmentTimes(NamedTuple):
    """One segment.

    Attributes:
      path: a Matroska file of one stream, whose frame i is at i / rate.
      times: of its frames in the order they are shown, in the clip's time base.
      last: how long its last frame lasts.
    """

    path: Path
    times: list[int]
    last: int


def join_segments(
    segments: Sequence[SegmentTimes],
    path: Path,
    *,
    container: str,
    rate: Fraction,
    time_base: Fraction,
    sound: Sound | None,
    comment: str = "",
):
    """Copies the packets of all segments and the sound into one file.

    Args:
      segments: at least one, of one codec and one size.
      path: the file, written as it is (the caller makes it appear whole).
      container: FFmpeg's name of the format.
      rate: of the segments' own times.
      time_base: seconds of a unit of `SegmentTimes.times`.
      sound: or None.
      comment: what the file says of itself.
    """
    av = load_av()
    shown = [time for segment in segments for time in segment.times]
    durations = [b - a for a, b in itertools.pairwise(shown)] + [segments[-1].last]
    delay = max(place - rank for place, rank in enumerate(_ranks(av, segments, rate)))
    options = _OPTIONS[container]
    with (
        av.open(str(segments[0].path)) as template,
        av.open(str(path), "w", format=container, options=options) as output,
    ):
        output.metadata["comment"] = comment

        def add_video() -> Any:
            stream = output.add_stream_from_template(template.streams.video[0])
            stream.time_base = time_base
            return stream

        stream = add_video() if sound is None else sound.open(output, add_video)
        place = 0
        for segment, first in zip(segments, _firsts(segments), strict=True):
            with av.open(str(segment.path)) as source:
                for packet in _packets(source):
                    rank = first + _index(packet, rate)
                    packet.time_base = time_base
                    packet.pts, packet.duration = shown[rank], durations[rank]
                    # Times of decoding: those of showing, in order, `delay` frames earlier.
                    early = delay - place
                    packet.dts = shown[0] - early if early > 0 else shown[-early]
                    packet.stream = stream
                    if sound is not None:
                        output.mux(list(sound.until(packet.dts * time_base)))
                    output.mux(packet)
                    place += 1
        if sound is not None:
            output.mux(list(sound.until(None)))


def _ranks(av: Any, segments: Sequence[SegmentTimes], rate: Fraction) -> Iterator[int]:
    """Of every packet in the order of the file, the place of its frame in the order of showing."""
    for segment, first in zip(segments, _firsts(segments), strict=True):
        with av.open(str(segment.path)) as source:
            for packet in _packets(source):
                yield first + _index(packet, rate)


def _packets(source: Any) -> Iterator[Any]:
    return (packet for packet in source.demux(source.streams.video[0]) if packet.size)


def _index(packet: Any, rate: Fraction) -> int:
    """The frame's place in its segment: Matroska's milliseconds tell it at any usual rate."""
    return round(packet.pts * packet.time_base * rate)


def _firsts(segments: Sequence[SegmentTimes]) -> list[int]:
    """How many frames lie before each segment."""
    counts = [len(segment.times) for segment in segments]
    return [sum(counts[:place]) for place in range(len(counts))]
