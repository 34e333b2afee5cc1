"""Files of landmarks: forms, mark-ups by a stated map, and refusals in one line."""

import json

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.media.landmark_files import WFLW, read_landmarks, to_68
from jaxface.media.mesh_landmarks import VERTICES

POINTS = np.random.default_rng(0).uniform(5, 60, (68, 2)).round(3)


def text(points):
    return "\n".join(f"{x},{y}" for x, y in points)


@pytest.mark.parametrize("form", ["csv", "blanks", "pts", "json", "flat json", "npy"])
def test_every_form_gives_the_same_points(tmp_path, form):
    path = tmp_path / "points"
    if form == "npy":
        with path.open("wb") as file:
            np.save(file, POINTS)
    else:
        texts = {
            "csv": text(POINTS),
            "blanks": text(POINTS).replace(",", "  "),
            "pts": "version: 1\nn_points: 68\n{\n" + text(POINTS).replace(",", " ") + "\n}\n",
            "json": json.dumps(POINTS.tolist()),
            "flat json": json.dumps(POINTS.ravel().tolist()),
        }
        path.write_text(texts[form])
    np.testing.assert_allclose(read_landmarks(path, None, 64), POINTS, rtol=1e-6)


def test_another_resolution_is_scaled(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(text(POINTS))
    np.testing.assert_allclose(read_landmarks(path, 128, 64), POINTS / 2, rtol=1e-6)
    path.write_text(text(POINTS / 64))  # shares of the side
    np.testing.assert_allclose(read_landmarks(path, None, 64), POINTS, rtol=1e-5)


def test_mark_ups_of_other_counts():
    numbered = np.arange(98.0)[:, None].repeat(2, 1)
    found = to_68(numbered, "wflw")[:, 0]
    assert len(WFLW) == 68
    assert list(found[:17]) == list(range(0, 33, 2))
    assert list(found[36:42]) == [60, 61, 63, 64, 65, 67]
    assert list(found[48:68]) == list(range(76, 96))

    mesh = np.arange(478.0)[:, None].repeat(3, 1)
    assert list(to_68(mesh, "mesh")[:, 0]) == list(VERTICES)

    kept = [place for place in range(68) if place not in (60, 64)]
    whole = to_68(POINTS[kept], "66")
    np.testing.assert_array_equal(whole[kept], POINTS[kept])
    inner = (POINTS[61] + POINTS[67]) / 2
    np.testing.assert_allclose(whole[60], 0.75 * POINTS[48] + 0.25 * inner)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (POINTS[:67], "expected 66, 68, 98 or 478 points of two coordinates, got [67, 2]"),
        (np.where(np.arange(68)[:, None] == 3, np.nan, POINTS), "point 3 of 68 is no finite"),
        (np.zeros((68, 4)), "got [68, 4]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(points, words):
    with pytest.raises(UsageError) as error:
        to_68(points, "points.csv")
    assert words in str(error.value)
    assert str(error.value).startswith("points.csv: ")
    assert "\n" not in str(error.value)


def of_shape(text):
    """An .npy file that says so."""
    said = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {text}, }}".ljust(117).encode()
    return b"\x93NUMPY\x01\x00" + bytes([118, 0]) + said + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b"no points at all",
        b"\x93NUMPY broken",
        b"[1, [2]]",
        b"[" * 100_000,
        of_shape("(68, 2"),
        of_shape("(1000000000000000,)"),
    ],
)
def test_what_is_no_file_of_landmarks_is_refused(tmp_path, content):
    path = tmp_path / "points"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no landmarks: expected a point a line"):
        read_landmarks(path, None, 64)
    with pytest.raises(UsageError, match="cannot be read"):
        read_landmarks(tmp_path / "missing", None, 64)
