"""Landmark networks place their points in the photograph, whatever square they were shown."""

import pickle
import shutil

import numpy as np
import pytest

from jaxface.errors import UsageError, WeightsError
from jaxface.media import landmarking as landmark_networks
from jaxface.media.detection import DlibFaces, describe_detector, in_two_steps
from jaxface.media.landmarking import NetworkLandmarks, box_square, fan_square
from jaxface.nets import FaceLandmarkConfig, FANConfig
from jaxface.weights import load_network, save_network
from tests.photographs import fixed_landmarks, square_landmarks

FAN = FANConfig(stacks=1, depth=1, channels=(4, 4, 8), input_size=32)


@pytest.fixture(scope="module")
def fan(tmp_path_factory, random_network):
    path = tmp_path_factory.mktemp("fan") / "fan.safetensors"
    save_network(path, random_network("FAN", FAN))
    return str(path)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory, random_network):
    path = tmp_path_factory.mktemp("fixed") / "landmarks.safetensors"
    return fixed_landmarks(path, random_network)


@pytest.mark.slow
def test_fan_sees_its_square_and_answers_in_the_photograph(fan):
    """A square of the network's own side is shown as it is, one of twice the side at half size."""
    rng = np.random.default_rng(0)
    small = np.round(rng.uniform(0, 255, (32, 32, 3))) / 127.5 - 1
    expected = np.asarray(load_network(fan)(small[None].astype(np.float32)))[0]
    landmarks = NetworkLandmarks(fan)
    for factor, left, top in ((1, 20, 9), (2, 5, 30), (1, -12, 3)):
        photograph = np.full((110, 120, 3), -1.0, np.float32)
        shown = small.repeat(factor, 0).repeat(factor, 1)
        rows, columns = slice(top, top + 32 * factor), slice(max(left, 0), left + 32 * factor)
        photograph[rows, columns] = shown[:, max(-left, 0) :]
        if left < 0:  # what lies beyond the photograph is black to the network
            black = small.copy()
            black[:, :-left] = -1
            images = black[None].astype(np.float32)
            expected = np.asarray(load_network(fan)(images))[0]
        # The box that has this square: a side of 195 / 400, lower by 0.12 of itself.
        side = 32 * factor * 195 / 400
        centre = np.array([left, top + 0.12 * side]) + 16 * factor - 0.5
        box = np.concatenate([centre - side / 2, centre + side / 2])
        assert fan_square(box) == (left, top, 32 * factor)
        (found,) = landmarks(photograph, box[None])
        # Maxima on a grid: the same ones, but for the rounding of pixels to 8 bits.
        np.testing.assert_allclose(
            found, np.array([left, top]) + factor * expected - 0.5, atol=0.01
        )


def test_face_api_sees_the_box(fixed):
    boxes = np.array([[10.0, 20, 49, 59], [60, 5, 159, 104]])
    found = NetworkLandmarks(fixed)(np.zeros((120, 200, 3), np.float32), boxes)
    assert [box_square(box) for box in boxes] == [(10, 20, 40), (60, 5, 100)]
    expected = [square_landmarks(10, 20, 40), square_landmarks(60, 5, 100)]
    np.testing.assert_allclose(found, np.array(expected) - 0.5, atol=1e-3)


def test_two_steps_are_a_call_and_the_first_loads_no_network(fan, fixed, monkeypatch):
    rng = np.random.default_rng(1)
    photograph = rng.uniform(-1, 1, (90, 120, 3)).astype(np.float32)
    boxes = np.array([[10.0, 20, 49, 59], [60, 5, 115, 60]])
    for path in (fan, fixed):
        landmarks = NetworkLandmarks(path)
        expected = landmarks(photograph, boxes)
        with monkeypatch.context() as patch:
            patch.setattr("jaxface.media.landmarking.load_network", None)
            landmark_networks._loaded.cache_clear()
            seen = pickle.loads(pickle.dumps(landmarks)).preprocess(photograph, boxes)
        np.testing.assert_array_equal(landmarks.predict(pickle.loads(pickle.dumps(seen))), expected)


def test_dlib_with_a_network_works_in_two_steps(fixed, monkeypatch):
    monkeypatch.setattr("jaxface.media.detection.importlib.util.find_spec", lambda name: name)
    boxes = np.array([[10.0, 20, 49, 59]])
    detector = DlibFaces(landmarks=NetworkLandmarks(fixed))
    picture = np.zeros((80, 80, 3), np.float32)
    for found in (boxes, boxes[:0]):
        monkeypatch.setattr(DlibFaces, "boxes", lambda self, image, found=found: found)
        placed = detector.predict(detector.preprocess(picture))
        assert placed.shape == (len(found), 68, 2)
        np.testing.assert_array_equal(placed, detector(picture))
    assert in_two_steps(detector)
    alone = DlibFaces()
    assert not in_two_steps(alone)
    assert not in_two_steps(lambda image: image)
    monkeypatch.setattr(DlibFaces, "boxes", lambda self, image: boxes)
    with pytest.raises(UsageError, match="do not come in two steps"):
        alone.preprocess(picture)


def test_description_names_the_content_and_not_the_place(fan, fixed, tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(fan, copy)
    first, second, other = (NetworkLandmarks(str(x)).description() for x in (fan, copy, fixed))
    assert first == second
    assert first["network"] == "FAN"
    assert other["network"] == "FaceLandmarkNet"
    assert other["sha256"] != first["sha256"]


def test_dlibs_landmark_package_is_not_needed_with_a_network(fan, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    missing = {"face_recognition_models": None, "dlib": found("numpy")}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: missing[name] if name in missing else found(name)
    )
    with pytest.raises(UsageError, match="needs dlib-bin and face-recognition-models"):
        DlibFaces()
    detector = DlibFaces(landmarks=NetworkLandmarks(fan))
    assert detector.packages == ("dlib-bin",)
    assert describe_detector(detector)["landmarks"]["network"] == "FAN"


def test_files_of_other_networks_are_refused(tmp_path, random_network, tiny_suite):
    with pytest.raises(WeightsError, match="no such file"):
        NetworkLandmarks(str(tmp_path / "missing.safetensors"))
    with pytest.raises(UsageError, match="holds the network VGG16; landmarks come from FAN or"):
        NetworkLandmarks(str(tiny_suite / "perceptual.safetensors"))
    path = tmp_path / "five.safetensors"
    few = FaceLandmarkConfig(channels=(4,), convolutions=1, num_landmarks=5)
    save_network(path, random_network("FaceLandmarkNet", few))
    with pytest.raises(UsageError, match="gives 5 landmarks; FFHQ's crop is made from 68"):
        NetworkLandmarks(str(path))
