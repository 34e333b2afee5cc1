"""What tests of alignment share: a real portrait, and images whose faces anyone can find.

A painted face is a square of a colour of its own; its number in the colour says nothing about its
place, so detectors return them out of order.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.media.images import LoadedImage, from_uint8, read_image, to_uint8
from jaxface.nets import FaceLandmarkConfig
from jaxface.weights import save_network

GOLDEN = Path(__file__).parent / "golden" / "astronaut_landmarks.json"


def astronaut() -> np.ndarray:
    """NASA's portrait of Eileen Collins, [512, 512, 3] in [-1, 1]; in the public domain."""
    data = pytest.importorskip("skimage.data", reason="scikit-image carries the portrait")
    return np.asarray(from_uint8(data.astronaut()))


def astronaut_landmarks() -> np.ndarray:
    """[68, 2]: what dlib 20.0.1 finds in it, so that the rest runs without dlib."""
    return np.array(json.loads(GOLDEN.read_text()), np.float64)


def painted(width: int, height: int, **squares: tuple[int, int, int]) -> np.ndarray:
    """uint8 [H, W, 3] on grey, with squares: face3=(left, top, side) is face number 3."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for name, (left, top, side) in squares.items():
        number = int(name.removeprefix("face"))
        pixels[top : top + side, left : left + side] = (255, 20 * number, 0)
    return pixels


def square_landmarks(left: float, top: float, side: float) -> np.ndarray:
    """[68, 2]: eyes and mouth where a face that fills the square has them."""
    points = np.full((68, 2), 0.5)
    points[36:42], points[42:48] = (0.3, 0.4), (0.7, 0.4)
    points[48], points[54] = (0.35, 0.8), (0.65, 0.8)
    return (left, top) + points * side


@dataclasses.dataclass(frozen=True)
class PaintedFaces:
    """A detector of painted faces, by their numbers.

    Attributes:
      slow: seconds that an image with face 9 takes.
    """

    slow: float = 0.0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        pixels, found = np.asarray(to_uint8(image)), []
        for number in range(1, 10):
            rows, columns = np.nonzero((pixels == (255, 20 * number, 0)).all(-1))
            if len(rows):
                side = columns.max() - columns.min() + 1
                found.append(square_landmarks(columns.min(), rows.min(), side))
                time.sleep(self.slow * (number == 9))
        return np.array(found)


@dataclasses.dataclass(frozen=True)
class PaintedFacesInTwoSteps(PaintedFaces):
    """The same, of which one process does the second step.

    Attributes:
      process: its id.
      placed: grows by what it was given, there.
    """

    process: int = 0
    placed: list = dataclasses.field(default_factory=list, compare=False)
    in_two_steps = True

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        assert os.getpid() != self.process
        return self(image)

    def predict(self, seen: np.ndarray) -> np.ndarray:
        assert os.getpid() == self.process
        self.placed.append(seen)
        return seen


@dataclasses.dataclass(frozen=True)
class ReadOnce:
    """Loads an image whose file is gone afterwards."""

    path: str

    def __call__(self) -> LoadedImage:
        image = read_image(self.path)
        os.unlink(self.path)
        return image


def fixed_landmarks(path: Path, random_network: Callable) -> str:
    """Writes a network that sees :func:`square_landmarks` in every image; returns its path."""
    config = FaceLandmarkConfig(channels=(4,), convolutions=1)
    network = random_network("FaceLandmarkNet", config)
    network.linear.weight[...] = jnp.zeros_like(network.linear.weight[...])
    network.linear.bias[...] = jnp.asarray(square_landmarks(0, 0, 1).ravel(), jnp.float32)
    save_network(path, network)
    return str(path)
