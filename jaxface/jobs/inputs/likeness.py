"""Who a face is, by the suite's network of identity: what tells persons of a clip apart."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.media.alignment import crop_face, ffhq_transform
from jaxface.media.detection import FindFaces, find_landmarks
from jaxface.media.image_errors import ImageError
from jaxface.media.images import from_uint8, read_image, to_uint8
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite, identity_network


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Embeds faces.

    Attributes:
      network: of identity.
      digest: of its file.
      size: pixels a side of the portraits that it is shown.
    """

    network: Any
    digest: str
    size: int

    @classmethod
    def of_suite(cls, suite: Suite) -> "Likeness | None":
        """The suite's; None where it has no such network."""
        network = identity_network(suite)
        if network is None:
            return None
        role = "recognition" if "recognition" in suite else "descriptor"
        return cls(network, suite.digest(role), suite.generator.resolution)

    def __call__(self, pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Embeddings of a frame's faces.

        Args:
          pixels: the frame, uint8 [H, W, 3].
          landmarks: [N, 68, 2].

        Returns:
          float32 [N, D] of unit length.
        """
        image, source = from_uint8(pixels), (pixels.shape[1], pixels.shape[0])
        crops = [
            crop_face(image, ffhq_transform(points, size=self.size, source=source))
            for points in landmarks
        ]
        # Of few shapes, because each compiles.
        padded = [*crops, *[crops[0]] * ((1 << (len(crops) - 1).bit_length()) - len(crops))]
        found = np.asarray(_embed(self.network, jnp.asarray(np.stack(padded))))[: len(crops)]
        return found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12)

    def of_image(self, path: str, find_faces: FindFaces) -> np.ndarray:
        """The embedding [D] of a photograph's largest face.

        Raises:
          UsageError: it cannot be read, or shows none.
        """
        try:
            image = read_image(path)
            landmarks = find_landmarks(image.pixels, find_faces)
        except ImageError as error:
            raise UsageError(f"{path}: {error}") from error
        largest = max(landmarks, key=lambda points: float(np.prod(np.ptp(points, axis=0))))
        pixels = np.asarray(to_uint8(image.pixels))
        return self(pixels, largest[None])[0]


@functools.partial(jax.jit)
def _embed(network: Any, portraits: jax.Array) -> jax.Array:
    return portrait_embeddings(network, portraits)
