"""A solver's slots, kept full: waiting problems take the places of finished ones between chunks.

`Solver` advances a batch from its first step to its last. Where rows stop early
(`Stage.stop_below`) more and more of it stands still. `ContinuousBatcher` drives the same compiled
steps, one pool of slots for each stage, and lets every row have its own step: between two chunks a
row that has ended leaves, and a waiting one begins in its place. A row's arithmetic is that of
`Solver`, so its result is too.

The latest stage whose slots can all be filled goes on; failing that, the first one, as long as
problems come; at the end the earliest that holds any. Rows of different stages have variables of
different shapes, hence the pools; between stages a row's variables wait on the host.

The next chunk is in flight before the results of the one before are handed out, so what is done
with them (encoding, writing) overlaps with the device's work.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from jaxface.runtime.iteration import Program
from jaxface.solving.solver import Solver, Stage, Status, select_rows

CHUNK_SECONDS = 5.0
"""How long a chunk may last where its length is free, so that a request to stop is soon heard."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A row that was stopped on its way, as NumPy arrays; `Problem.saved` goes on from it.

    Attributes:
      stage: the number of the stage that it is in.
      begun: whether it has begun that stage.
      leaves: of the row of `State` if it has, else of the variables that the stage before left;
        none in the first stage.
      steps: updates taken.
      scale: of its updates.
    """

    stage: int = 0
    begun: bool = False
    leaves: tuple[np.ndarray, ...] = ()
    steps: int = 0
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Problem:
    """A row that waits.

    Attributes:
      name: unique among those that are solved at a time.
      inputs: pytree of NumPy arrays: the row of what `start` and `targets` take, without axis N.
      key: `jax.random.key_data` of its key, of the default kind; see `jaxface.keys.item_keys`.
      saved: where it goes on; default: at the beginning.
      variant: which program solves it, where there are several; see `jaxface.solving.one_pass`.
      networks: fields of the networks that are replaced for it, see there; None: none.
    """

    name: str
    inputs: Any
    key: np.ndarray
    saved: Snapshot = Snapshot()
    variant: Hashable = None
    networks: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A row that has ended.

    Attributes:
      name: the problem's.
      status: of `Status`.
      steps: updates taken since its beginning, or since its restart.
      restarted: whether it diverged once and was begun again with half the step size.
      result: the row of what `finish` gave; None where it diverged.
      seconds: its share of the time that the chunks it was in took, compilation left out.
    """

    name: str
    status: Status
    steps: int
    restarted: bool
    result: Any
    seconds: float


@dataclasses.dataclass
class _Row:
    """A problem in flight."""

    problem: Problem
    saved: Snapshot
    left: int = 0  # steps of its stage
    seconds: float = 0.0


class _Pool:
    """The slots of one stage."""

    def __init__(self, number: int, stage: Stage, size: int, chunk: int):
        self.number, self.stage = number, stage
        # Of one length, because every other one is a program of its own under "scan".
        self.chunk = -(-stage.steps // -(-stage.steps // chunk))
        self.rows: list[_Row | None] = [None] * size
        self.waiting: deque[_Row] = deque()
        self.state: Any = None
        self.constants: Any = None  # targets, keys
        self.step_seconds: float | None = None

    @property
    def demand(self) -> int:
        """Rows in the slots and waiting for one."""
        return len(self.waiting) + sum(row is not None for row in self.rows)


class ContinuousBatcher:
    """See the module.

    Args:
      solver: its stages, chunk, mesh and programs are used.
      size: slots, a multiple of the mesh's devices.
      start: (networks, inputs [N, ...]) -> the first stage's variables, traceable.
      targets: (networks, inputs) -> what the energies get, traceable.
      finish: (networks, targets, variables, keys) -> results, leaves [N, ...], traceable; the keys
        are the problems' own.

    Programs are compiled once and kept by the object.
    """

    def __init__(
        self,
        solver: Solver,
        size: int,
        *,
        start: Callable[[Any, Any], Any],
        targets: Callable[[Any, Any], Any],
        finish: Callable[[Any, Any, Any, Any], Any],
    ):
        self.solver, self.size = solver, size
        self._start, self._targets, self._finish = Program(start), Program(targets), Program(finish)
        self._replace = Program(_replaced, carry=True)
        self._ended: list[Outcome] = []
        self._clear()

    def run(
        self,
        networks: Any,
        problems: Iterable[Problem],
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[float], None] = lambda under_way: None,
    ) -> Iterator[list[Outcome]]:
        """Solves problems; yields those that have ended, each once, in the order they end.

        Args:
          networks: pytree shared by all rows.
          problems: read one by one, as slots become free; all of one signature.
          stop: asked between chunks. When it says so nothing more is begun; what was in flight is
            in `saved`.
          progress: called after each chunk with what is done of the rows in flight, in rows: two
            that are half through are one.

        Raises:
          Whatever the device raises; `in_flight` has the problems that were in flight.
        """
        self._clear()
        networks = self.solver.placement.replicate(networks)
        source = iter(problems)
        with ThreadPoolExecutor(1) as watch:
            while not stop():
                pool = self._next_pool(source)
                if pool is None:
                    break
                self._fill(pool, networks)
                begin, compiled = time.perf_counter(), self.compile_seconds
                count = self._advance(pool, networks)
                begin += self.compile_seconds - compiled
                # The device is at work: now is the time to write what ended before. How long that
                # takes is none of the chunk's time.
                end = watch.submit(_time_of, pool.state)
                if self._ended:
                    ended, self._ended = self._ended, []
                    yield ended
                status, step = jax.device_get((pool.state.status, pool.state.step))
                seconds = end.result() - begin
                pool.step_seconds = seconds / count
                self._leave(pool, networks, status, step, seconds)
                progress(self._under_way())
        if self._ended:
            ended, self._ended = self._ended, []
            yield ended

    def ended(self) -> list[Outcome]:
        """Takes the outcomes that were not handed out because of an error."""
        ended, self._ended = self._ended, []
        return ended

    def in_flight(self) -> list[Problem]:
        """Takes the problems in flight back, as they came; those that were restarted keep that."""
        rows = [row for pool in self._pools for row in [*pool.rows, *pool.waiting] if row]
        self._clear()
        return [
            row.problem
            if row.saved.scale == row.problem.saved.scale
            else dataclasses.replace(row.problem, saved=Snapshot(scale=row.saved.scale))
            for row in rows
        ]

    def saved(self) -> dict[str, Snapshot]:
        """Takes the rows in flight out, as they stand, by name."""
        found = {}
        for pool in self._pools:
            found |= {row.problem.name: row.saved for row in pool.waiting}
            if any(pool.rows):
                leaves = jax.tree.leaves(jax.device_get(pool.state))
                for index, row in enumerate(pool.rows):
                    if row is not None:
                        found[row.problem.name] = Snapshot(
                            pool.number,
                            begun=True,
                            leaves=tuple(leaf[index] for leaf in leaves),
                            scale=row.saved.scale,
                        )
        self._clear()
        return found

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling so far."""
        programs = (self.solver, self._start, self._targets, self._finish, self._replace)
        return sum(program.compile_seconds for program in programs)

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far."""
        programs = (self.solver, self._start, self._targets, self._finish, self._replace)
        return sum(program.num_compiles for program in programs)

    def device_bytes(self, networks: Any, inputs: Any) -> int:
        """The memory that `run` will take on each device, from the compiled programs' analysis.

        Compiles them, which `run` then need not. All pools' states and targets stay on the device;
        to them comes the largest program's own need. What the allocator loses is not counted.

        Args:
          networks: as for `run`.
          inputs: a row of `Problem.inputs`, arrays or `jax.ShapeDtypeStruct`.
        """
        networks = self.solver.placement.replicate(networks)
        programs, steps, _ = self._compiled(networks, inputs)
        # Each pool keeps its state and targets; the networks are there once.
        resident = sum(_analysis(step).argument_size_in_bytes for step in steps)
        resident -= (len(steps) - 1) * sum(
            leaf.nbytes for leaf in jax.tree.leaves(networks) if hasattr(leaf, "nbytes")
        )
        needs = [_analysis(program) for program in programs]
        return resident + max(
            need.temp_size_in_bytes + need.output_size_in_bytes - need.alias_size_in_bytes
            for need in needs
        )

    def compiled(self, networks: Any, inputs: Any) -> dict[str, jax.stages.Compiled]:
        """The programs of `run` by name, of a stage its step's, compiled for rows like `inputs`.

        Args:
          networks, inputs: as for `device_bytes`; the devices may be described only.
        """
        networks = self.solver.placement.replicate(networks)
        programs, _, _ = self._compiled(networks, inputs)
        names = ["start", "targets"]
        for pool in self._pools:
            names += [f"{pool.stage.name}, begun", f"{pool.stage.name}, rows replaced"]
        names += ["finish", *(pool.stage.name for pool in self._pools)]
        return dict(zip(names, programs, strict=True))

    def compile(self, networks: Any, inputs: Any) -> int:
        """Compiles every program that `run` can need, for rows like `inputs`.

        Args:
          networks, inputs: as for `device_bytes`.

        Returns:
          How many programs there are.
        """
        networks = self.solver.placement.replicate(networks)
        place = self.solver.placement.place
        _, _, states = self._compiled(networks, inputs)
        # Of Threefry's keys; only real keys can be folded.
        words: Any = np.zeros((self.size, 2), np.uint32)
        for pool, state in zip(self._pools, states, strict=True):
            self.solver.stage_keys(place(jax.random.wrap_key_data(words)), pool.number)
            self._replace.compiled(state, state, self._taken)  # rows that go on
        return self.num_compiles

    @property
    def _taken(self) -> Any:
        """The shape of which slots are replaced."""
        return self._abstract(jax.ShapeDtypeStruct((self.size,), np.bool_))

    def _compiled(self, networks: Any, inputs: Any) -> tuple[list, list, list]:
        """The programs for rows like `inputs`, compiled.

        Returns:
          All programs but those of rows that were stopped and go on; of each stage the step's; of
          each stage its state's shapes.
        """
        rows = self._abstract(
            jax.tree.map(lambda a: jax.ShapeDtypeStruct((self.size, *a.shape), a.dtype), inputs)
        )
        keys = self._abstract(
            jax.eval_shape(lambda: jax.random.split(jax.random.key(0), self.size))
        )
        numbers = self._abstract(jax.ShapeDtypeStruct((self.size,), np.int32))
        scale = self._abstract(jax.ShapeDtypeStruct((self.size,), np.float32))
        variables = self._abstract(self._start.prepare(networks, rows))
        targets = self._abstract(self._targets.prepare(networks, rows))
        needed: list[tuple[Program, tuple]] = [
            (self._start, (networks, rows)),
            (self._targets, (networks, rows)),
        ]
        iterations, states = [], []
        for pool in self._pools:
            begin = self.solver.init_programs[pool.stage.name]
            needed.append((begin, (networks, variables, numbers, numbers, scale)))
            state = self._abstract(begin.prepare(*needed[-1][1]))
            iteration = self.solver.iterations[pool.stage.name]
            iterations.append((iteration, (state, (networks, targets, keys), pool.chunk)))
            iteration.prepare(*iterations[-1][1])
            states.append(state)
            whole = (state, targets, keys)
            needed.append((self._replace, (whole, whole, self._taken)))
            variables = state.variables
        needed.append((self._finish, (networks, targets, variables, keys)))
        for program, arguments in needed:
            program.prepare(*arguments)
        programs = [program.compiled(*arguments) for program, arguments in needed]
        steps = [step for iteration, of in iterations for step in iteration.compiled(*of)]
        return [*programs, *steps], steps, states

    def _clear(self) -> None:
        self._pools = [
            _Pool(number, stage, self.size, self.solver.chunk)
            for number, stage in enumerate(self.solver.stages)
        ]

    def _abstract(self, tree: Any) -> Any:
        return self.solver.placement.abstract_rows(tree)

    def _under_way(self) -> float:
        """The sum of the fractions that rows in flight have done."""
        done, total = 0.0, sum(pool.stage.steps for pool in self._pools)
        before = 0
        for pool in self._pools:
            done += before * len(pool.waiting)
            done += sum(before + pool.stage.steps - row.left for row in pool.rows if row)
            before += pool.stage.steps
        return done / total

    def _next_pool(self, source: Iterator[Problem]) -> _Pool | None:
        """The pool that goes on next; None when nothing is left."""
        for pool in reversed(self._pools):
            if pool.demand >= self.size:
                return pool
        first = self._pools[0]
        while first.demand < self.size:
            problem = next(source, None)
            if problem is None:
                break
            self._pools[problem.saved.stage].waiting.append(_Row(problem, problem.saved))
        return next((pool for pool in self._pools if pool.demand), None)

    def _fill(self, pool: _Pool, networks: Any) -> None:
        """Puts waiting rows into the free slots."""
        place = self.solver.placement.place
        entering: list[tuple[int, _Row]] = []
        for slot, row in enumerate(pool.rows):
            if row is None and pool.waiting:
                pool.rows[slot] = new = pool.waiting.popleft()
                entering.append((slot, new))
        if not entering:
            return
        for _, row in entering:
            row.left = pool.stage.steps
        inputs = place(self._stacked(entering, lambda row: row.problem.inputs))
        words = self._stacked(entering, lambda row: row.problem.key)
        keys = self.solver.stage_keys(place(jax.random.wrap_key_data(words)), pool.number)
        targets = place(self._targets(networks, inputs))
        status = np.full(self.size, Status.PADDING, np.int32)
        steps, scale = np.zeros(self.size, np.int32), np.ones(self.size, np.float32)
        for slot, row in entering:
            status[slot], steps[slot] = Status.RUNNING, row.saved.steps
            scale[slot] = row.saved.scale
        if pool.number == 0:
            variables = self._start(networks, inputs)
        else:
            variables = self._previous_variables(pool, networks, inputs, entering)
        begin = self.solver.init_programs[pool.stage.name]
        state = place(begin(networks, place(variables), *place((status, steps, scale))))
        take = np.zeros(self.size, bool)
        take[[slot for slot, _ in entering]] = True
        if pool.state is None:
            pool.state, pool.constants = state, (targets, keys)
        else:
            fresh = (state, targets, keys)
            old = (pool.state, *pool.constants)
            (pool.state, *rest), _ = self._replace(old, fresh, place(take))
            pool.constants = tuple(rest)
        begun = [(slot, row) for slot, row in entering if row.saved.begun]
        if begun:  # stopped in this stage: as they were
            take = np.zeros(self.size, bool)
            take[[slot for slot, _ in begun]] = True
            leaves = self._stacked(begun, lambda row: list(row.saved.leaves))
            stopped = jax.tree.unflatten(jax.tree.structure(pool.state), leaves)
            pool.state, _ = self._replace(pool.state, place(stopped), place(take))

    def _previous_variables(self, pool: _Pool, networks: Any, inputs: Any, entering) -> Any:
        """[N, ...] variables that the stage before left, as rows brought them."""
        shapes = jax.eval_shape(self._start.fn, networks, inputs)
        for stage in self.solver.stages[: pool.number - 1]:
            shapes = jax.eval_shape(stage.start, networks, shapes)
        before = jax.eval_shape(self.solver.stages[pool.number - 1].start, networks, shapes)
        leaves = [np.zeros(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(before)]
        for slot, row in entering:
            if not row.saved.begun:
                for leaf, value in zip(leaves, row.saved.leaves, strict=True):
                    leaf[slot] = value
        return jax.tree.unflatten(jax.tree.structure(before), leaves)

    def _stacked(self, entering: list[tuple[int, _Row]], of: Callable[[_Row], Any]) -> Any:
        """[N, ...] from rows' values; slots that no row enters hold copies of one."""
        by_slot = dict(entering)
        values = [of(by_slot.get(slot, entering[0][1])) for slot in range(self.size)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *values)

    def _advance(self, pool: _Pool, networks: Any) -> int:
        """Starts a chunk; returns its length."""
        iteration, count = self.solver.iterations[pool.stage.name], pool.chunk
        if iteration.strategy == "host":
            # Here the length is free: shorter where the steps are long, and no longer than needed.
            free = CHUNK_SECONDS / pool.step_seconds if pool.step_seconds else 1.0
            left = max(row.left for row in pool.rows if row is not None)
            count = min(count, left, 1 << max(int(free), 1).bit_length() - 1)
        constants = (networks, *pool.constants)
        pool.state, _ = iteration.advance(pool.state, constants, 0, count, outputs=False)
        return count

    def _leave(
        self, pool: _Pool, networks: Any, status: np.ndarray, step: np.ndarray, seconds: float
    ) -> None:
        """Takes the rows out that have ended."""
        occupied = [(slot, row) for slot, row in enumerate(pool.rows) if row is not None]
        for slot, row in occupied:
            row.left = pool.stage.steps - int(step[slot])
            row.seconds += seconds / len(occupied)
        ended = [
            (slot, row) for slot, row in occupied if status[slot] != Status.RUNNING or row.left <= 0
        ]
        if not ended:
            return
        steps = np.asarray(pool.state.steps)
        last = pool.number == len(self._pools) - 1
        good = [slot for slot, _ in ended if status[slot] != Status.DIVERGED]
        results: Any = None
        if good and last:
            words = self._stacked(ended, lambda row: row.problem.key)
            keys = self.solver.placement.place(jax.random.wrap_key_data(words))
            results = jax.device_get(
                self._finish(networks, pool.constants[0], pool.state.variables, keys)
            )
        elif good:
            results = jax.device_get(pool.state.variables)
        for slot, row in ended:
            pool.rows[slot] = None
            if status[slot] == Status.DIVERGED and row.saved.scale == 1.0:
                row.saved = Snapshot(scale=0.5)
                self._pools[0].waiting.appendleft(row)
            elif status[slot] == Status.DIVERGED or last:
                result = None
                if status[slot] != Status.DIVERGED:
                    result = jax.tree.map(lambda leaf, slot=slot: leaf[slot], results)
                self._ended.append(
                    Outcome(
                        name=row.problem.name,
                        status=Status(status[slot]),
                        steps=int(steps[slot]),
                        restarted=row.saved.scale != 1.0,
                        result=result,
                        seconds=row.seconds,
                    )
                )
            else:
                leaves = tuple(leaf[slot] for leaf in jax.tree.leaves(results))
                row.saved = Snapshot(
                    pool.number + 1, False, leaves, int(steps[slot]), row.saved.scale
                )
                self._pools[pool.number + 1].waiting.append(row)


def _time_of(arrays: Any) -> float:
    """When arrays are computed, as `time.perf_counter` has it; waits for them."""
    jax.block_until_ready(arrays)
    return time.perf_counter()


def _replaced(old: Any, new: Any, rows: jax.Array) -> tuple[Any, None]:
    return select_rows(rows, new, old), None


def _analysis(program: jax.stages.Compiled) -> Any:
    """What XLA says of a program's memory, in bytes on each device."""
    return program.memory_analysis()
