"""The compiled solver on small problems whose answers are known."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from jaxface.keys import item_keys
from jaxface.solving.solver import Solver, Stage, Status
from tests.collectives import assert_no_word_between_devices

PINNED = [741623866, 3230911702]  # key(0) of the item "a"


def quadratic(variables, networks, targets, keys, step):
    """||A x - b||^2 of each row, with A the shared network."""
    residual = variables["x"] @ networks["A"] - targets["b"]
    loss = jnp.sum(residual**2, axis=1)
    return loss, {"largest": jnp.max(jnp.abs(residual), axis=1)}


def noisy(variables, networks, targets, keys, step):
    """A loss whose gradient has a random part of each row's own."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    loss = jnp.sum((variables["x"] - targets["b"] + 0.1 * noise) ** 2, axis=1)
    return loss, {}


def stage(name="descent", energy=quadratic, optimizer=None, steps=20, **options):
    return Stage(
        name=name, energy=energy, optimizer=optimizer or optax.adam(0.1), steps=steps, **options
    )


def problem(rows, seed=0):
    rng = np.random.default_rng(seed)
    variables = {"x": np.zeros((rows, 3), np.float32)}
    networks = {"A": (np.eye(3) + 0.1 * rng.normal(size=(3, 3))).astype(np.float32)}
    targets = {"b": rng.normal(size=(rows, 3)).astype(np.float32)}
    return variables, networks, targets, item_keys(jax.random.key(7), list(map(str, range(rows))))


def rows_of(tree, rows):
    return jax.tree.map(lambda leaf: leaf[rows], tree)


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_each_row_follows_its_own_optimiser(strategy):
    variables, networks, targets, keys = problem(4)
    # The global norm is a row's own only if the optimiser sees one row at a time.
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1))
    solver = Solver([stage(optimizer=optimizer)], chunk=7, strategy=strategy)
    solution = solver(variables, networks, targets, keys)

    @jax.jit
    def alone(x, state, b):
        def loss(x):
            return quadratic(x, networks, {"b": b[None]}, keys, 0)[0][0]

        value, gradient = jax.value_and_grad(loss)(x)
        updates, state = optimizer.update(gradient, state, x)
        return optax.apply_updates(x, updates), state, value

    for row in range(4):
        x = {"x": jnp.zeros((1, 3))}
        state = optimizer.init(x)
        for step in range(20):
            x, state, value = alone(x, state, targets["b"][row])
            # Twenty float32 steps, summed in another order: 1e-6 each.
            trace = solution.traces["descent"]["loss"][step, row]
            np.testing.assert_allclose(trace, value, rtol=2e-5)
        np.testing.assert_allclose(solution.variables["x"][row], x["x"][0], atol=2e-5)
    assert solution.traces["descent"]["largest"].shape == (20, 4)
    assert solution.steps.tolist() == [20] * 4
    assert solution.status.tolist() == [Status.RUNNING] * 4


def test_stages_hand_over_their_variables():
    variables, networks, targets, keys = problem(2)

    def widened(variables, networks, targets, keys, step):
        x = variables["x"].mean(axis=1)
        return quadratic({"x": x}, networks, targets, keys, step)

    def widen(networks, variables):
        return {"x": jnp.stack([variables["x"]] * 5, axis=1)}

    first = stage("narrow", steps=10)
    second = stage("wide", energy=widened, start=widen, steps=10)
    solution = Solver([first, second])(variables, networks, targets, keys)
    assert solution.variables["x"].shape == (2, 5, 3)
    narrow = Solver([first])(variables, networks, targets, keys)
    loss, _ = quadratic(narrow.variables, networks, targets, keys, 0)
    # The second stage begins exactly where the first ended; the mean of equals rounds once.
    np.testing.assert_allclose(solution.traces["wide"]["loss"][0], loss, rtol=1e-5)
    assert np.all(solution.traces["wide"]["loss"][-1] < loss)
    assert solution.steps.tolist() == [20, 20]


def test_nothing_is_traced_or_compiled_twice():
    traces = []

    def counted(*args):
        traces.append(1)
        return quadratic(*args)

    solver = Solver([stage(energy=counted)], chunk=5)
    first = solver(*problem(4))
    count = len(traces)
    second = solver(*problem(4, seed=1))
    assert len(traces) == count  # four chunks and a second batch of other values
    assert solver.num_compiles == 2  # the start of the stage, and its step
    assert first.compile_seconds > 0
    assert second.compile_seconds == 0
    assert second.seconds > 0


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_networks_are_arguments(strategy):
    variables, _, targets, keys = problem(2)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1 << 16)), jnp.float32)

    def argument(variables, networks, targets, keys, step):
        return jnp.sum((variables["x"] @ networks["weights"]) ** 2, axis=1), {}

    def closure(variables, networks, targets, keys, step):
        return argument(variables, {"weights": weights}, targets, keys, step)

    def largest_constant(energy):
        solver = Solver([stage(energy=energy, steps=1)], strategy=strategy)
        solver(variables, {"weights": weights}, targets, keys)
        (program,) = solver.iterations["descent"].programs.values()
        (compiled,) = program.executables
        shapes = re.findall(r"\[([\d,]*)\]\S* constant\(", compiled.as_text())
        return max(np.prod([int(size) for size in shape.split(",") if size]) for shape in shapes)

    assert largest_constant(argument) < 100
    assert largest_constant(closure) >= weights.size  # so the test sees what it looks for


def test_a_row_that_diverges_is_frozen_and_reported():
    variables, networks, targets, keys = problem(4)

    def fragile(variables, networks, targets, keys, step):
        loss, metrics = quadratic(variables, networks, targets, keys, step)
        return jnp.where((step >= targets["fails_at"]), jnp.nan, loss), metrics

    targets["fails_at"] = np.array([99, 99, 5, 99])
    solver = Solver([stage(energy=fragile), stage("again", energy=fragile)], chunk=4)
    bad = solver(variables, networks, targets, keys)
    good = solver(variables, networks, {**targets, "fails_at": np.full(4, 99)}, keys)
    assert bad.status.tolist() == [Status.RUNNING] * 2 + [Status.DIVERGED, Status.RUNNING]
    assert bad.steps.tolist() == [40, 40, 5, 40]
    assert np.all(np.isfinite(bad.variables["x"]))
    assert np.all(np.isfinite(bad.traces["descent"]["loss"]))
    others = np.array([0, 1, 3])
    # The same program on the same rows: not a bit may differ.
    np.testing.assert_array_equal(bad.variables["x"][others], good.variables["x"][others])
    five = Solver([stage(steps=5)])(*problem(4))
    np.testing.assert_allclose(bad.variables["x"][2], five.variables["x"][2], atol=1e-6)


def test_a_gradient_that_is_not_finite_counts_as_divergence():
    variables, networks, targets, keys = problem(2)

    def kink(variables, networks, targets, keys, step):  # sqrt has an infinite slope at 0
        return jnp.sum(jnp.sqrt(jnp.abs(variables["x"])) * targets["b"], axis=1), {}

    variables["x"][1] = 1
    solution = Solver([stage(energy=kink, steps=1)])(variables, networks, targets, keys)
    assert solution.status.tolist() == [Status.DIVERGED, Status.RUNNING]
    np.testing.assert_array_equal(solution.variables["x"][0], 0)


def test_a_row_stops_when_its_loss_is_low_enough():
    variables, networks, targets, keys = problem(4)
    targets["b"] *= np.array([0.01, 1, 1, 1], np.float32)[:, None]
    solver = Solver([stage(steps=60, stop_below=0.1)], chunk=4)
    solution = solver(variables, networks, targets, keys)
    assert solution.status.tolist() == [Status.CONVERGED] * 4
    assert solution.steps[0] == 0
    assert np.all(solution.steps[1:] > 1)
    loss, _ = quadratic(solution.variables, networks, targets, keys, 0)
    assert np.all(loss < 0.1)
    # All had stopped before the stage's end, so the host ended it.
    assert len(solution.traces["descent"]["loss"]) < 60
    np.testing.assert_array_equal(
        solution.traces["descent"]["loss"][-1], solution.traces["descent"]["loss"].min(axis=0)
    )
    # A later stage with a lower threshold takes it up again.
    both = [stage(steps=60, stop_below=0.1), stage("finer", steps=60, stop_below=0.01)]
    finer = Solver(both)(variables, networks, targets, keys)
    assert np.all(finer.steps[1:] > solution.steps[1:])


def test_a_row_can_stop_on_a_metric():
    variables, networks, targets, keys = problem(4)
    targets["b"] *= np.array([0.01, 1, 1, 1], np.float32)[:, None]
    solver = Solver([stage(steps=60, stop_below=0.2, stop_on="largest")], chunk=4)
    solution = solver(variables, networks, targets, keys)
    assert solution.status.tolist() == [Status.CONVERGED] * 4
    loss, metrics = quadratic(solution.variables, networks, targets, keys, 0)
    assert np.all(metrics["largest"] < 0.2)
    assert solution.steps[0] == 0
    assert np.max(loss) > 0.01  # the metric's threshold, not the loss's


def test_padding_stays_where_it_is():
    variables, networks, targets, keys = problem(4)
    mask = np.array([True, True, False, False])
    padded = Solver([stage()])(variables, networks, targets, keys, mask=mask)
    assert padded.status.tolist() == [Status.RUNNING] * 2 + [Status.PADDING] * 2
    assert padded.steps.tolist() == [20, 20, 0, 0]
    np.testing.assert_array_equal(padded.variables["x"][2:], 0)
    full = Solver([stage()])(variables, networks, targets, keys)
    np.testing.assert_array_equal(padded.variables["x"][:2], full.variables["x"][:2])


@pytest.mark.parametrize("energy", [quadratic, noisy])
def test_a_row_does_not_depend_on_its_batch(energy):
    variables, networks, targets, keys = problem(8)
    solver = Solver([stage(energy=energy)])
    batch = solver(variables, networks, targets, keys)
    one = slice(5, 6)
    alone = solver(rows_of(variables, one), networks, rows_of(targets, one), keys[one])
    # Another batch size is another program, which may sum a dot product in another order: one
    # float32 rounding a step, 20 steps of size 0.1.
    np.testing.assert_allclose(batch.variables["x"][one], alone.variables["x"], atol=1e-5)
    np.testing.assert_allclose(
        batch.traces["descent"]["loss"][:, one], alone.traces["descent"]["loss"], atol=1e-5
    )


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_eight_devices_give_what_one_gives_and_do_not_talk(strategy):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    one = Solver([stage(energy=noisy)], chunk=10, strategy=strategy)(*problem(16))
    solver = Solver([stage(energy=noisy)], chunk=10, mesh=mesh, strategy=strategy)
    eight = solver(*problem(16))
    # As between batch sizes: 20 float32 roundings.
    np.testing.assert_allclose(eight.variables["x"], one.variables["x"], atol=1e-5)
    assert len(eight.variables["x"].sharding.device_set) == 8
    # The outputs come back placed as the inputs were, so one program serves both chunks.
    assert solver.iterations["descent"].num_compiles == 1
    (program,) = solver.iterations["descent"].programs.values()
    assert_no_word_between_devices(program)


def test_the_caller_keeps_its_arrays_and_the_program_reuses_its_own():
    variables, networks, targets, keys = problem(4)
    variables = jax.tree.map(jnp.asarray, variables)
    solver = Solver([stage()])
    solver(variables, networks, targets, keys)
    np.testing.assert_array_equal(variables["x"], 0)  # raises if the buffer was donated
    (program,) = solver.iterations["descent"].programs.values()
    (compiled,) = program.executables
    # Variables and Adam's two moments, 4 x 3 float32 each, at the least.
    assert compiled.memory_analysis().alias_size_in_bytes >= 3 * 48


def test_progress_is_reported_once_a_chunk():
    seen = []
    stages = [stage("first", steps=10), stage("second", steps=4)]
    Solver(stages, chunk=4)(*problem(3), progress=seen.append)
    assert [(p.stage, p.step, p.steps, p.done) for p in seen] == [
        ("first", 4, 10, 4),
        ("first", 8, 10, 8),
        ("first", 10, 10, 10),
        ("second", 4, 4, 14),
    ]
    assert {p.total for p in seen} == {14}
    assert {p.running for p in seen} == {3}
    assert seen[-1].loss.shape == (3,)
    assert seen[-1].loss.sum() < seen[0].loss.sum()
    assert 0 < seen[0].compile_seconds < seen[-1].seconds


def test_keys_belong_to_ids():
    key = jax.random.key(0)
    keys = item_keys(key, ["a", "b", "c"])
    again = item_keys(key, ["c", "a"])
    bits = jax.random.key_data
    np.testing.assert_array_equal(bits(keys)[np.array([2, 0])], bits(again))
    assert len(np.unique(bits(keys), axis=0)) == 3
    assert np.any(bits(item_keys(jax.random.key(1), ["a"])) != bits(keys)[0])
    # Pinned: a result is reproduced from its id and key by any later version.
    assert bits(keys)[0].tolist() == PINNED


def test_wrong_calls_are_refused():
    variables, networks, targets, keys = problem(4)
    with pytest.raises(ValueError, match=r"\['targets'\]\['b'\] has shape \(3, 3\).*4 rows"):
        Solver([stage()])(variables, networks, rows_of(targets, slice(3)), keys)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with pytest.raises(ValueError, match="4 rows do not divide over 8 devices"):
        Solver([stage()], mesh=mesh)(variables, networks, targets, keys)
    with pytest.raises(ValueError, match="distinct names"):
        Solver([stage(), stage()])
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        stage(steps=0)
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        Solver([stage()], chunk=0)
