"""Clips as an iterator of frames: files that FFmpeg reads, and folders of images.

    with open_clip("talk.mov") as clip:
        for index, time, pixels in clip:
            ...

Frames come upright, in RGB and with their own times: nothing is taken from a header that decoding
does not confirm (browsers' WebM has neither a frame count nor a length, phones vary their rate).
Memory does not grow with the length. The rotation of a phone's display matrix, a pixel aspect
other than 1, the colour matrix and the range are applied once; `ClipInfo.notes` says what was.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.video.colour import ToRgb, colour_notes, refuse_hdr
from jaxface.media.video.errors import (
    DamagedVideoError,
    NotAVideoError,
    UnreadableVideoError,
    UnsupportedVideoError,
    load_av,
)
from jaxface.media.video.folders import open_folder
from jaxface.media.video.frames import DEFAULT_RATE, Clip, ClipInfo, Frame, Seconds, Span
from jaxface.media.video.wholeness import missing_bytes
from jaxface.runtime.files import open_regular


@contextlib.contextmanager
def open_clip(
    path: str | os.PathLike[str],
    *,
    fps: Seconds | None = None,
    span: Span | None = None,
    allow_truncated: bool = False,
    deinterlace: bool = False,
) -> Iterator[Clip]:
    """Opens a clip to read it once.

    Args:
      path: a file (MP4, MOV, WebM, MKV, AVI, GIF and what else FFmpeg reads), or a folder of
        images of one size, which are read in natural order (2 before 10).
      fps: of a folder's images; a file has its own.
      span: the part to read; None for all. Decoding always begins at the first frame.
      allow_truncated: a damaged clip ends with its good frames and a note instead of an error.
      deinterlace: interlaced frames go through FFmpeg's yadif.

    Raises:
      VideoError: the subclass tells the kind of failure.
      UsageError: PyAV is not installed, or `fps` is missing or too much.
    """
    span = span or Span()
    if Path(path).is_dir():
        yield open_folder(Path(path), fps, span)
        return
    if fps is not None:
        raise UsageError(f"{path}: fps is for folders of images; a file has its own times")
    with _container(path) as container:
        frames = _Decoding(container, path, allow_truncated, deinterlace)
        yield Clip(frames.info, frames.read(span))


def read_comment(path: str | os.PathLike[str]) -> str:
    """What a file says of itself; "" for nothing. No frame is decoded.

    Raises:
      VideoError: the file cannot be read, or is no video.
      UsageError: PyAV is not installed.
    """
    with _container(path) as container:
        said = {name.lower(): value for name, value in container.metadata.items()}
        return said.get("comment", "")


def _container(path: str | os.PathLike[str]) -> Any:
    av = load_av()
    try:
        with open_regular(path):
            pass
    except OSError as error:
        raise UnreadableVideoError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return av.open(os.fspath(path))
    except av.FFmpegError as error:
        raise NotAVideoError(
            f"{path}: not a video, or one whose index is missing because its recording was cut off"
        ) from error


class _Decoding:
    """The frames of an open container; the first is decoded at once, for what it says."""

    def __init__(self, container: Any, path: Any, allow_truncated: bool, deinterlace: bool):
        self._av, self._path, self._container = load_av(), path, container
        self._allow_truncated, self._deinterlace = allow_truncated, deinterlace
        self._stream = _video_stream(container, path)
        self._stream.thread_type = "AUTO"
        self._to_rgb, self._interlaced, self._share = ToRgb(), False, 0.0
        self._decoded = self._decode()
        self._damage: str | None = None
        self._first = next(self._decoded, None)
        if self._first is None:
            raise NotAVideoError(f"{path}: no frame could be decoded: {self._damage or 'none'}")
        try:
            refuse_hdr(self._first)
        except UnsupportedVideoError as error:
            raise UnsupportedVideoError(f"{path}: {error}") from error
        self.info = self._describe(self._first)

    def read(self, span: Span) -> Iterator[Frame]:
        """The frames of a part, then the error of a damaged clip."""
        info, quarter = self.info, -(self.info.rotation // 90)
        frame: Any = self._first
        self._first = None
        previous: Fraction | None = None
        index = selected = 0
        while frame is not None:
            time = self._time(frame, previous)
            length = frame.duration * self._stream.time_base if frame.duration else 1 / info.rate
            if span.ended(index, time - info.start):
                return
            previous, info.frames, info.end = time, index + 1, time + length
            info.share = self._share
            if self._interlaced and not info.interlaced:
                info.interlaced = True
                info.notes.append("interlaced" + (", deinterlaced" * self._deinterlace))
            if span.begun(index, time - info.start):
                if selected % span.every == 0:
                    yield Frame(index, time, self._upright(frame, quarter))
                selected += 1
            index += 1
            frame = next(self._decoded, None)
        if self._damage is None:
            self._damage = missing_bytes(self._path, self._stream)
        if self._damage is not None:
            info.damage = f"ends after {index} good frames: {self._damage}"
            info.notes.append(info.damage)
            if not self._allow_truncated:
                raise DamagedVideoError(f"{self._path}: {info.damage}")

    def _decode(self) -> Iterator[Any]:
        """Decoded frames as long as the data are good; `_damage` then says what was wrong."""
        graph = None
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    self._damage = "a packet is cut off"
                    return
                if packet.pos is not None and packet.pos >= 0:
                    self._share = min(1.0, packet.pos / max(self._container.size, 1))
                if packet.dts is None and packet.size:
                    packet.dts = packet.pts
                for frame in packet.decode():
                    self._interlaced = self._interlaced or frame.interlaced_frame
                    if not (self._deinterlace and frame.interlaced_frame):
                        yield frame
                        continue
                    graph = graph or _deinterlacer(self._av, self._stream)
                    graph.push(frame)
                    yield from _pulled(self._av, graph)
            if graph is not None:
                graph.push(None)
                yield from _pulled(self._av, graph)
        except self._av.FFmpegError as error:
            self._damage = f"damaged data: {error.strerror}"

    def _time(self, frame: Any, previous: Fraction | None) -> Fraction:
        """A frame's own time; where it has none, or one that does not go on, the next that does."""
        info = self.info
        if frame.pts is not None:
            time = frame.pts * frame.time_base
            if previous is None or time > previous:
                return time
            after = previous + info.time_base
        else:
            after = info.start if previous is None else previous + 1 / info.rate
        if not any(note.startswith("times") for note in info.notes):
            info.notes.append("times that were missing or did not increase were moved")
        return after

    def _upright(self, frame: Any, quarter: int) -> np.ndarray:
        info = self.info
        pixels = np.rot90(self._to_rgb(frame, width=self._square_width), quarter)
        if pixels.shape[:2] != (info.height, info.width):
            raise DamagedVideoError(
                f"{self._path}: the frames change from {info.width}x{info.height} to "
                f"{pixels.shape[1]}x{pixels.shape[0]}; expected one size"
            )
        return np.ascontiguousarray(pixels)

    def _describe(self, frame: Any) -> ClipInfo:
        stream, notes = self._stream, colour_notes(frame)
        rates = (stream.average_rate, stream.guessed_rate)
        rate = next((Fraction(rate) for rate in rates if rate), None)
        if rate is None:
            rate = DEFAULT_RATE
            notes.append(f"no frame rate stated, {DEFAULT_RATE} supposed")
        rotation = -round(frame.rotation / 90) * 90 % 360
        if frame.rotation % 90:
            notes.append(f"rotation {frame.rotation:g} degrees rounded to {rotation}")
        elif rotation:
            notes.append(f"turned by {rotation} degrees clockwise")
        width, height = frame.width, frame.height
        aspect = stream.sample_aspect_ratio
        self._square_width = None
        if aspect and aspect != 1:
            self._square_width = width = max(1, round(width * Fraction(aspect)))
            notes.append(f"pixel aspect {aspect} made square: {frame.width} to {width} columns")
        if rotation % 180:
            width, height = height, width
        base = Fraction(stream.time_base)
        start = Fraction(0) if frame.pts is None else frame.pts * base
        return ClipInfo(width, height, rate, base, start, rotation, notes=notes)


def _video_stream(container: Any, path: Any) -> Any:
    """The first stream of moving images; a song's cover is none."""
    from av.stream import Disposition  # pyright: ignore

    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not moving:
        raise NotAVideoError(f"{path}: holds no video")
    if moving[0].codec_context is None:
        raise UnsupportedVideoError(
            f"{path}: no decoder for its video codec in this PyAV, which does not know its name "
            "either; write the clip again as H.264"
        )
    return moving[0]


def _deinterlacer(av: Any, stream: Any) -> Any:
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(template=stream), graph.add("yadif"), graph.add("buffersink")
    ).configure()
    return graph


def _pulled(av: Any, graph: Any) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
