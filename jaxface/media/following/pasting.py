"""An edited face, back into its frame: whatever the edit leaves alone stays bit for bit."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from jaxface.media.alignment import CropTransform, _resized, crop_face
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.pasting import paste_part, placed_crop


@dataclasses.dataclass(frozen=True)
class FramePasting:
    """How crops are put back into frames.

    Attributes:
      feather: the rise of the mask as a share of the crop's side, in [0, 0.5].
      match_colour: whether the edit's mean and contrast in the mask's ring become the frame's.
      unchanged: differences between edit and crop up to about this, in [-1, 1]'s units, leave the
        frame as it is: resampling would soften it for nothing. 0 replaces everything.
    """

    feather: float = 0.1
    match_colour: bool = True
    unchanged: float = 4 / 127.5

    def __post_init__(self):
        if not 0 <= self.feather <= 0.5 or self.unchanged < 0:
            raise ValueError(
                f"FramePasting: expected a feather from 0 to 0.5 and unchanged >= 0, got "
                f"{self.feather} and {self.unchanged}."
            )

    def __call__(
        self,
        frame: np.ndarray,
        edited: Any,
        transform: CropTransform,
        *,
        matte: Any = None,
        unedited: Any = None,
    ) -> np.ndarray:
        """Puts a crop back.

        Args:
          frame: uint8 [H, W, 3].
          edited: [S, S, 3] in [-1, 1], of any S.
          transform: where the crop is.
          matte: [S, S] in [0, 1], what of the crop is the person; None for all.
          unedited: [S, S, 3], what the edit started from: where both are the same the frame stays
            as it is. None: the crop itself.

        Returns:
          uint8 [H, W, 3]; the frame's bits where the mask is 0 or the edit changed nothing.

        Raises:
          ValueError: a shape that does not fit.
        """
        edited = np.asarray(edited, np.float32)
        box, mask = paste_part(transform, feather=self.feather)
        if not mask.size:
            return frame
        part = np.s_[box[1] : box[3], box[0] : box[2]]
        original = from_uint8(frame[part])
        after = placed_crop(edited, transform, box)
        if unedited is None:
            size = dataclasses.replace(transform, size=len(edited))
            before = placed_crop(crop_face(from_uint8(frame), size), transform, box)
            change = _largest_change(after, before)
        else:  # for its colours alone the frame need not be cut out and sampled finely
            before = _as_sharp_as(original, len(edited) / transform.side)
            change = _placed_change(edited, np.asarray(unedited, np.float32), transform, box)
        share = mask[..., None]
        if matte is not None:
            matte = np.asarray(matte, np.float32)[..., None]
            share = share * (placed_crop(2 * matte - 1, transform, box) + 1) / 2
        if self.match_colour:
            after = _matched(after, before, ((share > 0) & (share < 1))[..., 0])
        if self.unchanged > 0:
            share = share * (1 - np.exp(-((change / self.unchanged) ** 2)))
        result = frame.copy()
        blended = to_uint8(original + share * (after - original))
        result[part] = np.where(share > 0, blended, frame[part])
        return result


def _placed_change(
    edited: np.ndarray,
    unedited: np.ndarray,
    transform: CropTransform,
    box: tuple[int, int, int, int],
) -> np.ndarray:
    """By how much an edit changed what is seen in a part of the frame, [height, width, 1]."""
    if unedited.shape != edited.shape:
        placed = [placed_crop(each, transform, box) for each in (edited, unedited)]
        return _largest_change(*placed)
    return 2 * placed_crop(_largest_change(edited, unedited) / 2, transform, box)


def _largest_change(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Over the channels, [H, W, 1] in [0, 2]; a reduction over so short an axis would be slow."""
    red, green, blue = np.moveaxis(np.abs(one - other), -1, 0)
    return np.maximum(np.maximum(red, green), blue)[..., None]


def _as_sharp_as(part: np.ndarray, density: float) -> np.ndarray:
    """A part of a frame without the detail that a crop of so many pixels a pixel cannot hold."""
    if density >= 1:
        return part
    shape = part.shape[1], part.shape[0]
    small = np.maximum(np.rint(np.array(shape) * density).astype(int), 2)
    small = _resized(part, tuple(small.tolist()), Image.Resampling.LANCZOS)
    return _resized(small, shape, Image.Resampling.BICUBIC)


def _matched(after: np.ndarray, before: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """`after` with the mean and the deviation that `before` has in the ring, channel by channel."""
    places = np.flatnonzero(ring)
    if len(places) < 16:
        return after
    found, wanted = (np.ascontiguousarray(x.reshape(-1, 3)[places].T) for x in (after, before))
    mean, level = found.mean(1), wanted.mean(1)
    gain = (wanted.std(1) + 1e-3) / (found.std(1) + 1e-3)
    return np.clip((after - mean) * gain.clip(0.5, 2) + level, -1, 1)
