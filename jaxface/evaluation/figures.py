"""Figures of evaluations, drawn with Pillow: scatters, and rows of pictures under headings."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxface.media.images import to_uint8
from jaxface.runtime.files import atomic_writer

INK, FAINT = (32, 32, 32), (205, 205, 205)
COLOURS = ((196, 69, 54), (38, 92, 160), (60, 140, 80), (150, 90, 160))

_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 44, 20, 56  # margins of a plot
_SIDE = 128  # of a picture in a row


def write_scatter(
    path: str | os.PathLike[str],
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    across: str,
) -> None:
    """Writes panels side by side: points of each series, and the means of eight bins as a line.

    Args:
      panels: by the label of the upward axis: series by name, (x, y) each.
      across: label of the axis across, which the panels share.
    """
    width, height = 460, 380
    figure = Image.new("RGB", (len(panels) * width, height), "white")
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(13)
    for number, (label, series) in enumerate(panels.items()):
        left = number * width
        xs, ys = (np.concatenate([pair[i] for pair in series.values()]) for i in (0, 1))
        x_end, y_end = (_round_up(float(values.max(initial=0.0))) for values in (xs, ys))
        frame = (left + _LEFT, _TOP, left + width - _RIGHT, height - _BOTTOM)

        def place(x, y, frame=frame, x_end=x_end, y_end=y_end):
            x0, y0, x1, y1 = frame
            return x0 + x / x_end * (x1 - x0), y1 - y / y_end * (y1 - y0)

        for step in range(6):
            x, y = place(x_end * step / 5, y_end * step / 5)
            draw.line((frame[0], y, frame[2], y), FAINT)
            draw.text((frame[0] - 8, y), f"{y_end * step / 5:.3g}", INK, font, anchor="rm")
            draw.text((x, frame[3] + 6), f"{x_end * step / 5:.3g}", INK, font, anchor="mt")
        draw.text((frame[0], 8), label, INK, font)
        draw.text(((frame[0] + frame[2]) / 2, height - 22), across, INK, font, anchor="mt")
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(series))]
        for colour, (x, y) in zip(colours, series.values(), strict=True):
            pale = tuple((each + 2 * 255) // 3 for each in colour)
            for centre in zip(x, y, strict=True):
                draw.circle(place(*centre), 2, pale)
        # Lines over the points of every series.
        for index, (colour, (name, (x, y))) in enumerate(zip(colours, series.items(), strict=True)):
            line = [place(*point) for point in _bin_means(x, y, x_end)]
            if len(line) > 1:
                draw.line(line, colour, 3)
            key = frame[0] + 150 * index
            draw.line((key, 33, key + 14, 33), colour, 3)
            draw.text((key + 20, 26), name, INK, font)
    _save(path, figure)


def write_rows(
    path: str | os.PathLike[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
) -> None:
    """Writes rows of pictures, [R, R, 3] as uint8 or in [-1, 1], a heading over each column."""
    gap, top = 6, 40
    size = (len(headings) * (_SIDE + gap) + gap, top + len(rows) * (_SIDE + gap))
    figure = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(figure)
    font = ImageFont.load_default(12)
    for column, heading in enumerate(headings):
        x = gap + column * (_SIDE + gap)
        draw.multiline_text((x, 6), heading.replace("_", " ").replace(" + ", "\n+ "), INK, font)
        for row, pictures in enumerate(rows):
            pixels = np.asarray(pictures[column])
            pixels = pixels if pixels.dtype == np.uint8 else np.asarray(to_uint8(pixels))
            picture = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            figure.paste(picture, (x, top + row * (_SIDE + gap)))
    _save(path, figure)


def _bin_means(x: np.ndarray, y: np.ndarray, end: float, bins: int = 8) -> list[tuple]:
    which = np.minimum((x / end * bins).astype(int), bins - 1)
    return [(x[which == i].mean(), y[which == i].mean()) for i in range(bins) if (which == i).any()]


def _round_up(value: float) -> float:
    """The next of some numbers, whose fifths are short, times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return float(next(step * power for step in steps if step * power >= value))


def _save(path: str | os.PathLike[str], figure: Image.Image) -> None:
    with atomic_writer(path) as file:
        figure.save(file, format="PNG")
