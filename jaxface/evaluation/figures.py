"""Figures of evaluations: scatter plots by matplotlib, rows of images under headings by Pillow."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxface.media.images import encode_png, to_uint8
from jaxface.media.plots import add_axes, new_figure, png_of
from jaxface.runtime.files import atomic_writer

COLOURS = ((196, 69, 54), (38, 92, 160), (60, 140, 80), (150, 90, 160))
"""Of the series of a scatter plot, RGB."""

_BINS = 8
_SIDE = 128  # of an image in a row
_INK = (32, 32, 32)


def write_scatter(
    path: str | os.PathLike[str],
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    across: str,
) -> None:
    """Writes panels side by side: points of each series, and the means of eight bins as a line.

    Args:
      path: of the PNG.
      panels: by the label of the y axis: series by name, (x, y) each, not negative.
      across: label of the x axis, which the panels share.

    Raises:
      UsageError: matplotlib is not installed.
    """
    width, height = 460, 380
    figure = new_figure(width * len(panels), height)
    for number, (label, series) in enumerate(panels.items()):
        left = number * width
        axes = add_axes(figure, left + 70, 44, left + width - 20, height - 56)
        ends = [max(float(pair[i].max(initial=0.0)) for pair in series.values()) for i in (0, 1)]
        axes.set(xlim=(0, ends[0] or 1), ylim=(0, ends[1] or 1), xlabel=across)
        axes.set_title(label, loc="left", fontsize=11, pad=20)
        axes.grid(color="0.85")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for index, (name, (x, y)) in enumerate(series.items()):
            colour = np.array(COLOURS[index % len(COLOURS)])
            pale = (colour + 2 * 255) // 3 / 255
            axes.plot(x, y, ".", color=pale, markersize=6, clip_on=False)
            # Lines over the points of every series.
            line = _bin_means(x, y, ends[0] or 1)
            axes.plot(*line, color=colour / 255, linewidth=2, label=name, zorder=3)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 0.98), ncols=len(series), frameon=False, fontsize=9
        )
    with atomic_writer(path) as file:
        file.write(png_of(figure))


def _bin_means(x: np.ndarray, y: np.ndarray, end: float) -> tuple[list[float], list[float]]:
    which = np.minimum((x / end * _BINS).astype(int), _BINS - 1)
    filled = np.unique(which)
    return [x[which == i].mean() for i in filled], [y[which == i].mean() for i in filled]


def write_rows(
    path: str | os.PathLike[str],
    headings: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
) -> None:
    """Writes rows of images, [R, R, 3] as uint8 or in [-1, 1], a heading over each column."""
    gap, top = 6, 40
    size = (len(headings) * (_SIDE + gap) + gap, top + len(rows) * (_SIDE + gap))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for column, heading in enumerate(headings):
        x = gap + column * (_SIDE + gap)
        draw.multiline_text((x, 6), heading.replace("_", " ").replace(" + ", "\n+ "), _INK, font)
        for row, images in enumerate(rows):
            pixels = np.asarray(images[column])
            pixels = pixels if pixels.dtype == np.uint8 else np.asarray(to_uint8(pixels))
            cell = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            sheet.paste(cell, (x, top + row * (_SIDE + gap)))
    with atomic_writer(path) as file:
        file.write(encode_png(np.asarray(sheet), kind="composite"))
