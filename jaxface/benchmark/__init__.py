"""Benchmarks: jaxface beside any other implementation, in one process and with equal weights.

A *benchmark* names what is measured: at each batch size it makes a `Workload`, the calls with
their inputs. A *contender* is an implementation that answers those calls: jaxface itself, and each
peer that the user brings (`jaxface.benchmark.peers`). All contenders get the same `Problem` (or
`NetworkProblem`), hence the same weights, and their outputs are compared before anything is timed.
``benchmarks/README.md`` holds the protocol for peers and how to read the results.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxface.benchmark.catalogue import BENCHMARKS, WORKLOADS
    from jaxface.benchmark.networks import NETWORKS, NetworkProblem, random_network
    from jaxface.benchmark.peers import load_peers
    from jaxface.benchmark.problem import Problem, random_problem
    from jaxface.benchmark.report import read_report, table, write_report
    from jaxface.benchmark.runner import run_benchmark
    from jaxface.benchmark.sweep import Energy, Sweep, network_names, workload_problem

__all__ = [
    "BENCHMARKS",
    "NETWORKS",
    "WORKLOADS",
    "Energy",
    "NetworkProblem",
    "Problem",
    "Sweep",
    "load_peers",
    "network_names",
    "random_network",
    "random_problem",
    "read_report",
    "run_benchmark",
    "table",
    "workload_problem",
    "write_report",
]

# Where each public name lives. It is imported when first asked for, so that the command reads its
# catalogue without importing JAX.
_HOMES = {
    "catalogue": ("BENCHMARKS", "WORKLOADS"),
    "networks": ("NETWORKS", "NetworkProblem", "random_network"),
    "peers": ("load_peers",),
    "problem": ("Problem", "random_problem"),
    "report": ("read_report", "table", "write_report"),
    "runner": ("run_benchmark",),
    "sweep": ("Energy", "Sweep", "network_names", "workload_problem"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
