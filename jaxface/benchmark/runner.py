"""Runs a benchmark: first calls and comparison, then rounds in rotating order."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxface.benchmark.catalogue import BENCHMARKS
from jaxface.benchmark.compiled import ProgramCost
from jaxface.benchmark.peers import Contender, Difference, compare, without_methods
from jaxface.benchmark.problem import AnyProblem
from jaxface.benchmark.workload import Call, Program, Workload
from jaxface.runtime.devices import data_mesh
from jaxface.runtime.profiling import trace
from jaxface.runtime.topologies import Topology

OURS, ON_CPU = "jaxface", "jaxface, CPU"

PROFILED_CALLS = 3


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One contender's times for one call at one batch size.

    Attributes:
        compile_seconds: jaxface's tracing and compilation; None for peers, whose compilation, if
            any, is in the first call.
        first_call_seconds: the first call after that.
        seconds: steady state, one per round.
        flop, bytes, memory: see :class:`Program`; jaxface's counts, so None for peers.
        speedup: jaxface's advantage, the median over rounds of the contender's time over jaxface's
            in the same round; None for jaxface itself.
        differences: outputs compared with jaxface's; empty for jaxface itself.
    """

    method: str
    batch: int
    contender: str
    compile_seconds: float | None
    first_call_seconds: float
    seconds: list[float]
    flop: float | None
    bytes: float | None
    memory: int | None
    speedup: float | None
    differences: list[Difference]

    @property
    def median(self) -> float:
        """Median of ``seconds``."""
        return statistics.median(self.seconds)

    @property
    def images_per_second(self) -> float:
        """At the median."""
        return self.batch / self.median


def run_benchmark(
    name: str,
    problem: AnyProblem,
    *,
    batches: Iterable[int],
    repeats: int,
    peers: Iterable[Contender],
    seed: int,
    cpu: bool = False,
    partial: bool = False,
    profile: Path | None = None,
) -> list[Measurement]:
    """Measure jaxface and its peers.

    Each call is first made once by everyone, and the outputs compared. Then come ``repeats``
    rounds; in each, every contender runs once, and the one that begins moves on by one, so that
    load from elsewhere on the machine falls on all alike.

    Args:
        name: a key of ``BENCHMARKS``.
        problem: of the kind that the benchmark takes.
        seed: of the inputs.
        cpu: whether jaxface on this process's CPU takes part, which what an accelerator computes
            is compared with.
        partial: whether a peer that lacks a method is left out, rather than refused.
        profile: folder for traces of a few more calls of jaxface's, made after the rounds: one
            folder for each method and batch.

    Returns:
        By batch, then call, then contender, jaxface first.

    Raises:
        UsageError: if a peer lacks a method or returns something of the wrong shape.
    """
    benchmark = BENCHMARKS[name].load()
    ours = [Contender(OURS, _OnDevice(benchmark.ours(problem)), {})]
    if cpu:
        mesh = data_mesh(jax.devices("cpu")[:1])
        ours.append(Contender(ON_CPU, _OnDevice(benchmark.ours(problem), mesh), {}))
    peers = list(peers)
    rng = np.random.default_rng(seed)
    measurements = []
    for batch in batches:
        workload = benchmark.workload(problem, batch=batch, rng=rng)
        reasons = [without_methods(peer, workload) for peer in peers]
        if any(reasons) and not partial:
            raise next(reason for reason in reasons if reason)
        able = [peer for peer, reason in zip(peers, reasons, strict=True) if reason is None]
        measurements += _measure(workload, [*ours, *able], repeats=repeats, profile=profile)
    return measurements


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What XLA says of jaxface's program for one call at one batch size; nothing was run.

    Attributes:
        method, batch: of the call.
        cost: of the compiled program on one device; None where it needs more memory than there is.
    """

    method: str
    batch: int
    cost: ProgramCost | None


def compile_benchmark(
    name: str, problem: AnyProblem, *, batches: Iterable[int], seed: int, topology: Topology
) -> list[Estimate]:
    """Compile jaxface's programs for one device of a topology.

    What comes before the calls, such as features of targets, is computed by this process.

    Args:
        name, problem, batches, seed: see :func:`run_benchmark`.
        topology: its first device is compiled for.

    Returns:
        By batch, then call.
    """
    benchmark = BENCHMARKS[name].load()
    ours = benchmark.ours(problem)
    rng = np.random.default_rng(seed)
    estimates = []
    for batch in batches:
        workload = benchmark.workload(problem, batch=batch, rng=rng)
        if workload.targets is not None:
            ours.set_targets(jax.numpy.asarray(workload.targets))
        for call in workload.calls:
            cost = _cost(getattr(ours, call.method), topology, call)
            estimates.append(Estimate(call.method, batch, cost))
    return estimates


def _cost(program: Program, topology: Topology, call: Call) -> ProgramCost | None:
    try:
        cost = program.cost_on(topology, *call.inputs)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    return cost if cost.peak <= topology.chip.memory else None


@dataclasses.dataclass(frozen=True)
class _OnDevice:
    """jaxface's implementation, fed with arrays already on the device; None: JAX's default."""

    implementation: Any
    mesh: Mesh | None = None

    def put(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, self.mesh and NamedSharding(self.mesh, PartitionSpec()))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.implementation, name)
        return found.on(self.mesh) if self.mesh and isinstance(found, Program) else found


@dataclasses.dataclass(frozen=True)
class _First:
    """What the first call of a method gave."""

    run: Callable[[], Any]
    seconds: float
    outputs: tuple[np.ndarray, ...]
    compile_seconds: float | None = None
    flop: float | None = None
    bytes: float | None = None
    memory: int | None = None


def _measure(
    workload: Workload, contenders: list[Contender], *, repeats: int, profile: Path | None
) -> list[Measurement]:
    firsts: dict[str, dict[str, _First]] = {}
    for contender in contenders:
        if workload.targets is not None:
            contender.method("set_targets")(contender.put(workload.targets))
        firsts[contender.name] = {
            call.method: _first_call(contender, call) for call in workload.calls
        }
    outputs = {
        name: {method: first.outputs for method, first in by_method.items()}
        for name, by_method in firsts.items()
    }
    differences = compare(
        workload, outputs[OURS], {name: o for name, o in outputs.items() if name != OURS}
    )
    measurements = []
    for call in workload.calls:
        runs = {name: by_method[call.method].run for name, by_method in firsts.items()}
        seconds = _rounds(runs, repeats=repeats)
        if profile is not None:
            with trace(profile / f"{call.method}-batch-{workload.batch}"):
                for number in range(PROFILED_CALLS):
                    with jax.profiler.StepTraceAnnotation(call.method, step_num=number):
                        runs[OURS]()
        for name, by_method in firsts.items():
            first = by_method[call.method]
            measurements.append(
                Measurement(
                    method=call.method,
                    batch=workload.batch,
                    contender=name,
                    compile_seconds=first.compile_seconds,
                    first_call_seconds=first.seconds,
                    seconds=seconds[name],
                    flop=first.flop,
                    bytes=first.bytes,
                    memory=first.memory,
                    speedup=None if name == OURS else _ratio(seconds[name], seconds[OURS]),
                    differences=[] if name == OURS else differences[name][call.method],
                )
            )
    return measurements


def _first_call(contender: Contender, call: Call) -> _First:
    function = contender.method(call.method)
    inputs = [contender.put(array) for array in call.inputs]
    counts: dict[str, Any] = {}
    if isinstance(function, Program):
        function.compile(*inputs)
        counts = {
            name: getattr(function, name) for name in ("compile_seconds", "flop", "bytes", "memory")
        }
    start = time.perf_counter()
    outputs = function(*inputs)
    seconds = time.perf_counter() - start
    return _First(lambda: function(*inputs), seconds, contender.get(outputs), **counts)


def _rounds(runs: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, list[float]]:
    """Seconds of each run in each round; who begins rotates."""
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(repeats):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
