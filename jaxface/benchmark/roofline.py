"""The roofline plot (Williams et al. 2009): what each program reaches under what its device allows.

x: floating-point operations per byte of memory traffic, as the compiled program has them. y:
operations a second. The sloping roof is the memory's bandwidth, the level one the peak of the
dtype. A point far below both roofs is held up by something else.

Estimates of programs that were compiled for a described device are hollow, under that device's own
roof, which is dashed.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxface.benchmark import hardware, report
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
    roofs = _roofs(document, any(point.measured for point in points) or not points)
    ridges = [speed / roof.bandwidth for roof in roofs for speed in roof.speeds.values()]
    figure = new_figure(WIDTH, HEIGHT)
    axes = add_axes(figure, LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=_decades([*(point.x for point in points), *ridges] or [1.0]),
        ylim=_decades(
            [*(point.y for point in points), *(y for roof in roofs for y in roof.speeds.values())]
            or [1e9]
        ),
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
    first, last = axes.get_xlim()
    for roof in roofs:
        line = {"color": ROOF, "linestyle": roof.line}
        for dtype, speed in roof.speeds.items():
            axes.plot((speed / roof.bandwidth, last), (speed, speed), **line)
            name = f"{roof.name} {dtype}".strip()
            axes.annotate(
                name, (last, speed), (-4, 3), textcoords="offset points", ha="right", color=ROOF
            )
        slope = (first, max(roof.speeds.values()) / roof.bandwidth)
        axes.plot(slope, [x * roof.bandwidth for x in slope], **line)
    for number, point in enumerate(points):
        colour = COLOURS[number % len(COLOURS)]
        style = {"color": colour, "markersize": 7, "markeredgewidth": 0, "clip_on": False}
        if not point.measured:
            style |= {"markerfacecolor": "none", "markeredgewidth": 1.2}
        label = f"{number + 1}  {point.name}" if number < LEGEND_ROWS else None
        axes.plot(point.x, point.y, "o", label=label, **style)
        where = (point.x, point.y)
        axes.annotate(
            str(number + 1), where, (4, 3), textcoords="offset points", color=colour, size=9
        )
    if len(points) > LEGEND_ROWS:
        more = f"and {len(points) - LEGEND_ROWS} more, in benchmark.json's order"
        axes.plot([], [], " ", color="black", label=more)
    if points:
        where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.01), "frameon": False}
        axes.legend(**where, fontsize=8, labelcolor="linecolor")
    return png_of(figure)


class _Point(NamedTuple):
    name: str
    x: float  # operations per byte
    y: float  # operations per second
    measured: bool


class _Roof(NamedTuple):
    name: str
    speeds: Mapping[str, float]  # by dtype
    bandwidth: float
    line: str


def _points(document: Mapping[str, Any]) -> list[_Point]:
    """What was measured, then what is estimated."""
    points = []
    for run, row in report.rows(document):
        if row["contender"] == OURS and row["flop"] and row["bytes"]:
            name = f"{report.label(run)} {row['method']} {run['settings']['dtype']}"
            intensity, speed = row["flop"] / row["bytes"], row["flop_per_second"]
            points.append(_Point(f"{name} batch {row['batch']}", intensity, speed, True))
    for run, row in report.compiled_rows(document):
        if row["flop"] and row["bytes"] and row["estimated_seconds"]:
            name = f"{row['topology']}, compiled: {report.label(run)} {row['method']}"
            name = f"{name} {run['settings']['dtype']} batch {row['batch']}"
            speed = row["flop"] / row["estimated_seconds"]
            points.append(_Point(name, row["flop"] / row["bytes"], speed, False))
    return points


def _roofs(document: Mapping[str, Any], measured: bool) -> list[_Roof]:
    """Of the device that is here, if it measured something, and of those compiled for."""
    roofs, peak = [], document["device"]["peak"]
    if peak is not None and measured:
        roofs.append(_Roof("", peak["flop_per_second"], peak["bytes_per_second"], "-"))
    kinds = {row["device"]: row["topology"] for _, row in report.compiled_rows(document)}
    for kind, topology in kinds.items():
        if (known := hardware.DEVICES.get(kind)) is not None:
            speeds: Mapping[str, float] = known.flop_per_second
            if len(set(speeds.values())) == 1:  # as TPUs, which have one peak for both dtypes
                speeds = {"": next(iter(speeds.values()))}
            roofs.append(_Roof(topology, speeds, known.bytes_per_second, "--"))
    return roofs


def _rate(speed: float, _: Any) -> str:
    """Such as 100 GFLOP/s."""
    power, unit = (1e12, "TFLOP/s") if speed >= 1e12 else (1e9, "GFLOP/s")
    return f"{speed / power:g} {unit}"


def _decades(values: list[float]) -> tuple[float, float]:
    """The whole decades around some numbers, at least one."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return 10.0**low, 10.0 ** max(high, low + 1)
