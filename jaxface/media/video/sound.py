"""The sound of one clip in another: packets as they are, or encoded again.

Packets are copied bit for bit where the container takes their codec, with the source's times (an
AAC stream's priming, 1024 samples before 0, included). Where it does not, the samples are encoded
again: as Opus into WebM, as AAC elsewhere.
"""

import contextlib
import io
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from jaxface.media.video.errors import load_av

BIT_RATE = 192_000
_OPUS_RATE = 48_000


class Sound:
    """All sound streams of a clip, to go into a container that is being written.

    Args:
      path: the clip that the sound is taken from.
      origin: time of the source, in seconds, that is 0 in what is written.
      end: time of the source after which nothing is taken; None for all.
      cut: whether what lies before `origin` is left out.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        origin: Fraction = Fraction(0),
        end: Fraction | None = None,
        cut: bool = False,
    ):
        self.path, self.origin, self.end, self.cut = os.fspath(path), origin, end, cut
        self.notes: list[str] = []
        self._streams: dict[int, Any] = {}
        self._waiting: deque[Any] = deque()
        self._packets: Iterator[Any] = iter(())
        self._stack = contextlib.ExitStack()

    def open(self, output: Any, add_video: Any) -> Any:
        """Adds the streams to a container, in the source's order, with the video among them.

        Args:
          output: the container, before its header.
          add_video: adds the video stream and returns it.

        Returns:
          What `add_video` returned.
        """
        source = self._stack.enter_context(load_av().open(self.path))
        video = None
        for stream in source.streams:
            if stream.type == "video" and video is None:
                video = add_video()
            elif stream.type == "audio":
                self._streams[stream.index] = self._output_stream(output, stream)
        video = add_video() if video is None else video
        taken = [stream for stream in source.streams.audio if stream.index in self._streams]
        if taken:
            self._packets = source.demux(taken)
        return video

    def until(self, time: Fraction | None) -> Iterator[Any]:
        """Packets for the container up to a time of what is written; None for all that are left."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            packet = next(self._packets, None)
            if packet is None:
                return
            stream = self._streams[packet.stream.index]
            if packet.dts is None and packet.size:
                packet.dts = packet.pts
            self._waiting.extend(stream.packets(packet, self))
            at = None if packet.pts is None else packet.pts * packet.time_base
            if time is not None and at is not None and at - self.origin > time:
                return

    def close(self):
        """Closes the source."""
        self._stack.close()

    def _output_stream(self, output: Any, stream: Any) -> "_Copied | _Encoded":
        name = stream.codec_context.codec.canonical_name
        if _takes(output.format.name, stream):
            return _Copied(output.add_stream_from_template(stream))
        codec = "libopus" if output.format.name == "webm" else "aac"
        self.notes.append(f"sound encoded again, {name} to {codec}")
        return _Encoded(output, stream, codec)


class _Copied:
    def __init__(self, stream: Any):
        self._stream = stream

    def packets(self, packet: Any, sound: Sound) -> Iterator[Any]:
        if packet.pts is None:  # the end
            return
        base = packet.time_base
        start, after = packet.pts * base, (packet.pts + (packet.duration or 0)) * base
        if sound.cut and after <= sound.origin:
            return
        if sound.end is not None and start >= sound.end:
            return
        shift = round(sound.origin / base)
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = self._stream
        yield packet


class _Encoded:
    """Decodes, resamples where the encoder needs it, and encodes."""

    def __init__(self, output: Any, source: Any, codec: str):
        context = source.codec_context
        rate = _OPUS_RATE if codec == "libopus" else context.rate
        layout = "stereo" if context.layout.nb_channels > 2 else context.layout.name
        self._stream = output.add_stream(codec, rate=rate, layout=layout)
        self._stream.codec_context.bit_rate = BIT_RATE
        self._stream.time_base = Fraction(1, rate)
        self._rate, self._layout, self._resampler = rate, layout, None

    def packets(self, packet: Any, sound: Sound) -> Iterator[Any]:
        context = self._stream.codec_context
        if self._resampler is None:
            context.open(strict=False)
            self._resampler = load_av().AudioResampler(
                format=context.format,
                layout=self._layout,
                rate=self._rate,
                frame_size=context.frame_size or None,
            )
        flush = not packet.size and packet.pts is None
        for frame in packet.decode():
            start = None if frame.pts is None else frame.pts * frame.time_base
            if start is not None:
                if sound.cut and start + Fraction(frame.samples, frame.rate) <= sound.origin:
                    continue
                if sound.end is not None and start >= sound.end:
                    continue
                frame.pts -= round(sound.origin / frame.time_base)
            for piece in self._resampler.resample(frame):
                yield from self._stream.encode(piece)
        if flush:
            for piece in self._resampler.resample(None):
                yield from self._stream.encode(piece)
            yield from self._stream.encode(None)


def _takes(container: str, stream: Any) -> bool:
    """Whether a container takes a stream's packets: its header is tried, in memory."""
    av = load_av()
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
