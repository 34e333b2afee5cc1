"""Whether the devices wait for input: an inversion from files, beside one from memory.

The same portraits are embedded with the same compiled programs, once as a job does it, reading,
decoding and aligning ahead of the device, and once with everything decoded before the clock starts.
The two alternate. The files were read once before, so what is measured is decoding and not the
disk's speed; a store that cannot deliver an image in the time of its inversion shows all the same.
"""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any

from jaxface.benchmark import hardware
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inversion import Inversion
from jaxface.jobs.runner import PREFETCH, Runner
from jaxface.jobs.task import Prepared
from jaxface.runtime.progress import JobProgress

LIMIT = 1.05
"""The ratio of the two times up to which reading counts as hidden."""


def compare_reading(
    items: Sequence[Item], inversion: Inversion, *, batch_size: int | None, repeats: int
) -> dict[str, Any]:
    """Times both, after a first pass that compiles.

    Args:
      items: with distinct ids; all are held in memory, decoded.
      inversion: what is done to them.
      batch_size: see `jaxface.jobs.runner.Runner`.
      repeats: passes of each, >= 1.

    Returns:
      JSON-like: ``portraits`` a pass, ``from_files`` and ``from_memory`` (seconds of each pass),
      ``ratio`` of their medians, ``hidden`` (whether that is within `LIMIT`), ``device``.
    """
    task = dataclasses.replace(inversion, keep_images=False)
    bar = JobProgress(0, 0, show=False)
    runner = Runner(task, batch_size=batch_size, inputs=len(items), bar=bar)

    def embed(found: Iterable[Prepared]) -> int:
        return sum(map(len, runner.results(found)))

    def from_files() -> int:
        with task.prefetch(items, ahead=PREFETCH) as found:
            return embed(found)

    with task.prefetch(items, ahead=PREFETCH) as found:
        held = list(found)
    portraits = embed(held)
    seconds: dict[str, list[float]] = {"from_files": [], "from_memory": []}
    for _ in range(repeats):
        for name, work in (("from_files", from_files), ("from_memory", lambda: embed(held))):
            begin = time.perf_counter()
            work()
            seconds[name].append(round(time.perf_counter() - begin, 4))
    files, memory = (statistics.median(found) for found in seconds.values())
    return {
        "portraits": portraits,
        "batch_size": runner.size,
        **seconds,
        "ratio": round(files / memory, 4),
        "hidden": files / memory <= LIMIT,
        "device": hardware.description(None),
    }


def table(report: dict[str, Any]) -> str:
    """The comparison as lines of text."""
    lines = [f"{report['portraits']} portraits in batches of {report['batch_size']}"]
    for name in ("from_files", "from_memory"):
        median = statistics.median(report[name])
        rate = report["portraits"] / median
        lines.append(f"{name.replace('_', ' '):<12} {median:9.3f} s  {rate:9.2f} portraits/s")
    verdict = "hidden" if report["hidden"] else "not hidden"
    lines.append(f"ratio {report['ratio']:.3f}: reading is {verdict} (limit {LIMIT})")
    return "\n".join(lines)
