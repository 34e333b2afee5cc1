"""FaceNet: sizes and inputs. Its embeddings are tested from a file's keys on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from seeded import seeded_network

from jaxface.nets import FaceNetConfig
from jaxface.weights import abstract_network

TINY = FaceNetConfig(unit=1, blocks=(1, 1, 1), embedding=24)


def test_the_published_sizes():
    network = abstract_network("FaceNet", FaceNetConfig())
    images = jax.ShapeDtypeStruct((2, 100, 80, 3), jnp.float32)
    assert jax.eval_shape(lambda n, x: n(x), network, images).shape == (2, 512)
    # facenet-pytorch's 27 910 327 for VGGFace2, less its classifier of 8631 people.
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    assert parameters == 27_910_327 - 8631 * 513


@pytest.mark.slow
def test_an_image_is_its_row_and_embeddings_have_length_one():
    network = seeded_network("FaceNet", TINY)
    images = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 90, 110, 3)).astype(np.float32)
    images += np.array([-0.6, 0.0, 0.6], np.float32)[:, None, None, None]  # noise alone looks alike
    call = jax.jit(lambda n, x: n(x))
    batch = call(network, images)
    assert batch.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(batch, axis=-1), 1, atol=1e-6)
    assert np.ptp(batch, axis=0).max() > 1e-2
    for row in range(3):
        # Sums of float32 in another order.
        np.testing.assert_allclose(call(network, images[row : row + 1])[0], batch[row], atol=1e-5)


def test_what_cannot_be_used_is_refused():
    network = abstract_network("FaceNet", TINY)
    with pytest.raises(ValueError, match=r"FaceNet: expected images \[N, H, W, 3\]"):
        network(jnp.zeros((1, 3, 160, 160)))
    with pytest.raises(ValueError, match="FaceNet: expected floats"):
        network(jnp.zeros((1, 160, 160, 3), jnp.uint8))
    for options in ({"unit": 0}, {"embedding": 0}, {"blocks": (1, 0, 1)}):
        with pytest.raises(ValueError, match="expected at least 1"):
            FaceNetConfig(**options)
