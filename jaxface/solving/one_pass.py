"""Batches of one pass each, of one program or a few: for problems that a network answers at once.

The interface is that of `jaxface.solving.continuous_batching.ContinuousBatcher`. All batches have
one size; the last one of a run is filled up with copies, so nothing recompiles and a problem's
result does not depend on which batch it fell into. Problems may ask for different programs by their
`Problem.variant`; each variant fills batches of its own. Problems with `Problem.networks` of their
own, fields of the named tuple of networks, share batches with those that follow them and have the
very same ones, and with nobody else.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.runtime.iteration import Program
from jaxface.solving.continuous_batching import Outcome, Problem, Snapshot
from jaxface.solving.placement import Placement
from jaxface.solving.solver import Status

Step = Callable[[Any, Any, jax.Array], Any]
"""(networks, inputs [N, ...], keys [N]) -> results, leaves [N, ...]: one program. The results of a
step are the inputs of the next."""


class _Batch(NamedTuple):
    """Problems whose results the device is computing."""

    problems: list[Problem]
    results: Any
    begin: float


class OnePassBatcher:
    """See the module.

    Args:
      program: variant -> its steps, traceable.
      size: rows of a batch, a multiple of the mesh's devices.
      mesh: devices with an axis "data" to split the rows over; None: one device.
      variants: those that `device_bytes` and `compile` look at.
    """

    def __init__(
        self,
        program: Callable[[Hashable], Sequence[Step]],
        size: int,
        *,
        mesh: Mesh | None = None,
        variants: tuple[Hashable, ...] = (None,),
    ):
        self.size = size
        self._placement, self._variants = Placement(mesh), variants
        self._program, self._programs = program, dict[Hashable, list[Program]]()
        self._waiting: dict[
            tuple[Hashable, int | None], list[Problem]
        ] = {}  # by variant, and whose networks
        self._computing: _Batch | None = None

    def run(
        self,
        networks: Any,
        problems: Iterable[Problem],
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda in_flight: None,
    ) -> Iterator[list[Outcome]]:
        """Solves problems; yields those that have ended, batch by batch.

        Args:
          networks: pytree shared by all rows.
          problems: read one by one; those of one variant are of one signature.
          stop: asked between batches. When it says so nothing more is begun; the batch on the
            device is finished.
          progress: called after each batch with 0.

        Raises:
          Whatever the device raises; `in_flight` has the problems that had no result.
        """
        self._waiting, self._computing = {}, None
        networks = self._placement.replicate(networks)
        for problem in problems:
            own = None if problem.networks is None else id(problem.networks)
            group = (problem.variant, own)
            # Networks that nobody follows with any more are not kept.
            for ended in [each for each in self._waiting if each[1] not in (None, own)]:
                yield from self._next(networks, ended)
                progress(0.0)
            batch = self._waiting.setdefault(group, [])
            batch.append(problem)
            if len(batch) == self.size:
                yield from self._next(networks, group)
                progress(0.0)
            if stop():
                break
        else:
            for group in list(self._waiting):
                if not stop():
                    yield from self._next(networks, group)
                    progress(0.0)
        if self._computing is not None:
            yield self._outcomes(self._computing)

    def ended(self) -> list[Outcome]:
        """Outcomes that were not handed out because of an error: none."""
        return []

    def in_flight(self) -> list[Problem]:
        """Takes the problems back that have no result."""
        waiting = [problem for batch in self._waiting.values() for problem in batch]
        computing = self._computing.problems if self._computing is not None else []
        self._waiting, self._computing = {}, None
        return [*computing, *waiting]

    def saved(self) -> dict[str, Snapshot]:
        """There is nothing to go on with: a problem is solved or it has not begun."""
        return {}

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        return sum(each.compile_seconds for steps in self._programs.values() for each in steps)

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far."""
        return sum(each.num_compiles for steps in self._programs.values() for each in steps)

    def device_bytes(self, networks: Any, inputs: Any) -> int:
        """The memory that `run` will take on each device, from the compiled programs' analysis.

        Args:
          networks: as for `run`.
          inputs: a row of `Problem.inputs`, arrays or `jax.ShapeDtypeStruct`.
        """
        needs = [program.memory_analysis() for program in self._compiled(networks, inputs)]
        return max(
            need.argument_size_in_bytes
            + need.temp_size_in_bytes
            + need.output_size_in_bytes
            - need.alias_size_in_bytes
            for need in needs
        )

    def compiled(self, networks: Any, inputs: Any) -> dict[str, jax.stages.Compiled]:
        """The programs of `run` by name, compiled for rows like `inputs`; the devices may be
        described only."""
        programs = self._compiled(networks, inputs)
        return {f"pass {number}": program for number, program in enumerate(programs, start=1)}

    def compile(self, networks: Any, inputs: Any) -> int:
        """Compiles every program that `run` can need; returns how many there are."""
        self._compiled(networks, inputs)
        return self.num_compiles

    def _compiled(self, networks: Any, inputs: Any) -> list[Any]:
        networks = self._placement.replicate(networks)
        rows = jax.tree.map(lambda a: jax.ShapeDtypeStruct((self.size, *a.shape), a.dtype), inputs)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.size))
        rows, keys = self._placement.abstract_rows((rows, keys))
        needed = []
        for variant in self._variants:
            values = rows
            for step in self._steps(variant):
                needed.append((step, values))
                values = self._placement.abstract_rows(step.prepare(networks, values, keys))
        return [step.compiled(networks, values, keys) for step, values in needed]

    def _steps(self, variant: Hashable) -> list[Program]:
        if variant not in self._programs:
            self._programs[variant] = [Program(step) for step in self._program(variant)]
        return self._programs[variant]

    def _next(self, networks: Any, group: tuple[Hashable, int | None]) -> Iterator[list[Outcome]]:
        """Starts a group's batch; yields the one before, while the device is at work."""
        problems = self._waiting[group]
        variant, own = problems[0].variant, problems[0].networks
        if own is not None:
            networks = networks._replace(**self._placement.replicate(dict(own)))
        padded = problems + problems[:1] * (self.size - len(problems))
        begin = time.perf_counter()
        inputs, words = jax.tree.map(
            lambda *leaves: np.stack(leaves), *[(each.inputs, each.key) for each in padded]
        )
        keys = self._placement.place(jax.random.wrap_key_data(words))
        compiled = self.compile_seconds
        results = self._placement.place(inputs)
        for step in self._steps(variant):
            results = self._placement.place(step(networks, results, keys))
        begin += self.compile_seconds - compiled
        before = None if self._computing is None else self._outcomes(self._computing)
        del self._waiting[group]
        self._computing = _Batch(problems, results, begin)
        if before is not None:
            yield before

    def _outcomes(self, batch: _Batch) -> list[Outcome]:
        """The outcomes of the batch on the device."""
        results = jax.device_get(batch.results)
        seconds = (time.perf_counter() - batch.begin) / len(batch.problems)
        self._computing = None
        return [
            Outcome(
                name=problem.name,
                status=Status.RUNNING,
                steps=0,
                restarted=False,
                result=jax.tree.map(lambda leaf, row=row: leaf[row], results),
                seconds=seconds,
            )
            for row, problem in enumerate(batch.problems)
        ]
