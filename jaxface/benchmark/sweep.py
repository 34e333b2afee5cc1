"""A call of the command: one benchmark after the other, over sizes and dtypes."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxface.benchmark import hardware, networks, report
from jaxface.benchmark.catalogue import WORKLOADS
from jaxface.benchmark.peers import Contender, load_peers
from jaxface.benchmark.problem import AnyProblem, Problem, random_problem
from jaxface.benchmark.runner import compile_benchmark, run_benchmark
from jaxface.errors import UsageError
from jaxface.nets import LPIPSConfig
from jaxface.runtime.devices import Dtype
from jaxface.runtime.profiling import writable
from jaxface.runtime.progress import working
from jaxface.runtime.topologies import Topology

# From this resolution on StyleGAN2's generators have twice the channels: stylegan2-ada-pytorch's
# train.py, "auto" (fmaps 1 and 0.5 of 32768).
WIDE_FROM, WIDE_BASE, NARROW_BASE = 512, 32768, 16384


@dataclasses.dataclass(frozen=True)
class Energy:
    """What a projection minimises beside the mean squared pixel difference.

    Attributes:
        perceptual: Image2StyleGAN's term, on a VGG-16.
        lpips: LPIPS with this trunk, or None.
    """

    perceptual: bool = False
    lpips: LPIPSConfig | None = None


class Sweep:
    """Measures one problem after the other and gathers the document.

    Args:
        peers: ``MODULE:FACTORY`` specifications.
        dtypes: of all problems to come: the peaks that a CPU's shares need.
        batches, repeats, seed: see :func:`~jaxface.benchmark.runner.run_benchmark`.
        cpu: whether jaxface on the CPU takes part too, to compare with what it computes.
        partial: whether a peer may lack some of the benchmarks; `note` is told.
        profile: folder for traces, each problem's in a folder of its own; None for none.
        topology: described devices to compile for instead: nothing is run then, no peer takes part.
    """

    def __init__(
        self,
        *,
        peers: Sequence[str],
        dtypes: Iterable[Dtype],
        batches: Sequence[int],
        repeats: int,
        seed: int,
        cpu: bool = False,
        partial: bool = False,
        profile: str | None = None,
        topology: Topology | None = None,
        note: Callable[[str], Any] = print,
    ):
        self._peers, self._batches, self._cpu = peers, batches, cpu
        self._repeats, self._seed = repeats, seed
        self._partial, self._note = partial, note
        self._profile = None if profile is None else Path(profile)
        if profile is not None:
            writable(profile)
        self._runs: list[report.Run] = []
        self._contenders: dict[str, Contender] = {}
        self._topology = topology
        self._peak = hardware.peak(dtypes) if topology is None else None

    def measure(self, name: str, problem: AnyProblem) -> None:
        """Run a benchmark of ``BENCHMARKS`` on a problem, or compile it for the topology.

        Raises:
            UsageError: see `load_peers` and `run_benchmark`.
        """
        if self._topology is not None:
            with working(f"compiling for {self._topology.name}"):
                estimates = compile_benchmark(
                    name, problem, batches=self._batches, seed=self._seed, topology=self._topology
                )
            self._runs.append(
                report.compiled_entry(
                    name, problem, estimates, topology=self._topology, seed=self._seed
                )
            )
            return
        peers = load_peers(self._peers, problem)
        absent = set(self._peers) - {peer.name for peer in peers}
        if absent and not self._partial:
            what = report.described(name, problem.sizes)
            raise UsageError(f"--peer {min(absent)}: its factory returned None for {what}")
        measurements = run_benchmark(
            name,
            problem,
            batches=self._batches,
            repeats=self._repeats,
            peers=peers,
            seed=self._seed,
            cpu=self._cpu,
            partial=self._partial,
            profile=self._profile and self._profile / _folder_name(name, problem),
        )
        self._contenders |= {peer.name: peer for peer in peers}
        run = report.run_entry(
            name,
            problem,
            measurements,
            peak=self._peak,
            repeats=self._repeats,
            seed=self._seed,
        )
        self._runs.append(run)
        taking_part = {measurement.contender for measurement in measurements}
        for spec in self._peers:
            if spec not in taking_part:
                self._note(f"note: peer {spec} takes no part in {report.label(run)}")

    def document(self) -> dict[str, Any]:
        """All that was measured so far."""
        return report.document(self._runs, peers=self._contenders.values(), peak=self._peak)


def _folder_name(name: str, problem: AnyProblem) -> str:
    """Such as projection-lpips-256-px-float32."""
    settings = problem.sizes
    text = f"{report.described(name, settings)} {settings['dtype']}"
    return re.sub("[^a-z0-9]+", "-", text)


def workload_problem(
    name: str,
    *,
    resolution: int,
    channel_base: int | None,
    channel_max: int,
    dtype: Dtype,
    energy: Energy,
    seed: int,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Problem:
    """The problem of a benchmark of ``WORKLOADS``.

    Args:
        channel_base: None for that of the published generators of this resolution.
        energy: left out where the benchmark has none.
        options: of a benchmark that has some; the others are at their defaults.

    Raises:
        UsageError: for sizes that no generator has.
    """
    if channel_base is None:
        channel_base = WIDE_BASE if resolution >= WIDE_FROM else NARROW_BASE
    benchmark = WORKLOADS[name].load()
    if not benchmark.energy:
        energy = Energy(benchmark.perceptual, benchmark.lpips)
    try:
        problem = random_problem(
            resolution=resolution,
            channel_base=channel_base,
            channel_max=channel_max,
            dtype=dtype,
            perceptual=energy.perceptual,
            lpips=energy.lpips,
            seed=seed,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if benchmark.completed is None:
        return problem
    return benchmark.completed(problem, seed=seed, **options)


def network_names(only: Sequence[str] | None) -> list[str]:
    """The networks that are asked for, in the table's order.

    Raises:
        UsageError: for a name that is not in ``NETWORKS``.
    """
    unknown = sorted(set(only or ()) - set(networks.NETWORKS))
    if unknown:
        raise UsageError(f"--only {unknown[0]}: expected some of {', '.join(networks.NETWORKS)}")
    return [name for name in networks.NETWORKS if only is None or name in only]
