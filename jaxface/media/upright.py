"""Faces that lie on their sides or stand on their heads, for detectors that know upright ones."""

import dataclasses
from typing import Any

import numpy as np

from jaxface.media.detection import FindFaces, describe_detector, in_two_steps

TURNS = (0, 1, 3, 2)
"""Quarter turns counter-clockwise in the order they are tried: as it is, on a side, on its head."""


@dataclasses.dataclass(frozen=True)
class AnyWayUp:
    """A detector that turns an image in which another one finds no face, and has it look again.

    The first turn that shows a face counts, for all faces of the image. Crops come out upright,
    since they follow the landmarks.

    Attributes:
      find_faces: the other detector. It looks up to four times.
    """

    find_faces: FindFaces

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """float32 [H, W, 3] in [-1, 1] to float64 [N, 68, 2]."""
        for turn in TURNS:
            found = np.asarray(self.find_faces(_turned(image, turn)), np.float64)
            if found.size:
                return turned_back(found, turn, image.shape[:2])
        return np.zeros((0, 68, 2))

    @property
    def in_two_steps(self) -> bool:
        """Whether the other detector is, see `jaxface.media.detection.in_two_steps`."""
        return in_two_steps(self.find_faces)

    def preprocess(self, image: np.ndarray) -> Any:
        """The first step, of all turns."""
        other: Any = self.find_faces
        return image.shape[:2], [other.preprocess(_turned(image, turn)) for turn in TURNS]

    def predict(self, seen: Any) -> np.ndarray:
        """The second: what `preprocess` returned to [N, 68, 2]."""
        shape, looks = seen
        other: Any = self.find_faces
        for turn, look in zip(TURNS, looks, strict=True):
            found = np.asarray(other.predict(look), np.float64)
            if found.size:
                return turned_back(found, turn, shape)
        return np.zeros((0, 68, 2))

    def description(self) -> dict[str, Any]:
        """What decides the points, JSON-like."""
        return {"find_faces": describe_detector(self.find_faces)}

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide what is found."""
        return getattr(self.find_faces, "packages", ())


def turned_back(points: np.ndarray, turn: int, shape: tuple[int, int]) -> np.ndarray:
    """Points of a turned image in the image itself.

    Args:
      points: [..., 2], (x, y) with whole numbers at pixel centres.
      turn: quarters counter-clockwise by which the image was turned.
      shape: (height, width) of the image itself.
    """
    for place in reversed(range(turn)):
        width = shape[1] if place % 2 == 0 else shape[0]  # of what this quarter turned
        points = np.stack([width - 1 - points[..., 1], points[..., 0]], -1)
    return points


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(image, turn))
