"""Normalised mean error by its definitions."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.metrics import nme

pytestmark = pytest.mark.usefixtures("strict_ranks")


def test_both_sizes():
    rng = np.random.default_rng(0)
    true = rng.uniform(10, 50, (3, 68, 2)).astype(np.float32)
    found = true + rng.normal(size=true.shape).astype(np.float32)
    distance = np.linalg.norm(found - true, axis=-1).mean(axis=1)
    eyes = np.linalg.norm(true[:, 36] - true[:, 45], axis=1)
    width, height = np.ptp(true, axis=1).T
    # Float32.
    np.testing.assert_allclose(
        nme(found, true, normaliser="inter_ocular"), distance / eyes, rtol=1e-5
    )
    np.testing.assert_allclose(
        nme(found, true, normaliser="box"), distance / np.sqrt(width * height), rtol=1e-5
    )


def test_what_is_refused():
    points = jnp.zeros((2, 68, 2))
    with pytest.raises(ValueError, match="both must be"):
        nme(points, points[:1], normaliser="box")
    with pytest.raises(ValueError, match="68 landmarks"):
        nme(points[:, :5], points[:, :5], normaliser="inter_ocular")
    with pytest.raises(ValueError, match="'diagonal'"):
        nme(points, points, normaliser="diagonal")  # pyright: ignore
