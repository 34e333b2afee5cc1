"""Exported programs as files: StableHLO as `jax.export` writes it, and the weights; or ONNX.

A folder holds ``export.json``, which describes everything in it, and

* StableHLO: ``<program>.jax_export`` each, and one ``weights.safetensors``. JAX, flatbuffers and
  safetensors run them, on the platforms that were named; see `jax.export` for how long.
* ONNX: ``<program>.onnx`` each, the weights inside.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import safetensors.numpy
from jax import export

from jaxface import __version__
from jaxface.errors import UsageError, on_one_line
from jaxface.export.programs import BATCH, Exportable, described
from jaxface.licences import suite_terms
from jaxface.nets.ops.formulation import one_formulation
from jaxface.runtime.files import atomic_writer
from jaxface.suite import Suite

Format = Literal["stablehlo", "onnx"]
Platform = Literal["cpu", "cuda", "rocm", "tpu"]
INDEX, WEIGHTS = "export.json", "weights.safetensors"
FORMAT_VERSION = "1"


def write_programs(
    programs: Sequence[Exportable],
    suite: Suite,
    out: str | os.PathLike[str],
    *,
    to: Format = "stablehlo",
    batch: int | None = None,
    platforms: Sequence[Platform] = (),
) -> list[Path]:
    """Writes programs, their weights and what they are; returns the paths.

    Args:
      programs: of `jaxface.export.programs.exportables`; all with the same weights.
      suite: theirs; the files name its networks' digests and terms.
      out: a folder, made if it is not there. Files of the same names are replaced.
      to: the format.
      batch: rows of every input; None: any number.
      platforms: that StableHLO is lowered for; none: the one that JAX runs on here.

    Raises:
      UsageError: a program cannot be lowered with any number of rows, ONNX lacks an operation, or
        its converter is not installed.
    """
    folder, written, index = Path(out), [], {}
    for program in programs:
        if to == "stablehlo":
            data, about = _stablehlo(program, batch, tuple(platforms))
            name = f"{program.name}.jax_export"
        else:
            data, about = _onnx(program, batch)
            name = f"{program.name}.onnx"
        with atomic_writer(folder / name) as file:
            file.write(data)
        written.append(folder / name)
        index[program.name] = {"file": name, **described(program), **about}
    if to == "stablehlo":
        arrays = {name: np.asarray(array) for name, array in programs[0].weights.items()}
        with atomic_writer(folder / WEIGHTS) as file:
            file.write(safetensors.numpy.save(arrays))
        written.append(folder / WEIGHTS)
    with atomic_writer(folder / INDEX) as file:
        file.write((json.dumps(_index(suite, to, batch, index), indent=2) + "\n").encode())
    return [*written, folder / INDEX]


def _index(suite: Suite, to: Format, batch: int | None, programs: dict[str, Any]) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "format": to,
        "batch": batch or "any",
        "jaxface": __version__,
        "jax": jax.__version__,
        "suite": suite.name,
        "networks": {
            role: {
                "sha256": suite.digest(role),
                "licence": terms.licence,
                "commercial_use": terms.commercial_use,
            }
            for role, terms in suite_terms(suite).items()
        },
        "programs": programs,
    }


def _stablehlo(
    program: Exportable, batch: int | None, platforms: tuple[Platform, ...]
) -> tuple[bytes, dict[str, Any]]:
    try:
        import flatbuffers  # noqa: F401 (what `serialize` writes with)
    except ImportError as error:
        raise UsageError(
            '--to stablehlo needs flatbuffers: python -m pip install "jaxface[export]"'
        ) from error
    weights = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in program.weights.items()}
    inputs = _arguments(program, batch)
    try:
        exported = export.export(jax.jit(program.fn), platforms=platforms or None)(weights, inputs)
    except (TypeError, ValueError, NotImplementedError, jax.errors.JAXTypeError) as error:
        raise _not_lowered(program, batch, "StableHLO", error) from error
    results = jax.tree.unflatten(exported.out_tree, list(exported.out_avals))
    told = {
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "results": {
            name: {"shape": [_side(each) for each in x.shape], "dtype": np.dtype(x.dtype).name}
            for name, x in results.items()
        },
    }
    return bytes(exported.serialize()), told


def _side(side: Any) -> int | str:
    return side if isinstance(side, int) else str(side)


def _arguments(program: Exportable, batch: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    """The inputs' shapes: with a batch of a fixed size, or of any."""
    rows: Any = batch if batch is not None else export.symbolic_shape(BATCH)[0]
    return _with_rows(program, rows)


def _with_rows(program: Exportable, rows: Any) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        name: jax.ShapeDtypeStruct(tuple(rows if side == BATCH else side for side in shape), dtype)
        for name, (shape, dtype) in program.inputs.items()
    }


def _onnx(program: Exportable, batch: int | None) -> tuple[bytes, dict[str, Any]]:
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UsageError(
            f'--to onnx needs jax2onnx ({error}): python -m pip install "jaxface[onnx]"'
        ) from error
    names = list(program.inputs)

    def fn(*values: jax.Array) -> tuple[jax.Array, ...]:
        results = program.fn(dict(program.weights), dict(zip(names, values, strict=True)))
        return tuple(results.values())

    rows: Any = "B" if batch is None else batch
    shapes = list(_with_rows(program, rows).values())
    try:
        with one_formulation("cpu"):
            model = to_onnx(fn, shapes, model_name=program.name)
    except Exception as error:  # whatever the converter raises
        raise _not_lowered(program, batch, "ONNX", error) from error
    return model.SerializeToString(), {"inputs_in_order": names}


def _not_lowered(program: Exportable, batch: int | None, to: str, error: Exception) -> UsageError:
    reason = on_one_line(str(error))
    hint = "" if batch is not None else "; --batch-size N exports it for batches of N"
    return UsageError(f"{program.name} cannot be exported to {to} ({reason}){hint}")
