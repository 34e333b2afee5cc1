"""Batches of one program: filled up, by variant, alone where a problem has networks of its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxface.solving.continuous_batching import Problem
from jaxface.solving.one_pass import OnePassBatcher
from jaxface.solving.procedure import Compiled, Procedure, make_batcher
from jaxface.solving.solver import Status


class Networks(NamedTuple):
    """A factor and an offset, shared by all rows."""

    factor: Any
    offset: Any


NETWORKS = Networks(np.float32(2.0), np.float32(1.0))


def program(variant):
    def scaled(networks, inputs, keys):
        noise = jax.vmap(lambda key: jax.random.uniform(key))(keys)
        sign = -1.0 if variant == "minus" else 1.0
        return {"y": sign * networks.factor * inputs + networks.offset, "noise": noise}

    return (scaled,)


def problems(count, **changes):
    return [
        Problem(f"{i}", np.float32(i), np.array([0, i], np.uint32), **changes) for i in range(count)
    ]


def solved(batcher, some, **options):
    return {each.name: each for batch in batcher.run(NETWORKS, some, **options) for each in batch}


@pytest.mark.parametrize("count", [0, 1, 4, 5, 11])
def test_every_problem_has_one_outcome(count):
    batcher = OnePassBatcher(program, 4)
    outcomes = solved(batcher, problems(count))
    assert sorted(outcomes, key=int) == [f"{i}" for i in range(count)]
    for name, outcome in outcomes.items():
        assert outcome.status == Status.RUNNING
        assert outcome.result["y"] == 2.0 * int(name) + 1.0
    assert batcher.num_compiles == (1 if count else 0)
    assert batcher.in_flight() == []


def test_a_result_does_not_depend_on_its_batch():
    whole = solved(OnePassBatcher(program, 4), problems(7))
    alone = solved(OnePassBatcher(program, 4), problems(7)[6:])
    assert alone["6"].result == whole["6"].result
    assert whole["6"].result["noise"] != whole["5"].result["noise"]


def test_variants_fill_batches_of_their_own():
    batcher = OnePassBatcher(program, 2)
    some = [
        Problem(f"{i}", np.float32(i), np.zeros(2, np.uint32), variant="minus" if i % 2 else "plus")
        for i in range(5)
    ]
    outcomes = solved(batcher, some)
    assert [outcomes[f"{i}"].result["y"] for i in range(5)] == [1.0, -1.0, 5.0, -5.0, 9.0]
    assert batcher.num_compiles == 2


def test_a_problem_with_networks_of_its_own_is_alone():
    batcher = OnePassBatcher(program, 2)
    some = problems(4)
    some[1] = Problem("1", np.float32(1), some[1].key, networks={"factor": np.float32(10.0)})
    outcomes = solved(batcher, some)
    assert [outcomes[f"{i}"].result["y"] for i in range(4)] == [1.0, 11.0, 5.0, 7.0]
    assert batcher.num_compiles == 1  # its networks are an argument


def test_a_request_to_stop_begins_nothing_more():
    batcher = OnePassBatcher(program, 2)
    asked = []
    outcomes = solved(
        batcher, problems(8), stop=lambda: bool(asked), progress=lambda done: asked.append(done)
    )
    assert sorted(outcomes) == ["0", "1"]  # the batch that was on the device
    assert batcher.saved() == {}


def test_what_the_device_raised_can_be_done_again():
    batcher = OnePassBatcher(program, 2)
    rows = batcher.run(NETWORKS, problems(7))
    assert [outcome.name for outcome in next(rows)] == ["0", "1"]
    left = {problem.name for problem in batcher.in_flight()}
    assert {"2", "3"} <= left
    assert left.isdisjoint({"0", "1"})


def test_the_results_of_a_step_are_the_inputs_of_the_next():
    def first(networks, inputs, keys):
        return {"once": inputs * networks.factor}

    def second(networks, values, keys):
        return values["once"] * networks.factor

    batcher = OnePassBatcher(lambda variant: (first, second), 2)
    signature = jax.ShapeDtypeStruct((), np.float32)
    assert batcher.compile(NETWORKS, signature) == 2
    outcomes = solved(batcher, problems(3))
    assert [outcomes[f"{i}"].result for i in range(3)] == [0.0, 4.0, 8.0]
    assert batcher.num_compiles == 2


def test_rows_are_split_over_devices():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    outcomes = solved(OnePassBatcher(program, 8, mesh=mesh), problems(9))
    assert [outcomes[f"{i}"].result["y"] for i in range(9)] == [2.0 * i + 1.0 for i in range(9)]


def test_the_memory_is_told_before_anything_runs():
    batcher = OnePassBatcher(program, 4, variants=("plus", "minus"))
    signature = jax.ShapeDtypeStruct((), np.float32)
    assert batcher.device_bytes(NETWORKS, signature) >= 4 * 3 * 4  # inputs and two results
    assert batcher.compile(NETWORKS, signature) == 2
    some = [Problem("a", np.float32(1), np.zeros(2, np.uint32), variant="minus")]
    solved(batcher, some)
    assert batcher.num_compiles == 2


def test_a_procedure_without_stages_is_one_pass():
    procedure = Procedure(
        start=lambda networks, inputs: inputs + 1.0,
        targets=lambda networks, inputs: inputs,
        stages=(),
        finish=lambda networks, targets, variables, keys: variables * networks.factor - targets,
    )
    batcher = make_batcher(procedure, 2)
    assert isinstance(batcher, OnePassBatcher)
    outcomes = solved(batcher, problems(3))
    assert [outcomes[f"{i}"].result for i in range(3)] == [2.0, 3.0, 4.0]
    keys = jax.random.split(jax.random.key(0), 2)
    mask = np.array([True, False])
    batch = Compiled(procedure)(NETWORKS, jnp.arange(2.0), keys, mask=mask)
    np.testing.assert_array_equal(batch.results, [2.0, 3.0])
    assert batch.status.tolist() == [Status.RUNNING, Status.PADDING]
    assert batch.steps.tolist() == [0, 0]
