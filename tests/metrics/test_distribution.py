"""Fréchet distance, precision and recall, the linear probe: known cases and other libraries."""

import jax
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from jaxface.metrics import frechet_distance, linear_probe_r2, precision_recall

pytestmark = pytest.mark.usefixtures("strict_ranks")


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(6, 6))
    found = rng.normal(size=(300, 6)) @ mix + 0.3
    wanted = rng.normal(size=(250, 6)) * 1.4
    return found.astype(np.float32), wanted.astype(np.float32)


def test_frechet_matches_the_matrix_root(sets):
    found, wanted = (x.astype(np.float64) for x in sets)
    root = sqrtm(np.cov(found, rowvar=False) @ np.cov(wanted, rowvar=False)).real
    spread = np.trace(np.cov(found, rowvar=False) + np.cov(wanted, rowvar=False) - 2 * root)
    expected = np.square(found.mean(0) - wanted.mean(0)).sum() + spread
    np.testing.assert_allclose(frechet_distance(*sets), expected, rtol=1e-6)


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(200_000, 2))
    # |2|^2 for the mean's move along one axis, (3 - 1)^2 for each widened axis.
    moved, widened = one + np.array([2.0, 0.0]), 3.0 * one
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(moved, one) == pytest.approx(4.0, rel=1e-6)
    assert frechet_distance(widened, one) == pytest.approx(8.0, rel=0.01)


def test_frechet_refuses_sets_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\[N, D\] and \[M, D\]"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))


@pytest.mark.parametrize("chunk", [37, 1000])
def test_precision_recall_matches_brute_force(sets, chunk):
    found, wanted = sets

    def share(points, of):
        radii = np.sort(cdist(of, of), axis=1)[:, 3]
        return np.mean((cdist(points, of) <= radii).any(axis=1))

    measured = precision_recall(found, wanted, chunk=chunk)
    assert measured.precision == pytest.approx(share(found, wanted))
    assert measured.recall == pytest.approx(share(wanted, found))


def test_precision_and_recall_tell_collapse_from_noise():
    rng = np.random.default_rng(2)
    real = rng.normal(size=(400, 4)).astype(np.float32)
    collapsed = 0.1 * rng.normal(size=(400, 4)).astype(np.float32)
    noisy = 4.0 * rng.normal(size=(400, 4)).astype(np.float32)
    narrow, wide = precision_recall(collapsed, real), precision_recall(noisy, real)
    assert narrow.precision > 0.95
    assert narrow.recall < 0.2
    assert wide.precision < 0.3
    assert wide.recall > 0.8


def test_precision_recall_refuses_too_few():
    with pytest.raises(ValueError, match="1 to 2 neighbours, got 3"):
        precision_recall(np.zeros((3, 2)), np.zeros((5, 2)))


def test_linear_probe_of_known_signals():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 8)) * 10 + 3
    target = x[:, :2] @ rng.normal(size=(2, 3))
    noise = rng.normal(size=target.shape) * target.std(axis=0)
    assert linear_probe_r2(x, target) == pytest.approx(1.0, abs=1e-6)
    # Noise of the signal's own variance leaves half of the sum explained.
    assert linear_probe_r2(x, target + noise) == pytest.approx(0.5, abs=0.05)
    assert abs(linear_probe_r2(x, rng.normal(size=(4000, 2)))) < 0.02
    with pytest.raises(ValueError, match="give it more"):
        linear_probe_r2(x[:9], target[:9])


def test_metrics_need_no_more_precision_than_they_get(sets):
    """float32 features far from the origin give what centred ones give."""
    found, wanted = sets
    with jax.default_matmul_precision("default"):
        far = precision_recall(found + 300, wanted + 300)
    near = precision_recall(found, wanted)
    assert far.precision == pytest.approx(near.precision, abs=0.01)
    assert far.recall == pytest.approx(near.recall, abs=0.01)
