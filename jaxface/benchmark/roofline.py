"""The roofline plot (Williams et al. 2009): what each program reaches under what its device allows.

x: floating-point operations per byte of memory traffic, as the compiled program has them. y:
operations a second. The sloping roof is the memory's bandwidth, the level one the peak of the
dtype. A point far below both roofs is held up by something else.
"""

import math
from collections.abc import Mapping
from typing import Any

from jaxface.benchmark import report
from jaxface.benchmark.runner import OURS
from jaxface.media.plots import add_axes, new_figure, png_of

WIDTH, HEIGHT = 1200, 720
LEFT, RIGHT, TOP, BOTTOM = 90, 470, 50, 60  # margins; the legend stands in the right one
ROOF = "#6e6e6e"
COLOURS = (
    "tab:blue", "tab:red", "tab:green", "tab:purple", "tab:orange", "tab:cyan", "tab:pink",
    "tab:brown",
)  # fmt: skip
LEGEND_ROWS = 36


def draw_roofline(document: Mapping[str, Any]) -> bytes:
    """The plot as a PNG's bytes.

    jaxface's rows only, since peers' operations and bytes are not counted; rows without a count of
    bytes (programs with loops) are not in it.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    points, device = _points(document), document["device"]
    peak = device["peak"]
    speeds, bandwidth = {}, 1.0
    if peak is not None:
        speeds, bandwidth = peak["flop_per_second"], peak["bytes_per_second"]
    ridges = [speed / bandwidth for speed in speeds.values()]
    figure = new_figure(WIDTH, HEIGHT)
    axes = add_axes(figure, LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=_decades([*(x for _, x, _ in points), *ridges] or [1.0]),
        ylim=_decades([*(y for _, _, y in points), *speeds.values()] or [1e9]),
        xlabel="FLOP per byte of memory traffic",
    )
    axes.set_title(f"{device['count']} x {device['kind']}", loc="left")
    axes.grid(color="#d8d8d8")
    axes.grid(color="#f0f0f0", which="minor")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8)
    for axis, form in ((axes.xaxis, "{x:g}"), (axes.yaxis, _rate)):
        axis.set_major_formatter(form)
        axis.set_minor_formatter("")
    last = axes.get_xlim()[1]
    for (dtype, speed), ridge in zip(speeds.items(), ridges, strict=True):
        axes.plot((ridge, last), (speed, speed), color=ROOF)
        axes.annotate(
            dtype, (last, speed), (-4, 3), textcoords="offset points", ha="right", color=ROOF
        )
    if ridges:
        slope = (axes.get_xlim()[0], max(ridges))
        axes.plot(slope, [x * bandwidth for x in slope], color=ROOF)
    for number, (name, x, y) in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        point = {"color": colour, "markersize": 7, "markeredgewidth": 0, "clip_on": False}
        label = f"{number + 1}  {name}" if number < LEGEND_ROWS else None
        axes.plot(x, y, "o", label=label, **point)
        axes.annotate(
            str(number + 1), (x, y), (4, 3), textcoords="offset points", color=colour, size=9
        )
    if len(points) > LEGEND_ROWS:
        more = f"and {len(points) - LEGEND_ROWS} more, in benchmark.json's order"
        axes.plot([], [], " ", color="black", label=more)
    if points:
        where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.01), "frameon": False}
        axes.legend(**where, fontsize=8, labelcolor="linecolor")
    return png_of(figure)


def _points(document: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, operations per byte, operations per second."""
    points = []
    for run, row in report.rows(document):
        if row["contender"] == OURS and row["flop"] and row["bytes"]:
            name = f"{report.label(run)} {row['method']} {run['settings']['dtype']}"
            intensity = row["flop"] / row["bytes"]
            points.append((f"{name} batch {row['batch']}", intensity, row["flop_per_second"]))
    return points


def _rate(speed: float, _: Any) -> str:
    """Such as 100 GFLOP/s."""
    power, unit = (1e12, "TFLOP/s") if speed >= 1e12 else (1e9, "GFLOP/s")
    return f"{speed / power:g} {unit}"


def _decades(values: list[float]) -> tuple[float, float]:
    """The whole decades around some numbers, at least one."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)
