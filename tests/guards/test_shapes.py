"""Networks, losses and metrics state shapes, tests check them, and production does not."""

import ast
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jaxtyping import TypeCheckError
from source import modules

from jaxface.losses import photometric
from jaxface.losses.identity import unit
from jaxface.nets.torch_layers import Linear

# What these take depends on their neighbours or on nothing: a block's first input may be absent.
ANY_SHAPE = {"SynthesisBlock.__call__", "check_images", "check_portraits", "check_crops"}


def functions(tree):
    """Public functions and calls of a module that take or give an array."""
    for node in tree.body:
        public = not getattr(node, "name", "_").startswith("_")
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            named = isinstance(each, ast.FunctionDef) and each.name.lstrip("_") == each.name
            if public and (named or getattr(each, "name", "") == "__call__"):
                yield each.name if each is node else f"{node.name}.{each.name}", each


@pytest.mark.parametrize("room", ["nets", "losses", "metrics"])
def test_what_takes_arrays_says_their_shapes(room):
    for module, tree in modules(room).items():
        for name, function in functions(tree):
            annotations = [each.annotation for each in function.args.args if each.annotation]
            bare = {"jax.Array", "jax.Array | None"} & {ast.unparse(each) for each in annotations}
            assert not bare or name in ANY_SHAPE, f"{module}.{name}"


def test_a_wrong_shape_is_caught_traced_or_not():
    rows = jnp.zeros((2, 3, 4))  # a rank too many, which the function itself does not notice
    for call in (unit, jax.jit(unit), lambda x: jax.eval_shape(unit, x)):
        with pytest.raises(TypeCheckError, match="n d"):
            call(rows)
    chex.assert_shape(jax.vmap(unit)(rows), (2, 3, 4))


def test_a_refusal_keeps_its_own_words():
    with pytest.raises(ValueError, match="must both be"):
        photometric.l1(jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 5, 3)))


def test_modules_stay_pytrees():
    network = Linear(3, 2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (4, 3))
    chex.assert_shape(nnx.eval_shape(lambda: Linear(3, 2, rngs=nnx.Rngs(0))(x)), (4, 2))
    mapped = jax.vmap(lambda n, row: n(row), (None, 0))(network, x)
    chex.assert_trees_all_close(jax.jit(lambda n, x: n(x))(network, x), mapped, atol=1e-6)


def test_nothing_is_checked_in_production():
    code = (
        "import sys, jaxface.nets, jaxface.metrics; from jaxface.losses.identity import unit; "
        "assert 'beartype' not in sys.modules; assert not hasattr(unit, '__wrapped__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
