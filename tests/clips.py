"""Tiny clips for the tests, written by FFmpeg directly and not by the library's writer."""

from fractions import Fraction

import numpy as np
import pytest

COLOURS = np.array(
    [[180, 20, 20], [20, 180, 20], [30, 30, 190], [200, 200, 40], [20, 190, 190], [128, 128, 128]],
    np.uint8,
)
TICKS = 48_000


PEAK = """
def peak():
    # In kB. Not getrusage's, which begins with what the parent held when it started this process.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
"""
"""Source of a function that tells the most memory that a process has held, on Linux."""


def moving(count, height=48, width=64):
    """Smooth frames that all differ: uint8 [count, H, W, 3]."""
    y, x = np.mgrid[:height, :width] / 10
    frames = [
        np.stack([128 + 100 * np.sin(x + i / 5), 128 + 100 * np.cos(y), 60 + i % 100 + 0 * x], -1)
        for i in range(count)
    ]
    return np.rint(frames).astype(np.uint8)


def bars(height=96, width=192):
    """Six flat colours side by side."""
    return np.repeat(COLOURS, width // 6, axis=0)[None].repeat(height, axis=0)


def write_clip(
    path,
    frames,
    *,
    rate=25,
    times=None,
    base=None,
    codec="libx264",
    pixel_format="yuv420p",
    matrix=None,
    full=False,
    transfer=None,
    aspect=None,
    rotation=None,
    sound=None,
    sound_first=False,
    options=None,
    container=None,
):
    """A clip.

    Args:
      frames: uint8 [T, H, W, 3].
      times: of the frames, in units of `base`; None for 0, 1, 2, ... in units of 1 / rate.
      matrix: ITU-T H.273's number, written into the file; None writes BT.601 and does not say so.
      rotation: degrees counter-clockwise of the display matrix.
      sound: (codec, samples) with float32 samples of one channel at 48 kHz.
      sound_first: the sound becomes stream 0.
    """
    av = pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    from av.video.reformatter import VideoReformatter

    for name in (codec, sound[0] if sound else codec):
        if name not in av.codecs_available:
            pytest.skip(f"the encoder {name} is not part of this PyAV")
    with av.open(str(path), "w", options=container or {}) as output:
        audio = None
        if sound and sound_first:
            audio = output.add_stream(sound[0], rate=TICKS, layout="mono")
        stream = output.add_stream(codec, rate=rate, options=options or {})
        if sound and not sound_first:
            audio = output.add_stream(sound[0], rate=TICKS, layout="mono")
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        base = 1 / Fraction(rate) if base is None else base
        context.time_base = base
        if matrix is not None:
            context.colorspace, context.color_range = matrix, 2 if full else 1
        if transfer is not None:
            context.color_trc = transfer
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        scaler = VideoReformatter()
        for place, pixels in enumerate(frames):
            frame = scaler.reformat(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
                format=pixel_format,
                dst_colorspace={1: "ITU709", 9: "BT2020"}.get(matrix, "ITU601"),
                src_color_range=2,
                dst_color_range=2 if full else 1,
            )
            frame.pts, frame.time_base = place if times is None else times[place], base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if audio is not None:
            samples = av.AudioFrame.from_ndarray(sound[1][None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts = TICKS, 0
            samples.time_base = Fraction(1, TICKS)
            audio.codec_context.open(strict=False)
            resampler = av.AudioResampler(
                audio.codec_context.format, "mono", TICKS, audio.codec_context.frame_size or None
            )
            for piece in [*resampler.resample(samples), *resampler.resample(None)]:
                output.mux(audio.encode(piece))
            output.mux(audio.encode(None))
    return path


def clicks(seconds):
    """float32 samples at 48 kHz with a click of 5 ms at the beginning of every second."""
    samples = np.zeros(int(seconds * TICKS), np.float32)
    tone = 0.8 * np.sin(np.arange(TICKS // 200) * 0.4).astype(np.float32)
    for second in range(int(np.ceil(seconds))):
        samples[second * TICKS :][: len(tone)] = tone[: len(samples) - second * TICKS]
    return samples


def heard(path):
    """The first channel of a file's first sound stream, and the time it begins, in seconds."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as source:
        frames = list(source.decode(source.streams.audio[0]))
    start = float(frames[0].pts * frames[0].time_base)
    return np.concatenate([f.to_ndarray().reshape(-1) for f in frames]), start


def packets(path, kind):
    """(pts, bytes) of all packets of a file's first stream of a kind."""
    av = pytest.importorskip("av")
    with av.open(str(path)) as source:
        stream = getattr(source.streams, kind)[0]
        return [(p.pts * p.time_base, bytes(p)) for p in source.demux(stream) if p.size]
