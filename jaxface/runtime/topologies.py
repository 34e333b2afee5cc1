"""Devices that are described, not there: XLA compiles for them on any machine.

TPUs need libtpu (the extra `tpu`), GPUs JAX's CUDA plugin (the extra `cuda`); neither needs a
device or a driver. What is compiled cannot be run here; what XLA says of it is its own estimate.
"""

import dataclasses
import math
import os
import re
from typing import Any

from jaxface.errors import UsageError, on_one_line

_FORM = re.compile(r"(?P<chip>[a-z0-9]+?)(?::(?P<grid>\d+(?:x\d+){1,2})|x(?P<count>\d+))?")


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of device.

    Attributes:
      kind: as JAX names it (`jax.Device.device_kind`).
      memory: bytes that a program may use.
      axes: of its topologies, 2 or 3; 0 for GPUs.
      clock: cycles a second that XLA's estimates count; None where it makes none.
      links: bytes a second that it sends to other chips, of a TPU along one axis of its grid; None
        where that is not known here.
    """

    kind: str
    memory: float
    axes: int
    clock: float | None
    links: float | None = None


# Memory by XLA's own message where a program is too large for v5e (15.75 GiB), else the sizes of
# cloud.google.com/tpu/docs/{v4,v5p,v6e} and of NVIDIA's datasheets, less what the runtime keeps.
# Links by the same pages, whose figures for a chip (v5e 400 GB/s, v5p 1200, both directions of all
# axes; v6e twice v5e's) are divided by two directions and the axes; NVLink's 900 GB/s by two.
CHIPS = {
    "v4": Chip("TPU v4", 31.75 * 2**30, 3, None),
    "v5e": Chip("TPU v5 lite", 15.75 * 2**30, 2, 1.5e9, 100e9),
    "v5p": Chip("TPU v5", 94.75 * 2**30, 3, 1.75e9, 200e9),
    "v6e": Chip("TPU v6 lite", 31.25 * 2**30, 2, 1.75e9, 200e9),
    "h100": Chip("NVIDIA H100 80GB HBM3", 0.75 * 80 * 2**30, 0, None, 450e9),
}

# What XLA asks of a GPU, as a GpuTargetConfigProto in text: the limits of compute capability 9.0
# (CUDA programming guide, technical specifications) and the sizes of the H100 SXM's datasheet.
_H100 = {
    "threads_per_block_limit": 1024,
    "threads_per_warp": 32,
    "shared_memory_per_block": 48 << 10,
    "shared_memory_per_block_optin": 227 << 10,
    "shared_memory_per_core": 228 << 10,
    "threads_per_core_limit": 2048,
    "registers_per_core_limit": 1 << 16,
    "registers_per_block_limit": 1 << 16,
    "block_dim_limit_x": (1 << 31) - 1,
    "block_dim_limit_y": (1 << 16) - 1,
    "block_dim_limit_z": (1 << 16) - 1,
    "thread_dim_limit_x": 1024,
    "thread_dim_limit_y": 1024,
    "thread_dim_limit_z": 64,
    "device_address_bits": 64,
    "core_count": 132,
    "fpus_per_core": 128,
    "clock_rate_ghz": 1.98,
    "l2_cache_size": 50 << 20,
    "memory_bandwidth": 3_350_000_000_000,
    "device_memory_size": 80 << 30,
}

_TRITON = "--xla_gpu_enable_triton_gemm"


@dataclasses.dataclass(frozen=True)
class Topology:
    """Described devices.

    Attributes:
      name: as it was asked for.
      chip: what each of them is.
      devices: in JAX's order.
    """

    name: str
    chip: Chip
    devices: tuple[Any, ...]


def described(name: str) -> Topology:
    """The devices of a topology.

    Args:
      name: a TPU's kind and the sides of its grid, "v5e:2x4", "v5p:2x2x1"; GPUs of one host,
        "h100x8"; the kind alone is one device.

    Raises:
      UsageError: there is no such topology, or what compiles for it is not installed.
    """
    kind, grid, count = _parts(name)
    chip = CHIPS[kind]
    # libtpu looks for a TPU at the host's metadata server where there is none; and it takes a lock
    # of the machine, which two compiling processes do not need.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")

    if chip.axes == 0 and _TRITON not in os.environ.get("XLA_FLAGS", ""):
        # Without a GPU no tiles are tried out, and XLA ends where its first choice does not fit.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_TRITON}=false".strip()

    from jax.experimental import topologies

    if chip.axes == 0:
        arguments: dict[str, Any] = {
            "platform": "cuda",
            "topology_name": name,
            "topology": f"1x1x{count}",
            "target_config": _target_config(chip),
        }
    else:
        sides = grid or [1] * chip.axes
        arguments = {"platform": "tpu", "topology_name": f"{kind}:{'x'.join(map(str, sides))}"}
        if math.prod(sides) == 1:
            arguments["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(**arguments)
    except Exception as error:
        extra = "tpu" if chip.axes else "cuda"
        raise UsageError(
            f'topology {name!r}: JAX cannot describe it here; is "jaxface[{extra}]" installed, and '
            f"is there such a grid? ({on_one_line(str(error))})"
        ) from error
    return Topology(name, chip, tuple(found.devices))


def is_described(device: Any) -> bool:
    """Whether a device is described only, so that nothing can be put on it."""
    import jax

    try:
        return device not in jax.devices(device.platform)
    except RuntimeError:  # no such platform in this process
        return True


def _parts(name: str) -> tuple[str, list[int] | None, int]:
    """Kind, sides of a grid, number of GPUs."""
    form = _FORM.fullmatch(name)
    chip = CHIPS.get(form["chip"]) if form else None
    if form is None or chip is None or (form["count"] if chip.axes else form["grid"]):
        raise UsageError(
            f"topology {name!r}: expected such as v5e:2x4, v5p:2x2x1, v6e, h100x8; known are "
            f"{', '.join(CHIPS)}"
        )
    grid = [int(side) for side in form["grid"].split("x")] if form["grid"] else None
    if grid is not None and len(grid) != chip.axes:
        raise UsageError(f"topology {name!r}: a {form['chip']} has a grid of {chip.axes} sides")
    return form["chip"], grid, int(form["count"] or 1)


def _target_config(chip: Chip) -> str:
    limits = "\n".join(f"{name}: {value}" for name, value in _H100.items())
    return f"""gpu_device_info {{
{limits}
cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
name: "{chip.kind}"
driver_version: "13.0.0"
runtime_version: "13.0.0"
compile_time_toolkit_version: "13.0.0"
dnn_version: "9.28.1"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 28 patch: 1 }}
device_description_str: "{chip.kind}"
"""
