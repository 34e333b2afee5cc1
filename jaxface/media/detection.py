"""Finding faces in photographs: any callable can, and dlib's detector is the one at hand.

A detector is a callable that takes an image, float32 [H, W, 3] in [-1, 1], and returns the 68
points of iBUG 300-W's markup for each face it finds, [N, 68, 2], as (x, y) in pixels with whole
numbers at pixel centres. Where it is to run in worker processes it must pickle.

A detector whose points come from a network can work in two steps, so that processes look for faces
while one places the points on the device: see `in_two_steps`.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.images import ImageError, to_uint8

FindFaces = Callable[[np.ndarray], Any]
"""``find_faces(image) -> landmarks``: [H, W, 3] in [-1, 1] to [N, 68, 2]; N may be 0."""


class PlaceLandmarks(Protocol):
    """What gives a found face its 68 points, such as a landmark network."""

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> Any:
        """float32 [H, W, 3] in [-1, 1] and float64 [N, 4] (left, top, right, bottom, in pixels)
        to [N, 68, 2]; N is at least 1."""
        ...


@runtime_checkable
class PlaceInTwoSteps(PlaceLandmarks, Protocol):
    """The same in two steps, of which only the second needs the device."""

    def preprocess(self, image: np.ndarray, boxes: np.ndarray) -> Any:
        """What the second step wants of the image; it pickles."""
        ...

    def predict(self, seen: Any) -> Any:
        """What `preprocess` returned to [N, 68, 2]."""
        ...


class NoFaceError(ImageError):
    """No face was found in the image."""

    status = "no_face"


@dataclasses.dataclass(frozen=True)
class DlibFaces:
    """dlib's frontal face detector (gradient histograms) and its 68 landmarks (Kazemi 2014).

    Needs the extra `align`: dlib-bin, and face-recognition-models for the landmarks' file. It finds
    upright faces that look roughly at the camera.

    Attributes:
      longer_side: the image is scaled to so many pixels, enlarged four times at most, before
        faces are looked for. dlib's detector knows faces of 80 px and more, so a face must take up
        80 / longer_side of the image, and 20 px.
      threshold: faces with a lower score are left out. dlib's own threshold is 0, at which a detail
        of the suit of scikit-image's astronaut becomes a face at some scales, with a score of 0.13.
      landmarks: places the points instead of dlib's predictor, whose package is then not needed;
        `jaxface.media.landmarking` has FAN and others.

    Raises:
      UsageError: the packages are not installed; the message names the command that does it.
    """

    longer_side: int = 1600
    threshold: float = 0.3
    landmarks: PlaceLandmarks | None = None

    modules: ClassVar[dict[str, str]] = {
        "dlib": "dlib-bin",
        "face_recognition_models": "face-recognition-models",
    }

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide what is found."""
        names = tuple(self.modules.values())
        return names if self.landmarks is None else names[:1]

    def __post_init__(self):
        if self.longer_side < 80:
            raise ValueError(f"DlibFaces: longer_side must be >= 80, got {self.longer_side}.")
        modules = {name: module for module, name in self.modules.items()}
        if any(importlib.util.find_spec(modules[name]) is None for name in self.packages):
            raise UsageError(
                f"finding faces needs {' and '.join(self.packages)}, not installed here: "
                "python -m pip install 'jaxface[align]'"
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """float32 [H, W, 3] in [-1, 1] to float64 [N, 68, 2]."""
        boxes = self.boxes(image)
        if not len(boxes):
            return np.zeros((0, 68, 2))
        if self.landmarks is not None:
            return np.asarray(self.landmarks(image, boxes))
        import dlib  # type: ignore[import-not-found]

        predictor, pixels = _dlib_predictor(), np.asarray(to_uint8(image))
        shapes = [predictor(pixels, dlib.rectangle(*map(round, box.tolist()))) for box in boxes]
        return np.array([[(p.x, p.y) for p in shape.parts()] for shape in shapes], np.float64)

    @property
    def in_two_steps(self) -> bool:
        """Whether `preprocess` and `predict` are what a call is, and `predict` needs the device."""
        return isinstance(self.landmarks, PlaceInTwoSteps)

    def preprocess(self, image: np.ndarray) -> Any:
        """The first step, in any process: None, or what the landmarks' own first step returns.

        Raises:
          UsageError: the landmarks do not come in two steps.
        """
        boxes = self.boxes(image)
        return self._two_steps().preprocess(image, boxes) if len(boxes) else None

    def predict(self, seen: Any) -> np.ndarray:
        """The second, where the device is: what `preprocess` returned to [N, 68, 2]; see
        `preprocess`."""
        return np.zeros((0, 68, 2)) if seen is None else np.asarray(self._two_steps().predict(seen))

    def _two_steps(self) -> PlaceInTwoSteps:
        if not isinstance(self.landmarks, PlaceInTwoSteps):
            raise UsageError("DlibFaces: its landmarks do not come in two steps; call it instead")
        return self.landmarks

    def boxes(self, image: np.ndarray) -> np.ndarray:
        """Faces in an image [H, W, 3]: float64 [N, 4], left, top, right, bottom in its pixels."""
        pixels = np.asarray(to_uint8(image))
        height, width = pixels.shape[:2]
        scale = min(self.longer_side / max(height, width), 4)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        scaled = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        found, _, _ = _dlib_detector().run(scaled, 0, self.threshold)
        corners = [[r.left(), r.top(), r.right(), r.bottom()] for r in found]
        boxes = np.array(corners, np.float64).reshape(-1, 4)
        # The same places in the image itself, where the landmarks are read.
        return (boxes + 0.5) / (np.array(size * 2) / (width, height, width, height)) - 0.5


# Loaded once in each process: the predictor's file has 100 MB.
@functools.cache
def _dlib_detector() -> Any:
    import dlib  # type: ignore[import-not-found]

    return dlib.get_frontal_face_detector()


@functools.cache
def _dlib_predictor() -> Any:
    import dlib  # type: ignore[import-not-found]

    # The package is not imported: doing so needs a part of setuptools that is going away.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise UsageError("face-recognition-models is damaged: install it again")
    file = Path(folders[0]) / "models" / "shape_predictor_68_face_landmarks.dat"
    return dlib.shape_predictor(str(file))


def find_landmarks(image: np.ndarray, find_faces: FindFaces) -> np.ndarray:
    """Calls a detector and puts what it found in order.

    Args:
      image: float32 [H, W, 3] in [-1, 1].
      find_faces: the detector.

    Returns:
      float64 [N, 68, 2], see `in_order`.

    Raises:
      NoFaceError: it found none.
      ValueError: it returned something else than [N, 68, 2] finite numbers.
    """
    return in_order(find_faces(image), find_faces)


def in_order(found: Any, find_faces: Any) -> np.ndarray:
    """What a detector found, from left to right by the middle between the eyes, then downwards.

    Args:
      found: [N, 68, 2].
      find_faces: the detector, for the error's text.

    Returns:
      float64 [N, 68, 2].

    Raises:
      NoFaceError: N is 0.
      ValueError: something else than [N, 68, 2] finite numbers.
    """
    landmarks = np.asarray(found, np.float64)
    if landmarks.size == 0:
        raise NoFaceError("no face was found")
    if landmarks.shape[1:] != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError(
            f"{detector_name(find_faces)}: expected finite landmarks [N, 68, 2], got "
            f"{list(landmarks.shape)}."
        )
    middle = landmarks[:, 36:48].mean(axis=1)
    return landmarks[np.lexsort((middle[:, 1], middle[:, 0]))]


def in_two_steps(find_faces: Any) -> bool:
    """Whether a detector has `preprocess` and `predict`, as `DlibFaces` with a network has: then
    ``find_faces(image)`` is ``find_faces.predict(find_faces.preprocess(image))``, where
    `preprocess` may run in any process and `predict` where the device is."""
    return getattr(find_faces, "in_two_steps", False)


def detector_name(find_faces: Any) -> str:
    """What a callable goes by: its module and name, or those of its class."""
    named = find_faces if hasattr(find_faces, "__qualname__") else type(find_faces)
    return f"{named.__module__}.{named.__qualname__}"


def describe_detector(find_faces: FindFaces) -> dict[str, Any]:
    """A detector's name and, if it is a dataclass, its settings; JSON-like.

    A detector, or a callable among its settings, that has a `description()` of its own is described
    by it.
    """
    description: dict[str, Any] = {"name": detector_name(find_faces)}
    if hasattr(find_faces, "description"):
        return description | find_faces.description()  # pyright: ignore
    if dataclasses.is_dataclass(find_faces):
        for field in dataclasses.fields(find_faces):
            value = getattr(find_faces, field.name)
            if hasattr(value, "description"):
                value = value.description()
            description[field.name] = detector_name(value) if callable(value) else value
    return description


def detector_versions(find_faces: FindFaces) -> dict[str, str]:
    """Versions of the distributions that a detector names in `packages`."""
    packages = getattr(find_faces, "packages", ())
    return {name: importlib.metadata.version(name) for name in packages}
