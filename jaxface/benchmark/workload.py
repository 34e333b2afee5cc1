"""What a benchmark gives: its calls at one batch size, and programs that know what they cost."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxface.benchmark import flops
from jaxface.benchmark.compiled import ProgramCost, program_cost
from jaxface.nets import LPIPSConfig
from jaxface.runtime.devices import data_mesh, program_bytes
from jaxface.runtime.topologies import Topology


@dataclasses.dataclass(frozen=True)
class Call:
    """A method that every contender has, and the arguments to call it with.

    Attributes:
        method: its name.
        inputs: float32 arrays, batch first.
        outputs: what it returns, by name, in order; one name for a single array.
    """

    method: str
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Workload:
    """The calls to measure at one batch size.

    Attributes:
        batch: images per call.
        calls: what is timed, each on its own.
        targets: images [N, R, R, 3] handed to ``set_targets`` before, untimed; None without.
    """

    batch: int
    calls: tuple[Call, ...]
    targets: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """How a benchmark of `jaxface.benchmark.catalogue` is measured: its module's ``BENCHMARK``.

    Attributes:
        workload: ``(problem, *, batch, rng)`` to the calls and their inputs.
        ours: the problem to jaxface's implementation of them, as :class:`Program` attributes.
        energy: whether the problem's terms (`perceptual`, `lpips`) are chosen freely.
        perceptual: whether the problem has a VGG-16, where terms are not chosen freely.
        lpips: the LPIPS network that it has there; None for none.
        completed: ``(problem, *, seed, **options)`` to the benchmark's own, for one that has
            options or needs more networks; None for one that does not.
        iterations: calls that one image takes, which makes calls a second images an hour.
        summary: the document to lines below its table; None for none.
    """

    workload: Callable[..., Workload]
    ours: Callable[[Any], Any]
    energy: bool = False
    perceptual: bool = False
    lpips: LPIPSConfig | None = None
    completed: Callable[..., Any] | None = None
    iterations: int = 1
    summary: Callable[[Mapping[str, Any]], str] | None = None


class Program:
    """A function of networks and inputs, compiled ahead of time.

    The networks are arguments of the compiled function, not constants baked into it.

    Args:
        fn: the function.
        networks: its first arguments.
        mesh: of the one device that it runs on; None: JAX's default device.

    Attributes:
        compile_seconds: tracing, lowering and compiling, for the inputs of the last `compile`.
        flop: floating-point operations of one call (a multiply-add is two), as XLA counts them in
            the program before the backend's rewriting, loops by their length; None where the
            backend does not count.
        bytes: memory traffic of one call as XLA counts it in the compiled program: every fused
            operation reads its inputs and writes its outputs once, caches or not. None where the
            backend does not count, and for programs with loops, whose bodies it counts once.
        memory: bytes of device memory that a call needs: arguments (networks too), outputs and
            temporary arrays, from the compiled program's memory analysis; None without one.
    """

    def __init__(self, fn: Callable[..., Any], *networks: Any, mesh: Mesh | None = None):
        self._fn, self._jitted = fn, jax.jit(fn)
        self._networks, self._mesh = networks, mesh
        self._compiled: jax.stages.Compiled | None = None
        self.compile_seconds = 0.0
        self.flop: float | None = None
        self.bytes: float | None = None
        self.memory: int | None = None

    def on(self, mesh: Mesh) -> "Program":
        """The same on a device of this process, the mesh's one, which need not be the default."""
        networks = jax.device_put(self._networks, NamedSharding(mesh, PartitionSpec()))
        return Program(self._fn, *networks, mesh=mesh)

    def compile(self, *inputs: jax.Array) -> None:
        """Compile for inputs of these shapes, in place of what was compiled before."""
        start = time.perf_counter()
        with contextlib.nullcontext() if self._mesh is None else jax.set_mesh(self._mesh):
            traced = self._jitted.trace(*self._networks, *inputs)
            lowered = traced.lower()
            compiled = self._compiled = lowered.compile()
            self.compile_seconds = time.perf_counter() - start
            self.flop = flops.count(traced, lowered)
        costs = None if flops.has_loop(traced) else compiled.cost_analysis()
        self.bytes = None if not costs else costs.get("bytes accessed")
        self.memory = program_bytes(compiled)

    def cost_on(self, topology: Topology, *inputs: np.ndarray) -> ProgramCost:
        """What XLA says of the program compiled for one device of a topology, described or not."""
        mesh = data_mesh(topology.devices[:1])
        sharding = NamedSharding(mesh, PartitionSpec())
        arguments = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                np.shape(leaf), jax.numpy.result_type(leaf), sharding=sharding
            ),
            (*self._networks, *inputs),
        )
        with jax.set_mesh(mesh):
            lowered = self._jitted.trace(*arguments).lower()
        return program_cost(lowered.compile(), clock=topology.chip.clock)

    def __call__(self, *inputs: jax.Array) -> Any:
        """Run and wait for the outputs."""
        if self._compiled is None:
            raise RuntimeError("Program: call compile(*inputs) before the program itself")
        return jax.block_until_ready(self._compiled(*self._networks, *inputs))
