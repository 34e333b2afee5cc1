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

from jaxface import __version__
from jaxface.export import onnx, stablehlo
from jaxface.export.programs import Exportable, described
from jaxface.export.stablehlo import Platform
from jaxface.licences import suite_terms
from jaxface.runtime.files import atomic_writer
from jaxface.suite import Suite

Format = Literal["stablehlo", "onnx"]
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
            data, about = stablehlo.lowered(program, batch, tuple(platforms))
            name = f"{program.name}.jax_export"
        else:
            data, about = onnx.lowered(program, batch)
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
