"""Flags of the verbs that run as one of several processes of one JAX program."""

import argparse

from jaxface.errors import UsageError


def add_distributed_arguments(parser: argparse.ArgumentParser) -> None:
    """``--distributed`` and ``--coordinator``; ``--process`` and ``--processes`` are the verb's."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="be one process of a JAX program that spans hosts, by jax.distributed",
    )
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="with --distributed: where process 0 listens (the launcher's: SLURM, Open MPI, "
        "Kubernetes, Cloud TPU)",
    )


def join_processes(arguments: argparse.Namespace) -> bool:
    """Joins the other processes where the call says so; whether it does.

    Raises:
      UsageError: flags that contradict each other, or no such processes.
    """
    if not arguments.distributed:
        if arguments.coordinator is not None:
            raise UsageError("--coordinator requires --distributed")
        return False
    if (arguments.process is None) != (arguments.processes is None):
        raise UsageError("--process and --processes belong together: --process 0 --processes 4")
    if arguments.coordinator is not None and ":" not in arguments.coordinator:
        raise UsageError(f"--coordinator: expected HOST:PORT, got {arguments.coordinator!r}")

    from jaxface.runtime.distributed import join

    join(arguments.coordinator, arguments.process, arguments.processes)
    return True
