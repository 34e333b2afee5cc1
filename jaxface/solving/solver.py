"""The compiled optimiser for many independent problems at once.

N problems (a latent each, or the weights of a generator each) advance together, one row of every
array each. A method describes its problem as an energy

    energy(variables, networks, targets, keys, step) -> (loss [N], {name: [N]})

(step [N]: each row counts its own steps, see `jaxface.solving.continuous_batching`) and its
schedule as a tuple of `Stage`; `Solver` differentiates the sum of the losses, which gives each row
its own gradient because no row's loss depends on another row, and iterates through
`jaxface.runtime.iteration`: scanned chunks on accelerators, a compiled step called from the host on
CPU.

What makes the rows independent of their batch-mates, and of how many devices carry them:

* the optimiser is mapped (`vmap`) over rows, so its counters and any norm it takes are a row's own;
* a row's random keys come from its stable id (`item_keys`), the stage and the row's step;
* a row that has converged, has diverged (a loss or gradient that is not finite) or only pads the
  batch is frozen where it stands, and the others do not notice.

Networks are arguments of the compiled programs. With a mesh, rows are split over its ``data`` axis
and the programs contain no communication.
"""

import dataclasses
import enum
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxface.runtime.iteration import Iteration, Phase, Program, Strategy, platform_strategy
from jaxface.solving.placement import Placement

Energy = Callable[[Any, Any, Any, jax.Array, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class Status(enum.IntEnum):
    """What became of a row."""

    RUNNING = 0  # took every step of its last stage
    CONVERGED = 1  # its loss fell below the stage's threshold
    DIVERGED = 2  # its loss or its gradient was not finite
    PADDING = 3  # it was masked out


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the schedule with its own variables, energy and optimiser.

    Attributes:
      name: shown in progress and in error messages.
      energy: see the module; traceable, and no row's loss may depend on another row.
      optimizer: any optax transformation; it sees one row at a time.
      steps: how many, >= 1.
      start: (networks, variables) -> this stage's variables, a pytree whose leaves are [N, ...],
        from those the stage before left (from the caller's, for the first stage).
      stop_below: a row stops when its loss is below this; None: never.
      stop_on: the metric that stands there in the place of the loss; None: the loss.
    """

    name: str
    energy: Energy
    optimizer: optax.GradientTransformation
    steps: int
    start: Callable[[Any, Any], Any] = lambda networks, variables: variables
    stop_below: float | None = None
    stop_on: str | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"Stage {self.name!r}: steps must be >= 1, got {self.steps}.")


@dataclasses.dataclass(frozen=True)
class Progress:
    """What the host sees after a chunk.

    Attributes:
      stage: the stage's name.
      step: steps of this stage done.
      steps: steps this stage has.
      done: steps of the whole schedule done.
      total: steps of the whole schedule.
      loss: [N] last finite loss of each row (NaN where there was none).
      running: rows still moving.
      seconds: since the call began.
      compile_seconds: spent compiling since the call began.
    """

    stage: str
    step: int
    steps: int
    done: int
    total: int
    loss: np.ndarray
    running: int
    seconds: float
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a `Solver` returns.

    Attributes:
      variables: the last stage's variables after its last step, leaves [N, ...].
      status: [N] of `Status`.
      steps: [N] updates each row took, over all stages.
      traces: {stage: {name: [steps run, N]}}: the loss under "loss" (a frozen row repeats its last
        finite one) and each metric as computed. Row t belongs to the variables before update t.
        Shorter than the stage's steps when every row stopped early.
      seconds: wall time without compilation.
      compile_seconds: time spent compiling; zero when every program was at hand.
    """

    variables: Any
    status: np.ndarray
    steps: np.ndarray
    traces: dict[str, dict[str, np.ndarray]]
    seconds: float
    compile_seconds: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The carry of the iteration; every leaf's first axis is the rows'."""

    variables: Any
    optimizer: Any
    loss: jax.Array  # [N] float32, the last finite loss
    steps: jax.Array  # [N] int32, updates taken
    status: jax.Array  # [N] int32, of Status
    step: jax.Array  # [N] int32, updates taken in this stage
    scale: jax.Array  # [N] float32, factor of every update: 1, or 1/2 after a divergence


class Solver:
    """Stages compiled once, for any number of batches of one shape.

    Keep the object: a second batch of the same shapes compiles nothing.

    Args:
      stages: run in order; distinct names.
      chunk: steps between two looks of the host (progress, early stop); no influence on results.
      mesh: with an axis "data" over which the rows are split; None: one device.
      strategy: see `jaxface.runtime.iteration`; default: the platform's.

    Raises:
      ValueError: no stages, repeated names, chunk < 1, or a mesh without the axis.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        chunk: int = 50,
        mesh: Mesh | None = None,
        strategy: Strategy | None = None,
    ):
        names = [stage.name for stage in stages]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"Solver: stages need distinct names, at least one; got {names}.")
        if chunk < 1:
            raise ValueError(f"Solver: chunk must be >= 1, got {chunk}.")
        self.placement = Placement(mesh)
        if strategy is None and mesh is not None:
            strategy = platform_strategy(mesh.devices.flat[0].platform)
        self.stages = tuple(stages)
        self.chunk = chunk
        self.init_programs = {
            stage.name: Program(functools.partial(initial_state, stage)) for stage in stages
        }
        self.iterations = {
            stage.name: Iteration(
                [Phase("step", functools.partial(_step, stage))], strategy=strategy
            )
            for stage in stages
        }

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling since the solver was made."""
        return sum(program.compile_seconds for program in self._programs())

    @property
    def num_compiles(self) -> int:
        """Programs compiled since the solver was made."""
        return sum(program.num_compiles for program in self._programs())

    def __call__(
        self,
        variables: Any,
        networks: Any,
        targets: Any,
        keys: jax.Array,
        *,
        mask: np.ndarray | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Solution:
        """Runs every stage.

        Args:
          variables: pytree, leaves [N, ...]; not donated.
          networks: pytree shared by all rows; replicated over the mesh.
          targets: pytree, leaves [N, ...].
          keys: [N] typed keys, see `item_keys`.
          mask: [N] bool, False for rows that only pad the batch; None: all are real.
          progress: called after each chunk.

        Returns:
          The `Solution`; rows that are not `Status.RUNNING` or `CONVERGED` hold the last variables
          they had.

        Raises:
          ValueError: leaves disagree about N, or N does not divide over the mesh.
        """
        begin, compiled_before = time.perf_counter(), self.compile_seconds
        rows = self._check_rows(variables, targets, keys, mask)
        mask = np.ones(rows, bool) if mask is None else np.asarray(mask, bool)
        networks = self.placement.replicate(networks)
        variables, targets, keys = self.placement.place((variables, targets, keys))
        status = np.where(mask, Status.RUNNING, Status.PADDING).astype(np.int32)
        steps, scale = np.zeros(rows, np.int32), np.ones(rows, np.float32)
        total = sum(stage.steps for stage in self.stages)
        done = 0
        traces = {}
        for number, stage in enumerate(self.stages):
            # A converged row met the last stage's threshold, not this one's.
            status = np.where(status == Status.CONVERGED, Status.RUNNING, status)
            state = self.placement.place(
                self.init_programs[stage.name](networks, variables, status, steps, scale)
            )
            constants = (networks, targets, self.stage_keys(keys, number))
            iteration, chunks, first = self.iterations[stage.name], [], 0
            while first < stage.steps and np.any(status == Status.RUNNING):
                count = min(self.chunk, stage.steps - first)
                state, outputs = iteration.advance(state, constants, first, count)
                first += count
                chunks.append(jax.device_get(outputs["step"]))
                status = np.asarray(state.status)
                if progress is not None:
                    progress(
                        Progress(
                            stage=stage.name,
                            step=first,
                            steps=stage.steps,
                            done=done + first,
                            total=total,
                            loss=chunks[-1]["loss"][-1],
                            running=int(np.sum(status == Status.RUNNING)),
                            seconds=time.perf_counter() - begin,
                            compile_seconds=self.compile_seconds - compiled_before,
                        )
                    )
            done += stage.steps
            variables, steps = state.variables, np.asarray(state.steps)
            traces[stage.name] = (
                {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
                if chunks
                else {}
            )
        compile_seconds = self.compile_seconds - compiled_before
        return Solution(
            variables=variables,
            status=status,
            steps=steps,
            traces=traces,
            seconds=time.perf_counter() - begin - compile_seconds,
            compile_seconds=compile_seconds,
        )

    def stage_keys(self, keys: jax.Array, number: int) -> jax.Array:
        """The rows' keys in the stage of that number, placed: [N]."""
        return self.placement.place(stage_keys(keys, number))

    def _programs(self) -> list[Program | Iteration]:
        return [*self.init_programs.values(), *self.iterations.values()]

    def _check_rows(self, variables, targets, keys, mask) -> int:
        rows = keys.shape[0] if keys.ndim == 1 else 0
        tree = {"variables": variables, "targets": targets, "keys": keys, "mask": mask}
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if np.ndim(leaf) < 1 or np.shape(leaf)[0] != rows:
                raise ValueError(
                    f"Solver: {jax.tree_util.keystr(path)} has shape {np.shape(leaf)}; the first "
                    f"axis must be the {rows} rows that keys (shape {keys.shape}) give."
                )
        devices = self.placement.devices
        if rows < 1 or rows % devices:
            raise ValueError(
                f"Solver: {rows} rows do not divide over {devices} devices; pad the batch and mask "
                "the padding out."
            )
        return rows


def _step(stage: Stage, state: State, constants: Any, _inputs: None, _index: jax.Array):
    """`update` in the form `jaxface.runtime.iteration` asks for."""
    return update(stage, state, constants)


def update(stage: Stage, state: State, constants: Any) -> tuple[State, dict[str, jax.Array]]:
    """One update of all rows; traceable.

    Args:
      stage: whose energy falls.
      state: before it.
      constants: networks, targets [N, ...] and the rows' keys in this stage (`stage_keys`).

    Returns:
      The state after it; each metric and the loss, [N], of the variables before it.
    """
    networks, targets, keys = constants
    step_keys = jax.vmap(jax.random.fold_in)(keys, state.step)

    def total(variables):
        loss, metrics = stage.energy(variables, networks, targets, step_keys, state.step)
        return jnp.sum(loss), (loss, metrics)

    gradient, (loss, metrics) = jax.grad(total, has_aux=True)(state.variables)

    running = state.status == Status.RUNNING
    finite = jnp.isfinite(loss)
    for leaf in jax.tree.leaves(gradient):
        finite &= jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
    status = jnp.where(running & ~finite, Status.DIVERGED, state.status)
    if stage.stop_below is not None:
        watched = loss if stage.stop_on is None else metrics[stage.stop_on]
        met = running & finite & (watched < stage.stop_below)
        status = jnp.where(met, Status.CONVERGED, status)
    # A row may have begun later than the others (`jaxface.solving.continuous_batching`) and so
    # end between two looks.
    moves = (status == Status.RUNNING) & (state.step < stage.steps)

    updates, optimizer = jax.vmap(stage.optimizer.update)(
        gradient, state.optimizer, state.variables
    )
    updates = jax.tree.map(lambda u: u * _column(state.scale, u).astype(u.dtype), updates)
    state = State(
        variables=select_rows(
            moves, optax.apply_updates(state.variables, updates), state.variables
        ),
        optimizer=select_rows(moves, optimizer, state.optimizer),
        loss=jnp.where(running & finite, loss, state.loss),
        steps=state.steps + moves,
        status=status,
        step=state.step + moves,
        scale=state.scale,
    )
    return state, {**metrics, "loss": state.loss}


def initial_state(
    stage: Stage,
    networks: Any,
    variables: Any,
    status: jax.Array,
    steps: jax.Array,
    scale: jax.Array,
) -> State:
    """A stage's state before its first update; traceable.

    Args:
      stage: begins.
      networks: pytree shared by all rows.
      variables: of the stage before, or the first ones, leaves [N, ...].
      status: [N] of `Status`.
      steps: [N] updates taken so far.
      scale: [N], see `State`.
    """
    # Copied, because the iteration donates its carry and the caller keeps the variables: without
    # the copy, an input that comes out unchanged would share its buffer.
    variables = stage.start(networks, variables)
    variables = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), variables)
    return State(
        variables=variables,
        optimizer=jax.vmap(stage.optimizer.init)(variables),
        loss=jnp.full(status.shape, jnp.nan),
        steps=steps,
        status=status,
        step=jnp.zeros_like(steps),
        scale=scale,
    )


@jax.jit
def stage_keys(keys: jax.Array, number: int | jax.Array) -> jax.Array:
    """The rows' keys [N] in the stage of that number: [N]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def select_rows(rows: jax.Array, new: Any, old: Any) -> Any:
    """`new` where `rows` [N] is true, else `old`; leaves [N, ...]."""
    return jax.tree.map(lambda n, o: jnp.where(_column(rows, n), n, o), new, old)


def _column(rows: jax.Array, leaf: jax.Array) -> jax.Array:
    """[N] in a shape that broadcasts against a leaf [N, ...]."""
    return rows.reshape(rows.shape + (1,) * (leaf.ndim - 1))
