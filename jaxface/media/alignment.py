"""FFHQ's crop of a face, the transform that is stored with it, and the way back.

The crop follows Karras et al., *A Style-Based Generator Architecture for Generative Adversarial
Networks* (CVPR 2019), as `recreate_aligned_images` of NVlabs/ffhq-dataset (`download_ffhq.py`)
makes it: a square turned with the face and sized by the distances between eyes and mouth. A much
larger image is shrunk first; where the square comes near the image's edge or leaves it, the
image is continued by its own reflection, blurred, and further out by its median colour; it is
sampled bilinearly at up to four times the resolution and reduced with Lanczos's filter.

One thing differs from that script: shrinking is followed exactly, to the fraction of a pixel (the
script divides coordinates by the factor, which shifts the crop by up to half a shrunk pixel),
because the transform is also the way back.

Points are (x, y) in pixels, x to the right and y down, and whole numbers are pixel centres: the
centre of the top left pixel is (0, 0). Landmark detectors count so. Everything here runs on the
host, in NumPy and Pillow: images come in any size.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

# The 68 points of iBUG 300-W's markup, counted from 0: what the crop is made from.
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # "left" is the image's left
MOUTH_CORNERS = (48, 54)

# Numbers of recreate_aligned_images, each a share of the crop's side unless it says otherwise.
EYES_SCALE, MOUTH_SCALE = 2.0, 1.8  # half a side: in eye distances, in eye-to-mouth distances
CENTRE_SHIFT = 0.1  # from the eyes towards the mouth, in eye-to-mouth distances
BORDER = 0.1  # of the image, kept around the crop
PADDING = 0.3  # at least, on every side, where there is padding at all
BLUR = 0.02  # the padding's standard deviation
NEAR_EDGE = 4  # pixels: a crop this near the image's edge is padded
SUPERSAMPLING = 4  # 4096 px for the published 1024


@dataclass(frozen=True)
class CropTransform:
    """Where a square crop lies in its image: a shift, a rotation and a scale.

    Attributes:
      center: (x, y) of the crop's centre in the image.
      right: (x, y) from the centre to the middle of the crop's right edge, in the image's pixels.
      size: pixels a side of the crop.
      source: (width, height) of the image in pixels.

    Raises:
      ValueError: a number that is not finite, or a square without area.
    """

    center: tuple[float, float]
    right: tuple[float, float]
    size: int
    source: tuple[int, int]

    def __post_init__(self):
        if not all(map(math.isfinite, (*self.center, *self.right))) or not self.side > 0:
            raise ValueError(f"CropTransform: not a square: center {self.center}, {self.right}.")
        if self.size < 1 or min(self.source) < 1:
            raise ValueError(f"CropTransform: got size {self.size} and source {self.source}.")

    @property
    def side(self) -> float:
        """The length of the crop's side in the image's pixels."""
        return 2 * math.hypot(*self.right)

    @property
    def corners(self) -> np.ndarray:
        """float64 [4, 2]: top left, bottom left, bottom right, top right, as FFHQ orders them."""
        return self._placed(np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float64))

    def to_image(self, points: Any) -> np.ndarray:
        """Points of the crop, [..., 2] in its pixels, as points of the image."""
        return self._placed((np.asarray(points, np.float64) + 0.5) * (2 / self.size) - 1)

    def to_crop(self, points: Any) -> np.ndarray:
        """Points of the image, [..., 2], as points of the crop, in the crop's pixels."""
        offset = np.asarray(points, np.float64) - self.center
        return (offset @ self._axes.T / (self.side / 2) ** 2 + 1) * (self.size / 2) - 0.5

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; `from_json` reads it back, equal to the last bit."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "CropTransform":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: names that are missing or unknown, or values that make no square.
        """
        names = {field.name for field in fields(cls)}
        if set(document) != names:
            raise ValueError(
                f"CropTransform: expected {', '.join(sorted(names))}, got "
                f"{', '.join(sorted(document))}."
            )
        x, y = map(float, document["center"])
        right_x, right_y = map(float, document["right"])
        width, height = map(int, document["source"])
        return cls((x, y), (right_x, right_y), int(document["size"]), (width, height))

    @property
    def _axes(self) -> np.ndarray:
        """[2, 2]: half a side to the right, and half a side down."""
        x, y = self.right
        return np.array([[x, y], [-y, x]])

    def _placed(self, points: np.ndarray) -> np.ndarray:
        """Points of the square from -1 to 1, in the image."""
        return self.center + points @ self._axes


def ffhq_transform(landmarks: Any, *, size: int, source: tuple[int, int]) -> CropTransform:
    """FFHQ's crop of a face.

    Args:
      landmarks: [68, 2], the points of iBUG 300-W's markup in the image.
      size: pixels a side that the crop is to have.
      source: (width, height) of the image.

    Raises:
      ValueError: another shape, a number that is not finite, or points that span no face.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2):
        raise ValueError(f"landmarks: expected [68, 2], got {list(points.shape)}.")
    if not np.isfinite(points).all():
        raise ValueError("landmarks: not all are finite.")
    left, right = points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)
    eyes, eye_to_eye = (left + right) / 2, right - left
    eye_to_mouth = points[list(MOUTH_CORNERS)].mean(0) - eyes
    # Two estimates of the face's horizontal are added: between the eyes, and a quarter turn from
    # the eyes to the mouth.
    across = eye_to_eye + np.flip(eye_to_mouth) * (1, -1)
    length = np.hypot(*across)
    reach = max(EYES_SCALE * np.hypot(*eye_to_eye), MOUTH_SCALE * np.hypot(*eye_to_mouth))
    if not length > 0:
        raise ValueError("landmarks: eyes and mouth span no face.")
    x, y = (across * (reach / length)).tolist()
    center_x, center_y = (eyes + CENTRE_SHIFT * eye_to_mouth).tolist()
    return CropTransform((center_x, center_y), (x, y), size, source)


def crop_face(image: np.ndarray, transform: CropTransform) -> np.ndarray:
    """Cuts a face out.

    Args:
      image: float32 [H, W, 3] in [-1, 1].
      transform: made for an image of this size.

    Returns:
      float32 [size, size, 3] in [-1, 1].

    Raises:
      ValueError: the transform is of an image of another size, or its square lies outside.
    """
    _check_source(image, transform)
    border = _border(transform)
    low = np.floor(transform.corners.min(0)).astype(int) - border
    high = np.ceil(transform.corners.max(0)).astype(int) + border
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, transform.source)
    if min(right - left, bottom - top) < 2:
        raise ValueError("transform: the crop lies outside the image.")
    part = np.asarray(image[top:bottom, left:right], np.float32)

    scale = np.ones(2)
    if (shrink := _shrink(transform)) > 1:
        old = np.array([right - left, bottom - top])
        new = np.maximum(np.rint(old / shrink).astype(int), 2)
        part, scale = _resized(part, new, Image.Resampling.LANCZOS), new / old
    # Pillow counts from the pixels' edges, half a pixel before their centres.
    corners = (transform.corners + 0.5 - [left, top]) * scale
    if (padding := padded_margins(transform)) is not None:
        widths = np.ceil(padding * np.tile(scale, 2)).astype(int)
        part = _padded(part, widths, BLUR * transform.side * float(scale.mean()))
        corners += widths[:2]

    size = transform.size
    # An enlarged image has nothing between its own pixels that finer sampling would find.
    density = transform.side * float(scale.mean()) / size
    fine = size * math.ceil(SUPERSAMPLING * min(density, 1))

    def sample(channel: Image.Image) -> Image.Image:
        found = channel.transform(
            (fine, fine), Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BILINEAR
        )
        return found.resize((size, size), Image.Resampling.LANCZOS)  # a copy where they are equal

    return np.clip(_each_channel(part, sample), -1, 1)


def padded_margins(transform: CropTransform) -> np.ndarray | None:
    """float64 [4]: pixels of the image added at left, top, right and bottom, or None.

    The image is padded on all sides as soon as the crop comes near one edge. The blur begins a
    third of a margin inside the image.
    """
    rooms = _rooms(transform)
    if rooms.min() >= NEAR_EDGE * max(1, _shrink(transform)):
        return None
    return np.maximum(_border(transform) - rooms, np.rint(PADDING * transform.side)).clip(1)


def _rooms(transform: CropTransform) -> np.ndarray:
    """[4]: pixels between the crop and the image's left, top, right and bottom edge."""
    low = np.floor(transform.corners.min(0))
    return np.concatenate([low, transform.source - np.ceil(transform.corners.max(0))])


def _border(transform: CropTransform) -> int:
    return max(round(BORDER * transform.side), 3)


def _shrink(transform: CropTransform) -> int:
    """The whole number that a large image's sides are divided by before anything else."""
    return int(transform.side / transform.size / 2)


def _check_source(image: np.ndarray, transform: CropTransform) -> None:
    width, height = transform.source
    if image.shape != (height, width, 3):
        raise ValueError(
            f"image: expected [{height}, {width}, 3], the image that the transform was made for; "
            f"got {list(image.shape)}."
        )


def _padded(image: np.ndarray, widths: np.ndarray, sigma: float) -> np.ndarray:
    """Reflected, blurred towards the outside, and further out of the median colour.

    Args:
      image: [H, W, 3].
      widths: [4], pixels to add at left, top, right, bottom, at least 1 each.
      sigma: of the blur, in pixels.
    """
    left, top, right, bottom = widths
    image = np.pad(image, ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    # 1 at the outer edge, 0 where the image itself begins, negative within it.
    outside_x = 1 - np.minimum(x / left, (width - 1 - x) / right)
    outside_y = 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    outside = np.maximum(outside_x, outside_y).astype(np.float32)[..., None]
    blurred, median = _blurred(image, sigma)
    image += (blurred - image) * (3 * outside + 1).clip(0, 1)
    image += (median - image) * outside.clip(0, 1)
    return image


def _blurred(image: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian blur of [H, W, 3], mirrored at the edges, and the median colour, [3].

    A wide blur leaves nothing that a smaller image could not hold, so it is done on one that
    keeps a sigma of eight pixels or more: the work no longer grows with sigma.
    """
    height, width = image.shape[:2]
    step = max(1, int(sigma / 8))
    small = _resized(image, (-(-width // step), -(-height // step)), Image.Resampling.BOX)
    rows = _gaussian_matrix(small.shape[0], sigma * small.shape[0] / height)
    columns = _gaussian_matrix(small.shape[1], sigma * small.shape[1] / width)
    small = np.einsum("hi,iwc->hwc", rows, small, optimize=True)
    small = np.einsum("wj,hjc->hwc", columns, small, optimize=True)
    return _resized(small, (width, height), Image.Resampling.BICUBIC), np.median(small, axis=(0, 1))


def _gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """float32 [length, length]: a normalised Gaussian, cut at four sigma, mirrored at the ends."""
    reach = max(1, math.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    places = (np.arange(length)[:, None] + np.arange(-reach, reach + 1)) % (2 * length)
    places = np.minimum(places, 2 * length - 1 - places)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], places), kernel / kernel.sum())
    return matrix.astype(np.float32)


def _resized(image: np.ndarray, size: Any, kernel: Image.Resampling) -> np.ndarray:
    """float32 [H, W, 3] at (width, height)."""
    width, height = map(int, size)
    return _each_channel(image, lambda channel: channel.resize((width, height), kernel))


def _each_channel(image: np.ndarray, change: Any) -> np.ndarray:
    """Applies a Pillow operation to each channel, as floating point: nothing is rounded."""
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32)
    channels = [Image.fromarray(plane) for plane in planes]
    return np.stack([np.asarray(change(channel)) for channel in channels], axis=-1)
