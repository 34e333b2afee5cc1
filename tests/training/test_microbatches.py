"""Gradients taken in microbatches: those of the whole batch, in the memory of a part."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.nets.stylegan2.discriminator import minibatch_std
from jaxface.runtime.devices import data_mesh
from jaxface.training import microbatches
from jaxface.training.loop import replicate, shard_batch
from jaxface.training.microbatches import mean_gradients


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_mean_gradients_equals_the_whole_batch(monkeypatch, strategy):
    monkeypatch.setattr(microbatches, "platform_strategy", lambda: strategy)
    x = jax.random.normal(jax.random.key(0), (12, 5))
    weights = jax.random.normal(jax.random.key(1), (5,))

    def loss(weights, part, number):
        products = (part["x"] @ weights).reshape(-1, 2)
        pairs = products[:, 0] * products[:, 1] + part["y"].reshape(-1, 2).sum(1)
        return jnp.mean(pairs**2), {"number": number.astype(float), "mean": jnp.mean(part["x"])}

    batch = {"x": x, "y": jnp.arange(12.0)}
    (value, _), gradient = mean_gradients(loss, weights, batch)
    (parts_value, aux), parts_gradient = mean_gradients(loss, weights, batch, parts=3, group=2)
    # Two orders of summing float32 terms.
    np.testing.assert_allclose(parts_value, value, rtol=1e-5)
    np.testing.assert_allclose(parts_gradient, gradient, rtol=1e-5)
    np.testing.assert_allclose(aux["mean"], x.mean(), rtol=1e-5)
    assert aux["number"] == 1  # the mean of 0, 1 and 2
    with pytest.raises(ValueError, match="a multiple of 10, got"):
        mean_gradients(loss, weights, batch, parts=5, group=2)


@pytest.mark.slow
def test_microbatches_keep_statistics_over_strided_groups():
    """StyleGAN2's minibatch deviation: the same groups in every part."""
    x = jax.random.normal(jax.random.key(0), (16, 2, 2, 4))

    def loss(scale, x, number):
        maps = minibatch_std(scale * x, group_size=4, num_channels=1)
        return jnp.mean(jnp.tanh(maps)[..., -1]), {}

    whole = mean_gradients(loss, jnp.float32(0.3), x)
    parts = mean_gradients(loss, jnp.float32(0.3), x, parts=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole, parts)


def test_microbatches_take_the_memory_of_one_and_one_reduction(monkeypatch):
    """The accelerators' form, compiled here."""
    monkeypatch.setattr(microbatches, "platform_strategy", lambda: "scan")
    mesh = data_mesh(jax.devices()[:2])
    weights = replicate([jnp.ones((8, 8))] * 6, mesh)
    x = shard_batch(np.ones((512, 8), np.float32), mesh)

    def loss(weights, x, number):
        for weight in weights:
            x = jnp.tanh(x @ weight)
        return jnp.mean(x), {}

    programs = [
        jax.jit(functools.partial(mean_gradients, loss, parts=parts)).lower(weights, x).compile()
        for parts in (1, 4)
    ]
    whole, parts = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert parts < 0.5 * whole  # a quarter, and the sum of the gradients
    texts = [program.as_text() for program in programs]
    # The parts are strided, so that every device has its share of each.
    assert not re.search(r"(all-gather|all-to-all|collective-permute)\(", texts[1])
    reductions = [len(re.findall(r"= [^=]*all-reduce\(", text)) for text in texts]
    assert reductions[1] <= reductions[0]
