"""One computation in several formulations, of which each platform has its own."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jax import lax

from jaxface.runtime.devices import traced_platform

_CHOSEN: ContextVar[str | None] = ContextVar("formulation", default=None)


def by_platform(*arguments: Any, cpu: Callable, default: Callable) -> Any:
    """What the platform's formulation gives of the arguments.

    A program that is compiled for several platforms holds both, and each takes its own.

    Args:
      arguments: of both.
      cpu: on CPUs.
      default: anywhere else.
    """
    if (chosen := _CHOSEN.get()) is not None:
        return (cpu if chosen == "cpu" else default)(*arguments)
    return lax.platform_dependent(*arguments, cpu=cpu, default=default)


def platform_of_formulation() -> str:
    """The platform whose formulation what is being traced is to hold, where it holds one alone."""
    return _CHOSEN.get() or traced_platform()


@contextlib.contextmanager
def one_formulation(platform: str) -> Iterator[None]:
    """What is traced inside holds that platform's formulation alone."""
    token = _CHOSEN.set(platform)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
