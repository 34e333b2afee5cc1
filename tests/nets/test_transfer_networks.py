"""Transfer's motion encoder and mapper: order, beginnings, sizes; parity is in tests/convert."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import TransferConfig, TransferNetwork
from jaxface.nets.edits.transfer import CodeMapper, low_rank
from jaxface.weights import abstract_network, load_network, network_names, save_network

TINY = TransferConfig((2, 2, 3, 3), (1, 1, 1, 1), None, num_ws=4, w_dim=3, resolution=16, pool=1)


def mapper(**changes):
    return CodeMapper(dataclasses.replace(TINY, **changes), rngs=nnx.Rngs(0))


def codes(count=2, seed=0, config=TINY):
    shape = (2, count, config.num_ws, config.w_dim)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("rows", "millions"),
    [
        pytest.param(10, 52.4, marks=pytest.mark.slow),
        pytest.param(12, 75.5, marks=pytest.mark.slow),
        pytest.param(14, 102.8, marks=pytest.mark.slow),
        (18, 169.9),
    ],
)
def test_sizes_follow_the_rows(rows, millions):
    network = abstract_network("TransferNetwork", TransferConfig(num_ws=rows))
    shapes = {name: spec.shape for name, spec in network_names(network).items()}
    assert shapes["mapper.weight"] == (2 * rows * 512, rows * 512)
    assert shapes["encoder.styles.weight"] == (512, rows * 512)
    size = sum(np.prod(shape) for name, shape in shapes.items() if name.startswith("mapper."))
    assert size / 1e6 == pytest.approx(millions, abs=0.05)
    image = jax.ShapeDtypeStruct((2, 1024, 1024, 3), jnp.float32)
    code = jax.ShapeDtypeStruct((2, rows, 512), jnp.float32)
    assert jax.eval_shape(lambda n, a, b: n(a, b), network, code, image).shape == (2, rows, 512)


def test_identity_comes_before_motion():
    identity, motion = codes()
    network = mapper()
    size = TINY.code_size
    network.weight[...] = jnp.concatenate([jnp.eye(size), jnp.zeros((size, size))])
    network.bias[...] = jnp.zeros((size,))
    np.testing.assert_array_equal(network(identity, motion), identity)


def test_the_published_beginning_is_constant():
    identity, motion = codes()
    found = mapper()(identity, motion)
    expected = 1e-5 * (identity.sum((1, 2)) + motion.sum((1, 2))) + 1e-3
    np.testing.assert_allclose(found, jnp.broadcast_to(expected[:, None, None], found.shape), 1e-5)


@pytest.mark.parametrize("rank", [None, 2])
def test_the_other_beginning_is_the_identity(rank):
    identity, motion = codes()
    network = mapper(rank=rank)
    network.start_as_identity(jax.random.key(0))
    found = network(identity, motion)
    np.testing.assert_allclose(found, identity, atol=2e-2)
    assert np.abs(found - identity).max() > 0 or rank is not None


def test_a_matrix_of_low_rank():
    identity, motion = codes()
    network = TransferNetwork(TINY, rngs=nnx.Rngs(1))
    size, rng = TINY.code_size, np.random.default_rng(1)
    change = rng.normal(size=(2 * size, 3)) @ rng.normal(size=(3, size))
    eye = np.concatenate([np.eye(size), np.zeros((size, size))])
    network.mapper.weight[...] = jnp.asarray(eye + change, jnp.float32)
    found = low_rank(network, 3)
    assert found.config == dataclasses.replace(TINY, rank=3)
    expected = network.mix(identity, motion)
    np.testing.assert_allclose(found.mix(identity, motion), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r"rank in 1\.\.12, got rank 13"):
        low_rank(network, 13)
    with pytest.raises(ValueError, match="a network of rank 3"):
        low_rank(found, 2)


def test_files_keep_both_forms(tmp_path):
    for rank in (None, 2):
        network = TransferNetwork(dataclasses.replace(TINY, rank=rank), rngs=nnx.Rngs(0))
        save_network(tmp_path / "transfer.safetensors", network)
        again = load_network(tmp_path / "transfer.safetensors")
        assert again.config == network.config
        pairs = zip(jax.tree.leaves(again), jax.tree.leaves(network), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_wrong_codes_and_sizes_are_refused():
    network = TransferNetwork(TINY, rngs=nnx.Rngs(0))
    identity, motion = codes()
    with pytest.raises(ValueError, match=r"w_plus must be \[N, 4, 3\]"):
        network.mix(identity[:, :2], motion)
    with pytest.raises(ValueError, match="as many identities as motions, got 1 and 2"):
        network.mix(identity[:1], motion)
    with pytest.raises(ValueError, match="expected a positive num_ws"):
        TransferConfig(pool=0)
    with pytest.raises(ValueError, match="at least 16, got 8"):
        TransferConfig(resolution=8)
