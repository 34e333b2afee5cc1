"""Ranger against the numbers of the encoders' published optimiser, and a loop in float64."""

import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.training.ranger import ranger

FIXTURES = Path(
    os.environ.get("JAXFACE_FIXTURES") or Path(__file__).parents[2] / ".." / "shared" / "fixtures"
)

# Rows of the fixture, and our options. The published optimiser ignores its switch of the
# centralisation: the two rows are equal there.
RUNS = {
    "default": {},
    "weight_decay": {"weight_decay": 0.1},
    "no_centralisation": {},
    "k2_alpha08": {"sync_period": 2, "slow_step_size": 0.8},
}
# PyTorch's layout to ours, whose output axis is the last one.
LAYOUTS = {
    "matrix": lambda x: np.moveaxis(x, -2, -1),
    "conv": lambda x: np.moveaxis(x, (-4, -3, -2, -1), (-1, -2, -4, -3)),
    "bias": lambda x: x,
}


def taken_steps(optimizer, params, grads):
    """Parameters after each step, and the last state."""

    @jax.jit
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state, rows = optimizer.init(params), []
    for number in range(len(jax.tree.leaves(grads)[0])):
        now = jax.tree.map(lambda g, i=number: jnp.asarray(g[i]), grads)
        params, state = step(params, state, now)
        rows.append(params)
    return jax.tree.map(lambda *each: np.stack(each), *rows), state


def assert_close(found, expected, what):
    """To 1e-6 of the largest number; the two float32 programs differ by 2.5e-7 from float64."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < 1e-6, f"{what}: {difference:.1e}"


@pytest.fixture(scope="module")
def reference():
    path = FIXTURES / "transfer" / "ranger.npz"
    if not path.is_file():
        pytest.skip(f"no parity fixtures in {FIXTURES} (set JAXFACE_FIXTURES)")
    return np.load(path)


@pytest.mark.parametrize("run", RUNS)
def test_every_step_is_the_published_optimisers(run, reference):
    params, grads, expected = (
        {name: layout(reference[f"{kind}|{name}"]) for name, layout in LAYOUTS.items()}
        for kind in ("init", "grads", run)
    )
    found, state = taken_steps(ranger(1e-2, **RUNS[run]), params, grads)
    for name, layout in LAYOUTS.items():
        assert_close(found[name], expected[name], f"{run} {name}")
        if run == "default":
            kept = {"exp_avg": state.mean, "exp_avg_sq": state.square, "slow_buffer": state.slow}
            for theirs, ours in kept.items():
                stored = layout(reference[f"state_last|{name}|{theirs}"])
                assert_close(ours[name], stored, theirs)


def plain_loop(
    params, grads, *, rate, b1=0.95, b2=0.999, eps=1e-5, k=6, alpha=0.5, centralise=True
):
    """The module's formulas, one parameter, in float64."""
    p = np.asarray(params, np.float64)
    m, v, slow, rows = np.zeros_like(p), np.zeros_like(p), p.copy(), []
    whole = 2 / (1 - b2) - 1
    for t, g in enumerate(np.asarray(grads, np.float64), 1):
        if p.ndim > 1 and centralise:
            g = g - g.mean(axis=tuple(range(p.ndim - 1)), keepdims=True)
        v = b2 * v + (1 - b2) * g * g
        m = b1 * m + (1 - b1) * g
        rho = whole - 2 * t * b2**t / (1 - b2**t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * whole / ((whole - 4) * (whole - 2) * rho))
            p = p - rate * r * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
        else:
            p = p - rate * m / (1 - b1**t)
        if t % k == 0:
            slow = slow + alpha * (p - slow)
            p = slow.copy()
        rows.append(p)
    return np.stack(rows)


@pytest.mark.parametrize("centralise", [True, False])
def test_a_loop_in_float64(centralise):
    rng = np.random.default_rng(3)
    shapes = {"matrix": (3, 4), "conv": (3, 3, 2, 4), "bias": (5,)}
    params = {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}
    grads = {name: np.float32(rng.normal(size=(25, *shape))) for name, shape in shapes.items()}
    found, _ = taken_steps(ranger(1e-2, centralise=centralise), params, grads)
    for name in shapes:
        expected = plain_loop(params[name], grads[name], rate=1e-2, centralise=centralise)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-6)


def test_late_steps_are_exact_too():
    """From the table into the formula, which b2 = 0.98 reaches at step 50."""
    rng = np.random.default_rng(0)
    params, grads = rng.normal(size=(2, 3)), rng.normal(size=(90, 2, 3))
    found, _ = taken_steps(
        ranger(1e-3, b2=0.98), {"p": np.float32(params)}, {"p": np.asarray(grads, np.float32)}
    )
    expected = plain_loop(np.float32(params), np.float32(grads), rate=1e-3, b2=0.98)
    np.testing.assert_allclose(found["p"], expected, rtol=1e-6, atol=1e-6)


def test_the_first_rectified_step_is_the_sixth():
    """Of a scalar gradient of 1: m and v are known, so the sizes of the steps are too."""
    grads = {"p": np.ones((7, 1), np.float32)}
    found, _ = taken_steps(ranger(1.0, sync_period=100), {"p": np.zeros(1, np.float32)}, grads)
    steps = np.diff(np.concatenate([np.zeros((1, 1)), found["p"]]), axis=0)[:, 0]
    np.testing.assert_allclose(steps[:5], -1.0, rtol=1e-5)
    np.testing.assert_allclose(steps[5], -0.0258, rtol=1e-2)  # r; eps is 1e-4 of the root of v


def test_a_schedule_counts_the_steps_done():
    grads = {"p": np.ones((3, 2), np.float32)}
    found, _ = taken_steps(ranger(lambda done: 1.0 * done), {"p": np.zeros(2, np.float32)}, grads)
    np.testing.assert_allclose(found["p"][:, 0], [0, -1, -3], rtol=1e-5)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="b2 between 2/3 and 1"):
        ranger(b2=0.5)
    optimizer = ranger()
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update({"p": jnp.ones(2)}, optimizer.init({"p": jnp.ones(2)}))
