"""GIFs of reenacted clips, for pages that show no video: the aligned frames, as they were drawn."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxface.jobs.outputs.names import file_name
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.rows import OK
from jaxface.media.images import read_image
from jaxface.media.video import encode_gif, enlarged
from jaxface.runtime.files import atomic_writer

RATE = Fraction(25)
"""Frames a second that a GIF has at most: browsers show shorter ones slowly."""
LONGEST = 250
"""Frames that a GIF has at most, which are held in memory; of longer clips it shows the first."""


def write_gifs(rows: Sequence[Mapping[str, Any]], results: ResultsFolder) -> Iterator[str]:
    """Writes ``sequences/<clip>.gif`` of each clip of a finished job.

    Args:
      rows: of frames; those that are not ok, or of no clip, are passed over.
      results: where they are.

    Yields:
      A line for each, as it is written.
    """
    clips: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["status"] == OK and row.get("frame") is not None:
            clips[row["frame"]["clip"]].append(row)
    for clip, found in clips.items():
        found.sort(key=lambda row: row["frame"]["index"])
        chosen = _at_most(found, RATE)
        shown, left = chosen[:LONGEST], chosen[LONGEST:]
        images = [read_image(results.folder / row["edited"]).pixels for row in shown]
        times = [Fraction(row["frame"]["time"]) for row in shown]
        each = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / RATE
        path = results.folder / "sequences" / file_name(clip, ".gif")
        data = encode_gif(enlarged(np.stack(images)), seconds=float(each * len(times)))
        with atomic_writer(path) as file:
            file.write(data)
        rest = f", the first {len(shown)} frames" if left else ""
        yield f"GIF:           {path}{rest}"


def _at_most(rows: Sequence[Mapping[str, Any]], rate: Fraction) -> list[Mapping[str, Any]]:
    """Rows that are no more than so many a second."""
    chosen: list[Mapping[str, Any]] = []
    last = Fraction(0)
    for row in rows:
        time = Fraction(row["frame"]["time"])
        # Containers round times to a millisecond.
        if not chosen or time - last >= 1 / rate - Fraction(1, 500):
            chosen.append(row)
            last = time
    return chosen
