"""ReStyle's iteration against the same steps taken one by one; parity with the authors' code is in
``tests/convert/test_encoder_checkpoints.py``."""

import dataclasses
import functools

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.methods import restyle
from jaxface.nets import EncoderConfig, GeneratorConfig

CONFIG = EncoderConfig((2, 2, 3, 3), (1, 1, 1, 1), num_ws=4, w_dim=5, resolution=32)
GENERATOR = GeneratorConfig(8, z_dim=5, w_dim=5, mapping_layers=1, channel_base=32, channel_max=4)

# Unoptimised code compiles in half the time, and these networks run in no time at all.

invert = jax.jit(restyle.invert, static_argnames="iterations")
step = jax.jit(
    lambda encoder, generator, images, w_plus: encoder(
        images, generator.synthesis(w_plus, "const"), w_plus
    )
)
synthesise = jax.jit(lambda generator, w_plus: generator.synthesis(w_plus))


@pytest.fixture(
    scope="module",
    params=[
        "RestylePSPEncoder",
        pytest.param("RestyleE4EEncoder", marks=pytest.mark.slow),
    ],
)
def encoder(request, random_network):
    network = irse_reference.tame(random_network(request.param, CONFIG))
    for block in network.styles:  # steps of about a tenth of the codes
        block.dense.weight[...] *= 0.01
    return network


@pytest.fixture(scope="module")
def generator(random_network):
    return random_network("Generator", GENERATOR)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (3, 40, 40, 3)).astype(np.float32)


def test_iterations_are_single_steps_from_the_mean(encoder, generator, images):
    found = invert(encoder, generator, images, iterations=3)
    w_plus = jnp.repeat(encoder.w_start[...][None], 3, axis=0)
    assert found.trace.shape == (3, 3, 4, 5)
    for n in range(3):
        before, w_plus = w_plus, step(encoder, generator, images, w_plus)
        assert np.abs(w_plus - before).max() > 1e-3
        # The two programs sum in another order, and each step starts from the last.
        np.testing.assert_allclose(found.trace[:, n], w_plus, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.w_plus, found.trace[:, -1])
    expected = synthesise(generator, found.w_plus)
    np.testing.assert_allclose(found.images, expected, rtol=1e-3, atol=1e-3)


def test_an_item_does_not_depend_on_its_batch(encoder, generator, images):
    together = invert(encoder, generator, images, iterations=2)
    alone = invert(encoder, generator, images[1:2], iterations=2)
    np.testing.assert_allclose(together.w_plus[1:2], alone.w_plus, rtol=1e-3, atol=1e-4)


def test_five_iterations_are_the_default_and_compile_once(encoder, generator, images):
    shapes = jax.eval_shape(restyle.invert, encoder, generator, images)
    assert shapes.trace.shape[1] == restyle.ITERATIONS == 5
    text = jax.jit(restyle.invert).lower(encoder, generator, images).as_text()
    # One body for all iterations: the trunk's first convolution occurs once.
    kernel = "x".join(map(str, encoder.body.conv.weight.shape))
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert sum(f"tensor<{kernel}xf32>" in line for line in convolutions) == 1


def test_networks_that_do_not_belong_together_are_refused(encoder, generator, random_network):
    images = jnp.zeros((1, 32, 32, 3))
    other = random_network("Generator", dataclasses.replace(GENERATOR, resolution=16))
    with pytest.raises(ValueError, match=r"gives codes \[4, 5\], the generator takes \[6, 5\]"):
        restyle.invert(encoder, other, images)
    with pytest.raises(ValueError, match="at least one iteration, got 0"):
        restyle.invert(encoder, generator, images, iterations=0)
    once = functools.partial(restyle.invert, iterations=1)
    with pytest.raises(ValueError, match="expected aligned portraits"):
        jax.eval_shape(once, encoder, generator, images[:, :, :8])
