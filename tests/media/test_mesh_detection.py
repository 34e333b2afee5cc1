"""Faces by MediaPipe's networks: the steps around them, and the real ones where they are."""

import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface import load_suite
from jaxface.errors import UsageError
from jaxface.media import mesh_detection
from jaxface.media.alignment import ffhq_transform
from jaxface.media.detection import DlibFaces, describe_detector, find_landmarks, in_two_steps
from jaxface.media.images import from_uint8, read_image
from jaxface.media.mesh_detection import (
    Box,
    MeshFaces,
    Seen,
    detector_squares,
    faces_of,
    in_image,
    merged,
    region_of,
)
from jaxface.media.mesh_landmarks import VERTICES, to_68
from jaxface.nets import FaceDetectorConfig, FaceMeshConfig
from jaxface.nets.landmarks.face_detector import Detections
from jaxface.nets.landmarks.face_mesh import Mesh
from jaxface.weights import save_network
from tests.photographs import astronaut, astronaut_landmarks

SAMPLES = Path(mesh_detection.__file__).parents[1] / "assets" / "samples"
DETECTOR = FaceDetectorConfig(input_size=16, stem=4, channels=(4, 6, 8), strided=(1, 2))
MESH = FaceMeshConfig(input_size=16, channels=(4, 8), down_channels=(4,), blocks=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory, random_network):
    """A suite's folder with the two networks, of random weights."""
    folder = tmp_path_factory.mktemp("faces")
    for role, name, config in (
        ("face_detector", "FaceDetector", DETECTOR),
        ("face_mesh", "FaceMesh", MESH),
    ):
        save_network(folder / f"{role}.safetensors", random_network(name, config))
    return folder


@pytest.fixture
def finder(files, monkeypatch):
    """Sees a face wherever a square has bright pixels, with the mesh in the middle of its square.

    The networks themselves have their own tests.
    """

    def detections(network, images):
        del network
        scores, boxes, points = [], [], []
        for image in np.asarray(images):
            bright = np.argwhere(image[..., 0] > 200)
            low, high = (
                (bright.min(0)[::-1] / 16, (bright.max(0)[::-1] + 1) / 16)
                if len(bright)
                else (np.zeros(2), np.ones(2))
            )
            scores.append([5.0 if len(bright) else -5.0])
            boxes.append([[*low, *high]])
            eyes = [[low[0], low[1]], [high[0], low[1]]]
            points.append([[*eyes, *[[0.5, 0.5]] * 4]])
        return _detections(scores, boxes, points)

    def mesh(network, images):
        del network
        grid = np.random.default_rng(0).uniform(4, 12, (478, 3)).astype(np.float32)
        count = len(images)
        return Mesh(jnp.stack([jnp.asarray(grid)] * count), jnp.full(count, 9.0))

    monkeypatch.setattr(mesh_detection, "_detections", detections)
    monkeypatch.setattr(mesh_detection, "_mesh", mesh)
    found = MeshFaces.of_suite(load_suite(files))
    assert found is not None
    return found


def _detections(*parts: Any) -> Detections:
    scores, boxes, points = (jnp.asarray(np.array(part, np.float32)) for part in parts)
    return Detections(scores, boxes, points)


def _picture(width: int, height: int, *squares: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((height, width, 3), 90, np.uint8)
    for left, top, side in squares:
        pixels[top : top + side, left : left + side] = 255
    return np.asarray(from_uint8(pixels))


def test_the_68_are_vertices_of_their_own():
    assert len(VERTICES) == len(set(VERTICES)) == 68
    mesh = np.arange(2 * 478 * 3).reshape(2, 478, 3)
    assert to_68(mesh).shape == (2, 68, 2)
    np.testing.assert_array_equal(to_68(mesh)[1, 36], mesh[1, 33, :2])
    with pytest.raises(ValueError, match="478"):
        to_68(np.zeros((468, 3)))


def test_boxes_of_one_face_become_their_weighted_mean():
    def box(left, score):
        corners = np.array([left, 0.0, left + 10, 10])
        return Box(corners, np.full((6, 2), float(left)), score)

    found = merged([box(1, 0.25), box(0, 0.75), box(50, 0.5)])
    assert [each.score for each in found] == [0.75, 0.5]
    np.testing.assert_allclose(found[0].corners, [0.25, 0, 10.25, 10])
    np.testing.assert_allclose(found[0].points, 0.25)


def test_squares_of_a_picture():
    squares = detector_squares(np.full((40, 80, 3), 255, np.uint8), 16)
    assert len(squares) == 10
    assert squares[0][1:] == (0, -20, 80)  # the whole, with black above and below
    assert squares[0].pixels[0].max() == 0
    assert squares[0].pixels[8].min() == 255
    assert [square.left for square in squares[1:4]] == [0, 20, 40]
    assert {square.side for square in squares[1:]} == {40}


def test_a_face_that_a_square_cuts_is_not_taken_from_it():
    seen = Seen(
        np.zeros((80, 80, 3), np.uint8),
        detector_squares(np.zeros((80, 80, 3), np.uint8), 16),
        (80, 80),
    )
    scores = np.full((10, 1), -9.0)
    boxes = np.tile(np.array([0.2, 0.2, 0.5, 0.5]), (10, 1, 1))
    points = np.zeros((10, 1, 6, 2))
    scores[1] = 9.0  # the square at the top left, whose left edge is the image's
    boxes[1] = [-0.1, 0.2, 0.5, 0.8]
    assert len(faces_of(_detections(scores, boxes, points), seen, 0.5)) == 1
    boxes[1] = [0.5, 0.2, 1.1, 0.8]
    assert faces_of(_detections(scores, boxes, points), seen, 0.5) == []


def test_a_region_is_level_with_the_eyes():
    seen = Seen(np.zeros((100, 200, 3), np.uint8), [], (200, 100))
    points = np.zeros((6, 2))
    points[1] = [3.0, 4.0]  # from eye to eye
    region = region_of(Box(np.array([80.0, 40, 120, 60]), points, 1.0), seen, 256)
    assert region.side == pytest.approx(60)
    assert region.center == (99.5, 49.5)
    np.testing.assert_allclose(region.right, [18, 24])
    middle = in_image(np.full((478, 3), 128.0), region)
    np.testing.assert_allclose(middle[0], [99.5, 49.5, 128 * 60 / 256])


def test_faces_of_a_picture(finder):
    picture = _picture(96, 64, (30, 12, 24))
    (points,) = find_landmarks(picture, finder)
    assert points.shape == (68, 2)
    # The mesh lies within the middle half of a square of 1.5 sides around the face.
    assert (points >= [41.5 - 12, 23.5 - 12]).all()
    assert (points <= [41.5 + 12, 23.5 + 12]).all()
    assert finder(_picture(96, 64)).shape == (0, 68, 2)


def test_two_steps_are_one_call_and_pickle(finder):
    picture = _picture(96, 64, (30, 12, 24))
    assert in_two_steps(finder)
    seen = pickle.loads(pickle.dumps(finder.preprocess(picture)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(finder)).predict(seen), finder(picture))
    described = describe_detector(finder)
    assert described["name"].endswith("MeshFaces")
    assert described["longer_side"] == 1600
    assert len(described["mesh"]) == 64  # the file's digest, wherever it lies


def test_pictures_together_are_as_alone(finder):
    pictures = [_picture(96, 64, (30, 12, 24)), _picture(40, 40), _picture(64, 96, (10, 40, 16))]
    together = finder.predict_many([finder.preprocess(each) for each in pictures])
    for found, picture in zip(together, pictures, strict=True):
        np.testing.assert_array_equal(found, finder(picture))


def test_a_large_picture_is_read_small(files, finder):
    small, large = _picture(160, 160, (40, 40, 40)), _picture(640, 640, (160, 160, 160))
    reduced = MeshFaces(finder.detector, finder.mesh, longer_side=160)
    np.testing.assert_allclose(reduced(large), (finder(small) + 0.5) * 4 - 0.5, atol=1e-6)


def test_networks_run(files):
    """Random weights see something or nothing; the shapes are what matters."""
    finder = MeshFaces.of_suite(load_suite(files))
    assert finder is not None
    found = finder(_picture(48, 32, (10, 5, 12)))
    assert found.shape[1:] == (68, 2) or len(found) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.0}, "threshold"),
        ({"presence": 0.0}, "presence"),
        ({"longer_side": 9}, "128"),
    ],
)
def test_refused_settings(files, change: dict[str, Any], message):
    paths = [str(files / f"{role}.safetensors") for role in ("face_detector", "face_mesh")]
    with pytest.raises(ValueError, match=message):
        MeshFaces(paths[0], paths[1], **change)


def test_another_network_is_refused(files, tiny_suite):
    paths = [str(files / f"{role}.safetensors") for role in ("face_detector", "face_mesh")]
    with pytest.raises(UsageError, match="expected a FaceDetector, holds a FaceMesh"):
        MeshFaces(paths[1], paths[0])
    assert MeshFaces.of_suite(load_suite(tiny_suite)) is None


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("JAXFACE_PHOTO_SUITE")
    if not folder:
        pytest.skip("JAXFACE_PHOTO_SUITE: not set to a suite of `jaxface convert photo`")
    return MeshFaces.of_suite(load_suite(folder))


def _apart(ours: np.ndarray, theirs: np.ndarray, source: tuple[int, int]) -> float:
    """The farthest two corners of two crops, in sides."""
    one, other = (ffhq_transform(points, size=256, source=source) for points in (ours, theirs))
    return float(np.abs(one.corners - other.corners).max() / other.side)


@pytest.mark.slow
def test_the_real_networks_crop_the_astronaut_as_dlib(real):
    (points,) = real(astronaut())
    assert _apart(points, astronaut_landmarks(), (512, 512)) < 0.02


@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models")),
    reason="dlib-bin and face-recognition-models: not here",
)
@pytest.mark.parametrize("name", ["eileen_collins.jpg", "grace_hopper.jpg"])
def test_the_real_networks_crop_the_shipped_photographs_as_dlib(real, name):
    picture = read_image(SAMPLES / name).pixels
    (ours,), (theirs,) = real(picture), DlibFaces()(picture)
    height, width = picture.shape[:2]
    assert _apart(ours, theirs, (width, height)) < 0.02
