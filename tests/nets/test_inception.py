"""Inception-v3: widths, layers and inputs. Its numbers are tested from a file's keys on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from seeded import seeded_network

from jaxface.nets import InceptionConfig
from jaxface.nets.features.inception import LAYER_NAMES
from jaxface.nets.features.inception_blocks import Branch, Mixed, Spec
from jaxface.weights import abstract_network, load_network, save_network


def test_the_published_sizes():
    network = abstract_network("InceptionV3", InceptionConfig())
    images = jax.ShapeDtypeStruct((2, 50, 70, 3), jnp.float32)
    shapes = jax.eval_shape(lambda n, x: n.features(x, LAYER_NAMES), network, images)
    assert {name: value.shape for name, value in shapes.items()} == {
        "pool1": (2, 73, 73, 64),
        "pool2": (2, 35, 35, 192),
        "mixed6": (2, 17, 17, 768),
        "pool3": (2, 2048),
    }
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == 21_785_568


@pytest.mark.slow
def test_an_image_is_its_row_of_a_batch(tmp_path):
    network = seeded_network("InceptionV3", InceptionConfig(unit=1))
    images = np.random.default_rng(0).uniform(-1, 1, (3, 299, 299, 3)).astype(np.float32)
    call = jax.jit(lambda network, images: network(images))
    batch = call(network, images)
    assert batch.shape == (3, network.config.num_features) == (3, 128)
    assert np.ptp(batch, axis=0).max() > 1e-3
    for row in range(3):
        # Sums of float32 in another order.
        np.testing.assert_allclose(call(network, images[row : row + 1])[0], batch[row], atol=1e-5)
    save_network(tmp_path / "net.safetensors", network)
    again = load_network(tmp_path / "net.safetensors")
    assert again.config == network.config
    np.testing.assert_array_equal(call(again, images), batch)


def test_what_cannot_be_used_is_refused():
    network = abstract_network("InceptionV3", InceptionConfig(unit=1))
    with pytest.raises(ValueError, match="InceptionV3: expected layers out of"):
        network.features(jnp.zeros((1, 8, 8, 3)), ("pool4",))
    with pytest.raises(ValueError, match=r"InceptionV3: expected images \[N, H, W, 3\]"):
        network(jnp.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="unit: expected at least 1"):
        InceptionConfig(unit=0)
    with pytest.raises(ValueError, match="only the last item may be a pair"):
        Branch(4, [(Spec(2), Spec(2)), Spec(2)], rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="pool 'reduce' with pooled=4"):
        Mixed(4, [[Spec(2)]], pool="reduce", pooled=4, rngs=nnx.Rngs(0))
