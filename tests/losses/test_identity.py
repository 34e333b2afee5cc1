"""The identity loss against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.losses import identity

pytestmark = pytest.mark.usefixtures("strict_ranks")


def test_cosines_and_distances():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)

    def cosine(x, y):
        x, y = x.astype(np.float64), y.astype(np.float64)
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        return np.sum(x * y, axis=1) / lengths

    # Float32 sums of eight products.
    np.testing.assert_allclose(identity.similarity(a, b), cosine(a, b), atol=1e-6)
    np.testing.assert_allclose(identity.distance(a, b), 1 - cosine(a, b), atol=1e-6)
    np.testing.assert_allclose(identity.distance(a, 3 * a), np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(identity.distance(a, -a), np.full(4, 2.0), atol=1e-6)


def test_a_zero_vector_has_a_finite_gradient():
    gradient = jax.grad(lambda x: identity.distance(x, jnp.ones((1, 3))).sum())(jnp.zeros((1, 3)))
    assert np.isfinite(gradient).all()


def test_shapes_that_differ_are_refused():
    for other in (jnp.zeros((2, 4)), jnp.zeros((3, 3)), jnp.zeros(3)):
        with pytest.raises(ValueError, match="must both be"):
            identity.similarity(jnp.zeros((2, 3)), other)
