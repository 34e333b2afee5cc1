"""Refilled slots: the same results as whole batches, whatever comes when, stops or diverges."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxface.jobs.outputs.snapshots import read_checkpoint, write_checkpoint
from jaxface.keys import item_keys
from jaxface.runtime.devices import data_mesh
from jaxface.solving.continuous_batching import ContinuousBatcher, Problem, Snapshot
from jaxface.solving.solver import Solver, Stage, Status
from tests.collectives import assert_no_word_between_devices

STRATEGIES = pytest.mark.parametrize("strategy", ["host", "scan"])
THRESHOLD = 0.05


def energy(variables, networks, targets, keys, step):
    """A noisy quadratic whose curvature is a row's own, so that rows converge at their own pace."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    difference = variables - targets["centre"]
    loss = targets["curvature"] * jnp.sum(difference**2, -1) + networks["floor"]
    # `fragile` rows have no finite gradient after a full step, but have one after half of it.
    wall = targets["fragile"] * jnp.sqrt(0.1 - targets["fragile"] * jnp.abs(variables[:, 0] - 1))
    return loss + 0.01 * jnp.sum(noise * variables, -1) + 0 * wall, {"step": step}


def stages(steps=(12, 10)):
    return [
        Stage("coarse", energy, optax.adam(0.2), steps[0], stop_below=THRESHOLD),
        Stage("fine", energy, optax.sgd(0.1), steps[1], start=lambda _, v: v + 0.5),
    ]


NETWORKS = {"floor": jnp.zeros(())}


def rows(count):
    rng = np.random.default_rng(0)
    return [
        {
            "centre": rng.normal(size=3).astype(np.float32),
            "curvature": np.float32(rng.uniform(0.2, 4)),
            "fragile": np.float32(0),
        }
        for _ in range(count)
    ]


def problems(inputs, names=None):
    names = names or [f"item {index}" for index in range(len(inputs))]
    keys = np.asarray(jax.random.key_data(item_keys(jax.random.key(3), names)))
    return [Problem(n, row, key) for n, row, key in zip(names, inputs, keys, strict=True)]


def start(networks, inputs):
    return jnp.zeros_like(inputs["centre"]) + networks["floor"]


def finish(networks, targets, variables, keys):
    del keys
    return {"x": variables, "distance": jnp.sum((variables - targets["centre"]) ** 2, -1)}


def slots(size=4, *, strategy="host", chunk=3, mesh=None, steps=(12, 10)):
    solver = Solver(stages(steps), chunk=chunk, mesh=mesh, strategy=strategy)
    return ContinuousBatcher(
        solver, size, start=start, targets=lambda n, inputs: inputs, finish=finish
    )


@pytest.fixture(scope="module")
def whole():
    """What `Solver` gives for eleven problems in one batch, by name."""
    inputs = rows(11)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *inputs)
    keys = item_keys(jax.random.key(3), [p.name for p in problems(inputs)])
    found = Solver(stages(), chunk=3)(np.zeros((11, 3), np.float32), NETWORKS, stacked, keys)
    return {f"item {i}": (np.asarray(found.variables)[i], found.steps[i]) for i in range(11)}


@pytest.fixture(scope="module")
def machine():
    """Four slots, compiled once."""
    return slots()


def outcomes(machine, items, **options):
    return [outcome for some in machine.run(NETWORKS, items, **options) for outcome in some]


@STRATEGIES
def test_refilled_slots_give_what_whole_batches_give(whole, strategy):
    machine = slots(strategy=strategy)
    running = []
    found = outcomes(machine, problems(rows(11)), progress=running.append)
    assert sorted(outcome.name for outcome in found) == sorted(whole)
    for outcome in found:
        expected, steps = whole[outcome.name]
        # Adam's and the noise's float32 sums over 22 steps, in programs of other shapes.
        np.testing.assert_allclose(outcome.result["x"], expected, rtol=2e-5, atol=2e-6)
        assert outcome.steps == steps
        assert not outcome.restarted
    # Each row keeps its own count: those of the first stage stop early at steps of their own.
    assert len({outcome.steps for outcome in found}) > 3
    compiles = machine.num_compiles
    again = outcomes(machine, problems(rows(11)))
    assert machine.num_compiles == compiles
    for one, other in zip(again, found, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.result["x"], other.result["x"])


def test_slots_stay_full_while_problems_wait(machine, monkeypatch):
    """Whole batches would let rows that stop early stand idle until their last."""
    monkeypatch.setattr(machine.solver, "chunk", 1)
    seen = []
    advance = machine._advance

    def counted(pool, networks):
        seen.append((pool.number, sum(row is not None for row in pool.rows)))
        return advance(pool, networks)

    monkeypatch.setattr(machine, "_advance", counted)
    outcomes(machine, problems(rows(24)))
    first = [used for number, used in seen if number == 0]
    # Only at the very end, when nothing waits any more, may the first stage have free slots.
    full = len(first) - next(i for i, used in enumerate(first[::-1]) if used == 4)
    assert all(used == 4 for used in first[:full])
    assert len(first) - full <= 12


def test_eight_devices_change_nothing_and_do_not_talk(whole):
    machine = slots(8, mesh=data_mesh())
    found = outcomes(machine, problems(rows(11)))
    assert machine.solver.placement.devices == 8
    programs = (machine._start, machine._targets, machine._replace, machine._finish)
    steps = [machine.solver.iterations[name].programs.values() for name in ("coarse", "fine")]
    assert_no_word_between_devices(*programs, *steps[0], *steps[1])
    for outcome in found:
        np.testing.assert_allclose(
            outcome.result["x"], whole[outcome.name][0], rtol=2e-5, atol=2e-6
        )


@pytest.mark.parametrize("chunks", [1, 3, 6, 8])
def test_stopped_rows_go_on_where_they_were(machine, chunks, tmp_path):
    """Bit for bit: stopped after so many chunks, stored, and gone on with in other slots."""
    items = problems(rows(6))
    expected = {o.name: o.result["x"] for o in outcomes(machine, items)}
    left = [chunks]
    source = iter(items)

    def stop():
        left[0] -= 1
        return left[0] < 0

    found = outcomes(machine, source, stop=stop)
    saved = machine.saved()
    assert machine.saved() == {}
    write_checkpoint(str(tmp_path / "rows.safetensors"), saved)
    saved = read_checkpoint(str(tmp_path / "rows.safetensors"))
    rest = list(source)
    assert len(found) + len(saved) + len(rest) == 6
    by_name = {problem.name: problem for problem in items}
    begun = [
        Problem(name, by_name[name].inputs, by_name[name].key, row)
        for name, row in reversed(saved.items())
    ]
    found += outcomes(machine, [*begun, *rest])
    assert {outcome.name for outcome in found} == set(expected)
    for outcome in found:
        np.testing.assert_array_equal(outcome.result["x"], expected[outcome.name])


def test_rows_in_flight_are_taken_back_as_they_came(machine):
    """After a shortage of memory too, what was stored of them is gone on with."""
    items = problems(rows(6))
    items[3].inputs["fragile"] = np.float32(1)  # it diverges, and is to begin again
    left = [3]

    def stop():
        left[0] -= 1
        return left[0] < 0

    outcomes(machine, items[:3], stop=stop)
    saved = machine.saved()
    assert any(row.begun for row in saved.values())
    stored = [dataclasses.replace(p, saved=saved[p.name]) for p in items[:3] if p.name in saved]
    left[0] = 1
    outcomes(machine, [*stored, *items[3:]], stop=stop)
    back = {problem.name: problem.saved for problem in machine.in_flight()}
    assert stored
    for problem in stored:
        assert back[problem.name] is problem.saved
    assert back["item 3"] == Snapshot(scale=0.5)


def test_the_time_that_writing_takes_is_not_the_rows(machine, monkeypatch):
    """By a clock that leaps by a day while results are written, well after a chunk's end."""
    late, day, clock = [0.0], 86_400.0, time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])
    counted = 0.0
    for some in machine.run(NETWORKS, problems(rows(8))):
        time.sleep(0.3)
        late[0] += day
        counted += sum(outcome.seconds for outcome in some)
    assert late[0] > day  # a chunk was under way at one leap at least
    assert 0 < counted < day
    assert all(pool.step_seconds < day for pool in machine._pools)


def test_diverged_row_is_begun_again_with_half_the_step_and_then_reported(machine):
    inputs = rows(5)
    # From 0 towards 3 by sgd: |x - 1| < 0.1 is never met at 0, so row 1 diverges both times.
    inputs[1]["fragile"] = np.float32(1)
    inputs[3]["centre"] = np.full(3, np.nan, np.float32)
    found = {o.name: o for o in outcomes(machine, problems(inputs))}
    assert len(found) == 5
    for number in (1, 3):
        assert found[f"item {number}"].status == Status.DIVERGED
        assert found[f"item {number}"].restarted
        assert found[f"item {number}"].result is None
    good = {o.name: o for o in outcomes(machine, problems(rows(5)))}
    for number in (0, 2, 4):
        name = f"item {number}"
        np.testing.assert_array_equal(found[name].result["x"], good[name].result["x"])


def test_half_the_step_saves_a_row():
    """Gradient descent on a x^2 leaps ever further if its step exceeds 1/a, and converges below."""

    def steep(variables, networks, targets, keys, step):
        square = jnp.sum(variables**2, -1)
        overflow = jnp.where(square > 100, jnp.inf, 0.0)
        return targets["curvature"] * square + overflow, {}

    stage = Stage("only", steep, optax.sgd(0.3), 12, start=lambda _, v: v + 1.0)
    solver = Solver([stage], chunk=2)
    machine = ContinuousBatcher(solver, 2, start=start, targets=lambda n, i: i, finish=finish)
    inputs = rows(3)
    for row, curvature in zip(inputs, (1.0, 5.0, 20.0), strict=True):
        row["curvature"] = np.float32(curvature)
    found = {o.name: o for o in outcomes(machine, problems(inputs))}
    assert [found[f"item {i}"].restarted for i in range(3)] == [False, True, True]
    assert [found[f"item {i}"].status == Status.DIVERGED for i in range(3)] == [False, False, True]
    # x <- x - 0.15 * 2 * 5 * x: each step multiplies by -0.5.
    np.testing.assert_allclose(found["item 1"].result["x"], np.full(3, 0.5**12), rtol=1e-5)


def test_compiled_ahead_of_time_nothing_is_compiled_later():
    machine, items = slots(4, chunk=2), problems(rows(6))
    count = machine.compile(NETWORKS, items[0].inputs)
    # Start, targets, finish; of each stage its beginning, its step, how slots are refilled, and how
    # rows that were stopped go on.
    assert count == machine.num_compiles == 3 + 2 * 2 + 2 * 2
    left = [3]

    def stop():
        left[0] -= 1
        return left[0] < 0

    source = iter(items)
    outcomes(machine, source, stop=stop)
    stopped = machine.saved()
    assert stopped
    saved = [dataclasses.replace(p, saved=stopped.get(p.name, p.saved)) for p in items[:4]]
    outcomes(machine, [*saved, *source])
    assert machine.num_compiles == count


def test_memory_is_that_of_the_programs_that_run():
    machine, wider = slots(4, chunk=2), slots(400, chunk=2)
    item = problems(rows(1))[0]
    need = machine.device_bytes(NETWORKS, item.inputs)
    compiled = machine.num_compiles
    list(machine.run(NETWORKS, problems(rows(6))))
    assert machine.num_compiles == compiled  # it compiled what runs
    row = 4 * (3 + 1 + 1) + 4 * 3 + 2 * 4 * 3 + 5 * 4 + 8  # targets, variables, Adam's, State, key
    assert 4 * row < need
    assert 400 * row < wider.device_bytes(NETWORKS, item.inputs)
    assert 20 * need < wider.device_bytes(NETWORKS, item.inputs)
