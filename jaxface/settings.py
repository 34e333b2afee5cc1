"""Settings are nested frozen dataclasses: what their words may be, and changes by dotted names.

``method.stages.0.steps=100`` is what every ``--set`` of the command does. All changes of a call are
made together, and a changed dataclass is built anew, so its own checks see them all; an unknown
name is answered with the nearest, a value of another type with the type that is expected.
"""

import ast
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from jaxface.errors import UsageError, did_you_mean, on_one_line

_Changes = dict[str, Any]  # name -> further changes, or a `_Value`


@dataclasses.dataclass(frozen=True)
class _Value:
    text: str
    value: Any


def apply_overrides(settings: Any, changes: Sequence[str]) -> Any:
    """The settings with each ``name=value`` applied; of two with one name the later one counts.

    Args:
      settings: a dataclass; dataclasses, tuples and mappings in it can be reached into.
      changes: values are Python literals; anything else is text. Several names are separated by
        commas where a tuple of names is expected: ``terms=synthesis,recognition``.

    Raises:
      UsageError: no ``=``, an unknown name, a value of the wrong type or one that is refused.
    """
    tree: _Changes = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise UsageError(f"--set: expected NAME=VALUE, got {change!r}")
        try:
            value: Any = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            value = text
        path = name.split(".")
        if _inside_a_value(tree, path):
            settings, tree = _replace(settings, tree, ""), {}
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = _Value(text, value)
    return _replace(settings, tree, "") if tree else settings


def check_words(settings: Any) -> None:
    """Refuses a value that its field's ``Literal`` does not name.

    For a dataclass's ``__post_init__``; fields with other annotations are left to it.

    Raises:
      ValueError: one is not among them; the message names the class, the field and all of them.
    """
    for field in dataclasses.fields(settings):
        known, value = _words(field.type), getattr(settings, field.name)
        if known and value not in known:
            *first, last = map(repr, known)
            listed = f"{', '.join(first)} or {last}" if first else last
            raise ValueError(
                f"{type(settings).__name__}: {field.name} must be {listed}, got {value!r}."
            )


def _words(kind: Any) -> tuple[Any, ...]:
    """What a ``Literal`` names, and None where that may stand in its place; () for the rest."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return arguments
    parts = [(None,) if part is type(None) else _words(part) for part in arguments]
    return tuple(word for part in parts for word in part) if all(parts) else ()


def _inside_a_value(tree: _Changes, path: Sequence[str]) -> bool:
    """Whether an earlier change replaces what this one reaches into."""
    node: Any = tree
    for part in path[:-1]:
        node = node.get(part, {})
        if isinstance(node, _Value):
            return True
    return False


def _replace(node: Any, changes: _Changes, name: str) -> Any:
    children, kinds = _children(node), _kinds(node)
    new = {}
    for head, change in changes.items():
        whole = f"{name}.{head}" if name else head
        if head not in children:
            hint = did_you_mean(head, children) if children else "nothing can be set inside it"
            raise UsageError(f"--set {whole}: {type(node).__name__} has no {head!r}; {hint}")
        old = children[head]
        if isinstance(change, _Value):
            new[head] = _typed(old, change, kinds.get(head), whole)
        else:
            new[head] = _replace(old, change, whole)
    try:
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            return dataclasses.replace(node, **new)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--set {_told(changes, name)}: {error}") from error
    if isinstance(node, Mapping):
        return {**node, **new}
    return tuple(new.get(key, old) for key, old in children.items())


def _told(changes: _Changes, name: str) -> str:
    """What was asked for, as the user wrote it."""
    parts = []
    for head, change in changes.items():
        whole = f"{name}.{head}" if name else head
        parts.append(f"{whole}={change.text}" if isinstance(change, _Value) else whole)
    return " ".join(parts)


def _children(node: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(node):
        return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, Mapping):
        return dict(node)
    if isinstance(node, tuple):
        return {str(index): item for index, item in enumerate(node)}
    return {}


def _kinds(node: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields."""
    if not dataclasses.is_dataclass(node):
        return {}
    return {field.name: field.type for field in dataclasses.fields(node)}


def _typed(old: Any, change: _Value, kind: Any, name: str) -> Any:
    """The value in the field's type, or in the type of the one that it replaces."""
    value = change.value
    if kind == tuple[str, ...] and isinstance(value, str):
        value = tuple(value.split(","))
    if isinstance(value, list) and (isinstance(old, tuple) or typing.get_origin(kind) is tuple):
        value = tuple(value)
    wanted = _expected(kind)
    fits = _fits(value, wanted) if wanted else _replaces(value, old)
    if not fits:
        shown = getattr(kind, "__name__", str(kind)) if wanted else type(old).__name__
        raise UsageError(f"--set {name}: expected {shown}, got {on_one_line(change.text)!r}")
    floats = float in wanted if wanted else isinstance(old, float)
    return float(value) if floats and type(value) is int else value


def _expected(kind: Any) -> tuple[Any, ...]:
    """The plain types, None and the literals that an annotation allows; none for any other."""
    if kind in (int, float, bool, str, type(None)):
        return (kind,)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return (tuple,)
    if origin is typing.Literal:
        return tuple(("literal", each) for each in arguments)
    parts = [_expected(each) for each in arguments]
    is_union = arguments and kind == typing.Union[arguments]  # noqa: UP007 (at run time)
    return tuple(each for part in parts for each in part) if is_union and all(parts) else ()


def _fits(value: Any, wanted: tuple[Any, ...]) -> bool:
    return any(
        value == each[1] and type(value) is type(each[1])
        if isinstance(each, tuple)
        else type(value) is each or (each is float and type(value) is int)
        for each in wanted
    )


def _replaces(value: Any, old: Any) -> bool:
    """Whether a value may stand where another stood, of whose annotation nothing follows."""
    if old is None or value is None or type(value) is type(old):
        return True
    return isinstance(old, float) and type(value) is int
