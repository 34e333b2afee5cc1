"""The dilated hull and the mappers over it: sums, bounds, the centroid, and what rows move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.latents import blend, dilated, hull_weights, nearest_hull_weights
from jaxface.nets import AvatarConfig, AvatarMappers
from jaxface.weights import load_network, save_network

HOW = {"beta": 0.02, "sharpness": 100.0}


def mappers(rows=10, *, anchors=6, expression_rows=8, **settings):
    config = AvatarConfig(
        anchors=anchors,
        num_ws=rows,
        expression=5,
        w_dim=4,
        expression_rows=expression_rows,
        hidden=8,
        **settings,
    )
    network = AvatarMappers(config, rngs=nnx.Rngs(0))
    values = np.random.default_rng(0).normal(size=(anchors, rows, 4))
    network.anchors[...] = jnp.asarray(values, jnp.float32)
    return network


def driven(count=3):
    rng = np.random.default_rng(1)
    return (jnp.asarray(rng.normal(size=(count, n)), jnp.float32) for n in (2, 5))


@pytest.mark.parametrize(
    ("count", "value", "total"),
    [
        (20, 0.05, 1.0),
        (50, 0.0202, 1.009),
        (100, 0.01049, 1.049),
        (200, 0.005789, 1.158),
        (500, 0.003051, 1.525),
    ],
)
def test_the_start_is_the_centroid(count, value, total):
    """And the values before the division are those of the specification's table."""
    before = dilated(jnp.zeros((1, count)), **HOW)
    np.testing.assert_allclose(before[0, 0], value, rtol=2e-3)
    np.testing.assert_allclose(before.sum(), total, rtol=1e-3)
    np.testing.assert_allclose(hull_weights(jnp.zeros((1, count)), **HOW), 1 / count, rtol=1e-6)


def test_weights_add_up_to_one_within_their_bound():
    residual = jnp.asarray(np.tanh(np.random.default_rng(0).normal(size=(64, 12))), jnp.float32)
    weights, before = hull_weights(residual, **HOW), dilated(residual, **HOW)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    total = before.sum(axis=1, keepdims=True)
    assert (total > 0).all()
    assert (before >= -HOW["beta"]).all()
    assert (weights >= -HOW["beta"] / total - 1e-7).all()
    assert (weights < 0).any()


def test_the_sum_changes_its_sign_where_all_are_at_the_bound():
    """Which whoever trains must insist on; dividing gives the centroid again."""
    at_bound = jnp.full((1, 12), -1 / 12 - 0.02 - 0.5)
    assert dilated(at_bound, **HOW).sum() < -0.2
    np.testing.assert_allclose(hull_weights(at_bound, **HOW), 1 / 12, rtol=1e-5)


def test_one_anchor_is_given_itself():
    network = mappers(anchors=1)
    pose, _ = driven()
    for found in network.turned(pose):
        np.testing.assert_allclose(found, network.anchors[0], rtol=1e-6)


def test_an_anchor_is_reachable():
    residual = jnp.full((1, 12), -1.0).at[0, 3].set(1.0)
    assert hull_weights(residual, **HOW)[0, 3] > 0.99


@pytest.mark.parametrize("rows", [4, 8])
def test_later_rows_are_the_turned_head_s_bit_for_bit(rows):
    """W+ of 10 rows with the published 8, and with their share of the rows."""
    network = mappers(expression_rows=rows)
    pose, expression = driven()
    final, turned = network(pose, expression), network.turned(pose)
    np.testing.assert_array_equal(final[:, rows:], turned[:, rows:])
    assert (np.asarray(final[:, :rows]) != np.asarray(turned[:, :rows])).all()


def test_inputs_are_standardised_by_what_is_stored():
    network = mappers()
    pose, expression = driven()
    moved = mappers()
    moved.pose_mean[...], moved.pose_scale[...] = jnp.array([1.0, 2.0]), jnp.array([2.0, 3.0])
    moved.expression_scale[...] = jnp.full((5,), 2.0)
    same = pose * jnp.array([2.0, 3.0]) + jnp.array([1.0, 2.0])
    np.testing.assert_allclose(network(pose, expression), moved(same, 2 * expression), rtol=1e-4)


def test_direct_regression_begins_at_the_centroid_and_has_no_weights():
    network = mappers(rotation="direct", published_start=False)
    pose, _ = driven()
    centroid = network.anchors[...].mean(axis=0)
    for found in network.turned(pose):
        np.testing.assert_allclose(found, centroid, rtol=1e-6)
    with pytest.raises(ValueError, match="has no blending weights"):
        network.weights(pose)


def test_the_nearest_point_of_the_hull():
    """Its own points stay, others are no nearer to any point of the hull than to what is found."""
    rng = np.random.default_rng(2)
    anchors = jnp.asarray(rng.normal(size=(6, 2, 5)), jnp.float32)
    weights = jnp.asarray(rng.dirichlet(np.ones(6), 4), jnp.float32)
    inside = blend(weights, anchors)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes them
        found = nearest_hull_weights(inside, anchors, beta=0.02)
    np.testing.assert_allclose(blend(found, anchors), inside, atol=2e-3)
    outside = inside + 3.0
    with jax.numpy_dtype_promotion("standard"):
        found = nearest_hull_weights(outside, anchors, beta=0.02)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert found.min() >= -0.02 - 1e-6
    reached = jnp.linalg.norm((blend(found, anchors) - outside).reshape(4, -1), axis=1)
    others = jnp.asarray(rng.dirichlet(np.ones(6), 500) * 1.12 - 0.02, jnp.float32)
    away = blend(others, anchors).reshape(1, 500, -1) - outside.reshape(4, 1, -1)
    assert (reached[:, None] <= jnp.linalg.norm(away, axis=2) + 1e-3).all()


def test_they_are_a_file(tmp_path):
    network = mappers()
    save_network(tmp_path / "mappers.safetensors", network)
    read = load_network(tmp_path / "mappers.safetensors")
    pose, expression = driven()
    np.testing.assert_array_equal(network(pose, expression), read(pose, expression))
    assert read.config == network.config


def test_sizes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="expression_rows from 1 to num_ws"):
        AvatarConfig(anchors=3, num_ws=4, expression=2)


def test_a_step_of_the_weights_has_a_gradient():
    network = mappers(published_start=False)
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    pose, expression = driven()

    def total(params):
        return jnp.sum(jnp.square(nnx.merge(graphdef, params, rest)(pose, expression)))

    gradient = jax.grad(total)(params)
    assert np.abs(np.asarray(gradient["rotation"]["weight2"][...])).max() > 0
