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
            raise ValueError(
                f"{type(settings).__name__}: {field.name} must be {_listed(known)}, got {value!r}."
            )


def _words(kind: Any) -> tuple[Any, ...]:
    """What a ``Literal`` names, and None where that may stand in its place; () for the rest."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return arguments
    parts = [(None,) if part is type(None) else _words(part) for part in arguments]
    return tuple(word for part in parts for word in part) if all(parts) else ()


def _listed(words: Sequence[Any]) -> str:
    *first, last = map(repr, words)
    return f"{', '.join(first)} or {last}" if first else last


def _inside_a_value(tree: _Changes, path: Sequence[str]) -> bool:
    """Whether an earlier change replaces what this one reaches into."""
    node: Any = tree
    for part in path[:-1]:
        node = node.get(part, {})
        if isinstance(node, _Value):
            return True
    return False


def _replace(node: Any, changes: _Changes, name: str, kind: Any = None) -> Any:
    children, kinds = _children(node), _kinds(node, kind)
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
            new[head] = _replace(old, change, whole, kinds.get(head))
    try:
        if dataclasses.is_dataclass(node) and not isinstance(node, type):
            return dataclasses.replace(node, **new)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
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


def _kinds(node: Any, kind: Any) -> dict[str, Any]:
    """The annotations of a node's children, as far as there are any.

    Args:
      node: with children.
      kind: its own annotation.
    """
    if dataclasses.is_dataclass(node):
        return {field.name: field.type for field in dataclasses.fields(node)}
    children = _children(node)
    for part in _parts(kind):
        origin = typing.get_origin(part)
        if isinstance(node, tuple) and origin is tuple:
            return dict(zip(children, _elements(part, len(children)), strict=False))
        if isinstance(node, Mapping) and origin in _MAPPINGS:
            return dict.fromkeys(children, typing.get_args(part)[1])
    return {}


_PLAIN = (int, float, bool, str, type(None))
_MAPPINGS = (dict, Mapping)


class _MisfitError(Exception):
    """The value, and the annotation that it does not fit; both may be inside of others."""


def _typed(old: Any, change: _Value, kind: Any, name: str) -> Any:
    """The value in the field's type, or in the type of the one that it replaces."""
    value, got = change.value, on_one_line(change.text)
    if isinstance(value, str) and any(_is_of_names(part) for part in _parts(kind)):
        value = tuple(value.split(","))
    try:
        if _is_told(kind):
            return _in_type(value, kind)
    except _MisfitError as misfit:
        wrong, wanted = misfit.args
        hint, words = "", [each for part in _parts(wanted) for each in _names(part)]
        if isinstance(wrong, str) and words:
            hint = f"; {did_you_mean(wrong, words)}"
        elif wrong is not value:
            hint = f"; {on_one_line(repr(wrong))} is no {_shown(wanted)}"
        raise UsageError(f"--set {name}: expected {_shown(kind)}, got {got!r}{hint}") from None
    if isinstance(value, list) and isinstance(old, tuple):
        value = tuple(value)
    if not _replaces(value, old):
        raise UsageError(f"--set {name}: expected {type(old).__name__}, got {got!r}")
    return float(value) if isinstance(old, float) and type(value) is int else value


def _parts(kind: Any) -> tuple[Any, ...]:
    """The members of a union; any other annotation itself."""
    arguments = typing.get_args(kind)
    is_union = arguments and kind == typing.Union[arguments]  # noqa: UP007 (at run time)
    return arguments if is_union else (kind,)


def _names(kind: Any) -> list[str]:
    """The texts that a ``Literal`` names; none of any other annotation."""
    arguments = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return [each for each in arguments if isinstance(each, str)]


def _is_of_names(kind: Any) -> bool:
    """Whether it is a tuple of any number of texts."""
    element, *rest = typing.get_args(kind) or (None,)
    is_tuple = typing.get_origin(kind) is tuple and rest == [...]
    return is_tuple and (element is str or bool(_names(element)))


def _elements(kind: Any, count: int) -> list[Any]:
    """The annotations of the elements of a tuple that has `count`."""
    arguments = typing.get_args(kind)
    return [arguments[0]] * count if arguments[1:] == (...,) else list(arguments)


def _is_told(kind: Any) -> bool:
    """Whether `_in_type` knows what an annotation allows, at least outside."""
    return all(
        part in _PLAIN
        or dataclasses.is_dataclass(part)
        or typing.get_origin(part) in (tuple, typing.Literal, *_MAPPINGS)
        for part in _parts(kind)
    )


def _in_type(value: Any, kind: Any) -> Any:
    """The value in an annotation's type: whole numbers as floats, lists as tuples.

    Raises:
      _MisfitError: it does not fit, or what is inside it.
    """
    if not _is_told(kind):
        return value
    misfits = []
    for part in _parts(kind):
        try:
            return _in_part(value, part)
        except _MisfitError as misfit:
            misfits.append(misfit)
    inside = [misfit for misfit in misfits if misfit.args[0] is not value]
    raise inside[0] if inside else _MisfitError(value, kind)


def _in_part(value: Any, kind: Any) -> Any:
    """As `_in_type`, of what is no union."""
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = _elements(kind, len(value))
        if len(kinds) == len(value):
            return tuple(map(_in_type, value, kinds))
    elif origin in _MAPPINGS and isinstance(value, dict):
        of_names, of_values = typing.get_args(kind)
        return {_in_type(n, of_names): _in_type(each, of_values) for n, each in value.items()}
    elif origin is typing.Literal:
        if any(value == each and type(value) is type(each) for each in typing.get_args(kind)):
            return value
    elif kind is float and type(value) is int:
        return float(value)
    elif type(value) is kind:
        return value
    raise _MisfitError(value, kind)


def _shown(kind: Any) -> str:
    """An annotation as people read it."""
    parts = _parts(kind)
    if len(parts) > 1:
        return " or ".join(map(_shown, parts))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return _listed(arguments)
    if kind in (None, type(None)):
        return "None"
    inside = ["..." if each is ... else _shown(each) for each in arguments]
    name = getattr(origin or kind, "__name__", str(kind))
    return f"{name}[{', '.join(inside)}]" if inside else name


def _replaces(value: Any, old: Any) -> bool:
    """Whether a value may stand where another stood, of whose annotation nothing follows."""
    if old is None or value is None or type(value) is type(old):
        return True
    return isinstance(old, float) and type(value) is int
