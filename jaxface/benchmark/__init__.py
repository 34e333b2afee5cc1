"""Benchmarks: jaxface beside any other implementation, in one process and with equal weights.

A *benchmark* names what is measured: at each batch size it makes a `Workload`, the calls with
their inputs. A *contender* is an implementation that answers those calls: jaxface itself, and each
peer that the user brings (`jaxface.benchmark.peers`). All contenders get the same `Problem`, hence
the same weights, and their outputs are compared before anything is timed. ``benchmarks/README.md``
holds the protocol for peers and how to read the results.
"""

from jaxface.benchmark.peers import load_peers
from jaxface.benchmark.problem import Problem, random_problem
from jaxface.benchmark.report import table, write_report
from jaxface.benchmark.runner import BENCHMARKS, run_benchmark

__all__ = [
    "BENCHMARKS",
    "Problem",
    "load_peers",
    "random_problem",
    "run_benchmark",
    "table",
    "write_report",
]
