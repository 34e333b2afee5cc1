"""The 68 points of iBUG 300-W's markup, from the 478 of MediaPipe's face mesh.

Each of the 68 is one vertex of the mesh: the named corners of eyes, nose and lips, and on the jaw
the vertices nearest to dlib's points, over portraits of a generator. There the two differ least for
a face seen from the front: the jaw's vertices stay on the head when it turns, where 300-W follows
the outline that is seen. FFHQ's crop reads the eyes and the corners of the mouth alone.
"""

from typing import Any

import numpy as np

JAW = (127, 227, 93, 215, 138, 136, 149, 148, 152, 377, 378, 365, 367, 435, 323, 447, 356)
BROWS = (70, 63, 105, 66, 55, 285, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 240, 97, 2, 326, 460)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)

VERTICES = JAW + BROWS + NOSE + EYES + OUTER_LIPS + INNER_LIPS
"""For each of the 68, in their order, the vertex of the mesh; "left" is the image's left."""


def to_68(mesh: Any) -> np.ndarray:
    """[..., 478, 2 or 3] to [..., 68, 2].

    Raises:
      ValueError: another number of points.
    """
    points = np.asarray(mesh)
    if points.ndim < 2 or points.shape[-2] != 478 or points.shape[-1] not in (2, 3):
        raise ValueError(f"mesh: expected [..., 478, 2 or 3], got {list(points.shape)}.")
    return points[..., list(VERTICES), :2]
