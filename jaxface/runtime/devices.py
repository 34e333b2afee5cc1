"""Which devices a call uses: one mesh with the one axis ``data``."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxface.runtime.progress import detail, is_verbose

Dtype = Literal["float32", "bfloat16"]
"""What networks compute in; latents, losses and optimisers are float32."""


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis ``data`` over `devices` (default: all, on all hosts)."""
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def over_devices(tree: Any) -> Any:
    """Arrays whose first axis is split over the devices of the program being traced.

    XLA computes what is drawn from a key whole on every device, and all that follows from it, if
    nothing says that it is a batch. Unchanged outside of a program on a mesh
    (`jaxface.runtime.iteration.Program` sets it), and where the devices do not divide the axis.

    Args:
      tree: arrays [N, ...] inside of a traced function.
    """
    devices = jax.sharding.get_abstract_mesh().shape.get("data", 1)

    def split(leaf: Any) -> Any:
        if devices == 1 or leaf.shape[0] % devices:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec("data"))

    return jax.tree.map(split, tree)


def on_each_device(fn: Callable[[Any], Any], rows: Any) -> Any:
    """`fn` of rows [N, ...], which each device of the program being traced does for its own.

    For what takes rows one after the other: a loop over rows that are split over devices would
    have every device do all of them. Where there is one device, or they do not divide N, just
    ``fn(rows)``.

    Args:
      fn: rows [n, ...] to a pytree [n, ...]; a row's result depends on that row alone.
      rows: a pytree.
    """
    mesh = jax.sharding.get_abstract_mesh()
    devices = mesh.shape.get("data", 1)
    if devices == 1 or any(leaf.shape[0] % devices for leaf in jax.tree.leaves(rows)):
        return fn(rows)
    split = PartitionSpec("data")
    return jax.shard_map(fn, in_specs=(split,), out_specs=split, check_vma=False)(rows)


def beside(*batches: Any) -> Any:
    """Batches of one form, [N, ...], as one, [N * batches, ...]: rows i of all lie side by side, so
    that on a mesh they stay on their device, where one batch after the other would be moved."""

    def rows(*leaves: jax.Array) -> jax.Array:
        stacked = jax.numpy.stack(leaves, axis=1)
        return stacked.reshape(-1, *stacked.shape[2:])

    return jax.tree.map(rows, *batches)


def apart(joined: Any, count: int) -> list[Any]:
    """What became of the `count` batches that `beside` joined."""
    parted = jax.tree.map(lambda rows: rows.reshape(-1, count, *rows.shape[1:]), joined)
    return [jax.tree.map(lambda rows, i=i: rows[:, i], parted) for i in range(count)]


def traced_platform() -> str:
    """The platform, "cpu", "gpu" or "tpu", that the program being traced is compiled for, whose
    devices need not be in this process; outside of one on a mesh JAX's default backend."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def batch_over_devices(inputs: int, most: int) -> int:
    """How many of `inputs` to compute together, the same number on each of this process's devices.

    Args:
      inputs: how many there are.
      most: on one device.
    """
    devices = jax.local_device_count()
    return devices * min(most, math.ceil(inputs / devices))


def divisor_mesh(rows: int) -> Mesh:
    """A mesh over as many of this process's devices as divide `rows` evenly."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if rows % n == 0)
    return data_mesh(devices[:count])


def compute_dtype() -> Dtype:
    """What networks compute in where nobody says: bfloat16 if the device multiplies in it.

    TPUs do, and NVIDIA's GPUs from compute capability 8.0 on (Ampere).
    """
    device = jax.local_devices()[0]
    if device.platform == "tpu":
        return "bfloat16"
    capability = str(getattr(device, "compute_capability", ""))  # "9.0"; "gfx90a" of AMD's
    major = capability.partition(".")[0]
    return "bfloat16" if major.isdigit() and int(major) >= 8 else "float32"


def tell_devices() -> None:
    """Tells those who asked for details what computes; sets JAX up."""
    if is_verbose():
        devices = jax.devices()
        kind, count = devices[0].device_kind, len(devices)
        detail(f"JAX {jax.__version__} on {count} device{'s'[: count > 1]} ({kind})")


def memory_bytes(reading: int = 0) -> int:
    """What a program may use on each of this process's devices.

    On accelerators JAX's limit, the smallest of the devices'. On CPU the memory that is free now,
    by the kernel's word and the control group's limit, divided by the devices, which share it.

    Args:
      reading: bytes that reading inputs takes of the host's memory at the worst, which on CPU are
        left free; at most half of what there is.
    """
    devices = jax.local_devices()
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in limits if limit]
    if known:
        return min(known)
    free = min(_free_bytes(), _group_bytes())
    return max(free - reading, free // 2) // len(devices)


def program_bytes(program: jax.stages.Compiled) -> int | None:
    """What a compiled program holds of a device's memory: arguments, outputs, temporary arrays.

    None where the backend does not tell.
    """
    sizes = program.memory_analysis()
    if sizes is None:
        return None
    # An output that takes an argument's place is counted with both.
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return held - sizes.alias_size_in_bytes


def _free_bytes() -> int:
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError):  # not Linux: all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _group_bytes() -> int:
    """What the control group (a container's limit) leaves; infinite where there is none."""
    try:
        with (
            open("/sys/fs/cgroup/memory.max") as limit,
            open("/sys/fs/cgroup/memory.current") as used,
        ):
            return max(int(limit.read()) - int(used.read()), 0)
    except (OSError, ValueError):  # no such file, or "max"
        return 2**63
