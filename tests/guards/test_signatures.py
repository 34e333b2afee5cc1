"""Public signatures: options by keyword, keys always given, everything exported explained."""

import ast
import importlib
import inspect

import pytest
from source import modules

POSITIONAL = 2
"""How many arguments may be given by position where they have defaults."""

# Function and option given by position further back, each with its reason.
EXCEPTIONS: dict[str, str] = {}

TREES = modules()
# Packages and modules that say what they export.
EXPORTING = [
    name
    for name, tree in TREES.items()
    for node in tree.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
]


def public_functions():
    """Dotted name and definition of every public function and method, constructors included."""
    for module, tree in TREES.items():
        for node in tree.body:
            inside = node.body if isinstance(node, ast.ClassDef) else [node]
            prefix = f"{module}.{node.name}" if isinstance(node, ast.ClassDef) else module
            for each in inside:
                named = isinstance(each, ast.FunctionDef) and (
                    not each.name.startswith("_") or each.name in ("__init__", "__call__")
                )
                if named and not getattr(node, "name", "").startswith("_"):
                    yield f"{prefix}.{each.name}", each


def test_options_are_keywords():
    wrong = set()
    for name, function in public_functions():
        arguments = [*function.args.posonlyargs, *function.args.args]
        optional = len(function.args.defaults)
        first = len(arguments) - optional - (arguments[:1] != [] and arguments[0].arg == "self")
        if first + optional > POSITIONAL and optional:
            allowed = max(0, POSITIONAL - first)
            wrong |= {f"{name}: {each.arg}" for each in arguments[-optional:][allowed:]}
    assert wrong - {*EXCEPTIONS} == set()
    assert {*EXCEPTIONS} - wrong == set()


def test_keys_have_no_default():
    for name, function in public_functions():
        spec = function.args
        positional = [*spec.posonlyargs, *spec.args][::-1]
        optional = {each.arg for each, _ in zip(positional, spec.defaults[::-1], strict=False)}
        optional |= {
            each.arg
            for each, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
            if default is not None
        }
        assert not {"key", "keys", "rngs"} & optional, name


@pytest.mark.parametrize("module", EXPORTING)
def test_what_is_exported_is_explained(module):
    home = importlib.import_module(module)
    for name in home.__all__:
        thing = getattr(home, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            doc = thing.__doc__ or ""
            # A dataclass without a docstring is given its signature as one.
            assert doc.strip() and not doc.startswith(f"{thing.__name__}("), f"{module}.{name}"
