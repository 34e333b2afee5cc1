from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface.runtime import iteration as iteration_module
from jaxface.runtime.iteration import Iteration, Phase, Program, platform_strategy


def walk(carry, scale, move, index):
    carry = carry + scale * move * (1.0 + index)
    return carry, {"position": carry}


def shrink(carry, scale, move, index):
    return carry * 0.5, {"before": carry, "index": index}


PHASES = [Phase("walk", walk), Phase("shrink", shrink, 3)]
MOVES = [jnp.array([1.0, 2.0]) * i for i in range(8)]


def reference():
    carry, walked, shrunk = np.zeros(2), [], []
    for i in range(8):
        carry = carry + 0.5 * np.asarray(MOVES[i]) * (1 + i)
        walked.append(carry)
        if i % 3 == 0:
            shrunk.append((i, carry))
            carry = carry * 0.5
    return carry, walked, shrunk


@pytest.mark.parametrize("strategy", ["host", "scan"])
@pytest.mark.parametrize("chunk", [8, 4, 2])
def test_every_strategy_and_chunk_gives_the_same_steps(strategy, chunk):
    iteration = Iteration(PHASES, strategy=strategy)
    carry, walked, shrunk, indices = jnp.zeros(2), [], [], []
    for first in range(0, 8, chunk):
        moves = MOVES[first : first + chunk]
        carry, outputs = iteration.advance(carry, jnp.float32(0.5), first, chunk, moves)
        walked += list(outputs["walk"]["position"])
        if "shrink" in outputs:
            shrunk += list(outputs["shrink"]["before"])
            indices += outputs["shrink"]["index"].tolist()
    expected, expected_walk, expected_shrunk = reference()
    # Small whole numbers and halves: float32 holds every one of them exactly.
    np.testing.assert_array_equal(carry, expected)
    np.testing.assert_array_equal(walked, expected_walk)
    np.testing.assert_array_equal(shrunk, [value for _, value in expected_shrunk])
    assert indices == [i for i, _ in expected_shrunk]


@pytest.mark.parametrize(("strategy", "programs"), [("host", 2), ("scan", 1)])
def test_each_program_is_compiled_once(strategy, programs):
    iteration = Iteration(PHASES, strategy=strategy)
    carry = jnp.zeros(2)
    for first in (0, 4, 8, 12):
        carry, _ = iteration.advance(carry, jnp.float32(0.5), first, 4, MOVES[:4])
    assert iteration.num_compiles == programs
    assert iteration.compile_seconds > 0


def test_the_host_is_one_call_ahead_of_what_is_computed(monkeypatch):
    """Each call holds memory from then on, so a chunk must not be called all at once."""

    def slow(carry, constants, inputs, index):
        carry = jax.lax.fori_loop(0, 40, lambda _, x: x @ constants, carry)
        return carry, carry.sum()

    iteration = Iteration([Phase("slow", slow)], strategy="host")
    program, results, waiting = iteration.programs["slow"], [], []
    found = program.compiled

    def watched(*arguments):
        def call(*arguments):
            waiting.append(sum(not each.is_ready() for each in results))
            carry, out = compiled(*arguments)
            results.append(out)
            return carry, out

        compiled = found(*arguments)
        return call

    monkeypatch.setattr(program, "compiled", watched)
    iteration.advance(jnp.eye(400), jnp.eye(400), 0, 8, [None] * 8)
    assert len(results) == 8
    assert max(waiting) <= 1


def test_placement_chosen_for_the_carry_is_kept():
    mesh = jax.make_mesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    carry = jax.device_put(jnp.zeros(16), sharding)
    moves = [jnp.ones(16)] * 4
    for strategy in ("host", "scan"):
        iteration = Iteration(PHASES, strategy=strategy)
        after = jnp.copy(carry)
        for first in (0, 4):
            after, _ = iteration.advance(after, jnp.float32(1), first, 4, moves)
        assert after.sharding.is_equivalent_to(sharding, 1)


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_a_carry_that_changes_its_type_is_named(strategy):
    def promote(carry, constants, inputs, index):
        return {**carry, "b": carry["b"].astype(jnp.float32)}, {}

    iteration = Iteration([Phase("promote", promote)], strategy=strategy)
    carry = {"a": jnp.zeros(2), "b": jnp.zeros(3, jnp.int32)}
    with pytest.raises(ValueError, match=r"'promote' changes carry\['b'\]: got float32\[3\]"):
        iteration.advance(carry, None, 0, 2)


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match="distinct names"):
        Iteration([Phase("a", walk), Phase("a", walk)])
    with pytest.raises(ValueError, match="interval"):
        Phase("a", walk, 0)
    with pytest.raises(ValueError, match="2 inputs for 3 steps"):
        Iteration(PHASES).advance(jnp.zeros(2), jnp.float32(1), 0, 3, MOVES[:2])


def test_the_platform_decides():
    assert platform_strategy("cpu") == "host"
    assert platform_strategy("gpu") == platform_strategy("tpu") == "scan"


def test_programs_are_prepared_before_any_is_waited_for(monkeypatch):
    submitted = []

    class Later:
        def submit(self, compile_it):
            submitted.append((Future(), compile_it))
            return submitted[-1][0]

    monkeypatch.setattr(iteration_module, "_compilers", Later)
    double, square = Program(lambda x: 2 * x), Program(lambda x: {"square": x**2})
    numbers = jnp.arange(3.0)
    doubled = double.prepare(numbers)
    results = square.prepare(doubled)
    assert (results["square"].shape, results["square"].dtype) == ((3,), np.float32)
    assert [future.done() for future, _ in submitted] == [False, False]
    for future, compile_it in submitted:
        future.set_result(compile_it())
    np.testing.assert_array_equal(square(double(numbers))["square"], [0, 4, 16])
    assert (double.num_compiles, square.num_compiles) == (1, 1)


def test_what_does_not_compile_is_an_error_of_its_caller(monkeypatch):
    def fails(*_, **__):
        raise ValueError("does not compile")

    program = Program(lambda x: 2 * x)
    monkeypatch.setattr(jax.stages.Lowered, "compile", fails)
    program.prepare(jnp.zeros(2))
    with pytest.raises(ValueError, match="does not compile"):
        program(jnp.zeros(2))
