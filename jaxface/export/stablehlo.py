"""A program as StableHLO, by `jax.export`."""

from typing import Any, Literal

import jax
from jax import export

from jaxface.errors import UsageError
from jaxface.export.programs import BATCH, Exportable, arguments, not_lowered, result_shapes

Platform = Literal["cpu", "cuda", "rocm", "tpu"]


def lowered(
    program: Exportable, batch: int | None, platforms: tuple[Platform, ...]
) -> tuple[bytes, dict[str, Any]]:
    """The serialised program, without its weights, and what there is to say of it.

    Args:
      program: traceable.
      batch: rows of every input; None: any number.
      platforms: that it is lowered for; none: the one that JAX runs on here.

    Raises:
      UsageError: it cannot be lowered with any number of rows, or flatbuffers is not installed.
    """
    try:
        import flatbuffers  # noqa: F401 (what `serialize` writes with)
    except ImportError as error:
        raise UsageError(
            '--to stablehlo needs flatbuffers: python -m pip install "jaxface[export]"'
        ) from error
    weights = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in program.weights.items()}
    inputs = arguments(program, batch if batch is not None else export.symbolic_shape(BATCH)[0])
    try:
        exported = export.export(jax.jit(program.fn), platforms=platforms or None)(weights, inputs)
    except (TypeError, ValueError, NotImplementedError, jax.errors.JAXTypeError) as error:
        raise not_lowered(program, batch, "StableHLO", error) from error
    told = {
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "results": result_shapes(jax.tree.unflatten(exported.out_tree, list(exported.out_avals))),
    }
    return bytes(exported.serialize()), told
