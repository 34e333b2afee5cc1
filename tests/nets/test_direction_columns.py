"""The direction matrix: what it moves, what it leaves alone, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import DirectionMatrix, DirectionMatrixConfig
from jaxface.weights import load_network, save_network

CONFIG = DirectionMatrixConfig(("yaw", "pitch", "smile"), "embedded", rows=2, w_dim=4)


@pytest.fixture(name="matrix")
def small_matrix():
    matrix = DirectionMatrix(CONFIG, rngs=nnx.Rngs(0))
    matrix.slope[...] = jnp.array([-0.15, 0.3, 2.0])
    matrix.offset[...] = jnp.array([0.0, 0.5, -1.0])
    matrix.unit[...] = jnp.array([1.0, 1.0, 0.4])
    return matrix


def test_moves_the_first_rows_alone(matrix):
    rng = np.random.default_rng(0)
    w_plus = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)
    change = jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)
    moved = matrix(w_plus, change)
    expected = np.einsum("nk,rdk->nrd", change, matrix.weight[...])
    np.testing.assert_allclose(moved[:, :2] - w_plus[:, :2], expected, atol=1e-6)
    np.testing.assert_array_equal(moved[:, 2:], w_plus[:, 2:])


def test_no_change_is_no_change_bit_for_bit(matrix):
    w_plus = jnp.asarray(np.random.default_rng(1).normal(size=(3, 5, 4)), jnp.float32)
    np.testing.assert_array_equal(matrix(w_plus, jnp.zeros((3, 3))), w_plus)
    biased = DirectionMatrix(dataclasses.replace(CONFIG, bias=True), rngs=nnx.Rngs(0))
    moved = biased(w_plus, jnp.zeros((3, 3)))
    assert (moved[:, :2] != w_plus[:, :2]).all()


def test_rescaling_and_its_inverse(matrix):
    values = jnp.array([[20.0, -5.0, 0.7]])
    np.testing.assert_allclose(matrix.rescaled(values), [[-3.0, -1.0, 0.4]], atol=1e-6)
    np.testing.assert_allclose(matrix.unscaled(matrix.rescaled(values)), values, rtol=1e-6)


def test_vectors_in_the_user_s_units(matrix):
    vectors = matrix.vectors(("smile", "yaw"), 5)
    assert vectors.shape == (2, 5, 4)
    weight = np.asarray(matrix.weight[...])
    np.testing.assert_allclose(vectors[0, :2], weight[..., 2] * 2.0 * 0.4, rtol=1e-6)
    np.testing.assert_allclose(vectors[1, :2], weight[..., 0] * -0.15, rtol=1e-6)
    assert not vectors[:, 2:].any()


def test_one_row_for_all_of_them():
    config = dataclasses.replace(CONFIG, shared=True)
    matrix = DirectionMatrix(config, rngs=nnx.Rngs(0))
    assert matrix.weight[...].shape == (1, 4, 3)
    dw = matrix.shift(jnp.ones((2, 3)))
    np.testing.assert_array_equal(dw[:, 0], dw[:, 1])
    assert matrix.vectors(("yaw",), 3).shape == (1, 3, 4)


@pytest.mark.parametrize("bias", [False, True])
def test_survives_its_file(bias, tmp_path):
    matrix = DirectionMatrix(dataclasses.replace(CONFIG, bias=bias), rngs=nnx.Rngs(0))
    save_network(tmp_path / "matrix", matrix)
    loaded = load_network(tmp_path / "matrix")
    assert loaded.config == matrix.config
    change = jnp.ones((1, 3))
    np.testing.assert_array_equal(loaded.shift(change), matrix.shift(change))


def test_what_is_refused(matrix):
    for call, message in (
        (lambda: matrix.shift(jnp.zeros((1, 4))), "expected a change"),
        (lambda: matrix(jnp.zeros((2, 5, 4)), jnp.zeros((1, 3))), "expected w_plus"),
        (lambda: matrix(jnp.zeros((1, 1, 4)), jnp.zeros((1, 3))), "2 or more"),
        (lambda: matrix.vectors(("smiles",), 5), "did you mean 'smile'"),
        (lambda: matrix.vectors(("smile",), 1), "moves 2 rows"),
        (lambda: dataclasses.replace(CONFIG, names=("a", "a")), "all different"),
        (lambda: dataclasses.replace(CONFIG, rows=0), "must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_gradients_reach_the_weights_alone(matrix):
    def total(matrix):
        return matrix.shift(jnp.ones((2, 3))).sum()

    graphdef, params, rest = nnx.split(matrix, nnx.Param, ...)
    gradient = jax.grad(lambda params: total(nnx.merge(graphdef, params, rest)))(params)
    (leaf,) = jax.tree.leaves(gradient)
    np.testing.assert_array_equal(leaf, 2 * np.ones((2, 4, 3)))
