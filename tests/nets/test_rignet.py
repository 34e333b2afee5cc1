"""RigNet: against a loop over its rows, its start, its file, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.morphable import EDITABLE_GROUPS, group_width
from jaxface.nets import RigNet, RigNetConfig
from jaxface.vocabulary import GROUP_WIDTHS
from jaxface.weights import load_network, network_arrays, save_network

CONFIG = RigNetConfig("pose", num_ws=4, w_dim=7, hidden=3)


@pytest.fixture(scope="module")
def rignet(random_network):
    return random_network("RigNet", CONFIG)


@pytest.fixture(scope="module")
def inputs():
    w_plus = jax.random.normal(jax.random.key(0), (2, 4, 7))
    return w_plus, jax.random.normal(jax.random.key(1), (2, 6))


def test_begins_as_the_identity(inputs):
    fresh = RigNet(CONFIG, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(fresh(*inputs), inputs[0])
    # and is not stuck there
    gradient = jax.grad(lambda net: jnp.sum(net(*inputs)))(fresh)
    assert np.abs(gradient.decoder[...]).max() > 0.1


def test_every_row_has_its_own_linear_maps(rignet, inputs):
    w_plus, parameters = (np.asarray(x, np.float64) for x in inputs)
    p = {name: value.astype(np.float64) for name, value in network_arrays(rignet).items()}
    wanted = (parameters - p["mean"]) / p["scale"]
    expected = np.empty_like(w_plus)
    for item in range(2):
        for row in range(4):
            w = w_plus[item, row]
            code = w @ p["encoder"][row] + p["encoder_bias"][row]
            residual = np.concatenate([code, wanted[item]]) @ p["decoder"][row]
            expected[item, row] = w + residual + p["decoder_bias"][row]
    # 1e-5 of the largest: float32 sums of a dozen products.
    found = rignet(*inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_more_rows_leave_the_first_ones_edits_as_they_were(rignet):
    larger = rignet.with_rows(6, rngs=nnx.Rngs(3))
    w_plus = jax.random.normal(jax.random.key(4), (2, 6, 7))
    parameters = jax.random.normal(jax.random.key(5), (2, 6))
    found = larger(w_plus, parameters)
    np.testing.assert_allclose(found[:, :4], rignet(w_plus[:, :4], parameters), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 4:], w_plus[:, 4:])
    # and the new ones are not stuck there
    gradient = jax.grad(lambda net: jnp.sum(jnp.square(net(w_plus, parameters))))(larger)
    assert np.abs(gradient.decoder[...][4:]).max() > 0.1
    with pytest.raises(ValueError, match="from 4 rows"):
        rignet.with_rows(3, rngs=nnx.Rngs(3))


def test_survives_its_file(rignet, inputs, tmp_path):
    save_network(tmp_path / "rignet_pose.safetensors", rignet)
    again = load_network(tmp_path / "rignet_pose.safetensors")
    assert again.config == CONFIG
    np.testing.assert_array_equal(again(*inputs), rignet(*inputs))


def test_derives_the_parameters_from_the_group():
    widths = {group: RigNetConfig(group, num_ws=2).num_parameters for group in EDITABLE_GROUPS}
    assert widths == {"pose": 6, "expression": 64, "illumination": 27}
    assert widths == GROUP_WIDTHS == {group: group_width(group) for group in EDITABLE_GROUPS}
    assert group_width("identity") == 160


def test_refusals(rignet, inputs):
    w_plus, parameters = inputs
    with pytest.raises(ValueError, match="'identity'; expected one of pose, expression, illum"):
        RigNetConfig("identity", num_ws=4)
    with pytest.raises(ValueError, match="hidden 0"):
        RigNetConfig("pose", num_ws=4, hidden=0)
    with pytest.raises(ValueError, match=r"w_plus \[N, 4, 7\], got \[2, 3, 7\]"):
        rignet(w_plus[:, :3], parameters)
    with pytest.raises(ValueError, match=r"of pose \[2, 6\], got \[2, 5\]"):
        rignet(w_plus, parameters[:, :5])
