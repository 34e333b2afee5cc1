"""Colours of video: from Y'CbCr of any matrix and range to RGB, and from RGB to BT.709.

FFmpeg's scaler takes matrix and range from its caller; what a frame does not say is decided here:
BT.709 from 720 lines upwards and BT.601 below, limited range. HDR transfers (PQ of SMPTE ST 2084,
HLG of ARIB STD-B67) are refused: without tone mapping they come out pale.
"""

from typing import Any

import numpy as np

from jaxface.media.video.errors import UnsupportedVideoError, load_av

HD_LINES = 720
"""Lines from which a clip that does not name its matrix is taken to be BT.709."""

# Numbers of ITU-T H.273: matrix coefficients, transfer characteristics, colour primaries.
BT709, UNSPECIFIED, BT2020 = 1, 2, 9
_MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020"}
_HDR = {16: "PQ (SMPTE ST 2084)", 18: "HLG (ARIB STD-B67)"}
LIMITED, FULL = 1, 2  # FFmpeg's numbers of ranges; 0 is unspecified


class ToRgb:
    """Converts decoded frames to RGB with one scaler, so that memory does not grow."""

    def __init__(self):
        from av.video.reformatter import VideoReformatter  # pyright: ignore

        self._scaler = VideoReformatter()

    def __call__(self, frame: Any, *, width: int | None = None) -> np.ndarray:
        """A frame, uint8 [H, W, 3].

        Args:
          frame: `av.VideoFrame` of any pixel format.
          width: pixels to resample to; None keeps the frame's.

        Raises:
          UnsupportedVideoError: an HDR transfer, or a matrix that is not known.
        """
        refuse_hdr(frame)
        matrix, full = source_colour(frame)
        converted = self._scaler.reformat(
            frame,
            width=width or frame.width,
            height=frame.height,
            format="rgb24",
            src_colorspace=matrix,  # type: ignore (names are taken too)
            src_color_range=FULL if full else LIMITED,
            dst_color_range=FULL,
            interpolation=_filters(),
        )
        return converted.to_ndarray()


class FromRgb:
    """Converts RGB frames to BT.709 in limited range, which `tag` says."""

    def __init__(self, pixel_format: str):
        from av.video.reformatter import VideoReformatter  # pyright: ignore

        self._av, self._format, self._scaler = load_av(), pixel_format, VideoReformatter()

    def __call__(self, pixels: np.ndarray) -> Any:
        """uint8 [H, W, 3], or [H, W, 4] with alpha, as `av.VideoFrame`."""
        given = "rgb24" if pixels.shape[-1] == 3 else "rgba"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=given)
        return self._scaler.reformat(
            frame,
            format=self._format,
            src_color_range=FULL,
            dst_colorspace="ITU709",  # type: ignore (names are taken too)
            dst_color_range=LIMITED,
            dst_color_trc=BT709,
            dst_color_primaries=BT709,
            interpolation=_filters(),
        )


def tag(codec_context: Any):
    """Says of an encoder's frames that they are BT.709 in limited range."""
    codec_context.colorspace = codec_context.color_primaries = codec_context.color_trc = BT709
    codec_context.color_range = LIMITED


def refuse_hdr(frame: Any):
    """Raises UnsupportedVideoError where a frame's transfer is an HDR one."""
    if (transfer := _HDR.get(int(frame.color_trc))) is not None:
        raise UnsupportedVideoError(
            f"HDR video, transfer {transfer}; expected standard dynamic range: convert the clip "
            "with tone mapping first"
        )


def source_colour(frame: Any) -> tuple[str, bool]:
    """The matrix of a frame by PyAV's name, and whether its range is full.

    Raises:
      UnsupportedVideoError: another matrix than BT.601, 709, 2020, FCC's or SMPTE 240M.
    """
    if is_rgb(frame):
        return "ITU709", True  # of no effect
    number = int(frame.colorspace)
    if number in (0, UNSPECIFIED):
        number = BT709 if frame.height >= HD_LINES else 6
    if number not in _MATRICES:
        raise UnsupportedVideoError(
            f"colour matrix {number} of ITU-T H.273; expected BT.601, BT.709 or BT.2020"
        )
    full = frame.format.name.startswith("yuvj") or int(frame.color_range) == FULL
    return _MATRICES[number], full


def colour_notes(frame: Any) -> list[str]:
    """What is worth saying of a frame's colours, one short sentence each."""
    notes = []
    if not is_rgb(frame) and int(frame.colorspace) in (0, UNSPECIFIED):
        name = "BT.709" if frame.height >= HD_LINES else "BT.601"
        notes.append(f"colour matrix not stated, read as {name}")
    if frame.format.components and (bits := frame.format.components[0].bits) > 8:
        notes.append(f"{bits} bits a channel read as 8")
    if int(frame.color_primaries) == BT2020:
        notes.append("BT.2020 primaries kept as they are")
    if len(frame.format.components) == 4:
        notes.append("alpha ignored")
    return notes


def is_rgb(frame: Any) -> bool:
    """Whether a frame's pixels need no matrix: RGB, palette."""
    return frame.format.is_rgb or frame.format.name.startswith(("pal", "gbr", "gray"))


def _filters() -> Any:
    from av.video.reformatter import Interpolation  # pyright: ignore

    flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
    return flags | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
