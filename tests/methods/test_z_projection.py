"""Inversion in Z at a tiny size: codes are the mapping's, and the prior holds z back."""

import dataclasses
import shutil

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.keys import item_keys
from jaxface.methods import z_projection
from jaxface.methods.inversion import invert
from jaxface.methods.presets import PRESETS, preset
from jaxface.nets import EncoderConfig
from jaxface.suite import load_suite
from jaxface.weights import save_network

QUICK = dataclasses.replace(
    z_projection.EMBEDDED,
    layers=(("conv1_1", 1.0),),
    perceptual_weight=1e-3,
    code_steps=20,
    steps=30,
    step_size=0.1,
)


@pytest.fixture(scope="module", name="suite")
def suite_with_an_encoder(tiny_suite, random_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("z") / "suite"
    shutil.copytree(tiny_suite, folder)
    config = EncoderConfig((2, 2, 3, 3), (1, 1, 1, 1), num_ws=6, w_dim=32, resolution=32)
    encoder = irse_reference.tame(random_network("E4EEncoder", config))
    for block in encoder.styles:  # codes of the size of the mapping's
        block.dense.weight[...] *= 0.01
    save_network(folder / "encoder.safetensors", encoder)
    return load_suite(folder)


@pytest.fixture(scope="module", name="portraits")
def samples_of_the_generator(suite):
    z = jax.random.normal(jax.random.key(3), (3, 32))
    images = jax.jit(lambda g, z: g.synthesis(g.mapping(z)))(suite.generator, z)
    return np.asarray(images / jnp.abs(images).max()), item_keys(jax.random.key(1), ["a", "b", "c"])


def inverted(suite, portraits, settings):
    images, keys = portraits
    return invert(settings, suite, images, keys=keys, networks_key=jax.random.key(2))


@pytest.fixture(scope="module", name="found")
def inverted_batch(suite, portraits):
    return inverted(suite, portraits, QUICK)


def test_codes_are_one_row_that_the_mapping_gives(found):
    assert found.w_plus.shape == (3, 6, 32)
    np.testing.assert_array_equal(found.w_plus, np.repeat(found.w_plus[:, :1], 6, axis=1))
    assert found.weights is None
    assert found.steps.tolist() == [50, 50, 50]


def test_both_stages_bring_their_own_energy_down(found):
    code, image = found.traces["code"]["code"], found.traces["z"]["loss"]
    assert np.all(code[-1] < code[0])
    assert np.all(found.losses["loss"] < image[0])
    total = found.losses["l2"] + QUICK.perceptual_weight * found.losses["perceptual"]
    total = total + QUICK.prior_weight * found.losses["prior"]
    np.testing.assert_allclose(found.losses["loss"], total, rtol=1e-5)


def test_the_prior_holds_z_back(suite, portraits, found):
    strong = inverted(suite, portraits, dataclasses.replace(QUICK, prior_weight=10.0))
    assert np.all(strong.losses["prior"] < 0.5 * found.losses["prior"])


def test_a_portrait_does_not_depend_on_its_neighbours(suite, portraits, found):
    images, keys = portraits
    other = np.stack([images[0], -images[1], images[2][::-1]])
    again = inverted(suite, (other, keys), QUICK)
    np.testing.assert_array_equal(again.w_plus[0], found.w_plus[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "code_steps and steps must be >= 1, got 300 and 0"),
        ({"layers": ()}, "layers must name"),
        ({"dtype": "float16"}, "dtype must be"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(z_projection.EMBEDDED, **changes)


def test_the_preset():
    assert PRESETS["z_embedded"] == z_projection.EMBEDDED
    assert preset("z_embedded", steps=5).steps == 5
