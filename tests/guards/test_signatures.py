"""Public signatures: options by keyword, keys always given, everything exported explained."""

import ast
import importlib
import inspect

import pytest
from source import modules

POSITIONAL = 2
"""How many arguments may be given by position where they have defaults."""

# Functions whose last argument is an input that may be absent, no option: a state to start from, an
# image's occluded part, the networks of a warm start; and what a custom derivative takes so.
INPUTS = {
    "jaxface.data.scene_items.scene_items: persons",
    "jaxface.jobs.launchers.share_of_this_process: environment",
    "jaxface.jobs.outputs.shards.finished_shards: wanted",
    "jaxface.methods.arcface.initial_state: network",
    "jaxface.methods.attribute_regression.initial_state: network",
    "jaxface.methods.landmark_regression.initial_state: network",
    "jaxface.methods.mofa.initial_state: network",
    "jaxface.methods.mofa.render_terms: occluded",
    "jaxface.methods.pie.energy.evaluate: resolution",
    "jaxface.methods.pie.energy.synthesize: resolution",
    "jaxface.methods.rignet.training.initial_state: network",
    "jaxface.methods.scene_regression.initial_state: generator",
    "jaxface.methods.stylegan2.training.initial_state: networks",
    "jaxface.morphable.camera.project: camera",
    "jaxface.morphable.photometric.photometric_energy: occluded",
    "jaxface.morphable.photometric.photometric_square: occluded",
    "jaxface.nets.ops.strided.transposed_conv: border",
    "jaxface.runtime.iteration.Iteration.advance: inputs",
    "jaxface.runtime.profiling.ChunkTrace.__init__: settle",
    "jaxface.cli.inversion_options.inversion_of: fleet",
    "jaxface.morphable.retargeting.Retargeting.__call__: neutral",
}

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
    wrong: set[str] = set()
    for name, function in public_functions():
        arguments = [*function.args.posonlyargs, *function.args.args]
        optional = len(function.args.defaults)
        first = len(arguments) - optional - (arguments[:1] != [] and arguments[0].arg == "self")
        if first + optional > POSITIONAL and optional:
            allowed = max(0, POSITIONAL - first)
            wrong |= {f"{name}: {each.arg}" for each in arguments[-optional:][allowed:]}
    assert wrong - INPUTS == set()


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
        assert not {"key", "rngs"} & optional, name


@pytest.mark.parametrize("module", EXPORTING)
def test_what_is_exported_is_explained(module):
    home = importlib.import_module(module)
    for name in home.__all__:
        thing = getattr(home, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            signature = f"{thing.__name__}("  # what a dataclass without a docstring gets as one
            assert not (thing.__doc__ or signature).startswith(signature), f"{module}.{name}"
