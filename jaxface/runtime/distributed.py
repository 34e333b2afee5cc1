"""Several processes as one JAX program, by `jax.distributed`: who they are is told or detected.

Then `jax.devices()` are those of all processes, and training spans them. When one process dies JAX
aborts the others, at once where it was the first (the coordinator), else when it has been silent
for `HEARTBEAT_TIMEOUT`; the same command again goes on from what is stored.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxface.errors import UsageError

HEARTBEAT_TIMEOUT = 100  # seconds; JAX's default for its heartbeat

# A process that is done waits for the others, or they would be aborted. Shares of a job may differ
# by hours, JAX's default is five minutes.
_SHUTDOWN_TIMEOUT = 30 * 24 * 3600


def join(coordinator: str | None, index: int | None, count: int | None) -> None:
    """Connects this process to the others; returns when all are there.

    Call it before anything is computed.

    Args:
      coordinator: HOST:PORT of process 0, the same for all; None: as JAX detects it.
      index: of this process; None: as JAX detects it.
      count: of processes; None: as JAX detects it.

    Raises:
      UsageError: a part is not given and JAX detects no launcher (SLURM, Open MPI, Kubernetes,
        Cloud TPU), or the processes do not find each other within five minutes.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=_SHUTDOWN_TIMEOUT,
        )
    except ValueError as error:
        raise UsageError(
            f"--distributed: {error} Give --coordinator HOST:PORT, --process I and --processes N, "
            "or start under SLURM, Open MPI or on Cloud TPU"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--distributed: the processes did not find each other: {reason}"
        ) from error


def gathered(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, [n, ...] of each, in the processes' order: the same on every one.

    Every process calls it, with as many rows.
    """
    return np.asarray(multihost_utils.process_allgather(rows, tiled=True))
