"""Which devices a call uses: one mesh with the one axis ``data``."""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with the one axis ``data`` over `devices` (default: all, on all hosts)."""
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def divisor_mesh(rows: int) -> Mesh:
    """A mesh over as many of this process's devices as divide `rows` evenly."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if rows % n == 0)
    return data_mesh(devices[:count])
