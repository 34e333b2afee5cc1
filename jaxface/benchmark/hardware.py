"""The device of a run, and how fast it could be at most.

Peaks of accelerators are their makers' dense figures (no sparsity), of one device as JAX counts
them: a GPU, a TPU chip. Google's are those of the pages named. NVIDIA's of A100, H100 SXM and H200
SXM were compared with tables that cite the datasheets named; those of V100, H100 PCIe and H200 NVL
were not, so check them before quoting a share of their peak. A CPU's are measured by the run
itself, because clock, cores and memory differ from machine to machine under one name.
"""

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxface.runtime.devices import Dtype

# Of the matrices and the array by which a CPU is measured.
MATRIX_SIDE = 2048
ARRAY_BYTES = 1 << 28
ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Peak:
    """What a device could do.

    Attributes:
        flop_per_second: of matrix products whose operands JAX holds in the dtype, at JAX's default
            precision; a dtype that the device has no unit for is not there.
        bytes_per_second: of its memory.
        source: where the figures are from.
    """

    flop_per_second: Mapping[str, float]
    bytes_per_second: float
    source: str


def _gpu(bfloat16: float, tf32: float, bandwidth: float, source: str) -> Peak:
    # By default JAX multiplies float32 on Ampere and newer as TF32.
    return Peak({"bfloat16": bfloat16 * 1e12, "float32": tf32 * 1e12}, bandwidth * 1e9, source)


def _tpu(bfloat16: float, bandwidth: float, page: str) -> Peak:
    # By default JAX multiplies float32 on a TPU in one bfloat16 pass.
    both = bfloat16 * 1e12
    return Peak(
        {"bfloat16": both, "float32": both}, bandwidth * 1e9, f"cloud.google.com/tpu/docs/{page}"
    )


def _v100(float32: float) -> Peak:
    source = "NVIDIA Tesla V100 datasheet (2018): float32 without tensor cores; no bfloat16"
    return Peak({"float32": float32 * 1e12}, 900e9, source)


_H100 = "NVIDIA H100 Tensor Core GPU datasheet, half of the figures with sparsity"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet, half of the figures with sparsity"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"

# By jax.Device.device_kind. A share of a GPU (MIG) has another name, and so no peak here.
DEVICES: dict[str, Peak] = {
    "NVIDIA H100 80GB HBM3": _gpu(989.4, 494.7, 3350, _H100 + " (SXM)"),
    "NVIDIA H100 PCIe": _gpu(756, 378, 2000, _H100 + " (PCIe)"),
    "NVIDIA H200": _gpu(989.4, 494.7, 4800, _H200 + " (SXM)"),
    "NVIDIA H200 NVL": _gpu(835.5, 417.5, 4800, _H200 + " (NVL)"),
    "NVIDIA A100-SXM4-40GB": _gpu(312, 156, 1555, _A100),
    "NVIDIA A100-SXM4-80GB": _gpu(312, 156, 2039, _A100),
    "NVIDIA A100-PCIE-40GB": _gpu(312, 156, 1555, _A100),
    "NVIDIA A100 80GB PCIe": _gpu(312, 156, 1935, _A100),
    "Tesla V100-SXM2-16GB": _v100(15.7),
    "Tesla V100-SXM2-32GB": _v100(15.7),
    "Tesla V100-PCIE-16GB": _v100(14.0),
    "Tesla V100-PCIE-32GB": _v100(14.0),
    "TPU v4": _tpu(275, 1200, "v4"),
    "TPU v5 lite": _tpu(197, 819, "v5e"),
    "TPU v5e": _tpu(197, 819, "v5e"),
    "TPU v5": _tpu(459, 2765, "v5p"),
    "TPU v5p": _tpu(459, 2765, "v5p"),
    "TPU v6 lite": _tpu(918, 1638, "v6e"),
    "TPU v6e": _tpu(918, 1638, "v6e"),
}


def peak(dtypes: Iterable[Dtype]) -> Peak | None:
    """Of the device that JAX computes on: looked up, or measured where it is a CPU.

    Args:
        dtypes: what to measure; of an accelerator all that are known are given.

    Returns:
        None for an accelerator that is not in ``DEVICES``.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return DEVICES.get(device.device_kind)
    speeds = {dtype: _measured_flop_per_second(dtype) for dtype in dict.fromkeys(dtypes)}
    side, size = MATRIX_SIDE, ARRAY_BYTES >> 20
    source = (
        f"measured by this run: the product of two {side} x {side} matrices, and adding to an "
        f"array of {size} MiB in place; the best of {ROUNDS}"
    )
    return Peak(speeds, _measured_bytes_per_second(), source)


def description(peak: Peak | None) -> dict[str, Any]:
    """The device, in JSON's types.

    ``load_average`` is the machine's over the last minute (it includes the run): on a busy machine
    compare ratios, not times.
    """
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "platform": device.platform,
        "kind": _cpu_model() if device.platform == "cpu" else device.device_kind,
        # Virtual CPU devices are one CPU.
        "count": cores if device.platform == "cpu" else 1,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "peak": None if peak is None else dataclasses.asdict(peak),
    }


def _measured_flop_per_second(dtype: Dtype) -> float:
    side = MATRIX_SIDE
    matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    product = jax.jit(jnp.matmul)
    return 2 * side**3 / _best(lambda: product(matrix, matrix))


def _measured_bytes_per_second() -> float:
    array = [jnp.zeros(ARRAY_BYTES // 4)]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def once() -> jax.Array:
        array[0] = add(array[0])
        return array[0]

    return 2 * ARRAY_BYTES / _best(once)  # read and written


def _best(run: Callable[[], jax.Array]) -> float:
    """Seconds of the fastest of several runs, after one that compiles."""
    seconds = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        run().block_until_ready()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
