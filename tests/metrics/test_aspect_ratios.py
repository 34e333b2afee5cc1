"""Aspect ratios of faces drawn by hand, and what correlates with what."""

import numpy as np
import pytest

from jaxface.metrics import aspect_ratios, ratio_correlations
from jaxface.metrics.aspect_ratios import RATIOS, SHORTEST


def face(eye=0.2, mouth=0.1, brow=0.5):
    """68 points: eyes 1 wide and `eye` open, inner lips 2 wide, brows `brow` above the eyes."""
    points = np.zeros((68, 2))
    for first, brows, x in ((36, 17, 0.0), (42, 22, 3.0)):
        points[first : first + 6, 0] = x + np.array([0, 0.3, 0.7, 1, 0.7, 0.3])
        points[first : first + 6, 1] = eye / 2 * np.array([0, -1, -1, 0, 1, 1])
        points[brows : brows + 5, 0] = x + np.linspace(0, 1, 5)
        points[brows : brows + 5, 1] = -brow
    points[60:68, 0] = np.array([0, 0.5, 1, 1.5, 2, 1.5, 1, 0.5])
    points[60:68, 1] = 3 + mouth / 2 * np.array([0, -1, -1, -1, 0, 1, 1, 1])
    return points


def signals(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0.1, 0.4, (count, 3))
    return rows, aspect_ratios(np.stack([face(*row) for row in rows]))


def test_ratios_of_a_known_face():
    found = aspect_ratios(np.stack([face(), face(eye=0.0, mouth=0.0)]))
    assert tuple(found) == RATIOS
    for name in ("left_eye", "right_eye"):
        np.testing.assert_allclose(found[name], [0.2, 0.0], atol=1e-12)
    # Three openings over twice the width: 3 * 0.1 / (2 * 2).
    np.testing.assert_allclose(found["mouth"], [0.075, 0.0], atol=1e-12)
    for name in ("left_brow", "right_brow"):
        np.testing.assert_allclose(found[name], 0.5)


def test_size_place_and_turn_do_not_count():
    points = np.stack([face(eye) for eye in (0.1, 0.3)])
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    moved = aspect_ratios(3.0 * points @ turn + 7.0)
    for name, expected in aspect_ratios(points).items():
        np.testing.assert_allclose(moved[name], expected, rtol=1e-9)


def test_correlations():
    _, found = signals(30)
    for value in ratio_correlations(found, found).values():
        np.testing.assert_allclose(value, 1.0)
    reverse = {name: 3 - 2 * signal for name, signal in found.items()}
    for value in ratio_correlations(found, reverse).values():
        np.testing.assert_allclose(value, -1.0)
    rows, _ = signals(30)
    expected = np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]
    crossed = {**found, "mouth": found["left_eye"]}
    np.testing.assert_allclose(ratio_correlations(found, crossed)["mouth"], expected, rtol=1e-9)


def test_what_is_undefined_is_left_out():
    _, found = signals(30)
    still = {**found, "mouth": np.full(30, 0.1), "left_eye": np.full(30, np.nan)}
    assert set(ratio_correlations(found, still)) == set(RATIOS) - {"mouth", "left_eye"}
    _, short = signals(SHORTEST - 1)
    assert ratio_correlations(short, short) == {}


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[T, 68, 2\], got \[3, 5, 2\]"):
        aspect_ratios(np.zeros((3, 5, 2)))
    with pytest.raises(ValueError, match="clips of one length, got 30 and 20"):
        ratio_correlations(signals(30)[1], signals(20)[1])
