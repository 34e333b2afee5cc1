"""How many floating-point operations a program takes, loops included.

XLA's cost analysis counts the body of a loop once, however often it runs. ``jax.lax.scan`` states
its length in the jaxpr, so the missing iterations can be added exactly.
"""

from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun


def count(traced: Any, lowered: Any) -> float | None:
    """Operations of one call, a multiply-add as two, before the backend rewrites the program.

    A loop whose number of iterations is not in the program (``while_loop``) counts once.

    Args:
        traced: ``jax.jit(fn).trace(*arguments)``.
        lowered: ``traced.lower()``.

    Returns:
        None where the backend does not count.
    """
    analysis = lowered.cost_analysis()
    return None if not analysis else float(analysis["flops"]) + _left_out(traced.jaxpr.jaxpr)


def has_loop(traced: Any) -> bool:
    """Whether the program repeats a part of itself, so that XLA's other counts are too low."""
    return any(True for _ in _loops(traced.jaxpr.jaxpr))


def _left_out(jaxpr: Jaxpr) -> float:
    """What cost analysis leaves out of the loops in `jaxpr`."""
    total = 0.0
    for equation in _loops(jaxpr):
        if equation.primitive.name == "scan":
            body, length = equation.params["jaxpr"], equation.params["length"]
            analysis = jax.jit(jaxpr_as_fun(body)).lower(*body.in_avals).cost_analysis()
            once = float(analysis["flops"]) if analysis else 0.0
            total += (length - 1) * once + length * _left_out(body.jaxpr)
    return total


def _loops(jaxpr: Jaxpr) -> Iterator[Any]:
    """The loops of a program, without those inside their bodies."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("scan", "while"):
            yield equation
        else:
            for value in equation.params.values():
                for part in value if isinstance(value, tuple | list) else (value,):
                    if isinstance(part, ClosedJaxpr):
                        yield from _loops(part.jaxpr)
                    elif isinstance(part, Jaxpr):
                        yield from _loops(part)
