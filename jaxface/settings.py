"""Changes to nested frozen dataclasses by dotted names: ``method.stages.0.steps=100``.

A changed dataclass is built anew, so its own checks run; an unknown name is answered with the
nearest, a value of another type with the one it replaces.
"""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxface.errors import UsageError, did_you_mean


def apply_overrides(settings: Any, changes: Sequence[str]) -> Any:
    """The settings with each ``name=value`` applied in order.

    Args:
      settings: a dataclass; dataclasses, tuples and mappings in it can be reached into.
      changes: values are Python literals; anything else is text.

    Raises:
      UsageError: no ``=``, an unknown name, a value of the wrong type or one that is refused.
    """
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {change}: expected NAME=VALUE")
        try:
            value: Any = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        try:
            settings = _replace(settings, name.split("."), value, name)
        except ValueError as error:
            raise UsageError(f"--set {change}: {error}") from error
    return settings


def _replace(node: Any, path: Sequence[str], value: Any, name: str) -> Any:
    if not path:
        return _typed(node, value, name)
    head, rest = path[0], path[1:]
    children = _children(node)
    if head not in children:
        hint = did_you_mean(head, children) if children else "nothing can be set inside it"
        raise UsageError(f"--set {name}: {type(node).__name__} has no {head!r}; {hint}")
    child = _replace(children[head], rest, value, name)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return dataclasses.replace(node, **{head: child})
    if isinstance(node, Mapping):
        return {**node, head: child}
    return tuple(child if key == head else old for key, old in children.items())


def _children(node: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(node):
        return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return dict(node)
    if isinstance(node, tuple):
        return {str(index): item for index, item in enumerate(node)}
    return {}


def _typed(old: Any, value: Any, name: str) -> Any:
    """The value in the type of the one it replaces; an optional field's None accepts any."""
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(value)
    if old is None or value is None or type(value) is type(old):
        return value
    raise UsageError(f"--set {name}: expected {type(old).__name__} such as {old!r}, got {value!r}")
