"""The 68 points of iBUG 300-W's markup, from the 478 of MediaPipe's face mesh.

Each of the 68 is one vertex of the mesh. The two mean the same places to within what annotators
differ by, except on the jaw, which the mesh closes at the ears' level and 300-W follows in the
picture as the outline that is seen.
"""

from typing import Any

import numpy as np

JAW = (127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)

VERTICES = JAW + BROWS + NOSE + EYES + OUTER_LIPS + INNER_LIPS
"""For each of the 68, in their order, the vertex of the mesh; "left" is the picture's left."""

LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 33, 263
"""The outer ones, on whose line a face lies level."""


def to_68(mesh: Any) -> np.ndarray:
    """[..., 478, 2 or 3] to [..., 68, 2].

    Raises:
      ValueError: another number of points.
    """
    points = np.asarray(mesh)
    if points.ndim < 2 or points.shape[-2] != 478 or points.shape[-1] not in (2, 3):
        raise ValueError(f"mesh: expected [..., 478, 2 or 3], got {list(points.shape)}.")
    return points[..., list(VERTICES), :2]
