"""An edited face, back into its frame: whatever the edit leaves alone stays bit for bit."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from jaxface.media.alignment import CropTransform, _resized, crop_face
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.pasting import paste_mask, placed_crop


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
        mask = paste_mask(transform, feather=self.feather)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return frame
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        part = np.s_[box[1] : box[3], box[0] : box[2]]
        original = from_uint8(frame)
        after, change = placed_crop(edited, transform, box), None
        if unedited is None:
            size = dataclasses.replace(transform, size=len(edited))
            before = placed_crop(crop_face(original, size), transform, box)
        else:  # for its colours alone the frame need not be cut out and sampled finely
            before = _as_sharp_as(original[part], len(edited) / transform.side)
            change = after - placed_crop(np.asarray(unedited, np.float32), transform, box)
        share = mask[part][..., None]
        if matte is not None:
            matte = np.asarray(matte, np.float32)[..., None].repeat(3, -1)
            share = share * (placed_crop(2 * matte - 1, transform, box)[..., :1] + 1) / 2
        if self.match_colour:
            after = _matched(after, before, (share > 0) & (share < 1))
        if self.unchanged > 0:
            change = after - before if change is None else change
            change = np.abs(change).max(-1, keepdims=True) / self.unchanged
            share = share * (1 - np.exp(-(change**2)))
        result = frame.copy()
        blended = to_uint8(original[part] + share * (after - original[part]))
        result[part] = np.where(share > 0, blended, frame[part])
        return result


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
    where = ring[..., 0]
    if where.sum() < 16:
        return after
    mean, wanted = after[where].mean(0), before[where].mean(0)
    gain = (before[where].std(0) + 1e-3) / (after[where].std(0) + 1e-3)
    return np.clip((after - mean) * gain.clip(0.5, 2) + wanted, -1, 1)
