"""The 68 points that a data set has for its frames, in the forms that data sets store them.

* ``ffhq-dataset-v2.json``: of each image by its number, in pixels of the size that it states;
* another ``.json``: OpenPose's, ``people[0].face_keypoints_2d``, triples x, y, confidence (Neural
  Head Avatars);
* anything else: text, a line "x y" for each point (``.lms`` of NeRFBlendShape).
"""

import functools
import json
import pathlib
from typing import Any

import numpy as np

from jaxface.data.clips.ffhq import METADATA
from jaxface.data.clips.listing import LayoutError

POINTS = 68


def read_landmarks(path: pathlib.Path, number: int, size: tuple[int, int]) -> np.ndarray | None:
    """A frame's points, or None where the file is not there.

    Args:
      path: of one of the forms above.
      number: of the image, for FFHQ's.
      size: width and height of the image.

    Returns:
      float64 [68, 2], (x, y) in its pixels.

    Raises:
      LayoutError: the file holds no 68 finite points.
    """
    try:
        if path.name == METADATA:
            return _of_ffhq(path, number, size)
        points = _of_file(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise LayoutError(f"{path}: no landmarks that can be read: {reason}") from error
    return _checked(path, points)


def _of_file(path: pathlib.Path) -> np.ndarray:
    if path.suffix.lower() != ".json":
        return np.loadtxt(path, dtype=np.float64, ndmin=2)[:, :2]
    document = json.loads(path.read_bytes())
    points = np.asarray(document["people"][0]["face_keypoints_2d"], np.float64)
    return points.reshape(-1, 3)[:POINTS, :2]  # OpenPose adds the pupils


def _of_ffhq(path: pathlib.Path, number: int, size: tuple[int, int]) -> np.ndarray | None:
    entry = _ffhq(path).get(number)
    if entry is None:
        return None
    points, stated = entry
    scale = np.array(size) / stated
    return _checked(path, (points + 0.5) * scale - 0.5)


@functools.lru_cache(maxsize=1)
def _ffhq(path: pathlib.Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Points and (width, height) of each image; the file has 255 MB and is read once."""
    document: dict[str, Any] = json.loads(path.read_bytes())
    return {
        int(number): (
            np.asarray(entry["image"]["face_landmarks"], np.float32),
            np.asarray(entry["image"]["pixel_size"], np.float64),
        )
        for number, entry in document.items()
    }


def _checked(path: pathlib.Path, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.shape != (POINTS, 2) or not np.isfinite(points).all():
        raise LayoutError(f"{path}: expected {POINTS} finite points, got {list(points.shape)}")
    return points
