"""What a command's process needs before JAX is imported.

JAX reads the environment when it is imported, so nothing here imports it. What users have set
themselves takes precedence.
"""

import ctypes
import os
import sys
from importlib.util import find_spec

MAX_CPU_DEVICES = 8

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def share_cpu_cores() -> None:
    """Makes an XLA device of each CPU core, as many as the largest power of two up to 8.

    Two devices that split a batch of small portraits do a quarter to a half more than one program
    on both cores. JAX's own JAX_NUM_CPU_DEVICES takes precedence.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = min(MAX_CPU_DEVICES, 1 << ((cores or 1).bit_length() - 1))
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(count))


def keep_freed_memory() -> None:
    """Keeps memory that was freed for the next call, where the CPU computes (glibc only).

    A program's temporary buffers are allocated anew at every call. glibc maps blocks of such a size
    and unmaps them when they are freed, so that each call pays for its pages again: a fifth of the
    time of a projection at 256 px. Kept in one heap they are paid for once; the process holds on to
    the most it ever needed.
    """
    by_user = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if by_user or not sys.platform.startswith("linux") or _has_accelerator():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    mallopt(M_ARENA_MAX, 1)  # the other arenas' heaps hold no large block, and would map it


def _has_accelerator() -> bool:
    """Whether JAX is installed with a plugin for one and may use it."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return any(find_spec(package) for package in ("jax_plugins", "libtpu"))
