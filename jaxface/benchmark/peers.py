"""Peers: other implementations of the same calls, brought by the user as ``MODULE:FACTORY``.

``FACTORY(problem)`` gets a :class:`jaxface.benchmark.Problem`, for `networks` a
:class:`jaxface.benchmark.NetworkProblem` for each network, for `suite` a
:class:`jaxface.benchmark.suite_generator.SuiteProblem`, and returns an object with the methods of
the benchmark, which take and return NumPy arrays and return when the work is done (or None where it
has no such implementation):

* synthesis: ``forward(w_plus) -> images`` and
  ``forward_backward(w_plus, cotangent) -> (images, gradient)``;
* projection: ``set_targets(targets)``, untimed, then ``energy_gradient(w_plus) -> (energy,
  gradient)``;
* pti: ``set_targets(targets)``, untimed, then ``step(pivots) -> (energy, length)``;
* networks: ``forward(*images) -> outputs`` and, for those whose gradient is measured,
  ``forward_backward(*images, cotangent) -> (output, gradient)``;
* suite: ``forward(w) -> images`` and, with ``--gradient``, ``forward_backward(w, cotangent) ->
  (images, gradient)``.

Optional: ``info``, a dict of text that identifies it (repository, commit, versions); ``put(array)``
and ``get(output)``, which move an input to where the peer computes and an output back, untimed.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from jaxface.benchmark.problem import AnyProblem
from jaxface.benchmark.workload import Workload
from jaxface.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Contender:
    """An implementation to measure.

    Attributes:
        name: how reports call it.
        implementation: the object with the benchmark's methods.
        info: what identifies it.
    """

    name: str
    implementation: Any
    info: Mapping[str, str]

    def put(self, array: np.ndarray) -> Any:
        """An input where the implementation computes."""
        move = getattr(self.implementation, "put", None)
        return array if move is None else move(array)

    def get(self, outputs: Any) -> tuple[np.ndarray, ...]:
        """Outputs as NumPy arrays."""
        move = getattr(self.implementation, "get", np.asarray)
        return tuple(np.asarray(move(output)) for output in _as_tuple(outputs))

    def method(self, name: str) -> Callable[..., Any]:
        """A method of the benchmark.

        Raises:
            UsageError: if the implementation has none of this name.
        """
        method = getattr(self.implementation, name, None)
        if not callable(method):
            raise UsageError(
                f"peer {self.name}: its factory returned a {type(self.implementation).__name__} "
                f"without a method {name!r}, which this benchmark calls"
            )
        return method


def load_peers(specs: Iterable[str], problem: AnyProblem) -> list[Contender]:
    """Import each factory and call it.

    Args:
        specs: ``MODULE:FACTORY``; the module is found as Python finds any, on ``PYTHONPATH``.

    Returns:
        In the order of `specs`, without those whose factory returned None.

    Raises:
        UsageError: for a malformed or repeated specification, a module that cannot be imported,
            or one that has no such callable.
    """
    specs = list(specs)
    repeated = sorted({spec for spec in specs if specs.count(spec) > 1})
    if repeated:
        raise UsageError(f"--peer {repeated[0]}: given more than once")
    factories = [(spec, _factory(spec)) for spec in specs]
    peers = []
    for spec, factory in factories:
        implementation = factory(problem)
        if implementation is None:
            continue
        info = {str(k): str(v) for k, v in getattr(implementation, "info", {}).items()}
        peers.append(Contender(spec, implementation, info))
    return peers


def without_methods(contender: Contender, workload: Workload) -> UsageError | None:
    """Why a contender cannot take part: the first of the workload's methods that it lacks."""
    methods = [call.method for call in workload.calls]
    try:
        for name in (["set_targets"] if workload.targets is not None else []) + methods:
            contender.method(name)
    except UsageError as error:
        return error
    return None


def _factory(spec: str) -> Callable[[Any], Any]:
    module_name, colon, factory_name = spec.partition(":")
    if not (module_name and colon and factory_name):
        raise UsageError(f"--peer: expected MODULE:FACTORY, got {spec!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(
            f"--peer {spec}: cannot import {module_name}: {error}; put its folder on PYTHONPATH"
        ) from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise UsageError(f"--peer {spec}: {module_name} has no function {factory_name!r}")
    return factory


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far an output is from jaxface's.

    Attributes:
        output: its name.
        max_abs: largest absolute difference.
        largest: largest magnitude in jaxface's output, to compare it with.
    """

    output: str
    max_abs: float
    largest: float

    @property
    def relative(self) -> float:
        """``max_abs`` over ``largest``."""
        return self.max_abs / self.largest if self.largest else float(self.max_abs > 0)


def compare(
    workload: Workload,
    ours: Mapping[str, tuple[np.ndarray, ...]],
    theirs: Mapping[str, Mapping[str, tuple[np.ndarray, ...]]],
) -> dict[str, dict[str, list[Difference]]]:
    """Differences by peer and method.

    Args:
        ours: jaxface's outputs by method.
        theirs: each peer's outputs by method.

    Raises:
        UsageError: naming every output, of any peer, that is missing, misshaped or not finite.
    """
    problems: list[str] = []
    differences: dict[str, dict[str, list[Difference]]] = {}
    for peer, outputs in theirs.items():
        differences[peer] = {}
        for call in workload.calls:
            expected, got = ours[call.method], outputs[call.method]
            where = f"{peer} {call.method}"
            if len(got) != len(expected):
                problems.append(
                    f"{where} returned {len(got)} arrays, expected {', '.join(call.outputs)}"
                )
                continue
            rows = []
            for name, a, b in zip(call.outputs, expected, got, strict=True):
                if a.shape != b.shape:
                    problems.append(
                        f"{where} {name} has shape {list(b.shape)}, expected {list(a.shape)}"
                    )
                elif not np.all(np.isfinite(b)):
                    problems.append(f"{where} {name} has values that are not finite")
                else:
                    error = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
                    rows.append(Difference(name, float(error), float(np.abs(a).max())))
            differences[peer][call.method] = rows
    if problems:
        raise UsageError(f"peers at batch {workload.batch}: {'; '.join(problems)}")
    return differences


def _as_tuple(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)
