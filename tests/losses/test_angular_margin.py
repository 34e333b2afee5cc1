"""ArcFace's loss against its equation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.losses.angular_margin import angular_margin_loss

pytestmark = pytest.mark.usefixtures("strict_ranks")


def by_the_equation(embeddings, centres, labels, s, m):
    x, w = (np.asarray(a, np.float64) for a in (embeddings, centres))
    x, w = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, w))
    cosine = x @ w.T
    theta = np.arccos(cosine[np.arange(len(x)), labels])
    logits = s * cosine
    logits[np.arange(len(x)), labels] = s * np.cos(theta + m)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels], cosine


def test_equation_3():
    rng = np.random.default_rng(0)
    embeddings, centres = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    labels = np.array([0, 1, 2, 3, 1, 2])
    for s, m in ((16.0, 0.5), (16.0, 0.0), (4.0, 0.2)):
        found, cosine = angular_margin_loss(
            jnp.asarray(embeddings, jnp.float32),
            jnp.asarray(centres, jnp.float32),
            labels,
            s=s,
            m=m,
        )
        expected, angles = by_the_equation(embeddings, centres, labels, s, m)
        # Float32 cosines, times s.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(cosine, angles, atol=1e-6)


@pytest.mark.slow
def test_the_loss_rises_with_the_angle_all_the_way():
    angles = jnp.linspace(0.0, jnp.pi, 50)
    # The other class's centre stays at a right angle.
    embeddings = jnp.stack([jnp.cos(angles), jnp.sin(angles), jnp.zeros(50)], axis=1)
    centres = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    def losses(embeddings):
        return angular_margin_loss(embeddings, centres, jnp.zeros(50, jnp.int32), s=8.0, m=0.5)[0]

    assert (np.diff(losses(embeddings)) > 0).all()
    assert np.isfinite(jax.grad(lambda x: losses(x).sum())(embeddings)).all()


def test_what_does_not_fit():
    embeddings, centres = jnp.ones((2, 3)), jnp.ones((4, 3))
    losses, _ = angular_margin_loss(embeddings, centres, jnp.array([0, 4]), s=1.0, m=0.1)
    assert np.isfinite(losses[0])
    assert np.isnan(losses[1])
    with pytest.raises(ValueError, match="labels"):
        angular_margin_loss(embeddings, centres, jnp.zeros(3, jnp.int32), s=1.0, m=0.1)
    with pytest.raises(ValueError, match="centres"):
        angular_margin_loss(embeddings, jnp.ones((4, 2)), jnp.zeros(2, jnp.int32), s=1.0, m=0.1)
