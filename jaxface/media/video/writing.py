"""The library's one writer of clips: exact times, sound, BT.709, whole files, and resuming.

    with VideoWriter("out.mp4", width=640, height=360, rate=Fraction(30000, 1001),
                     sound=Sound("talk.mp4")) as writer:
        for index, time, pixels in clip:
            writer.write(time, edited(pixels))

Frames are encoded in segments of some seconds, each a file of its own in a hidden folder beside the
result; at the end their packets, with exact times, and the sound are joined in one container that
takes its name in one step. With a `resume` key the segments stay after an interruption and the next
run goes on behind them; an interrupted and an undisturbed run give the same bytes.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.credentials import sign_new
from jaxface.media.marks import Kind, comment
from jaxface.media.video.colour import FromRgb, tag
from jaxface.media.video.errors import UnsupportedVideoError, load_av
from jaxface.media.video.joining import SegmentTimes, join_segments
from jaxface.media.video.sound import Sound
from jaxface.runtime.files import atomic_path

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""FFmpeg's names of the containers that are written."""

SEGMENT = 250
"""Frames of a segment: what an interruption can cost, and the distance of key frames."""

THREADS = 4  # x264's result depends on their number, and is to be the same on every machine
NARROW = 256
"""Pixels of a frame's width below which x264 plans no macroblock tree: with AVX-512 that reads
memory which nobody wrote where a row has few macroblocks (seen up to 144 px, not from 160), and the
same frames gave other bytes from one run to the next."""
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded.

    Attributes:
      crf: quality; lower is better, 17 of H.264 is visually lossless.
      odd: what becomes of an odd width or height, which 4:2:0 cannot have: "pad" repeats the last
        row or column, "444" keeps the size with full chroma (not every player shows it).
      alpha: frames have a fourth channel, opacity; WebM alone holds it.
      lossless: H.264 of RGB without any loss, for what is read again by programs; MKV and MP4.
      segment: frames that are encoded together.
      kind: what the clip says it is, see `jaxface.media.marks`.

    Raises:
      ValueError: an unknown word, or a number outside its range.
    """

    crf: int = 17
    odd: str = "pad"
    alpha: bool = False
    lossless: bool = False
    segment: int = SEGMENT
    kind: Kind = "synthetic"

    def __post_init__(self):
        if self.odd not in ("pad", "444"):
            raise ValueError(f'Encoding: odd must be "pad" or "444", got {self.odd!r}.')
        if not 0 <= self.crf <= 51:
            raise ValueError(f"Encoding: crf must be from 0 to 51, got {self.crf}.")
        if self.segment < 1:
            raise ValueError(f"Encoding: segment must be at least 1, got {self.segment}.")


class VideoWriter:
    """Writes one clip; a context manager. Leaving it with an error leaves no file of that name.

    Args:
      path: the result, MP4, MOV, MKV or WebM by its suffix.
      width, height: pixels of the frames that are given.
      rate: nominal frames a second; the times of frames decide.
      time_base: seconds of which the frames' times are multiples; None is 1 / rate.
      encoding: see `Encoding`.
      sound: sound to go with it, or None.
      resume: what decides the frames, JSON-like (hashes of the input and of settings); with it an
        interrupted run can go on. None keeps nothing.
      sources: files that the frames were made from, for `jaxface.media.credentials`.

    Attributes:
      done: frames that an earlier run has stored; the first frame to write is the one after them.
      notes: what writing changed, one short sentence each.

    Raises:
      UsageError: another suffix, settings that contradict each other, PyAV is not installed, or an
        earlier run with another `resume` key has left its segments.
      UnsupportedVideoError: the encoder is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        width: int,
        height: int,
        rate: Fraction | int,
        time_base: Fraction | None = None,
        encoding: Encoding | None = None,
        sound: Sound | None = None,
        resume: Mapping[str, Any] | None = None,
        sources: Sequence[str | os.PathLike[str]] = (),
    ):
        self._av, self._path, self._sound = load_av(), Path(path), sound
        self._sources = [Path(each) for each in sources]
        self._encoding = encoding or Encoding()
        suffix = self._path.suffix.lower()
        if suffix not in FORMATS:
            raise UsageError(
                f"{path}: expected a name that ends in {', '.join(FORMATS)} to write a clip"
            )
        self._format = FORMATS[suffix]
        self._codec, self._pixel_format, self._options = self._chosen(width, height)
        try:
            self._av.codec.Codec(self._codec, "w")
        except (self._av.FFmpegError, ValueError) as error:
            raise UnsupportedVideoError(
                f"{path}: the encoder {self._codec} is not part of this PyAV"
            ) from error
        self._shape, self.notes = (height, width, 4 if self._encoding.alpha else 3), []
        self._padded = (height, width)
        if self._encoding.odd == "pad" and "420" in self._pixel_format:
            self._padded = (height + height % 2, width + width % 2)
            if self._padded != (height, width):
                self.notes.append(f"{width}x{height} padded to {self._padded[1]}x{self._padded[0]}")
        self._rate = Fraction(rate)
        self._base = 1 / self._rate if time_base is None else Fraction(time_base)
        self._key = None if resume is None else self._described(resume)
        self._times: list[int] = []
        self._encoder: Any = None
        self._closed = False

    def __enter__(self) -> "VideoWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._key is None:
            self._folder = self._path.parent / f".{uuid.uuid4().hex}.part"
            self._folder.mkdir()
        else:
            self._folder = self._path.parent / f".{self._path.name}.segments"
            self._begin_or_resume()
        self._segments = _whole_segments(self._folder)
        self.done = sum(len(segment.times) for segment in self._segments)
        return self

    def write(self, time: Fraction, pixels: np.ndarray, *, duration: Fraction | None = None):
        """Encodes a frame.

        Args:
          time: seconds, later than the frame before; a multiple of the time base.
          pixels: uint8 [H, W, 3], or [H, W, 4] with alpha.
          duration: seconds; None lasts until the next frame, the last one as long as 1 / rate.

        Raises:
          ValueError: another shape or type, or a time that does not fit.
        """
        if pixels.shape != self._shape or pixels.dtype != np.uint8:
            raise ValueError(
                f"VideoWriter: expected uint8 {list(self._shape)}, got {pixels.dtype} "
                f"{list(pixels.shape)}."
            )
        ticks = Fraction(time) / self._base
        if ticks.denominator != 1:
            raise ValueError(f"VideoWriter: time {time} is no multiple of {self._base} s.")
        last = self._times or (self._segments[-1].times if self._segments else [])
        if last and ticks <= last[-1]:
            raise ValueError(f"VideoWriter: time {time} is not after the frame before it.")
        if self._encoder is None:
            self._begin_segment()
        rows, columns = self._padded[0] - self._shape[0], self._padded[1] - self._shape[1]
        if rows or columns:
            pixels = np.pad(pixels, ((0, rows), (0, columns), (0, 0)), "edge")
        frame = self._convert(pixels)
        frame.pts, frame.time_base = len(self._times), 1 / self._rate
        self._output.mux(self._stream.encode(frame))
        self._times.append(int(ticks))
        length = 1 / self._rate if duration is None else duration
        self._last = max(1, round(length / self._base))
        if len(self._times) == self._encoding.segment:
            self._end_segment()

    def __exit__(self, kind: Any, error: Any, trace: Any):
        try:
            if kind is not None:
                if self._encoder is not None:
                    self._output.close()
                return
            if self._encoder is not None:
                self._end_segment()
            if not self._segments:
                raise ValueError("VideoWriter: no frame was written.")
            self._join()
        except BaseException as failed:
            kind = type(failed)
            raise
        finally:
            if self._sound is not None:
                self._sound.close()
            if kind is None or self._key is None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _chosen(self, width: int, height: int) -> tuple[str, str, dict[str, str]]:
        """Codec, pixel format and options."""
        encoding, crf = self._encoding, str(self._encoding.crf)
        if encoding.alpha and self._format != "webm":
            raise UsageError(f"{self._path}: alpha needs WebM; write .webm")
        if encoding.lossless and (encoding.alpha or self._format == "webm"):
            raise UsageError(f"{self._path}: lossless is H.264 without alpha; write .mkv or .mp4")
        full = encoding.odd == "444" and (width % 2 or height % 2)
        if self._format == "webm":
            chroma = "yuva420p" if encoding.alpha else "yuv444p" if full else "yuv420p"
            options = {"crf": crf, "b": "0", "deadline": "good", "cpu-used": "4"}
            options |= {"auto-alt-ref": "0"} if encoding.alpha else {}
            return "libvpx-vp9", chroma, options
        if encoding.lossless:
            return "libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"}
        options = {"crf": crf} | ({"mbtree": "0"} if width < NARROW else {})
        return "libx264", "yuv444p" if full else "yuv420p", options

    def _described(self, resume: Mapping[str, Any]) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {
            "frames": dict(resume),
            "encoding": asdict(self._encoding),
            "size": list(self._shape),
            "rate": str(self._rate),
            "time_base": str(self._base),
            "codec": self._codec,
            "libraries": {k: list(v) for k, v in self._av.library_versions.items()},
        }

    def _begin_or_resume(self):
        manifest = self._folder / _MANIFEST
        if not manifest.exists():
            self._folder.mkdir(exist_ok=True)
            with atomic_path(manifest) as temporary:
                temporary.write_text(json.dumps(self._key, indent=1))
        elif json.loads(manifest.read_text()) != json.loads(json.dumps(self._key)):
            raise UsageError(
                f"{self._path}: was begun with another input or other settings; use the same, or "
                f"remove {self._folder}"
            )

    def _begin_segment(self):
        place = self._folder / f"{len(self._segments):06d}.mkv"
        self._output = self._av.open(str(place), "w", format="matroska")
        stream = self._output.add_stream(self._codec, rate=self._rate, options=self._options)
        stream.height, stream.width = self._padded
        stream.pix_fmt = self._pixel_format
        context = stream.codec_context
        context.time_base, context.thread_count = 1 / self._rate, THREADS
        context.gop_size = self._encoding.segment
        if self._pixel_format != "rgb24":
            tag(context)
            self._convert = FromRgb(self._pixel_format)
        else:
            self._convert = lambda pixels: self._av.VideoFrame.from_ndarray(
                np.ascontiguousarray(pixels), format="rgb24"
            )
        self._stream, self._encoder = stream, context

    def _end_segment(self):
        self._output.mux(self._stream.encode(None))
        self._output.close()
        place = self._folder / f"{len(self._segments):06d}.mkv"
        segment = SegmentTimes(place, self._times, self._last)
        with atomic_path(place.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"times": self._times, "last": self._last}))
        self._segments.append(segment)
        self._times, self._encoder = [], None

    def _join(self):
        with atomic_path(self._path) as temporary:
            join_segments(
                self._segments,
                temporary,
                container=self._format,
                rate=self._rate,
                time_base=self._base,
                sound=self._sound,
                comment=comment(self._encoding.kind),
            )
            suffix, kind = self._path.suffix.lower(), self._encoding.kind
            sign_new(temporary, suffix, kind, sources=self._sources)
        if self._sound is not None:
            self.notes += self._sound.notes


def _whole_segments(folder: Path) -> list[SegmentTimes]:
    """The segments that an earlier run has finished, in order, without what lies behind a gap."""
    found = []
    while (times := folder / f"{len(found):06d}.json").exists():
        said = json.loads(times.read_text())
        found.append(SegmentTimes(times.with_suffix(".mkv"), said["times"], said["last"]))
    return found
