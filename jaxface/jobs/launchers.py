"""Which part of a job this process does, by the call or by what launched it."""

import dataclasses
import os
from collections.abc import Mapping

from jaxface.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of a job a process does: shards whose number leaves `index` modulo `count`."""

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise UsageError(
                f"process {self.index} of {self.count}: the index must be at least 0 and below "
                "the count"
            )

    @property
    def name(self) -> str:
        """Of the files that a process writes about itself."""
        return f"{self.index}-of-{self.count}"


def share_of_this_process(
    index: int | None, count: int | None, environment: Mapping[str, str] | None = None
) -> Share:
    """The share that the call names, else the launcher's, else the whole.

    Launchers are known by their environment: SLURM's steps (SLURM_PROCID of SLURM_NTASKS) and Cloud
    TPU's hosts (TPU_WORKER_ID, one for each of the comma-separated TPU_WORKER_HOSTNAMES).

    Args:
      index: --process.
      count: --processes.
      environment: default: this process's.

    Raises:
      UsageError: only one of the two is given, or the index is not below the count.
    """
    environment = os.environ if environment is None else environment
    if (index is None) != (count is None):
        raise UsageError("--process and --processes belong together: --process 0 --processes 4")
    if index is not None and count is not None:
        return Share(index, count)
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment:
        names = "SLURM_PROCID", "SLURM_NTASKS"
        return Share(_number(environment, names[0]), _number(environment, names[1]))
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    if "TPU_WORKER_ID" in environment and hosts:
        return Share(_number(environment, "TPU_WORKER_ID"), len(hosts.split(",")))
    return Share()


def _number(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as error:
        raise UsageError(f"{name}: expected a number, got {environment[name]!r}") from error
