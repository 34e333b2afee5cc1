"""Signatures of networks, losses and metrics, checked whenever a test calls one.

``install`` must come before the package's modules are imported. Checks see a call's arguments and
result, traced or not, so they hold under ``jit``, ``vmap`` and ``eval_shape``; functions that are
compiled or differentiated by their own decorator are left as they are.
"""

import functools
import importlib.machinery
import inspect
import re
import sys
import types
from importlib.abc import MetaPathFinder
from typing import Any

import jax
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, jaxtyped

ROOMS = ("jaxface.nets", "jaxface.losses", "jaxface.metrics")
CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a float may be an int
WITH_SHAPES = re.compile(r"\b(Bool|Float|Int|Key)\[")


def shapes_alone(function):
    """The function with annotations of arrays alone: tests put small stand-ins for networks."""
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__annotations__ = {
        name: kind if WITH_SHAPES.search(str(kind)) else Any
        for name, kind in function.__annotations__.items()
    }
    return twin


def checked(function):
    """The function with its arguments and its result checked.

    A call that the function itself refuses is refused in its own words.
    """
    strict = jaxtyped(shapes_alone(function), typechecker=CHECKER)

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return strict(*args, **kwargs)
        except TypeCheckError:
            function(*args, **kwargs)
            raise

    return call


def check_module(module):
    """Replaces what the module defines by what checks its calls."""
    own = [each for each in vars(module).values() if inspect.isclass(each)]
    for home in (module, *(each for each in own if each.__module__ == module.__name__)):
        for name, thing in list(vars(home).items()):
            local = inspect.isfunction(thing) and thing.__module__ == module.__name__
            if local and WITH_SHAPES.search(str(inspect.signature(thing))):
                setattr(home, name, checked(thing))


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        super().exec_module(module)
        check_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if not name.startswith(ROOMS):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install():
    """Checks the modules of these rooms that are imported from now on."""
    loaded = [name for name in sys.modules if name.startswith(ROOMS)]
    assert not loaded, f"imported before their signatures could be checked: {loaded}"
    # JAX takes NumPy's arrays in place of its own.
    jaxtyping.Array = jax.Array | np.ndarray
    sys.meta_path.insert(0, _Finder())
