"""Squares of FFHQ's portraits, from one standard face."""

import numpy as np
import pytest

from jaxface.media.alignment import ffhq_transform
from jaxface.nets.recognition.crops import DEEP3D, FACE, face_square

# Of Deep3DFaceRecon's similarity_Lm3D_all.mat, x right, y up: means of each eye's six points, the
# mouth's corners, the mean of the mouth's twenty points.
STANDARD_FACE = np.array(
    [
        [-0.3164147, 0.29575953],
        [0.3145375, 0.29595718],
        [-0.25216928, -0.38133916],
        [0.2484662, -0.38128236],
        [0.00104367, -0.36740014],
    ]
)


def test_the_face_of_a_portrait():
    """The square is face-api's for the standard face in FFHQ's crop of it, both by their rules."""
    left, right, *corners, mouth = STANDARD_FACE
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = left, right
    points[48], points[54] = corners
    # To pixels, y down, of a photograph large enough for the crop.
    pixels = np.array([1, -1]) * points * 1000 + 5000
    quad = ffhq_transform(pixels, size=256, source=(10000, 10000)).corners
    eyes_and_mouth = np.array([1, -1]) * np.stack([left, right, mouth]) * 1000 + 5000
    side = np.linalg.norm(eyes_and_mouth[:2] - eyes_and_mouth[2], axis=1).mean() / 0.45
    corner = eyes_and_mouth.mean(axis=0) - side * np.array([0.5, 0.43])
    portrait = np.linalg.norm(quad[3] - quad[0])
    expected = (*(corner - quad[0]) / portrait, side / portrait)
    np.testing.assert_allclose(FACE, expected, atol=1e-3)  # FACE has three digits
    assert portrait == pytest.approx(2524, abs=1)
    side = 1000 * 224 / 102  # target_size and rescale_factor of align_img, around the origin
    corner = 5000 - side / 2
    expected = (*(corner - quad[0]) / portrait, side / portrait)
    np.testing.assert_allclose(DEEP3D, expected, atol=1e-3)  # the tilt of the eyes is 5e-4
    images = np.arange(10000.0).reshape(1, 100, 100, 1)
    np.testing.assert_array_equal(face_square(images)[0, :, :, 0], images[0, 28:93, 18:83, 0])
