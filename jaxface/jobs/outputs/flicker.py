"""How much a clip's faces change from frame to frame, before an edit and after it."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.media.images import read_image

KINDS = ("unedited", "edited")


def flicker(rows: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, dict[str, float]]:
    """The mean absolute difference of consecutive faces, each warped to its square, by track.

    An edit that flickers no more than what it started from has about the same number. Images are
    read again, two at a time: memory does not grow with the clip, and a run that was interrupted
    tells what an undisturbed one tells.

    Args:
      rows: of one clip's edits, each with the paths of its images.
      folder: where they are.

    Returns:
      By track ("0" where frames are portraits) the numbers of the `KINDS` that rows have, in levels
      of 255; a track without two consecutive frames has none.
    """
    kinds = [kind for kind in KINDS if all(row.get(kind) for row in rows)]
    tracks: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["frame"]["index"]):
        tracks[str((row.get("track") or {"id": 0})["id"])].append(row)
    indices = sorted({row["frame"]["index"] for row in rows})
    step = min((b - a for a, b in itertools.pairwise(indices)), default=1)
    told = {}
    for track, found in tracks.items():
        changes: dict[str, list[float]] = {kind: [] for kind in kinds}
        before, shown = None, {}
        for row in found:
            index, last = row["frame"]["index"], shown
            shown = {kind: read_image(folder / row[kind]).pixels for kind in kinds}
            if before is not None and index - before == step:
                for kind in kinds:
                    change = np.abs(shown[kind] - last[kind]).mean(dtype=np.float64)
                    changes[kind].append(float(change) * 127.5)
            before = index
        if changes["edited"]:
            told[track] = {kind: round(float(np.mean(changes[kind])), 3) for kind in kinds}
    return told
