"""Files of facial landmarks: what others' detectors wrote, as the 68 points of iBUG 300-W.

A file is text, a point a line, its numbers separated by commas, blanks or semicolons (the "x,y" of
``numpy.savetxt``, as the Latent Difference Encoder's authors store them; .pts files, whose header
and braces are skipped), JSON (a list of points, or of numbers x, y, x, y, ...), or NumPy's .npy.

Mark-ups by the number of points:

* 68: iBUG's, as they are.
* 66: iBUG's without the inner corners of the mouth (60 and 64), which are put where the lips end:
  a quarter of the way from each outer corner (48, 54) to the middle of the inner lip's nearest
  points (61 and 67, 63 and 65).
* 98: WFLW's (Wu et al. 2018). Of its 33 points of the contour every second; of brows the upper
  line; of eyes the six that iBUG has; nose and mouth alike.
* 478: MediaPipe's mesh, by the vertices of `jaxface.media.mesh_landmarks`.
"""

import json
import os
import re
from pathlib import Path

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.mesh_landmarks import to_68 as mesh_to_68
from jaxface.runtime.arrays import DAMAGES
from jaxface.runtime.files import read_regular

COUNTS = (66, 68, 98, 478)

LARGEST = 1 << 20
"""Bytes of a file of landmarks at most."""

WFLW = (
    *range(0, 33, 2),
    *range(33, 38),
    *range(42, 47),
    *range(51, 60),
    *(60, 61, 63, 64, 65, 67),
    *(68, 69, 71, 72, 73, 75),
    *range(76, 96),
)
"""For each of the 68 points, in their order, WFLW's number."""

_MISSING_66 = (60, 64)
_NUMBER = re.compile(r"[,;\s]+")


def read_landmarks(path: str | os.PathLike[str], size: float | None, target: int) -> np.ndarray:
    """The landmarks of a file, in pixels of a portrait of another size.

    Args:
      path: of the file.
      size: pixels per side of the image that its points are of; None: shares of the side where all
        are within 0 to 1, else they are of `target` pixels.
      target: pixels per side that they are wanted in.

    Returns:
      [68, 2] float32, (x, y).

    Raises:
      UsageError: it cannot be read, has another number of points, or one that is no finite number.
    """
    points = to_68(_read(Path(path)), path)
    if size is None:
        within = points.min() >= 0 and points.max() <= 1
        size = 1.0 if within else float(target)
    return np.asarray(points * (target / size), np.float32)


def to_68(points: np.ndarray, where: object) -> np.ndarray:
    """Landmarks of a known mark-up as iBUG's 68, [68, 2].

    Args:
      points: [K, 2 or 3], K out of `COUNTS`; a third coordinate is left out.
      where: what errors begin with.

    Raises:
      UsageError: another number of points, or one that is no finite number.
    """
    count = len(points)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or count not in COUNTS:
        raise UsageError(
            f"{where}: expected {', '.join(map(str, COUNTS[:-1]))} or {COUNTS[-1]} points of two "
            f"coordinates, got {list(points.shape)}"
        )
    points = np.asarray(points, np.float64)[:, :2]
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise UsageError(
            f"{where}: point {bad[0]} of {count} is no finite number; landmarks of a face that is "
            "partly unseen cannot be drawn"
        )
    if count == 98:
        return points[list(WFLW)]
    if count == 478:
        return mesh_to_68(points)
    if count == 66:
        kept = [place for place in range(68) if place not in _MISSING_66]
        whole = np.zeros((68, 2))
        whole[kept] = points
        for place, corner, inner in ((60, 48, (61, 67)), (64, 54, (63, 65))):
            whole[place] = 0.75 * whole[corner] + 0.25 * whole[list(inner)].mean(axis=0)
        return whole
    return points


def _read(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path}: too large for landmarks, {path.stat().st_size} bytes")
        data = read_regular(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        if data[:6] == b"\x93NUMPY":
            import io

            return _paired(np.load(io.BytesIO(data), allow_pickle=False))
        text = data.decode("utf-8")
        if text.lstrip()[:1] == "[":
            return _paired(np.array(json.loads(text), np.float64))
        lines = [line.strip() for line in text.splitlines()]
        rows = [
            [float(word) for word in _NUMBER.split(line) if word]
            for line in lines
            if line and line not in "{}" and not re.match(r"(#|version\s*:|n_points\s*:)", line)
        ]
        return _paired(np.array(rows, np.float64))
    except (TypeError, MemoryError, RecursionError, *DAMAGES) as error:
        raise UsageError(
            f"{path}: no landmarks: expected a point a line, a JSON list or an .npy file"
        ) from error


def _paired(points: np.ndarray) -> np.ndarray:
    """[1, K, 2] and x, y, x, y, ... as [K, 2]."""
    points = np.squeeze(np.asarray(points, np.float64))
    return points.reshape(-1, 2) if points.ndim == 1 and points.size % 2 == 0 else points
