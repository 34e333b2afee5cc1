"""The running average of weights."""

import jax.numpy as jnp
import pytest

from jaxface.training.ema import ema_decay, update_ema


def test_ema_has_its_half_life():
    average = {"w": jnp.array(1.0), "count": jnp.array(3)}
    decay = ema_decay(10, half_life=100.0)
    for _ in range(10):
        average = update_ema(average, {"w": jnp.array(0.0), "count": jnp.array(7)}, decay)
    assert average["w"] == pytest.approx(0.5, rel=1e-5)  # float32 products of ten factors
    assert average["count"] == 7
    # While young the half-life is a twentieth of what was seen (`ema_rampup` 0.05).
    young = ema_decay(10, half_life=100.0, seen=jnp.array(400), ramp=0.05)
    assert float(young) == pytest.approx(0.5 ** (10 / 20))
    assert float(ema_decay(10, half_life=100.0, seen=jnp.array(0), ramp=0.05)) == 0.0
