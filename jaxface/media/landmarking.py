"""The 68 points of found faces from a converted landmark network: FAN, or face-api's.

FAN (Bulat and Tzimiropoulos 2017) is read as the authors' package reads it (``api.py`` and ``crop``
of ``utils.py`` in face_alignment): from the square whose side is 200 / 195 of the box's width plus
height, and whose centre is the box's, moved up by 0.12 of its height; black beyond the image;
sampled bilinearly. The package rounds the points to whole pixels of the photograph, which is left
out here. Boxes are dlib's, as the package takes them with ``face_detector="dlib"``; its default is
another detector.

The face-api networks (``FaceLandmark68Net``) are given the box itself, as there, antialiased where
it shrinks.

The network runs on JAX's default device, in the process that calls it. Cutting the squares out
needs neither, so that other processes can do it (`NetworkLandmarks.preprocess`).
"""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.images import from_uint8, to_uint8
from jaxface.nets import FAN, FaceLandmarkNet
from jaxface.nets.landmarks.face_landmarks import INPUT_SIZE
from jaxface.weights import config_of, load_network, read_header

NETWORKS = ("FAN", "FaceLandmarkNet")

# face_alignment/api.py: the square, and how far it is moved up, in the box's sides.
FAN_SIDE, FAN_SHIFT = 200 / 195, 0.12

LANDMARKS = 68


@dataclasses.dataclass(frozen=True)
class NetworkLandmarks:
    """Places landmarks by a network, as `jaxface.media.detection.DlibFaces.landmarks`.

    Attributes:
      path: of a converted network, FAN or FaceLandmarkNet, of 68 points.

    Raises:
      WeightsError: the file is missing, damaged, or not written by jaxface.
      UsageError: it holds another network, or one of another number of points.
    """

    path: str

    def __post_init__(self):
        header = read_header(self.path)
        if header["network"] not in NETWORKS:
            raise UsageError(
                f"{self.path}: holds the network {header['network']}; landmarks come from "
                f"{' or '.join(NETWORKS)}"
            )
        count = _loaded(self.path).config.num_landmarks
        if count != LANDMARKS:
            raise UsageError(
                f"{self.path}: gives {count} landmarks; FFHQ's crop is made from {LANDMARKS}"
            )

    def description(self) -> dict[str, Any]:
        """What decides the points, JSON-like: the file's content, wherever it lies."""
        digest = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        return {"network": type(_loaded(self.path)).__name__, "sha256": digest}

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """float32 [H, W, 3] in [-1, 1] and [N, 4] (left, top, right, bottom) to [N, 68, 2]."""
        return self.predict(self.preprocess(image, boxes))

    def preprocess(self, image: np.ndarray, boxes: np.ndarray) -> "list[Square]":
        """What the network is shown of an image; neither loads the network nor runs a device."""
        fan, size = _shown(self.path)
        pil_image, found = Image.fromarray(np.asarray(to_uint8(image))), []
        for box in boxes:
            left, top, side = fan_square(box) if fan else box_square(box)
            square = pil_image.crop((left, top, left + side, top + side))  # black outside
            square = _sampled(square, size) if fan else _reduced(square, size)
            found.append(Square(np.asarray(square), left, top, side))
        return found

    def predict(self, seen: "list[Square]") -> np.ndarray:
        """What `preprocess` returned to [N, 68, 2]."""
        network, found = _loaded(self.path), []
        for square in seen:
            # One at a time: every number of faces would be another program to compile.
            (points,) = _landmarks(network, from_uint8(square.pixels)[None])
            # The network counts from the first pixel's corner, a photograph from its centre.
            points = np.asarray(points, np.float64) * (square.side / len(square.pixels))
            found.append(np.array([square.left, square.top]) + points - 0.5)
        return np.array(found)


class Square(NamedTuple):
    """A square of a photograph, as a network is shown it.

    Attributes:
      pixels: uint8 [S, S, 3].
      left, top, side: where it is, in the photograph's whole pixels.
    """

    pixels: np.ndarray
    left: int
    top: int
    side: int


def fan_square(box: np.ndarray) -> tuple[int, int, int]:
    """FAN's square around a box: left, top and side in whole pixels."""
    left, top, right, bottom = np.asarray(box, np.float64)
    width, height = right - left, bottom - top
    side = max(1, round((width + height) * FAN_SIDE))
    across, down = (left + right + 1) / 2, (top + bottom + 1) / 2 - FAN_SHIFT * height
    return round(across - side / 2), round(down - side / 2), side


def box_square(box: np.ndarray) -> tuple[int, int, int]:
    """The square around a box that is as large as its longer side: left, top and side."""
    left, top, right, bottom = np.asarray(box, np.float64)
    side = max(1, round(max(right - left, bottom - top) + 1))
    across, down = (left + right + 1) / 2, (top + bottom + 1) / 2
    return round(across - side / 2), round(down - side / 2), side


def _sampled(square: Image.Image, size: int) -> Image.Image:
    """Bilinear without antialiasing, ``cv2.INTER_LINEAR``."""
    return square.transform(
        (size, size),
        Image.Transform.EXTENT,
        (0, 0, *square.size),
        Image.Resampling.BILINEAR,
    )


def _reduced(square: Image.Image, size: int) -> Image.Image:
    return square.resize((size, size), Image.Resampling.BILINEAR)


@jax.jit
def _landmarks(network: FAN | FaceLandmarkNet, images: jax.Array) -> jax.Array:
    return network(images)  # FAN: with the mirror image, the package's default


@functools.lru_cache(maxsize=1)
def _shown(path: str) -> tuple[bool, int]:
    """Whether the network is a FAN, and the pixels a side of what it is shown."""
    header = read_header(path)
    fan = header["network"] == "FAN"
    return fan, config_of(header).input_size if fan else INPUT_SIZE


@functools.lru_cache(maxsize=1)
def _loaded(path: str) -> Any:
    return load_network(path)
