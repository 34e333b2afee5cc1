"""A generator's tuned weights as a file: the difference to its suite's, by name.

A safetensors file of float32 arrays, named as in the generator's own file
(``synthesis.blocks.0.conv1.weight``). The header names the generator that they are added to.
"""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from jaxface.errors import SuiteError
from jaxface.nets import Generator
from jaxface.suite import Suite
from jaxface.weights import named_arrays, read_arrays, with_arrays

PREFIX = "synthesis."


def tuned_weights(difference: Any, suite: Suite, item_id: str) -> bytes:
    """The file of a portrait's generator.

    Args:
      difference: `jaxface.methods.inversion.Inverted.weights` of one portrait.
      suite: whose generator was tuned.
      item_id: the result's.
    """
    arrays = {
        PREFIX + name: np.asarray(array, np.float32, order="C")
        for name, array in named_arrays(difference).items()
    }
    header = {"id": item_id, "suite": suite.name, "generator": suite.digest("generator")}
    return safetensors.numpy.save(arrays, header)


def tuned_generator(source: str | Path | bytes, suite: Suite) -> Generator:
    """The suite's generator with what a file of `tuned_weights` adds to it.

    Args:
      source: the file, or its bytes.
      suite: the one that the portrait was inverted with.

    Raises:
      SuiteError: the file was made with another generator, or its arrays do not fit.
      WeightsError: it is damaged.
    """
    header, arrays = read_arrays(source)
    where = "tuned weights" if isinstance(source, bytes) else str(source)
    if header.get("generator") != suite.digest("generator"):
        raise SuiteError(
            f"{where}: was tuned from another generator than the suite {suite.name!r} has"
        )
    generator = suite.generator
    own = named_arrays(generator)
    wrong = [name for name, x in arrays.items() if name not in own or own[name].shape != x.shape]
    if wrong:
        raise SuiteError(f"{where}: {wrong[0]} does not fit the generator of {suite.name!r}")
    tuned: Any = with_arrays(generator, {name: own[name] + arrays[name] for name in arrays})
    return tuned
