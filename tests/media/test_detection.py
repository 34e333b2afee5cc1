"""Detectors: their order and their answers are checked; dlib's is tried where it is installed."""

import dataclasses
import importlib.util
import pickle

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.media.alignment import ffhq_transform
from jaxface.media.detection import (
    DlibFaces,
    NoFaceError,
    describe_detector,
    detector_versions,
    find_landmarks,
)
from jaxface.media.images import from_uint8, read_image, resize
from tests.media.test_alignment import published_corners
from tests.photographs import (
    PaintedFaces,
    astronaut,
    astronaut_landmarks,
    painted,
    square_landmarks,
)

DLIB = all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models"))
needs_dlib = pytest.mark.skipif(not DLIB, reason="dlib-bin and face-recognition-models: not here")


def test_faces_come_from_left_to_right():
    picture = painted(300, 100, face1=(200, 0, 60), face2=(10, 30, 60), face3=(110, 5, 60))
    found = find_landmarks(np.asarray(from_uint8(picture)), PaintedFaces())
    expected = [square_landmarks(left, top, 60) for left, top in ((10, 30), (110, 5), (200, 0))]
    np.testing.assert_array_equal(found, expected)


def test_faces_one_above_the_other_come_from_the_top():
    upper, lower = square_landmarks(10, 10, 40), square_landmarks(10, 50, 40)
    found = find_landmarks(np.zeros((90, 90, 3)), lambda _: [lower, upper])
    np.testing.assert_array_equal(found, [upper, lower])


@pytest.mark.parametrize("nothing", [np.zeros((0, 68, 2)), [], ()])
def test_no_face_has_its_own_error(nothing):
    with pytest.raises(NoFaceError) as raised:
        find_landmarks(np.zeros((40, 40, 3)), lambda _: nothing)
    assert raised.value.status == "no_face"
    assert str(pickle.loads(pickle.dumps(raised.value))) == "no face was found"


@pytest.mark.parametrize(
    "wrong", [np.zeros((68, 2)), np.zeros((1, 5, 2)), np.full((1, 68, 2), np.inf)]
)
def test_other_answers_are_refused(wrong):
    def detector(_):
        return wrong

    with pytest.raises(ValueError, match=r"detector: expected finite landmarks \[N, 68, 2\]"):
        find_landmarks(np.zeros((40, 40, 3)), detector)


def test_description_names_the_detector_and_its_settings():
    assert describe_detector(PaintedFaces(slow=2)) == {
        "name": "tests.photographs.PaintedFaces",
        "slow": 2,
    }
    assert describe_detector(square_landmarks) == {"name": "tests.photographs.square_landmarks"}
    assert detector_versions(PaintedFaces()) == {}


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dlib" else found(name)
    )
    with pytest.raises(UsageError, match=r"python -m pip install 'jaxface\[align\]'") as raised:
        DlibFaces()
    assert "\n" not in str(raised.value)


@needs_dlib
def test_dlib_finds_the_astronaut_as_ffhq_would_cut_her_out():
    (landmarks,) = find_landmarks(astronaut(), DlibFaces())
    # Another build may round a point differently.
    assert np.abs(landmarks - astronaut_landmarks()).max() <= 2
    transform = ffhq_transform(landmarks, size=256, source=(512, 512))
    assert np.abs(transform.corners - published_corners(landmarks)).max() < 2
    left, right = (transform.to_crop(landmarks[s]).mean(0) for s in (slice(36, 42), slice(42, 48)))
    assert abs(np.degrees(np.arctan2(*(right - left)[::-1]))) < 2
    assert abs((left + right)[0] / 2 - 127.5) < 0.03 * 256


@needs_dlib
def test_dlib_finds_faces_of_many_sizes():
    picture = astronaut()
    for scale in (0.3, 2.0):
        (landmarks,) = find_landmarks(resize(picture, round(512 * scale)), DlibFaces())
        expected = (astronaut_landmarks() + 0.5) * scale - 0.5
        # A tenth of the distance between the eyes, 44 px in the original.
        assert np.abs(landmarks[36:48].mean(0) - expected[36:48].mean(0)).max() < 4.4 * scale
    with pytest.raises(NoFaceError):
        find_landmarks(picture, DlibFaces(longer_side=160))  # 80 px would be half the image


@needs_dlib
def test_threshold_and_landmarks_of_dlibs_detector_are_the_callers():
    with pytest.raises(NoFaceError):
        find_landmarks(astronaut(), DlibFaces(threshold=9.0))

    def centre_of_box(image, boxes):
        assert image.shape == (512, 512, 3)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.broadcast_to(middle[:, None], (len(boxes), 68, 2))

    detector = dataclasses.replace(DlibFaces(), landmarks=centre_of_box)
    (landmarks,) = find_landmarks(astronaut(), detector)
    # The middle of dlib's box is near the tip of the nose (point 30).
    assert np.abs(landmarks[30] - astronaut_landmarks()[30]).max() < 15
    assert describe_detector(detector)["landmarks"].endswith("centre_of_box")


@needs_dlib
def test_dlib_finds_the_shipped_photographs():
    """It was made for photographs: of the six renders beside them it finds five."""
    from jaxface.cli.demo import SAMPLES

    for path in sorted(SAMPLES.glob("*.jpg")):
        assert len(find_landmarks(read_image(path).pixels, DlibFaces())) == 1, path.name


@needs_dlib
def test_dlib_versions_are_reported():
    assert set(detector_versions(DlibFaces())) == {"dlib-bin", "face-recognition-models"}
