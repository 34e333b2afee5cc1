"""Coherent inversion, on an energy whose minimum is known: no networks are needed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.methods.coherent import Frames, coherent, has_stage_in_w_plus
from jaxface.methods.inversion import Inverted
from jaxface.solving.procedure import Compiled, Procedure
from jaxface.solving.solver import Stage

IMAGES = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 2, 3)
SMOOTH = np.full((2, 4, 3), 0.5, np.float32)
START = np.full((2, 4, 3), -0.25, np.float32)


class Known(NamedTuple):
    images: jax.Array


def energy(w_plus, networks, targets, keys, step):
    """The mean squared distance of every row to the image's mean colour."""
    del networks, keys, step
    loss = jnp.mean((w_plus - targets.images.mean((1, 2))[:, None]) ** 2, axis=(1, 2))
    return loss, {"fit": loss}


def procedure(*names, steps=40):
    return Procedure(
        start=lambda networks, images: jnp.zeros((len(images), 4, 3)),
        targets=lambda networks, images: Known(images),
        stages=tuple(Stage(name, energy, optax.sgd(2.0), steps) for name in names),
        finish=lambda networks, targets, w_plus, keys: Inverted(w_plus, targets.images, {}),
    )


def solved(smoothness, **others):
    run = Compiled(coherent(procedure("w", "w_plus", **others), smoothness))
    return run(None, Frames(IMAGES, START, SMOOTH), jax.random.split(jax.random.key(0), 2))


def test_a_frame_begins_where_it_is_told_and_the_stage_in_w_is_left_out():
    result = solved(0.0, steps=1)
    assert list(result.traces) == ["w_plus"]
    begun = ((START - IMAGES.mean((1, 2))[:, None]) ** 2).mean((1, 2))
    np.testing.assert_allclose(result.traces["w_plus"]["fit"][0], begun, rtol=1e-5)
    assert "smoothness" not in result.traces["w_plus"]


def test_the_pull_is_as_strong_as_its_weight_says():
    fit = IMAGES.mean((1, 2))[:, None]
    plain = np.asarray(solved(0.0).results.w_plus)
    np.testing.assert_allclose(plain, np.broadcast_to(fit, plain.shape), atol=1e-4)
    result = solved(0.5)
    expected = (fit + 0.5 * SMOOTH) / 1.5  # the minimum of (w - fit)^2 + 0.5 (w - smooth)^2
    np.testing.assert_allclose(result.results.w_plus, expected, atol=1e-4)
    left = ((expected - SMOOTH) ** 2).mean((1, 2))
    np.testing.assert_allclose(result.traces["w_plus"]["smoothness"][-1], left, rtol=1e-2)


def test_a_method_without_a_stage_in_w_plus_is_refused():
    assert not has_stage_in_w_plus(procedure("w"))
    with pytest.raises(ValueError, match="none named 'w_plus'"):
        coherent(procedure("w"), 0.0)
