"""How N independent problems are solved, from inputs to results; and the compiled form of it.

A method describes itself as a `Procedure`. `Compiled` runs it over one batch; a batcher
(`make_batcher`) keeps a device busy with any number of problems.
"""

import dataclasses
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.runtime.iteration import Program
from jaxface.solving.continuous_batching import ContinuousBatcher, Outcome, Problem, Snapshot
from jaxface.solving.one_pass import OnePassBatcher, Step
from jaxface.solving.placement import Placement
from jaxface.solving.solver import Progress, Solution, Solver, Stage, Status


@dataclasses.dataclass(frozen=True)
class Procedure:
    """What is computed of every row. All functions are traceable, and no row depends on another.

    Attributes:
      start: (networks, inputs [N, ...]) -> the first variables, leaves [N, ...].
      targets: (networks, inputs) -> what the energies are compared with.
      stages: of the optimisation, in order; none where a network gives the answer at once.
      finish: (networks, targets, variables, keys [N]) -> results, leaves [N, ...].
    """

    start: Callable[[Any, Any], Any]
    targets: Callable[[Any, Any], Any]
    stages: tuple[Stage, ...]
    finish: Callable[[Any, Any, Any, jax.Array], Any]

    def one_pass(self, networks: Any, inputs: Any, keys: jax.Array) -> Any:
        """Inputs to results in one program, of a procedure without stages."""
        targets = self.targets(networks, inputs)
        return self.finish(networks, targets, self.start(networks, inputs), keys)


@dataclasses.dataclass(frozen=True)
class Solved:
    """A batch's results.

    Attributes:
      results: what `Procedure.finish` gave; on the device.
      variables: the last stage's, leaves [N, ...]; on the device.
      status: [N] of `jaxface.solving.solver.Status`.
      steps: [N] updates each row took.
      traces: {stage: {name: [steps, N]}}.
      seconds: wall time without compilation.
      compile_seconds: time spent compiling.
    """

    results: Any
    variables: Any
    status: np.ndarray
    steps: np.ndarray
    traces: dict[str, dict[str, np.ndarray]]
    seconds: float
    compile_seconds: float


class Compiled:
    """A procedure's programs, compiled once for any number of batches of one shape.

    Args:
      procedure: what is computed.
      mesh: devices with an axis "data" to split the rows over; None: one device.
      chunk: steps between two calls of `progress`; no influence on results.
    """

    def __init__(self, procedure: Procedure, *, mesh: Mesh | None = None, chunk: int = 50):
        self.procedure, self._placement = procedure, Placement(mesh)
        self._start, self._targets = Program(procedure.start), Program(procedure.targets)
        self._finish = Program(procedure.finish)
        stages = procedure.stages
        self._solver = Solver(stages, mesh=mesh, chunk=chunk) if stages else None

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        programs = (self._solver, self._start, self._targets, self._finish)
        return sum(program.compile_seconds for program in programs if program is not None)

    def __call__(
        self,
        networks: Any,
        inputs: Any,
        keys: jax.Array,
        *,
        mask: np.ndarray | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Solved:
        """Solves a batch.

        Args:
          networks: pytree shared by all rows.
          inputs: pytree, leaves [N, ...]; N must be a multiple of the mesh's devices.
          keys: [N] typed keys, see `jaxface.keys.item_keys`.
          mask: [N] bool, False for rows that only pad the batch.
          progress: called after each chunk of steps.
        """
        begin, before = time.perf_counter(), self.compile_seconds
        inputs, keys = self._placement.place((jax.tree.map(jax.numpy.asarray, inputs), keys))
        networks = self._placement.replicate(networks)
        targets = self._placement.place(self._targets(networks, inputs))
        variables = self._start(networks, inputs)
        if self._solver is None:
            solution = _unsolved(variables, len(keys), mask)
        else:
            solution = self._solver(
                variables, networks, targets, keys, mask=mask, progress=progress
            )
        results = self._finish(networks, targets, solution.variables, keys)
        jax.block_until_ready(results)
        compile_seconds = self.compile_seconds - before
        return Solved(
            results=results,
            variables=solution.variables,
            status=solution.status,
            steps=solution.steps,
            traces=solution.traces,
            seconds=time.perf_counter() - begin - compile_seconds,
            compile_seconds=compile_seconds,
        )


class Batcher(Protocol):
    """Keeps a device busy with problems that come one by one; see `ContinuousBatcher`."""

    size: int

    def run(
        self,
        networks: Any,
        problems: Iterable[Problem],
        *,
        stop: Callable[[], bool],
        progress: Callable[[float], None],
    ) -> Iterator[list[Outcome]]: ...

    def ended(self) -> list[Outcome]: ...

    def in_flight(self) -> list[Problem]: ...

    def saved(self) -> dict[str, Snapshot]: ...

    def device_bytes(self, networks: Any, inputs: Any) -> int: ...

    def compile(self, networks: Any, inputs: Any) -> int: ...

    def compiled(self, networks: Any, inputs: Any) -> dict[str, jax.stages.Compiled]: ...


def make_batcher(procedure: Procedure, size: int, *, mesh: Mesh | None = None) -> Batcher:
    """What solves problems in batches of `size`, a multiple of the mesh's devices."""
    if procedure.stages:
        return ContinuousBatcher(
            Solver(procedure.stages, mesh=mesh),
            size,
            start=procedure.start,
            targets=procedure.targets,
            finish=procedure.finish,
        )

    def program(variant: Hashable) -> tuple[Step]:
        del variant  # there is one program
        return (procedure.one_pass,)

    return OnePassBatcher(program, size, mesh=mesh)


def _unsolved(variables: Any, rows: int, mask: np.ndarray | None) -> Solution:
    """The solution of a procedure without stages."""
    status = np.full(rows, Status.RUNNING)
    if mask is not None:
        status[~mask] = Status.PADDING
    return Solution(variables, status, np.zeros(rows, np.int32), {}, 0.0, 0.0)
