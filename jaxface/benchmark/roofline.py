"""The roofline plot (Williams et al. 2009): what each program reaches under what its device allows.

Across: floating-point operations per byte of memory traffic, as the compiled program has them. Up:
operations a second. The sloping roof is the memory's bandwidth, the level one the peak of the
dtype. A point far below both roofs is held up by something else.
"""

import io
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from jaxface.benchmark import report
from jaxface.benchmark.runner import OURS

WIDTH, HEIGHT = 1200, 720
LEFT, RIGHT, TOP, BOTTOM = 90, 470, 50, 60  # margins; the legend stands in the right one
INK, GRID, ROOF = (32, 32, 32), (225, 225, 225), (110, 110, 110)
COLOURS = (
    (31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 145, 160),
    (227, 80, 170), (120, 85, 60),
)  # fmt: skip
LEGEND_ROWS = 36


def draw_roofline(document: Mapping[str, Any]) -> bytes:
    """The plot as a PNG's bytes.

    jaxface's rows only, since peers' operations and bytes are not counted; rows without a count of
    bytes (programs with loops) are not in it.
    """
    points = _points(document)
    peak = document["device"]["peak"]
    axes = _Axes(points, peak)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(16), ImageFont.load_default(12)
    device = document["device"]
    draw.text((LEFT, 16), f"{device['count']} x {device['kind']}", INK, font)
    axes.draw_grid(draw, small)
    if peak is not None:
        axes.draw_roofs(draw, small, peak)
    for number, (name, x, y) in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        across, up = axes.place(x, y)
        draw.ellipse((across - 4, up - 4, across + 4, up + 4), fill=colour)
        draw.text((across + 6, up - 14), str(number + 1), colour, small)
        if number < LEGEND_ROWS:
            line = f"{number + 1}  {name}"
            draw.text((WIDTH - RIGHT + 20, TOP + 17 * number), line, colour, small)
    if len(points) > LEGEND_ROWS:
        more = f"and {len(points) - LEGEND_ROWS} more, in benchmark.json's order"
        draw.text((WIDTH - RIGHT + 20, TOP + 17 * LEGEND_ROWS), more, INK, small)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _points(document: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, operations per byte, operations per second."""
    points = []
    for run, row in report.rows(document):
        if row["contender"] == OURS and row["flop"] and row["bytes"]:
            name = f"{report.label(run)} {row['method']} {run['settings']['dtype']}"
            intensity = row["flop"] / row["bytes"]
            points.append((f"{name} batch {row['batch']}", intensity, row["flop_per_second"]))
    return points


class _Axes:
    """Two logarithmic axes, in whole decades around what is to be shown."""

    def __init__(self, points: list[tuple[str, float, float]], peak: Mapping[str, Any] | None):
        across, up = [x for _, x, _ in points] or [1.0], [y for _, _, y in points] or [1e9]
        if peak is not None:
            speeds = peak["flop_per_second"].values()
            up += speeds
            across += [speed / peak["bytes_per_second"] for speed in speeds]  # the roofs' ridges
        self.x, self.y = _decades(across), _decades(up)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        (left, right), (low, high) = self.x, self.y
        across = (math.log10(x) - left) / (right - left)
        up = (math.log10(y) - low) / (high - low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    def draw_grid(self, draw: ImageDraw.ImageDraw, font: Any) -> None:
        """A line at every power of ten, and the axes' names."""
        for decade in range(self.x[0], self.x[1] + 1):
            across, bottom = self.place(10.0**decade, 10.0 ** self.y[0])
            draw.line((across, TOP, across, bottom), GRID)
            draw.text((across - 12, bottom + 6), f"{10.0**decade:g}", INK, font)
        for decade in range(self.y[0], self.y[1] + 1):
            left, up = self.place(10.0 ** self.x[0], 10.0**decade)
            draw.line((left, up, WIDTH - RIGHT, up), GRID)
            power, unit = (decade - 12, "TFLOP/s") if decade >= 12 else (decade - 9, "GFLOP/s")
            draw.text((4, up - 8), f"{10.0**power:g} {unit}", INK, font)
        draw.text((LEFT, HEIGHT - 28), "FLOP per byte of memory traffic", INK, font)

    def draw_roofs(self, draw: ImageDraw.ImageDraw, font: Any, peak: Mapping[str, Any]) -> None:
        """The bandwidth's slope, and a level for each dtype from where the slope meets it."""
        bandwidth, speeds = peak["bytes_per_second"], peak["flop_per_second"]
        first, last = 10.0 ** self.x[0], 10.0 ** self.x[1]
        lowest, ridge = 10.0 ** self.y[0], max(speeds.values()) / bandwidth
        # Where the slope comes in: at the left edge or at the bottom.
        start = max(first, lowest / bandwidth)
        slope = (self.place(start, start * bandwidth), self.place(ridge, ridge * bandwidth))
        draw.line(slope, ROOF, width=2)
        for dtype, speed in speeds.items():
            level = (self.place(speed / bandwidth, speed), self.place(last, speed))
            draw.line(level, ROOF, width=2)
            draw.text((level[1][0] - 62, level[1][1] - 16), dtype, ROOF, font)


def _decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return (low, high) if high > low else (low, low + 1)
