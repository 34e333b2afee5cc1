"""Edited faces in the photographs that their crops were cut from, as files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.media.alignment import CropTransform
from jaxface.media.images import encode_png, from_uint8, in_own_colours, read_image, to_uint8
from jaxface.media.metadata import own_metadata
from jaxface.media.pasting import paste_back, paste_mask


def pasted_png(row: Mapping[str, Any], pixels: np.ndarray) -> bytes:
    """A PNG of the photograph with the edited face in it, in the photograph's own colours and
    with what its file says of it: EXIF and XMP, to which the marks are added.

    Args:
      row: names the photograph and the crop.
      pixels: the edited face, uint8 [R, R, 3].

    Raises:
      ImageError: the photograph cannot be read.
      ValueError: the embedding has none, or it is another.
    """
    if row["source"] is None or row["transform"] is None:
        raise ValueError("the embedding names no crop of a photograph; invert it with --align")
    original = read_image(row["source"]).pixels
    transform = CropTransform.from_json(row["transform"])
    whole = to_uint8(paste_back(original, np.asarray(from_uint8(pixels)), transform))
    changed = paste_mask(transform) > 0
    whole, profile = in_own_colours(row["source"], np.asarray(whole), changed)
    exif, xmp = own_metadata(row["source"])
    return encode_png(
        whole, profile=profile, exif=exif, xmp=xmp, kind="composite", sources=[row["source"]]
    )
