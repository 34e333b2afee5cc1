"""Faces of a photograph, cut out as portraits."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.errors import JaxfaceError
from jaxface.media.alignment import CropTransform, crop_face, ffhq_transform, padded_margins
from jaxface.media.detection import (
    NoFaceError,
    find_landmarks,
    in_order,
)
from jaxface.media.image_errors import ImageError
from jaxface.media.images import LoadedImage, to_uint8


@dataclass(frozen=True)
class Face:
    """Which face of its image a portrait is, and where it was cut out.

    Attributes:
      number: its place from left to right, from 1.
      of: how many faces were found.
      transform: the crop's.
    """

    number: int
    of: int
    transform: CropTransform


Load = Callable[[], LoadedImage]


@dataclass(frozen=True)
class Crop:
    """What a worker returns of a face: the crop as 8 bits, as a file of FFHQ's would hold it."""

    face: Face
    pixels: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Aligner:
    """What workers do; see `Alignment` for the attributes."""

    find_faces: Any
    faces: str

    def align(self, load: Load, size: int) -> list[Crop] | ImageError:
        """Reads an image and cuts its faces out, from left to right."""
        try:
            image = load()
            with _of_the_detector():
                landmarks = find_landmarks(image.pixels, self.find_faces)
        except ImageError as error:
            return error
        return self._crops(image, landmarks, size)

    def preprocess(self, load: Load, size: int) -> Any | ImageError:
        """The first of two steps: what the second wants of an image."""
        del size  # of the crops, which come later
        try:
            image = load()
            with _of_the_detector():
                return self.find_faces.preprocess(image.pixels)
        except ImageError as error:
            return error

    def predict(self, seen: Any) -> np.ndarray | ImageError:
        """The second, in the process that has the device: the landmarks, from left to right."""
        try:
            return in_order(self.find_faces.predict(seen), self.find_faces)
        except ImageError as error:
            return error

    def cut(self, load: Load, size: int, landmarks: np.ndarray) -> list[Crop] | ImageError:
        """Reads an image again and cuts its faces out."""
        try:
            return self._crops(load(), landmarks, size)
        except ImageError as error:
            return error

    def _crops(
        self, image: LoadedImage, landmarks: np.ndarray, size: int
    ) -> list[Crop] | ImageError:
        try:
            return _crops(image, landmarks, size, self.faces)
        except ValueError as error:  # of points that a detector should not have returned
            return NoFaceError(f"what was found is no face: {error}")


class DetectorFailedError(ImageError):
    """The detector raised something of its own on this image."""

    status = "detector_failed"


@contextlib.contextmanager
def _of_the_detector() -> Iterator[None]:
    """Makes what a detector raises this image's failure; it may be any callable."""
    try:
        yield
    except JaxfaceError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DetectorFailedError(f"the face detector failed: {reason}") from error


def _crops(image: LoadedImage, landmarks: np.ndarray, size: int, faces: str) -> list[Crop]:
    height, width = image.pixels.shape[:2]
    found = [
        Face(number, len(landmarks), ffhq_transform(points, size=size, source=(width, height)))
        for number, points in enumerate(landmarks, start=1)
    ]
    notes = image.notes
    if faces == "largest" and len(found) > 1:
        notes = (*notes, f"the largest of {len(found)} faces")
        found = [max(found, key=lambda face: face.transform.side)]
    return [
        Crop(
            face,
            np.asarray(to_uint8(crop_face(image.pixels, face.transform))),
            (*notes, *_crop_notes(face.transform)),
        )
        for face in found
    ]


def _crop_notes(transform: CropTransform) -> list[str]:
    notes = []
    if transform.side < transform.size:
        notes.append(f"enlarged from {transform.side:.0f} to {transform.size} px")
    corners = transform.corners
    if (corners < -0.5).any() or (corners > np.array(transform.source) - 0.5).any():
        notes.append("continued by reflection beyond the image's edge")
    elif padded_margins(transform) is not None:
        notes.append("blurred at the image's edge")
    return notes
