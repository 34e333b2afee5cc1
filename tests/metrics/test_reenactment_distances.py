"""Distances of reenacted frames: the published readings, jumps, a known flow, ranks."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.metrics.reenactment import (
    acceleration,
    akd_fomm,
    akd_l2,
    angle_distance,
    coefficient_distance,
    embedding_distance,
    mean_difference,
    rank_correlation,
    warping_error_of_flow,
)


def test_keypoint_distances_of_both_readings():
    wanted = np.zeros((2, 68, 2), np.float32)
    measured = wanted + np.array([3.0, 4.0], np.float32)
    np.testing.assert_allclose(akd_fomm(measured, wanted), 3.5)
    np.testing.assert_allclose(akd_l2(measured, wanted), 5.0)


def test_angles_are_told_in_degrees():
    found = angle_distance(jnp.deg2rad(jnp.array([[1.0, -6.0, 2.0]])), jnp.zeros((1, 3)))
    np.testing.assert_allclose(found, 3.0, rtol=1e-6)
    np.testing.assert_allclose(mean_difference(jnp.ones((1, 4)), -jnp.ones((1, 4))), 2.0)


def test_coefficients_count_as_shares_of_their_ranges():
    ranges = jnp.array([[-1.0, 3.0], [0.0, 0.0], [0.0, 2.0]])
    found = coefficient_distance(jnp.array([[1.0, 9.0, 1.0]]), jnp.zeros((1, 3)), ranges)
    np.testing.assert_allclose(found, (0.25 + 0.5) / 2)  # the second has no range


def test_embeddings_count_by_their_direction():
    first = jnp.array([[2.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(
        embedding_distance(first, jnp.array([[7.0, 0.0], [0.0, -1.0]])), [0.0, 2.0]
    )


def test_even_motion_has_no_acceleration():
    even = np.arange(5)[:, None, None] * np.ones((5, 68, 2))
    np.testing.assert_allclose(acceleration(jnp.asarray(even)), 0)
    jumping = even.copy()
    jumping[2] += [3.0, 4.0]
    np.testing.assert_allclose(acceleration(jnp.asarray(jumping)), [5.0, 10.0, 5.0])
    with pytest.raises(ValueError, match="three frames or more, got 2"):
        acceleration(jnp.zeros((2, 68, 2)))


def test_motion_along_a_known_flow_is_no_error():
    """A ramp that moves by two pixels; flicker is its square."""
    x = np.arange(12, dtype=np.float32) / 12
    frames = np.stack(
        [np.broadcast_to((x - 2 * t / 12)[None, :, None], (10, 12, 3)) for t in (0, 1)]
    )
    flow = np.zeros((1, 10, 12, 2), np.float32)
    flow[..., 0] = 2
    matte = np.ones((1, 10, 12), np.float32)
    args = (flow, -flow, matte)
    np.testing.assert_allclose(warping_error_of_flow(frames, *args), 0, atol=1e-10)
    brighter = frames + np.array([0, 0.1], np.float32)[:, None, None, None]
    np.testing.assert_allclose(warping_error_of_flow(brighter, *args), 0.01, rtol=1e-3)
    # Flows that do not cancel tell of what is occluded.
    assert np.isnan(warping_error_of_flow(frames, flow, flow, matte)).all()
    still = np.zeros_like(flow)
    expected = np.mean((frames[0] - frames[1]) ** 2)
    np.testing.assert_allclose(
        warping_error_of_flow(frames, still, still, matte), expected, rtol=1e-5
    )


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1.0)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1.0)
    a = np.array([1.0, 2.0, 2.0, 3.0])  # ranks 1, 2.5, 2.5, 4
    b = np.array([4.0, 1.0, 3.0, 2.0])
    ranks = np.array([1, 2.5, 2.5, 4])
    assert rank_correlation(a, b) == pytest.approx(np.corrcoef(ranks, [4, 1, 3, 2])[0, 1])
    assert np.isnan(rank_correlation(np.ones(3), x[:3]))
    assert np.isnan(rank_correlation(x[:1], x[:1]))
    with pytest.raises(ValueError, match="got 2 and 3"):
        rank_correlation(x[:2], x[:3])
