"""Benchmarks: jaxface beside any other implementation, in one process and with equal weights.

A *benchmark* names what is measured: at each batch size it makes a `Workload`, the calls with
their inputs. A *contender* is an implementation that answers those calls: jaxface itself, and each
peer that the user brings (`jaxface.benchmark.peers`). All contenders get the same `Problem` (or
`NetworkProblem`), hence the same weights, and their outputs are compared before anything is timed.
``benchmarks/README.md`` holds the protocol for peers and how to read the results.
"""

from jaxface.benchmark.networks import NETWORKS, NetworkProblem, random_network
from jaxface.benchmark.peers import load_peers
from jaxface.benchmark.problem import Problem, random_problem
from jaxface.benchmark.report import read_report, table, write_report
from jaxface.benchmark.runner import BENCHMARKS, WORKLOADS, run_benchmark
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
