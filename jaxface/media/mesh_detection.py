"""Faces of photographs by MediaPipe's networks: a detector without dlib, `MeshFaces`.

As MediaPipe's face landmarker does it: the detector sees the image as a square with black
margins, its boxes are merged by weighted non-maximum suppression, and the mesh network sees of each
a square of 1.5 times the longer side, turned so that the eyes are level. Two things are different:
the detector also sees nine overlapping squares of half the side, for smaller faces, and squares are
cut out with antialiasing and, at the image's edge, with its reflection
(`jaxface.media.alignment.crop_face`).

The networks run in batches on JAX's default device, in the process that calls `predict`; cutting a
image up for the detector needs neither, so that other processes can do it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.mesh_landmarks import to_68
from jaxface.nets import FaceDetector, FaceMesh
from jaxface.nets.landmarks.face_detector import Detections
from jaxface.nets.landmarks.face_mesh import Mesh
from jaxface.runtime.files import sha256
from jaxface.suite import Suite
from jaxface.weights import config_of, load_network, read_header

OVERLAP = 0.3
"""Intersection over union from which on two boxes are of one face, MediaPipe's."""
PART = 0.5
"""Share of a mesh's box inside another's from which on it is a part of that face."""
REGION = 1.5
"""Side of the mesh's square, in the longer sides of a face's box, MediaPipe's."""
BATCH = 4
"""Faces that the mesh network reads at a time."""


@dataclasses.dataclass(frozen=True)
class MeshFaces:
    """Finds faces and their 68 points by two converted networks.

    Attributes:
      detector: file of a `FaceDetector`.
      mesh: file of a `FaceMesh`.
      longer_side: larger images are reduced to so many pixels before faces are read from them.
      threshold: faces that the detector is less sure of are left out; MediaPipe's default is 0.5.
      presence: squares in which the mesh network is less sure of a face are left out, the same.

    Raises:
      WeightsError: a network's file is missing, damaged, or not written by jaxface.
      UsageError: a file holds another network.
    """

    detector: str
    mesh: str
    longer_side: int = 1600
    threshold: float = 0.5
    presence: float = 0.5

    def __post_init__(self):
        if self.longer_side < 128:
            raise ValueError(f"MeshFaces: longer_side must be >= 128, got {self.longer_side}.")
        for name in ("threshold", "presence"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise ValueError(f"MeshFaces: {name} must be between 0 and 1, got {value}.")
        for path, wanted in ((self.detector, "FaceDetector"), (self.mesh, "FaceMesh")):
            if (network := read_header(path)["network"]) != wanted:
                raise UsageError(f"{path}: expected a {wanted}, holds a {network}")

    @classmethod
    def of_suite(cls, suite: Suite) -> "MeshFaces | None":
        """With a suite's `face_detector` and `face_mesh`; None if it lacks one."""
        if "face_detector" not in suite or "face_mesh" not in suite:
            return None
        return cls(str(suite.files["face_detector"]), str(suite.files["face_mesh"]))

    def description(self) -> dict[str, Any]:
        """What decides the points, JSON-like: the files' contents, wherever they lie."""
        return {
            "detector": sha256(Path(self.detector)),
            "mesh": sha256(Path(self.mesh)),
            "longer_side": self.longer_side,
            "threshold": self.threshold,
            "presence": self.presence,
        }

    @property
    def in_two_steps(self) -> bool:
        """`preprocess` and `predict` are what a call is, and `predict` needs the device."""
        return True

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """float32 [H, W, 3] in [-1, 1] to float64 [N, 68, 2]."""
        return self.predict(self.preprocess(image))

    def preprocess(self, image: np.ndarray) -> "Seen":
        """The first step, in any process: [H, W, 3] to what the networks are to see."""
        pixels = np.asarray(to_uint8(image))
        height, width = pixels.shape[:2]
        scale = min(1.0, self.longer_side / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            pil_image = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
            pixels = np.asarray(pil_image)
        side = config_of(read_header(self.detector)).input_size
        return Seen(pixels, detector_squares(pixels, side), (width, height))

    def predict(self, seen: "Seen") -> np.ndarray:
        """The second, where the device is: [N, 68, 2]."""
        return self.predict_many([seen])[0]

    def predict_many(self, seen: Sequence["Seen"]) -> list[np.ndarray]:
        """`predict` of several images, whose squares the networks read in common batches."""
        return [to_68(points) for points in self.meshes(seen)]

    def meshes(self, seen: Sequence["Seen"]) -> list[np.ndarray]:
        """The faces of several images in full: for each float64 [N, 478, 3], z in x's scale."""
        squares = [square for each in seen for square in each.squares]
        images = np.stack([square.pixels for square in squares])
        detector = _loaded(self.detector)
        found = jax.device_get(_detections(detector, jnp.asarray(images)))
        regions, begin, size = [], 0, _loaded(self.mesh).config.input_size
        for index, each in enumerate(seen):
            part = slice(begin, begin + len(each.squares))
            begin = part.stop
            boxes = faces_of(Detections(*(x[part] for x in found)), each, self.threshold)
            regions += [(index, region_of(box, each, size)) for box in boxes]
        results: list[list[np.ndarray]] = [[] for _ in seen]
        for i, mesh, sure in self._read(seen, regions):  # the detector's surest first
            if sure >= self.presence and not _known(mesh, results[i]):
                results[i].append(mesh)
        return [_in_the_original(faces, each) for faces, each in zip(results, seen, strict=True)]

    def _read(
        self, seen: Sequence["Seen"], regions: Sequence[tuple[int, CropTransform]]
    ) -> list[tuple[int, np.ndarray, float]]:
        """The mesh network's answers: image, points in its pixels [478, 3], probability."""
        network, results = _loaded(self.mesh), []
        for begin in range(0, len(regions), BATCH):
            part = regions[begin : begin + BATCH]
            crops = [crop_face(_floats(seen[i].pixels), transform) for i, transform in part]
            crops += [np.zeros_like(crops[0])] * (BATCH - len(crops))  # one program for any number
            found = jax.device_get(_mesh(network, jnp.asarray(np.stack(crops))))
            for (i, transform), points, logit in zip(part, *found, strict=False):
                probability = 1 / (1 + np.exp(-np.clip(float(logit), -100, 100)))
                results.append((i, in_image(points, transform), probability))
        return results


class Square(NamedTuple):
    """A square of an image, as the detector is shown it.

    Attributes:
      pixels: uint8 [S, S, 3], black where the image ends.
      left, top, side: where it is, in the image's pixels, from the first one's corner.
    """

    pixels: np.ndarray
    left: float
    top: float
    side: float


class Seen(NamedTuple):
    """An image as the networks see it.

    Attributes:
      pixels: uint8 [H, W, 3], reduced where it was large.
      squares: of it, the whole one first.
      size: (width, height) of the photograph.
    """

    pixels: np.ndarray
    squares: list[Square]
    size: tuple[int, int]


def detector_squares(pixels: np.ndarray, size: int) -> list[Square]:
    """Of an image [H, W, 3] the whole and 3 x 3 squares of half its side, `size` px each."""
    height, width = pixels.shape[:2]
    longer, pil_image = max(height, width), Image.fromarray(pixels)
    left, top = (width - longer) / 2, (height - longer) / 2
    quarter, found = longer / 4, []
    places = [(left, top, float(longer))]
    places += [(left + j * quarter, top + i * quarter, longer / 2) for i, j in np.ndindex(3, 3)]
    for x, y, side in places:
        corners = (round(x), round(y), round(x + side), round(y + side))
        cut = pil_image.crop(corners).resize((size, size), Image.Resampling.BILINEAR)
        found.append(Square(np.asarray(cut), corners[0], corners[1], corners[2] - corners[0]))
    return found


class Box(NamedTuple):
    """A face, in its image's pixels from the first one's corner.

    Attributes:
      corners: [4]: left, top, right, bottom.
      points: [6, 2], see `jaxface.nets.landmarks.face_detector.Detections`.
      score: a probability.
    """

    corners: np.ndarray
    points: np.ndarray
    score: float


def faces_of(found: Detections, seen: Seen, threshold: float) -> list[Box]:
    """The faces that the detector saw in the squares of one image, the surest first.

    Args:
      found: of the squares, [S, A, ...].
      seen: the image.
      threshold: of the score.
    """
    height, width = seen.pixels.shape[:2]
    boxes = []
    for square, *parts in zip(seen.squares, *found, strict=True):
        logits, corners, points = parts
        scores = 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -100, 100)))
        scale, shift = square.side, np.array([square.left, square.top])
        inner = np.array(
            [
                -np.inf if square.left <= 0 else square.left,
                -np.inf if square.top <= 0 else square.top,
                np.inf if square.left + square.side >= width else square.left + square.side,
                np.inf if square.top + square.side >= height else square.top + square.side,
            ]
        )
        for k in np.flatnonzero(scores >= threshold):
            place = corners[k] * scale + np.tile(shift, 2)
            # A face that the square cuts in two is another square's to find.
            if (place[:2] > inner[:2]).all() and (place[2:] < inner[2:]).all():
                boxes.append(Box(place, points[k] * scale + shift, float(scores[k])))
    return merged(boxes)


def merged(boxes: Sequence[Box]) -> list[Box]:
    """Weighted non-maximum suppression: boxes of one face become their mean by score."""
    rest, found = sorted(boxes, key=lambda box: -box.score), []
    while rest:
        first = rest[0]
        same = [_overlap(first.corners, box.corners) > OVERLAP for box in rest]
        same[0] = True
        group = [box for box, is_same in zip(rest, same, strict=True) if is_same]
        rest = [box for box, is_same in zip(rest, same, strict=True) if not is_same]
        weights = np.array([box.score for box in group])
        weights /= weights.sum()
        corners = np.einsum("g,gc->c", weights, np.stack([box.corners for box in group]))
        points = np.einsum("g,gpc->pc", weights, np.stack([box.points for box in group]))
        found.append(Box(corners, points, first.score))
    return found


def region_of(box: Box, seen: Seen, size: int) -> CropTransform:
    """The mesh network's square around a face that the detector saw, `size` px a side."""
    height, width = seen.pixels.shape[:2]
    low, high = box.corners[:2], box.corners[2:]
    # Boxes count from the first pixel's corner, CropTransform from its centre.
    centre = np.clip((low + high) / 2, 0, (width, height)) - 0.5
    level = box.points[1] - box.points[0]
    reach = REGION / 2 * max(*(high - low), 1.0)
    x, y = (level * (reach / max(np.hypot(*level), 1e-6))).tolist()
    across, down = centre.tolist()
    return CropTransform((across, down), (x, y), size, (width, height))


def in_image(points: np.ndarray, transform: CropTransform) -> np.ndarray:
    """The mesh network's points [478, 3], which count from corners, in the image's pixels."""
    points = np.asarray(points, np.float64)
    flat = transform.to_image(points[:, :2] - 0.5)
    return np.concatenate([flat, points[:, 2:] * (transform.side / transform.size)], axis=1)


def _in_the_original(faces: Sequence[np.ndarray], seen: Seen) -> np.ndarray:
    """[N, 478, 3] in the photograph's own pixels."""
    height, width = seen.pixels.shape[:2]
    scale = np.array([seen.size[0] / width, seen.size[1] / height])
    points = np.array(faces).reshape(-1, 478, 3)
    flat = (points[..., :2] + 0.5) * scale - 0.5
    return np.concatenate([flat, points[..., 2:] * scale[0]], axis=-1)


def _known(mesh: np.ndarray, faces: Sequence[np.ndarray]) -> bool:
    """Whether one of the faces is the same, or has this one as a part."""

    def box(points: np.ndarray) -> np.ndarray:
        return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])

    return any(_overlap(box(mesh), box(face), of_smaller=True) > PART for face in faces)


def _overlap(one: np.ndarray, other: np.ndarray, *, of_smaller: bool = False) -> float:
    """The intersection of two boxes over their union, or over the smaller of them."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = np.prod((high - low).clip(0))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    whole = min(areas) if of_smaller else sum(areas) - common
    return float(common / max(whole, 1e-9))


def _floats(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(from_uint8(pixels))


@jax.jit
def _detections(network: FaceDetector, images: jax.Array) -> Detections:
    return network(from_uint8(images))


@jax.jit
def _mesh(network: FaceMesh, images: jax.Array) -> Mesh:
    return network(images)


@functools.lru_cache(maxsize=4)
def _loaded(path: str) -> Any:
    return load_network(path)
