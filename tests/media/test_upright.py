"""Faces on their sides and on their heads, requirement 26 of video."""

import numpy as np
import pytest

from jaxface.media.alignment import ffhq_transform
from jaxface.media.detection import describe_detector, in_two_steps
from jaxface.media.images import from_uint8
from jaxface.media.upright import AnyWayUp
from tests.photographs import PaintedFaces, PaintedFacesInTwoSteps, painted, square_landmarks


class UprightOnly(PaintedFaces):
    """Sees painted faces where the image is 80 px wide and its first row is dark."""

    def __call__(self, image):
        upright = image.shape[1] == 80 and image[0].max() < 0
        return super().__call__(image) if upright else np.zeros((0, 68, 2))


def scene():
    """uint8 [60, 80, 3] with a dark first row and a face."""
    pixels = painted(80, 60, face1=(10, 20, 30))
    pixels[-1] = 200
    pixels[0] = 10
    return pixels


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_26_a_face_is_found_whichever_way_up_it_is(turn):
    image = np.rot90(np.asarray(from_uint8(scene())), turn)
    found = AnyWayUp(UprightOnly())(image)
    # Where each point is shown: one pixel of the scene, marked and turned as the scene is.
    for point in (36, 45, 48, 54):
        x, y = square_landmarks(10, 20, 30)[point].round().astype(int)
        mark = np.zeros((60, 80), bool)
        mark[y, x] = True
        row, column = np.argwhere(np.rot90(mark, turn))[0]
        assert np.abs(found[0, point] - (column, row)).max() <= 0.5
    square = ffhq_transform(found[0], size=16, source=(image.shape[1], image.shape[0]))
    turned = complex(*square.right) / complex(
        *ffhq_transform(square_landmarks(10, 20, 30), size=16, source=(80, 60)).right
    )
    assert turned == pytest.approx((-1j) ** turn)  # y points down: the crop comes out upright


def test_26_it_is_off_by_default_and_costs_nothing_where_a_face_is_upright():
    calls = []

    def finds(image):
        calls.append(image.shape)
        return square_landmarks(0, 0, 9)[None]

    AnyWayUp(finds)(np.zeros((60, 80, 3), np.float32))
    assert len(calls) == 1
    assert AnyWayUp(lambda image: np.zeros((0, 68, 2)))(np.zeros((6, 8, 3))).shape == (0, 68, 2)


def test_26_detectors_in_two_steps_stay_so():
    both = AnyWayUp(PaintedFacesInTwoSteps(process=-1))
    assert in_two_steps(both)
    assert not in_two_steps(AnyWayUp(PaintedFaces()))
    image = np.asarray(from_uint8(scene()))
    np.testing.assert_array_equal(AnyWayUp(PaintedFaces())(image), PaintedFaces()(image))
    described = describe_detector(AnyWayUp(PaintedFaces(slow=2)))
    assert described["find_faces"]["slow"] == 2
