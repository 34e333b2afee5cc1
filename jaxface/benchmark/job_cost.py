"""What a job costs on devices that are described only, by XLA's word on its compiled programs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxface.benchmark.compiled import ProgramCost, compilers, program_cost
from jaxface.benchmark.hardware import DEVICES
from jaxface.errors import UsageError
from jaxface.jobs.driven_task import ReenactmentNetworks, driven_program
from jaxface.jobs.inversion import Inversion
from jaxface.jobs.reenactment import read_shapes
from jaxface.methods.reenactment_presets import is_image_driven
from jaxface.runtime.devices import Dtype, data_mesh
from jaxface.runtime.progress import working
from jaxface.runtime.topologies import Topology
from jaxface.solving.one_pass import OnePassBatcher
from jaxface.suite import Suite

ROUNDS = {"all-reduce": 2}
"""Times that a ring sends what a collective gives: a sum is scattered, then gathered."""

FRAMES = 16
"""That are drawn together on each device, see `jaxface.jobs.driven_task.BATCH`."""


@dataclasses.dataclass(frozen=True)
class JobCost:
    """What XLA says of a job's programs.

    Attributes:
      topology: the devices.
      unit: what a batch is made of, such as "portrait".
      batch: how many of them are computed together, on all devices.
      memory: bytes of each device that a job takes.
      programs: by name; of a stage one step.
      runs: how often a program runs for a batch; 1 where it is not there.
      dtype: what networks compute in.
    """

    topology: Topology
    unit: str
    batch: int
    memory: int
    programs: dict[str, ProgramCost]
    runs: dict[str, float]
    dtype: Dtype

    @property
    def seconds(self) -> float | None:
        """Of a batch, from inputs to results: of each program XLA's estimate or, where that is
        less, what the chip cannot go below; None where a program that is named in `runs` has no
        estimate."""
        if any(self.programs[name].seconds is None for name in self.runs):
            return None
        return sum(
            max(cost.seconds or 0.0, self.floor(name) or 0.0) * self.runs.get(name, 1)
            for name, cost in self.programs.items()
        )

    @property
    def exchanged(self) -> float:
        """Bytes that a device sends to others for a batch: rings of all devices."""
        devices = len(self.topology.devices)
        return sum(
            self.runs.get(name, 1) * ROUNDS.get(kind, 1) * size * (devices - 1) / devices
            for name, cost in self.programs.items()
            for kind, (_, size) in cost.collectives.items()
        )

    @property
    def exchange_seconds(self) -> float | None:
        """Of that on the chip's links alone, if nothing is computed meanwhile; None where the links
        are not known."""
        links = self.topology.chip.links
        return None if links is None else self.exchanged / links

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
            "unit": self.unit,
            "batch": self.batch,
            "bytes_each_device": self.memory,
            "estimated_seconds_each_batch": self.seconds,
            "exchanged_bytes_each_batch": self.exchanged,
            "exchange_seconds_each_batch": self.exchange_seconds,
            "programs": {
                name: dataclasses.asdict(cost)
                | {"runs": self.runs.get(name, 1), "roofline_seconds": self.floor(name)}
                for name, cost in self.programs.items()
            },
        }


def inversion_cost(
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
    each = task.default_batch_size(2**31) // jax.local_device_count()
    stages = task.settings.procedure(task.suite.generator.config).stages
    return _fitted(
        task.batcher,
        task.networks(),
        task.signature(),
        topology,
        unit="portrait",
        each=each,
        batch_size=batch_size,
        runs={stage.name: float(stage.steps) for stage in stages},
        dtype=dtype,
    )


def reenactment_cost(
    suite: Suite,
    method: Any,
    topology: Topology,
    *,
    batch_size: int | None,
) -> JobCost:
    """Compiles the program that draws a reenactment's frames for a topology.

    Args:
      suite: has a generator and what the method needs.
      method: a `BatchReenactor` or `ImageReenactor` of `jaxface.methods.reenactment_presets`.
      topology: its devices, among which a batch is split.
      batch_size: frames of all devices; None: `FRAMES` each, halved until they fit.

    Raises:
      UsageError: as `inversion_cost`; SuiteError: the suite lacks a network.
    """
    suite.require(method.driving_roles())
    networks = ReenactmentNetworks(suite.generator, method.networks(suite))
    config = suite.generator.config
    row = {"w_plus": jax.ShapeDtypeStruct((config.num_ws, config.w_dim), np.float32)}
    if is_image_driven(method):
        codes = jax.eval_shape(method.read, networks.method, _portrait(suite))
        row["codes"] = jax.ShapeDtypeStruct(codes.shape[1:], codes.dtype)
    else:
        motion = read_shapes(method, networks.method, suite.generator.resolution)
        motion = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], np.float32), motion)
        row |= {"own": motion, "wanted": motion}
    program = functools.partial(driven_program, method.move, method.draw, False)

    def batcher(size: int, mesh: Mesh) -> OnePassBatcher:
        return OnePassBatcher(program, size, mesh=mesh, variants=("const",))

    return _fitted(
        batcher,
        networks,
        row,
        topology,
        unit="frame",
        each=FRAMES,
        batch_size=batch_size,
        runs={},
        dtype="float32",
    )


def _portrait(suite: Suite) -> jax.ShapeDtypeStruct:
    side = suite.generator.resolution
    return jax.ShapeDtypeStruct((1, side, side, 3), np.float32)


def _fitted(
    make_batcher: Callable[[int, Mesh], Any],
    networks: Any,
    row: Any,
    topology: Topology,
    *,
    unit: str,
    each: int,
    batch_size: int | None,
    runs: dict[str, float],
    dtype: Dtype,
) -> JobCost:
    """The cost at the batch that was asked for, or at `each` a device, halved until it fits."""
    devices = len(topology.devices)
    size = batch_size or devices * each
    if size % devices:
        raise UsageError(f"--batch-size {size}: {devices} devices do not divide it")
    mesh = data_mesh(topology.devices)
    while True:
        batcher = make_batcher(size, mesh)
        with working(f"compiling for batches of {size} on {topology.name}"):
            need, reason = _needed(batcher, networks, row)
        if need is not None and need <= topology.chip.memory:
            break
        told = reason if need is None else f"{need / 1e9:.3g} GB on each device"
        if batch_size is not None or size == devices:
            raise UsageError(f"a batch of {size} does not fit {topology.name}: {told}")
        size = max(size // 2 // devices, 1) * devices
    clock = topology.chip.clock
    programs = {
        name: program_cost(program, clock=clock)
        for name, program in batcher.compiled(networks, row).items()
    }
    return JobCost(topology, unit, size, need, programs, runs, dtype)


def _needed(batcher: Any, networks: Any, row: Any) -> tuple[int | None, str]:
    """Bytes on each device; or None and what XLA says of a program that is too large."""
    try:
        return batcher.device_bytes(networks, row), ""
    except jax.errors.JaxRuntimeError as error:
        return None, too_large(error)


def too_large(error: Exception) -> str:
    """What XLA says of a program that the memory does not hold; other errors are raised on."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    return str(error).partition("\n")[0]


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
        f"of {_article(cost.unit):20} runs   GFLOP      GB  roofline ms  estimate ms  peak GB  "
        "collectives",
    ]
    for name, program in cost.programs.items():
        floor = cost.floor(name)
        said = ", ".join(
            f"{count} {kind} of {size / 1e6:.3g} MB"
            for kind, (count, size) in program.collectives.items()
        )
        lines.append(
            f"{name[:22]:22} {cost.runs.get(name, 1):5.4g} "
            f"{_number(program.operations, rows * 1e9):>7} "
            f"{_number(program.traffic, rows * 1e9):>7}"
            f" {_number(floor, rows / 1e3):>12} {_number(program.seconds, rows / 1e3):>12}"
            f" {program.peak / 1e9:8.3g}  {said or 'none'}"
        )
    if cost.exchanged:
        line = f"exchanged for a batch: {cost.exchanged / 1e6:.3g} MB of each device"
        if cost.exchange_seconds is not None:
            line += f", {1e3 * cost.exchange_seconds:.3g} ms on its links beside nothing else"
        if cost.exchange_seconds is not None and cost.seconds:
            share = cost.seconds / (cost.seconds + cost.exchange_seconds)
            line += f": at worst {100 * share:.3g}% of the time is left to compute"
        lines += ["", line]
    if cost.seconds:
        rate, per = 3600 * cost.batch / cost.seconds, "h"
        if rate > 1e5:
            rate, per = rate / 3600, "s"
        lines += [
            "",
            f"{rate:.0f} {cost.unit}s/{per} by these estimates ({rate / devices:.3g} a device)",
        ]
    return "\n".join(lines)


def _article(unit: str) -> str:
    return f"an {unit}" if unit[0] in "aeiou" else f"a {unit}"


def _number(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.3g}"
