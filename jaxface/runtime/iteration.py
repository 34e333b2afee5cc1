"""How a step is repeated: the one place that knows which form is fast on which platform.

Both compiled loops of the library (`jaxface.solving.solver`, many independent problems;
`jaxface.training.loop`, one set of weights) describe their work as *phases*: pure functions

    fn(carry, constants, inputs, index) -> (carry, outputs)

and hand them to `Iteration`, which advances the carry by a chunk of steps. Two strategies give the
same numbers:

* ``"scan"``: the whole chunk is one compiled program, a `jax.lax.scan`; a phase with an interval is
  a `jax.lax.cond`. Nothing returns to the host inside a chunk. The accelerators' form.
* ``"host"``: every phase is one compiled program that the host calls, step after step. The CPU's
  form, because XLA's CPU backend runs the gradient of a convolution inside a loop body 10 to 90
  times slower than the same step compiled alone. The host is one call ahead of what is computed, no
  more: the CPU backend allocates a program's memory when it is called, so that a chunk of 50 steps
  that were all called at once would hold 50 times what one of them needs.

Programs are compiled ahead of time, several side by side, once for each signature (structure,
shapes, dtypes, placement), so compile time is known apart (`Iteration.compile_seconds`) and a
silent recompilation is impossible: `Iteration.num_compiles` counts them all. The carry is donated:
do not use it again after `Iteration.advance`. Constants (frozen networks, targets) are arguments,
never closures: a closure would be baked into the program.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxface.runtime.devices import traced_platform

Strategy = Literal["scan", "host"]
PhaseFn = Callable[[Any, Any, Any, jax.Array], tuple[Any, Any]]


def platform_strategy(platform: str | None = None) -> Strategy:
    """The fast strategy on `platform`: "cpu", "gpu" or "tpu".

    Default: `jaxface.runtime.devices.traced_platform`.
    """
    return "host" if (platform or traced_platform()) == "cpu" else "scan"


@dataclasses.dataclass(frozen=True)
class Phase:
    """One part of a step.

    Attributes:
      name: key of this phase's outputs.
      fn: ``fn(carry, constants, inputs, index) -> (carry, outputs)``, traceable. `index` is the
        step's number, an int32 scalar; `inputs` is that step's entry of `inputs` given to
        `Iteration.advance`, or None. The new carry has the structure, shapes and dtypes of the old.
      interval: the phase runs at the steps whose number is a multiple of it.
    """

    name: str
    fn: PhaseFn
    interval: int = 1

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"Phase {self.name!r}: interval must be >= 1, got {self.interval}.")

    def steps(self, first: int, count: int) -> list[int]:
        """The step numbers in [first, first + count) at which this phase runs."""
        return [i for i in range(first, first + count) if i % self.interval == 0]


class Program:
    """A function compiled ahead of time, once for each signature of its arguments.

    A signature is structure, shapes, dtypes and placement. What is called again compiles nothing.
    `prepare` and `compiled` take `jax.ShapeDtypeStruct` in the place of arrays too. The mesh that
    arguments are placed on is the one that `jaxface.runtime.devices.over_devices` splits over
    inside of `fn`.

    XLA compiles in threads of its own: whoever needs several programs prepares all of them, then
    asks for the first, and they are compiled side by side.

    Args:
      fn: ``fn(*args)``, traceable; every argument is a pytree of arrays.
      carry: the first argument is donated and comes back, in its own placement, as the first of
        two outputs.

    Attributes:
      num_compiles: programs prepared so far.
      compile_seconds: time spent tracing them and waiting for their compilation.
    """

    def __init__(self, fn: Callable, *, carry: bool = False):
        self.fn = fn
        self.carry = carry
        self.num_compiles = 0
        self.compile_seconds = 0.0
        self._prepared: dict[Any, _Prepared] = {}

    def __call__(self, *args: Any) -> Any:
        return self.compiled(*args)(*args)

    @property
    def executables(self) -> tuple[jax.stages.Compiled, ...]:
        """What was compiled so far: for its cost, memory and text."""
        return tuple(each.compiled.result() for each in self._prepared.values())

    def prepare(self, *args: Any) -> Any:
        """Begins to compile the program for arguments like these, without waiting for it.

        Returns:
          The shapes of its results: a pytree of `jax.ShapeDtypeStruct`.
        """
        return self._prepare(args).results

    def compiled(self, *args: Any) -> jax.stages.Compiled:
        """The compiled program for arguments like these."""
        prepared = self._prepare(args)
        if not prepared.compiled.done():
            start = time.perf_counter()
            prepared.compiled.result()
            self.compile_seconds += time.perf_counter() - start
        return prepared.compiled.result()

    def _prepare(self, args: tuple) -> "_Prepared":
        signature = _signature(args)
        if signature not in self._prepared:
            start = time.perf_counter()
            options = {}
            if self.carry:
                placement = jax.tree.map(_placement, args[0])
                options = {"donate_argnums": 0, "out_shardings": (placement, None)}
            with _on_mesh_of(args):
                traced = jax.jit(self.fn, **options).trace(*args)
                lowered = traced.lower()
            results = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), traced.out_info
            )
            self._prepared[signature] = _Prepared(results, _compilers().submit(lowered.compile))
            self.compile_seconds += time.perf_counter() - start
            self.num_compiles += 1
        return self._prepared[signature]


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A program that is being compiled, or is: the shapes of its results, and itself."""

    results: Any
    compiled: Future[jax.stages.Compiled]


@functools.cache
def _compilers() -> ThreadPoolExecutor:
    """The threads that compile: XLA does not hold Python's lock meanwhile."""
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 8), thread_name_prefix="compile")


class Iteration:
    """Phases compiled for repetition; every step runs those that are due, in the order given.

    Args:
      phases: the parts of a step, with distinct names.
      strategy: "scan" or "host"; default: `platform_strategy()`.

    Attributes:
      strategy: the one in use.
      programs: by phase name under "host"; the one named "scan" under "scan".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def newton(carry, constants, inputs, index):
      ...     carry = 0.5 * (carry + constants / carry)
      ...     return carry, {"root": carry}
      >>> iteration = Iteration([Phase("newton", newton)])
      >>> carry, outputs = iteration.advance(jnp.array([1.0, 1.0]), jnp.array([4.0, 9.0]), 0, 6)
      >>> outputs["newton"]["root"].shape
      (6, 2)
    """

    def __init__(self, phases: Sequence[Phase], *, strategy: Strategy | None = None):
        names = [phase.name for phase in phases]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"Iteration: phases need distinct names, at least one; got {names}.")
        if strategy not in (None, "scan", "host"):
            raise ValueError(f"Iteration: strategy must be 'scan' or 'host', got {strategy!r}.")
        self.phases = tuple(phases)
        self.strategy: Strategy = strategy or platform_strategy()
        self.programs = (
            {"scan": Program(self._scan, carry=True)}
            if self.strategy == "scan"
            else {
                phase.name: Program(functools.partial(_run, phase), carry=True)
                for phase in self.phases
            }
        )

    @property
    def num_compiles(self) -> int:
        """Programs compiled so far."""
        return sum(program.num_compiles for program in self.programs.values())

    @property
    def compile_seconds(self) -> float:
        """Time spent tracing and compiling them."""
        return sum(program.compile_seconds for program in self.programs.values())

    def prepare(self, carry: Any, constants: Any, count: int) -> None:
        """Begins to compile what `compiled` would give."""
        for program in self.programs.values():
            program.prepare(*self._arguments(carry, constants, count))

    def compiled(
        self, carry: Any, constants: Any, count: int, *, inputs: Any = None
    ) -> list[jax.stages.Compiled]:
        """The programs that `advance` would run, for arguments like these.

        Leaves may be `jax.ShapeDtypeStruct`; `inputs` are those of one step.
        """
        arguments = self._arguments(carry, constants, count, inputs)
        for program in self.programs.values():
            program.prepare(*arguments)
        return [program.compiled(*arguments) for program in self.programs.values()]

    def _arguments(self, carry: Any, constants: Any, count: int, inputs: Any = None) -> tuple:
        """A program's, whose steps all have inputs like these."""
        steps = [inputs] * count if self.strategy == "scan" else inputs
        return carry, Flat.of(constants), steps, np.int32(0)

    def advance(
        self,
        carry: Any,
        constants: Any,
        first: int,
        count: int,
        inputs: Sequence[Any] | None = None,
        *,
        outputs: bool = True,
    ) -> tuple[Any, dict[str, Any]]:
        """Runs steps first, ..., first + count - 1.

        Args:
          carry: pytree of arrays; donated. It keeps its placement (sharding).
          constants: pytree of arrays, the same at every step; not donated.
          first: number of the first step, >= 0.
          count: how many steps, >= 1. Under "scan" every distinct count is a program of its own,
            so keep to one chunk length and its tail.
          inputs: one pytree per step, all of one signature, or None.
          outputs: whether the phases' outputs are wanted. Without, chunks of any length run the
            same programs under "host", where outputs are stacked by one for each length.

        Returns:
          The new carry, and for each phase that ran at least once its outputs, stacked over the
          steps at which it ran (`Phase.steps`): leaves [steps run, ...]; no phase's if they are not
          wanted. They may still be being computed when this returns.

        Raises:
          ValueError: `inputs` has not `count` entries, or a phase changes the carry's signature.
        """
        if count < 1 or first < 0:
            raise ValueError(f"advance: need first >= 0 and count >= 1, got {first} and {count}.")
        if inputs is not None and len(inputs) != count:
            raise ValueError(f"advance: got {len(inputs)} inputs for {count} steps.")
        inputs = [None] * count if inputs is None else list(inputs)
        constants = Flat.of(constants)
        run = self._advance_scan if self.strategy == "scan" else self._advance_host
        return run(carry, constants, first, count, inputs, outputs)

    def _advance_host(self, carry, constants, first, count, inputs, wanted):
        outputs: dict[str, list[Any]] = {}
        programs: dict[str, jax.stages.Compiled] = {}
        before = None
        for phase in self.phases:
            if phase.steps(first, count):
                self.programs[phase.name].prepare(carry, constants, inputs[0], np.int32(first))
        for index, step_inputs in zip(range(first, first + count), inputs, strict=True):
            for phase in self.phases:
                if index % phase.interval:
                    continue
                args = (carry, constants, step_inputs, np.int32(index))
                if phase.name not in programs:  # one look-up per chunk, not per step
                    programs[phase.name] = self.programs[phase.name].compiled(*args)
                carry, out = programs[phase.name](*args)
                if wanted:
                    outputs.setdefault(phase.name, []).append(out)
                jax.block_until_ready(before)
                before = out
        return carry, {name: _stack(outs) for name, outs in outputs.items()}

    def _advance_scan(self, carry, constants, first, count, inputs, wanted):
        args = (carry, constants, inputs, np.int32(first))
        carry, outputs = self.programs["scan"](*args)
        if not wanted:
            return carry, {}
        # A phase that was not due left zeros in its row: keep the rows of the steps that ran it.
        kept = {}
        for phase in self.phases:
            rows = np.array([i - first for i in phase.steps(first, count)], np.int32)
            if len(rows) == count:
                kept[phase.name] = outputs[phase.name]
            elif len(rows):
                kept[phase.name] = jax.tree.map(lambda a, rows=rows: a[rows], outputs[phase.name])
        return carry, kept

    def _scan(self, carry, constants, inputs, first):
        count = len(inputs)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inputs)

        def step(carry, x):
            index, step_inputs = x
            outputs = {}
            for phase in self.phases:

                def run(carry, phase=phase):
                    return _run(phase, carry, constants, step_inputs, index)

                if phase.interval == 1:
                    carry, outputs[phase.name] = run(carry)
                    continue
                skip = functools.partial(_skip, jax.eval_shape(run, carry)[1])
                carry, outputs[phase.name] = jax.lax.cond(
                    index % phase.interval == 0, run, skip, carry
                )
            return carry, outputs

        return jax.lax.scan(step, carry, (first + jnp.arange(count, dtype=jnp.int32), stacked))


@jax.jit
def _stack(outs):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)


def _skip(shapes, carry):
    """What a phase that is not due gives: the carry as it is, and zeros for outputs."""
    return carry, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _placement(leaf) -> jax.sharding.Sharding | None:
    """The sharding that the user chose for an array; None where JAX is free to choose."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.sharding
    return leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None


def _on_mesh_of(args) -> contextlib.AbstractContextManager:
    """Sets the mesh that arguments are placed on, if they are on one."""
    for placement in map(_placement, jax.tree.leaves(args)):
        if isinstance(placement, NamedSharding) and isinstance(placement.mesh, Mesh):
            return jax.set_mesh(placement.mesh)
    return contextlib.nullcontext()


def _signature(tree) -> tuple:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(
        (np.shape(leaf), str(jnp.result_type(leaf)), _placement(leaf)) for leaf in leaves
    )


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Flat:
    """A pytree flattened once: a network of modules takes milliseconds at every call otherwise.

    Attributes:
      leaves: the pytree's.
      structure: what makes the pytree of them.
    """

    leaves: Sequence[Any]
    structure: Any

    @classmethod
    def of(cls, tree: Any) -> "Flat":
        """A pytree's."""
        return cls(*jax.tree.flatten(tree))

    def tree_flatten(self):
        return tuple(self.leaves), self.structure

    @classmethod
    def tree_unflatten(cls, structure, leaves):
        return cls(leaves, structure)

    def tree(self) -> Any:
        """The pytree."""
        return jax.tree.unflatten(self.structure, self.leaves)


def _run(phase: Phase, carry, constants: Flat, inputs, index):
    """Calls the phase; refuses a carry that changed its type, which would recompile every step."""
    after, outputs = phase.fn(carry, constants.tree(), inputs, index)
    if jax.tree.structure(carry) != jax.tree.structure(after):
        raise ValueError(
            f"Phase {phase.name!r} returns a carry of another structure: got "
            f"{jax.tree.structure(after)}, expected {jax.tree.structure(carry)}."
        )
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(carry), jax.tree.leaves(after), strict=True
    ):
        if jnp.shape(old) != jnp.shape(new) or jnp.result_type(old) != jnp.result_type(new):
            raise ValueError(
                f"Phase {phase.name!r} changes carry{jax.tree_util.keystr(path)}: got "
                f"{jnp.result_type(new)}{list(jnp.shape(new))}, expected "
                f"{jnp.result_type(old)}{list(jnp.shape(old))}. Cast it to the type it came with."
            )
    return after, outputs
