"""Plots by matplotlib (the extra "plots"), as PNG files; no window and no global state."""

import io
from typing import Any

import numpy as np
from PIL import Image

from jaxface.errors import UsageError

DPI = 100
"""Pixels per inch: a figure of 4.6 by 3.8 inches has 460 by 380 pixels."""


def load_matplotlib() -> Any:
    """The package, with ``figure`` and ``backends.backend_agg`` imported.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError as error:
        raise UsageError(
            "plots need matplotlib, which is not installed: python -m pip install 'jaxface[plots]'"
        ) from error
    return matplotlib


def new_figure(width: int, height: int) -> Any:
    """An empty ``matplotlib.figure.Figure`` of so many pixels.

    Raises:
      UsageError: matplotlib is not installed.
    """
    return load_matplotlib().figure.Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def add_axes(figure: Any, left: float, top: float, right: float, bottom: float) -> Any:
    """Axes between two corners in pixels, counted from the figure's upper left one."""
    width, height = figure.get_size_inches() * DPI
    return figure.add_axes(
        (left / width, 1 - bottom / height, (right - left) / width, (bottom - top) / height)
    )


def png_of(figure: Any) -> bytes:
    """A figure as a PNG's bytes, RGB, one of its pixels each."""
    canvas = load_matplotlib().backends.backend_agg.FigureCanvasAgg(figure)
    canvas.draw()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])).save(
        file, format="PNG"
    )
    return file.getvalue()
