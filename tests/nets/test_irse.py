"""IR-SE: against a float64 loop, its two ways in, and what it refuses."""

import dataclasses

import irse_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.nets import IRSEConfig
from jaxface.nets.recognition.irse import IRSEBody
from jaxface.nets.torch_layers import adaptive_average_pool

CONFIG = IRSEConfig(
    channels=(2, 3, 3, 4),
    units=(2, 1, 1, 1),
    reduction=2,
    embedding_dim=5,
    resolution=32,
    portrait_size=64,
    crop=(9, 55, 8, 56),
)

# Unoptimised code compiles in half the time, and these networks run in no time at all.

embed_portraits = jax.jit(lambda network, images: network(images))
embed = jax.jit(lambda network, crops: network.embed(crops))


@pytest.fixture(scope="module")
def network(random_network):
    return irse_reference.tame(random_network("IRSE", CONFIG))


def pictures(*shape):
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def loop(network, crops):
    """Float64, from the definitions."""

    value, norm = irse_reference.value, irse_reference.norm
    x = norm(irse_reference.body(network.body, crops)[-1], network.norm).reshape(len(crops), -1)
    x = norm(x @ value(network.dense.weight) + value(network.dense.bias), network.output_norm)
    return x / np.sqrt(np.sum(x**2, axis=1, keepdims=True))


def test_embeddings_match_a_float64_loop(network):
    crops = pictures(2, 32, 32, 3)
    # A dozen layers of float32 sums, of embeddings of unit length.
    np.testing.assert_allclose(embed(network, crops), loop(network, crops), atol=2e-5)


@pytest.mark.parametrize("side", [64, 256, 40])
def test_portraits_of_any_size_are_averaged_cropped_and_averaged(network, side):
    images = pictures(2, side, side, 3)
    at_64 = images.astype(np.float64)
    if side == 256:
        at_64 = at_64.reshape(2, 64, 4, 64, 4, 3).mean(axis=(2, 4))
    elif side == 40:  # windows of one or two pixels
        starts, stops = np.arange(64) * 40 // 64, -(-(np.arange(64) + 1) * 40 // 64)
        rows = [at_64[:, a:b].mean(axis=1) for a, b in zip(starts, stops, strict=True)]
        at_64 = np.stack(rows, axis=1)
        columns = [at_64[:, :, a:b].mean(axis=2) for a, b in zip(starts, stops, strict=True)]
        at_64 = np.stack(columns, axis=2)
    face = adaptive_average_pool(jnp.asarray(at_64[:, 9:55, 8:56], jnp.float32), 32)
    # Means of float32 pixels.
    np.testing.assert_allclose(network.crop(jnp.asarray(images)), face, atol=1e-5)
    np.testing.assert_allclose(embed_portraits(network, images), embed(network, face), atol=1e-4)


def test_an_item_does_not_depend_on_its_batch(network):
    images = pictures(3, 64, 64, 3)
    alone = np.concatenate([embed_portraits(network, images[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(embed_portraits(network, images), alone, atol=1e-5)


def test_stages_and_the_number_of_inputs():
    body = nnx.eval_shape(lambda: IRSEBody(CONFIG, in_channels=6, rngs=nnx.Rngs(0)))
    outputs = jax.eval_shape(lambda body, x: body(x), body, jnp.zeros((1, 48, 48, 6)))
    shapes = [stage.shape for stage in outputs]
    assert shapes == [(1, 24, 24, 2), (1, 12, 12, 3), (1, 6, 6, 3), (1, 3, 3, 4)]


@pytest.mark.parametrize(
    "change", [{"reduction": None}, {"output_affine": False}, {"embedding_dim": 3}], ids=str
)
def test_the_configuration_takes_effect(change, random_network):
    network = random_network("IRSE", dataclasses.replace(CONFIG, **change))
    found = embed_portraits(network, pictures(1, 64, 64, 3))
    assert found.shape == (1, network.config.embedding_dim)
    assert (network.body.units[0].squeeze is None) == (network.config.reduction is None)
    assert (network.output_norm.weight is not None) == network.config.output_affine


def test_wrong_pictures_and_sizes_are_refused(network):
    for shape in ((1, 64, 48, 3), (1, 64, 64, 4), (64, 64, 3)):
        with pytest.raises(ValueError, match=r"IRSE: expected aligned portraits \[N, S, S, 3\]"):
            network(jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"expected face crops \[N, 32, 32, 3\], got \[1, 64"):
        network.embed(jnp.zeros((1, 64, 64, 3)))
    for change in (
        {"channels": (1, 2, 3)},
        {"units": (0, 1, 1, 1)},
        {"reduction": 0},
        {"resolution": 100},
        {"embedding_dim": 0},
        {"crop": (0, 65, 0, 64)},
        {"crop": (5, 5, 0, 64)},
    ):
        with pytest.raises(ValueError, match="IRSEConfig"):
            dataclasses.replace(CONFIG, **change)
