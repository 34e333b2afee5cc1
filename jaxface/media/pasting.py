"""An edited face, back into its photograph."""

from typing import Any

import numpy as np
from PIL import Image

from jaxface.media.alignment import (
    CropTransform,
    _border,
    _check_source,
    _each_channel,
    _resized,
    _rooms,
    padded_margins,
)

PASTE_DETAIL = 2
"""Pixels of an edited crop, for each of the image's along a side, that pasting keeps.

Sampling turned squares one to one loses detail: an unchanged crop of scikit-image's astronaut comes
back 1.9 grey levels of 255 off on average, with two 0.8; more would let finer detail alias.
"""


def paste_back(
    original: np.ndarray, edited: Any, transform: CropTransform, *, feather: float = 0.1
) -> np.ndarray:
    """Puts an edited crop back where it was cut out.

    Where the crop has many more pixels than its place in the image (`PASTE_DETAIL`) it is reduced
    with Lanczos's filter, then sampled bicubically. It replaces the image under `paste_mask`;
    what the crop's resolution does not hold is lost there, so a crop with fewer pixels than its
    place softens the face.

    Args:
      original: float32 [H, W, 3] in [-1, 1], the image that the crop was cut from.
      edited: float32 [S, S, 3] in [-1, 1], of any S: an edit may have another resolution.
      transform: the crop's.
      feather: see `paste_mask`.

    Returns:
      float32 [H, W, 3] in [-1, 1]; outside the mask exactly the original.

    Raises:
      ValueError: the image or the edit has another shape than it needs.
    """
    _check_source(original, transform)
    edited = np.asarray(edited, np.float32)
    if edited.ndim != 3 or edited.shape[0] != edited.shape[1] or edited.shape[2] != 3:
        raise ValueError(f"edited: expected [S, S, 3], got {list(edited.shape)}.")
    result = np.array(original, np.float32)
    (left, top, right, bottom), mask = paste_part(transform, feather=feather)
    if not mask.size:
        return result
    placed = placed_crop(edited, transform, (left, top, right, bottom))
    box = result[top:bottom, left:right]
    box += mask[..., None] * (placed - box)
    return result


def placed_crop(
    edited: np.ndarray, transform: CropTransform, box: tuple[int, int, int, int]
) -> np.ndarray:
    """A crop as a part of the image sees it; see `paste_back` for how it is sampled.

    Args:
      edited: float32 [S, S, C] in [-1, 1].
      transform: the crop's.
      box: left, top, right, bottom of the part, in whole pixels.

    Returns:
      float32 [bottom - top, right - left, C] in [-1, 1]; 0 outside the crop.
    """
    left, top, right, bottom = box
    pixels = max(1, min(len(edited), round(PASTE_DETAIL * transform.side)))
    if pixels < len(edited):
        edited = _resized(edited, (pixels, pixels), Image.Resampling.LANCZOS)
    # What `to_crop` says of the box's pixels, as the six numbers that Pillow takes.
    offset = np.array([left, top]) - 0.5 - transform.center
    axes = transform._axes * (pixels / 2 / (transform.side / 2) ** 2)
    start = axes @ offset + pixels / 2
    numbers = [*axes[0].tolist(), start[0], *axes[1].tolist(), start[1]]

    def place(channel: Image.Image) -> Image.Image:
        size = (int(right - left), int(bottom - top))
        return channel.transform(size, Image.Transform.AFFINE, numbers, Image.Resampling.BICUBIC)

    return np.clip(_each_channel(edited, place), -1, 1)


def paste_mask(transform: CropTransform, *, feather: float = 0.1) -> np.ndarray:
    """How much of each pixel `paste_back` replaces.

    From 0 at the crop's edge the mask rises smoothly to 1. Where the crop leaves the image, its
    blur reaches a little way in: there the mask rises only behind the blur, so that the image
    stays sharp up to its edge.

    Args:
      transform: the crop's.
      feather: the rise's width as a share of the crop's side, in [0, 0.5]; 0 is a hard edge.

    Returns:
      float32 [H, W] in [0, 1].

    Raises:
      ValueError: a feather outside its range.
    """
    width, height = transform.source
    (left, top, right, bottom), part = paste_part(transform, feather=feather)
    mask = np.zeros((height, width), np.float32)
    mask[top:bottom, left:right] = part
    return mask


def paste_part(
    transform: CropTransform, *, feather: float = 0.1
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """`paste_mask` where it is not 0, so that the work is a face's and not an image's.

    Args:
      transform: the crop's.
      feather: see `paste_mask`.

    Returns:
      The smallest box around it: left, top, right, bottom in whole pixels; and the mask in it,
      float32 [bottom - top, right - left]. Where the mask is 0 all over both are empty.

    Raises:
      ValueError: a feather outside its range.
    """
    if not 0 <= feather <= 0.5:
        raise ValueError(f"feather: expected 0 to 0.5, got {feather}.")
    width, height = transform.source
    low = np.floor(transform.corners.min(0)).clip(0, transform.source).astype(int)
    high = (np.ceil(transform.corners.max(0)) + 1).clip(0, transform.source).astype(int)
    y, x = np.ogrid[low[1] : high[1], low[0] : high[0]]
    half, axes = transform.side / 2, transform._axes
    across, down = x - transform.center[0], y - transform.center[1]
    inner = (
        np.maximum(
            np.abs(axes[0, 0] * across + axes[0, 1] * down),
            np.abs(axes[1, 0] * across + axes[1, 1] * down),
        )
        / half**2
    )
    distance = (1 - inner) * half
    padding, rooms = padded_margins(transform), _rooms(transform)
    if padding is not None:
        for gap, room, pad in zip(
            (x, y, width - 1 - x, height - 1 - y), rooms, padding, strict=True
        ):
            if room < _border(transform):  # else the blur ends before the crop begins
                distance = np.minimum(distance, gap - pad / 3)
    rise = feather * transform.side
    share = (distance / rise).clip(0, 1) if rise > 0 else (distance > 0).astype(np.float64)
    mask = (share * share * (3 - 2 * share)).astype(np.float32)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return (0, 0, 0, 0), mask[:0, :0]
    top, bottom, left, right = (int(each) for each in (*rows[[0, -1]], *columns[[0, -1]]))
    box = (int(low[0]) + left, int(low[1]) + top, int(low[0]) + right + 1, int(low[1]) + bottom + 1)
    return box, mask[top : bottom + 1, left : right + 1]
