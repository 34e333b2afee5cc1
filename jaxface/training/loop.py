"""The compiled trainer: one set of weights over a stream of batches, data-parallel.

A training method is a list of `jaxface.runtime.iteration.Phase` whose functions are

    fn(state, constants, batch, key) -> (state, metrics)

`state` is one pytree with everything that changes (weights, optimiser states, averages, counters:
networks are `nnx.Module`, which are pytrees); `constants` is one pytree with what does not (frozen
networks); `batch` is the next element of the data iterator, leaves [B, ...]; `key` is derived from
the run's key, the step's number and the phase's place in the list, so no randomness hides in the
state; `metrics` is a dict of scalars. A phase with an interval (lazy regularisation) runs every
that many steps, beginning with step 0, and is compiled once like the others.

    state = fit(
        state,
        [Phase("g", generator_step), Phase("pl", path_length, 4), Phase("d", discriminator_step)],
        data,
        key=jax.random.key(0), steps=10_000, directory=pathlib.Path("runs/g"),
        hooks=[sample_grid(pathlib.Path("runs/g"), sample, every=500)],
    )

The batch is split over the devices of a mesh with one axis, ``data``; state and constants are
replicated, and XLA inserts the reductions: a mean over the batch is the mean over all devices. So
a batch is the global one, whatever the number of devices and processes; where their memory does not
hold it, a method takes its gradients in microbatches (`jaxface.training.microbatches`).
`fit` resumes from the run folder's newest checkpoint by itself, with the numbers that an
uninterrupted run would have given. Run folder: `checkpoints/`, `metrics.jsonl`, `tensorboard/`,
`samples/`.
"""

import dataclasses
import math
import pathlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxface.data.sources import DataIterator
from jaxface.errors import JaxfaceError
from jaxface.runtime.devices import data_mesh
from jaxface.runtime.iteration import Iteration, Phase, Strategy
from jaxface.runtime.profiling import ChunkTrace
from jaxface.runtime.stopping import StopFlag, stop_requests
from jaxface.training.checkpoints import CheckpointError, Checkpoints, is_key
from jaxface.training.reporting import MetricWindow, Reporter

__all__ = [
    "DataEndedError",
    "Hook",
    "Interrupted",
    "Phase",
    "fit",
    "local_copy",
    "parameter_table",
    "phase_programs",
    "replicate",
    "restore_state",
    "sample_grid",
    "shard_batch",
]


class DataEndedError(JaxfaceError):
    """The data iterator ended before the last step."""


class Interrupted(SystemExit):
    """The run got SIGTERM or SIGINT and has checkpointed; `code` is 143 or 130.

    `step` and `state` are what it got to.
    """

    def __init__(self, code: int, *, step: int, state: Any):
        super().__init__(code)
        self.step, self.state = step, state


@dataclasses.dataclass(frozen=True)
class Hook:
    """Something to do with the state every `every` steps and after the last one.

    `fn(step, state) -> metrics or None`: `step` counts the steps done; the state may be read, not
    kept (the next step donates it); metrics, a dict of floats, join that step's row. Of several
    processes each calls it, with its own copy of the state.
    """

    name: str
    every: int
    fn: Callable[[int, Any], Mapping[str, float] | None]


def fit(
    state: Any,
    phases: Sequence[Phase],
    data: DataIterator,
    *,
    key: jax.Array,
    steps: int,
    directory: pathlib.Path,
    constants: Any = None,
    log_every: int = 50,
    checkpoint_every: int = 1000,
    keep: int = 2,
    hooks: Sequence[Hook] = (),
    settings: Mapping[str, Any] | None = None,
    upgrade: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    parameters: Any = None,
    mesh: Mesh | None = None,
    chunk: int = 32,
    strategy: Strategy | None = None,
    profile: pathlib.Path | None = None,
) -> Any:
    """Trains until `steps` steps are done, from the newest checkpoint in `directory` if any.

    Args:
      state: pytree of arrays to begin with; not changed (it is copied to the mesh).
      phases: the parts of a step; see the module's words.
      data: endless batches; the leading axis is divisible by this process's devices in the mesh.
      key: typed key of the run.
      steps: steps in all, including those already done by a run that is resumed.
      directory: the run folder.
      constants: pytree of arrays that the phases read.
      log_every: steps between rows of metrics.
      checkpoint_every: steps between checkpoints; one more is written after the last step.
      keep: checkpoints kept.
      hooks: run every so many steps.
      settings: JSON that defines the run; a checkpoint with other settings is refused.
      upgrade: a checkpoint's settings, which an earlier version may have written -> the same as
        this version writes them; default: as they are.
      parameters: pytree whose table of names, shapes and sizes is printed at the start.
      mesh: default: `jaxface.runtime.devices.data_mesh()`.
      chunk: most steps in one compiled program where chunks are scanned (accelerators).
      strategy: default: by platform, see `jaxface.runtime.iteration`.
      profile: folder for a trace of the second and third chunk of steps,
        `jaxface.runtime.profiling`.

    Returns:
      The state after the last step, on the mesh.

    Raises:
      NonFiniteMetricError: a metric is NaN or infinite. Nothing of that step is checkpointed.
      DataEndedError: `data` stopped.
      CheckpointError: the checkpoint belongs to another state, key or settings.
      Interrupted: SIGTERM or Ctrl-C; a checkpoint is on disk. Exit status 143 or 130.
    """
    mesh = data_mesh() if mesh is None else mesh
    directory = pathlib.Path(directory)
    run = {"key": jax.random.key_data(key).tolist(), "settings": dict(settings or {})}
    state = replicate(state, mesh)
    frozen = replicate((key, constants), mesh)
    iteration = Iteration([_keyed(i, phase) for i, phase in enumerate(phases)], strategy=strategy)
    chunk = _chunk(iteration, chunk, [log_every, checkpoint_every, *(hook.every for hook in hooks)])

    checkpoints = Checkpoints(directory / "checkpoints", keep=keep)
    step, window = 0, MetricWindow()
    if checkpoints.latest() is not None:
        state, position, meta = checkpoints.restore(state)
        stored = {**meta["run"], "settings": upgrade(meta["run"]["settings"])}
        _check_same_run(directory, stored, run)
        data.set_state(position)
        step, window = meta["step"], MetricWindow(meta["window"])
    reporter = Reporter(directory, step, steps, chief=jax.process_index() == 0)
    pending: list[tuple[int, int, Any]] = []

    def collect() -> None:
        """Reads the metrics of the steps in flight; NaN shows here first, so it may raise."""
        while pending:
            _collect(window, phases, pending.pop())

    def save() -> None:
        meta = {"run": run, "step": step, "window": window.state()}
        checkpoints.save(step, state, data=data.get_state(), meta=meta)

    try:
        if parameters is not None:
            reporter.say(parameter_table(parameters))
        if step:
            reporter.say(f"Resumed from step {step}.")
        with (
            stop_requests((signal.SIGTERM, signal.SIGINT), grace=None) as stop,
            ChunkTrace(profile, settle=lambda: jax.block_until_ready(state)) as between_chunks,
        ):
            while step < steps:
                between_chunks()
                count = min(chunk - step % chunk, steps - step)
                batches = [_next_batch(data, mesh, step, reporter) for _ in range(count)]
                compiled = iteration.compile_seconds
                state, outputs = iteration.advance(state, frozen, step, count, batches)
                reporter.compiled(iteration.compile_seconds - compiled)
                # The values are read one chunk late, so the devices never wait for the host.
                collect()
                reporter.tick(step, window.means())
                pending.append((step, count, outputs))
                step += count
                reporter.count(count, items=count * len(jax.tree.leaves(batches[0])[0]))
                last = step == steps
                logging = last or step % log_every == 0
                due = [hook for hook in hooks if last or step % hook.every == 0]
                if logging or due:
                    collect()
                row = window.pop() if logging else {}
                with reporter.paused():
                    for hook in due:
                        metrics = hook.fn(step, local_copy(state)) or {}
                        row |= {f"{hook.name}/{name}": value for name, value in metrics.items()}
                if row:
                    reporter.write(step, row)
                stopping = _stop_agreed(stop, now=logging)
                if last or stopping or step % checkpoint_every == 0:
                    collect()
                    with reporter.paused():
                        save()
                if stopping:
                    checkpoints.wait()
                    reporter.say(f"Stopped by {stop.name} at step {step}; checkpointed.")
                    raise Interrupted(128 + stop.number, step=step, state=state)
    finally:
        reporter.close()
        checkpoints.close()
    return state


def phase_programs(
    state: Any, phases: Sequence[Phase], batch: Any, *, constants: Any, mesh: Mesh
) -> dict[str, jax.stages.Compiled]:
    """Each phase of `fit`'s steps as a program of its own, by name; nothing is computed.

    Args:
      state, phases, constants: see `fit`; arrays or shapes.
      batch: arrays or shapes [B, ...].
      mesh: of devices that may be described only.
    """

    def placed(tree: Any, spec: PartitionSpec) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                jnp.shape(leaf), jnp.result_type(leaf), sharding=sharding
            ),
            tree,
        )

    iteration = Iteration([_keyed(i, phase) for i, phase in enumerate(phases)], strategy="host")
    compiled = iteration.compiled(
        placed(state, PartitionSpec()),
        placed((jax.random.key(0), constants), PartitionSpec()),
        1,
        inputs=placed(batch, PartitionSpec("data")),
    )
    return dict(zip(iteration.programs, compiled, strict=True))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies of the leaves on every device; donating them leaves `tree` untouched."""
    sharding = NamedSharding(mesh, PartitionSpec())
    leaves, structure = jax.tree.flatten(tree)
    # Keys travel as words: device_put cannot place a key on another process's devices.
    kinds = [jax.random.key_impl(leaf) if is_key(leaf) else None for leaf in leaves]
    words = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]

    # device_put alone may return buffers that two leaves (weights and their average) share.
    def copy(words):
        return [
            jnp.copy(word) if kind is None else jax.random.wrap_key_data(word, impl=kind)
            for word, kind in zip(words, kinds, strict=True)
        ]

    copies = jax.jit(copy, out_shardings=sharding)(jax.device_put(words, sharding))
    return jax.tree.unflatten(structure, copies)


def local_copy(tree: Any) -> Any:
    """Replicated arrays as this process has them, without those of other processes."""
    return jax.tree.map(
        lambda leaf: leaf if leaf.is_fully_addressable else leaf.addressable_data(0), tree
    )


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """This process's share of a batch, leaves [b, ...] -> global arrays split over ``data``."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), batch)


def restore_state(directory: pathlib.Path, state: Any, *, step: int | None = None) -> Any:
    """The state in a run folder's checkpoint (default: the newest), placed like `state`.

    For sampling, export, or beginning another run from it.
    """
    checkpoints = Checkpoints(pathlib.Path(directory) / "checkpoints")
    try:
        return checkpoints.restore(state, step=step)[0]
    finally:
        checkpoints.close()


def parameter_table(tree: Any) -> str:
    """Names, shapes, sizes, means and deviations of the arrays in `tree`, by clu."""
    try:
        from clu import parameter_overview
    except ImportError:
        count = sum(np.size(leaf) for leaf in jax.tree.leaves(tree))
        return f"{count:,} parameters (install clu for their table)."
    named = {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    return parameter_overview.get_parameter_overview(named)


def sample_grid(
    directory: pathlib.Path, sample: Callable[[Any], Any], *, every: int, columns: int = 8
) -> Hook:
    """A hook that writes `<directory>/samples/<step>.png`.

    Args:
      directory: the run folder.
      sample: state -> images [N, R, R, 3] in [-1, 1]; a jitted function of the state.
      every: steps between grids.
      columns: images in a row.
    """

    def write(step: int, state: Any) -> None:
        from jaxface.media import images

        sheet = images.grid(np.asarray(sample(state)), columns)
        path = pathlib.Path(directory) / "samples" / f"{step:08}.png"
        if jax.process_index() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            images.write_png(path, sheet)

    return Hook("samples", every, write)


def _keyed(place: int, phase: Phase) -> Phase:
    """The phase with its key derived from the step, in the form `Iteration` takes."""

    def fn(state, frozen, batch, index):
        key, constants = frozen
        key = jax.random.fold_in(jax.random.fold_in(key, index), place)
        return phase.fn(state, constants, batch, key)

    return dataclasses.replace(phase, fn=fn)


def _chunk(iteration: Iteration, limit: int, intervals: Sequence[int]) -> int:
    """Steps per call: 1 on the host; else the largest divisor of every interval within `limit`."""
    if min(intervals) < 1:
        raise ValueError(f"fit: intervals must be >= 1, got {list(intervals)}.")
    if iteration.strategy == "host":
        return 1
    common = math.gcd(*intervals)
    return max(n for n in range(1, min(limit, common) + 1) if common % n == 0)


def _check_same_run(directory: pathlib.Path, got: Mapping, expected: Mapping) -> None:
    if got["key"] != expected["key"]:
        raise CheckpointError(f"{directory}: the run there has another key (seed).")
    names = sorted(got["settings"].keys() | expected["settings"].keys())
    changed = [
        f"{name}: {got['settings'].get(name)!r} there, {expected['settings'].get(name)!r} here"
        for name in names
        if got["settings"].get(name) != expected["settings"].get(name)
    ]
    if changed:
        raise CheckpointError(
            f"{directory}: the run there has other settings ({'; '.join(changed)}). "
            "Use the same settings to resume it, or a new folder."
        )


def _next_batch(data: DataIterator, mesh: Mesh, step: int, reporter: Reporter) -> Any:
    start = time.perf_counter()
    try:
        batch = next(data)
    except StopIteration:
        raise DataEndedError(
            f"The data ended near step {step}; the trainer needs an endless iterator (repeat it)."
        ) from None
    reporter.waited(time.perf_counter() - start)
    return shard_batch(batch, mesh)


def _collect(window: MetricWindow, phases: Sequence[Phase], chunk: tuple) -> None:
    """Adds a chunk's metrics in the order of the steps, so that the first bad one is named."""
    first, count, outputs = chunk
    values = jax.device_get(outputs)
    rows = [
        (step, f"{phase.name}/{name}", float(value))
        for phase in phases
        for name, column in values.get(phase.name, {}).items()
        for step, value in zip(phase.steps(first, count), column, strict=True)
    ]
    for step, name, value in sorted(rows, key=lambda row: row[0]):
        window.add(name, step, value)


def _stop_agreed(stop: StopFlag, *, now: bool) -> bool:
    """Whether to stop, the same on all processes, which ask each other only when `now`."""
    if jax.process_count() == 1:
        return stop()
    if not now:
        return False
    stop.number = int(multihost_utils.process_allgather(np.int32(stop.number)).max())
    return stop()
