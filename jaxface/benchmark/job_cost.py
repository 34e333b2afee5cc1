"""What a job costs on devices that are described only, by XLA's word on its compiled programs."""

import dataclasses
import importlib.metadata
from typing import Any

import jax

from jaxface.benchmark.compiled import ProgramCost, program_cost
from jaxface.benchmark.hardware import DEVICES
from jaxface.errors import UsageError
from jaxface.jobs.inversion import Inversion
from jaxface.runtime.devices import Dtype, data_mesh
from jaxface.runtime.progress import working
from jaxface.runtime.topologies import Topology


@dataclasses.dataclass(frozen=True)
class JobCost:
    """What XLA says of a job's programs.

    Attributes:
      topology: the devices.
      batch: portraits that are computed together, on all devices.
      memory: bytes of each device that a job takes.
      programs: by name; of a stage one step.
      steps: how often each program runs for a batch; 1 where it is not there.
      dtype: what networks compute in.
    """

    topology: Topology
    batch: int
    memory: int
    programs: dict[str, ProgramCost]
    steps: dict[str, int]
    dtype: Dtype

    @property
    def seconds(self) -> float | None:
        """XLA's estimate of a batch, from inputs to results; None where a step has none."""
        if any(self.programs[name].seconds is None for name in self.steps):
            return None
        return sum(
            (cost.seconds or 0.0) * self.steps.get(name, 1) for name, cost in self.programs.items()
        )

    def floor(self, name: str) -> float | None:
        """Seconds that a program cannot go below on this chip; None for an unknown chip."""
        peak = DEVICES.get(self.topology.chip.kind)
        if peak is None:
            return None
        cost = self.programs[name]
        return cost.roofline(peak.flop_per_second[self.dtype], peak.bytes_per_second)

    def to_json(self) -> dict[str, Any]:
        """In JSON's types; what is estimated says so."""
        return {
            "kind": "compiled, not measured",
            "topology": self.topology.name,
            "device": self.topology.chip.kind,
            "devices": len(self.topology.devices),
            "compiler": compilers(),
            "dtype": self.dtype,
            "batch": self.batch,
            "bytes_each_device": self.memory,
            "estimated_seconds_each_batch": self.seconds,
            "programs": {
                name: dataclasses.asdict(cost)
                | {"runs": self.steps.get(name, 1), "roofline_seconds": self.floor(name)}
                for name, cost in self.programs.items()
            },
        }


def job_cost(
    task: Inversion, topology: Topology, *, batch_size: int | None, dtype: Dtype
) -> JobCost:
    """Compiles an inversion's programs for a topology.

    Args:
      task: what the job does.
      topology: its devices, among which a batch is split.
      batch_size: of all devices; None: the task's default, halved until it fits.
      dtype: what the task's networks compute in, for the roofline.

    Raises:
      UsageError: `batch_size` does not fit or does not divide, or one portrait a device does not
        fit.
    """
    devices = len(topology.devices)
    each = task.default_batch_size(2**31) // jax.local_device_count()
    size = batch_size or devices * each
    if size % devices:
        raise UsageError(f"--batch-size {size}: {devices} devices do not divide it")
    mesh = data_mesh(topology.devices)
    while True:
        batcher = task.batcher(size, mesh)
        with working(f"compiling for batches of {size} on {topology.name}"):
            need, reason = _needed(batcher, task)
        if need is not None and need <= topology.chip.memory:
            break
        told = reason if need is None else f"{need / 1e9:.3g} GB on each device"
        if batch_size is not None or size == devices:
            raise UsageError(f"a batch of {size} does not fit {topology.name}: {told}")
        size = max(size // 2 // devices, 1) * devices
    clock = topology.chip.clock
    stages = task.settings.procedure(task.suite.generator.config).stages
    programs = batcher.compiled(task.networks(), task.signature())
    return JobCost(
        topology,
        size,
        need,
        {name: program_cost(program, clock=clock) for name, program in programs.items()},
        {stage.name: stage.steps for stage in stages},
        dtype,
    )


def _needed(batcher: Any, task: Inversion) -> tuple[int | None, str]:
    """Bytes on each device; or None and what XLA says of a program that is too large."""
    try:
        return batcher.device_bytes(task.networks(), task.signature()), ""
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None, str(error).partition("\n")[0]


def compilers() -> dict[str, str]:
    """The versions of what compiles."""
    names = ("jax", "jaxlib", "libtpu", "jax-cuda13-plugin")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def table(cost: JobCost) -> str:
    """What is printed."""
    topology, devices = cost.topology, len(cost.topology.devices)
    rows = cost.batch / devices
    versions = ", ".join(f"{name} {version}" for name, version in compilers().items())
    lines = [
        f"{topology.name}: {devices} x {topology.chip.kind}, described; XLA's estimates, not "
        f"measurements ({versions})",
        f"batch of {cost.batch}, {cost.memory / 1e9:.3g} of {topology.chip.memory / 1e9:.3g} GB on "
        "each device",
        "",
        "of a portrait           runs   GFLOP      GB  roofline ms  estimate ms  peak GB  "
        "collectives",
    ]
    for name, program in cost.programs.items():
        floor = cost.floor(name)
        said = ", ".join(
            f"{count} {kind} of {size / 1e6:.3g} MB"
            for kind, (count, size) in program.collectives.items()
        )
        lines.append(
            f"{name[:22]:22} {cost.steps.get(name, 1):5} "
            f"{_number(program.operations, rows * 1e9):>7} "
            f"{_number(program.traffic, rows * 1e9):>7}"
            f" {_number(floor, rows / 1e3):>12} {_number(program.seconds, rows / 1e3):>12}"
            f" {program.peak / 1e9:8.3g}  {said or 'none'}"
        )
    if cost.seconds is not None:
        hourly = 3600 * cost.batch / cost.seconds
        lines += [
            "",
            f"{hourly:.0f} portraits/h by these estimates ({hourly / devices:.0f} a device)",
        ]
    return "\n".join(lines)


def _number(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.3g}"
