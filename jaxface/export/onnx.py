"""A program as ONNX, by jax2onnx.

The converter takes what a function computes, used or not; it has random numbers that are not JAX's,
and no convolution whose kernel is laid out as a gradient's. So what no result needs is taken out
beforehand, kernels are transposed, and a program whose results still depend on random numbers is
refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import export, lax
from jax.extend.core import Jaxpr, Literal
from jax.interpreters.partial_eval import dce_jaxpr

from jaxface.errors import UsageError
from jaxface.export.programs import BATCH, Exportable, arguments, not_lowered, result_shapes
from jaxface.nets.ops.formulation import one_formulation

_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
"""Primitives that call a program, and where they have it."""


def lowered(program: Exportable, batch: int | None) -> tuple[bytes, dict[str, Any]]:
    """The model, with its weights inside, and what there is to say of it.

    Inputs and results are in the order of the names in what is said of it, because a result that is
    an input cannot have a name of its own. Layers take their formulation for CPUs.

    Args:
      program: traceable.
      batch: rows of every input; None: any number.

    Raises:
      UsageError: ONNX or the converter lacks an operation, or the converter is not installed.
    """
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            f'--to onnx needs jax2onnx ({error}): python -m pip install "jaxface[onnx]"'
        ) from error
    inputs, weights = list(program.inputs), dict(program.weights)

    def fn(*values: jax.Array) -> tuple[jax.Array, ...]:
        results = program.fn(weights, dict(zip(inputs, values, strict=True)))
        return tuple(results[name] for name in sorted(results))

    rows: Any = batch if batch is not None else export.symbolic_shape(BATCH)[0]
    try:
        with one_formulation("cpu"):
            results = jax.eval_shape(program.fn, weights, arguments(program, rows))
            shapes = arguments(program, "B" if batch is None else batch)
            model = to_onnx(_prepared(fn), list(shapes.values()), model_name=program.name)
    except Exception as error:  # whatever the converter raises
        raise not_lowered(program, batch, "ONNX", error) from error
    return model.SerializeToString(), {
        "inputs_in_order": inputs,
        "results_in_order": sorted(results),
        "results": result_shapes(results),
    }


def _prepared(fn: Callable[..., tuple[jax.Array, ...]]) -> Callable[..., list[Any]]:
    """The function as the converter can take it.

    Raises:
      UsageError: where it is traced: it draws random numbers.
    """

    def prepared(*values: jax.Array) -> list[Any]:
        traced = jax.make_jaxpr(fn)(*values)
        needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars), instantiate=True)
        return _computed(needed, traced.consts, values)

    return prepared


def _computed(jaxpr: Jaxpr, constants: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """A program's results, calls in the place where they are made, and convolutions as above."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *values], strict=True))

    def read(operand: Any) -> Any:
        return operand.val if isinstance(operand, Literal) else known[operand]

    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        operands = [read(operand) for operand in equation.invars]
        if name.startswith("random_"):
            raise UsageError("it draws random numbers, and ONNX has none that are JAX's")
        if name in _CALLS:
            called = parameters[_CALLS[name]]
            results = _computed(called.jaxpr, called.consts, operands)
        elif name == "platform_index":  # of a layer that was traced before, outside of `lowered`
            results = [_on_cpu(parameters["platforms"])]
        elif name == "cond" and parameters["branches_platforms"] is not None:
            branch = parameters["branches"][_on_cpu(parameters["branches_platforms"])]
            results = _computed(branch.jaxpr, branch.consts, operands[1:])
        elif name == "conv_general_dilated":
            results = [_convolved(*operands, **parameters)]
        else:
            made = equation.primitive.bind(*operands, **parameters)
            results = made if equation.primitive.multiple_results else [made]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(operand) for operand in jaxpr.outvars]


def _on_cpu(platforms: Sequence[Sequence[str] | None]) -> int:
    """Which of the branches for platforms is for CPUs; None is for all others."""
    return next(n for n, named in enumerate(platforms) if named is None or "cpu" in named)


def _convolved(
    lhs: jax.Array, rhs: jax.Array, *, dimension_numbers: Any, **parameters: Any
) -> jax.Array:
    """A convolution whose kernel is laid out as HWIO; a gradient's has input and output swapped."""
    out, into, *space = dimension_numbers.rhs_spec
    layouts = dimension_numbers._replace(rhs_spec=(len(space) + 1, len(space), *range(len(space))))
    return lax.conv_general_dilated_p.bind(
        lhs, rhs.transpose((*space, into, out)), dimension_numbers=layouts, **parameters
    )
