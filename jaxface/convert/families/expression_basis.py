"""Files of Guo et al.'s expression modes: ``Exp_Pca.bin``, and numbers in text (``std_exp.txt``).

``Exp_Pca.bin`` (of Juyong/3DFace, as ``LoadExpBasis`` in Deep3DFaceRecon's ``util/load_mats.py``
reads it) is little-endian and has no header but the number of modes::

    int32                  modes, 79
    float32 [3V]           their mean, of 53215 vertices
    float32 [modes, 3V]    the modes, x, y and z of a vertex beside each other

It is told from other files by its size, which this number and a whole number of vertices explain.
"""

import re

import numpy as np

from jaxface.convert.formats.tensors import NumpyArray

# A count of modes within these, as four bytes, begins no other file that is read.
FEWEST, MOST = 64, 255

NUMBERS = re.compile(rb"\s*[-+]?[0-9][-+.0-9eE\s]*")
"""Text of nothing but numbers; a pickle in text has letters."""


def is_expression_basis(data: bytes) -> bool:
    """Whether a file's bytes are those of an ``Exp_Pca.bin``."""
    if len(data) < 8:
        return False
    modes = int.from_bytes(data[:4], "little")
    return FEWEST <= modes <= MOST and (len(data) - 4) % (12 * (modes + 1)) == 0


def read_expression_basis(data: bytes) -> dict[str, NumpyArray]:
    """``expMU`` [3V] and ``expPC`` [3V, modes], by the names of the code that reads them."""
    modes = int.from_bytes(data[:4], "little")
    rows = np.frombuffer(data, "<f4", offset=4).reshape(modes + 1, -1)
    return {"expMU": NumpyArray(rows[0]), "expPC": NumpyArray(rows[1:].T)}


def is_numbers(data: bytes) -> bool:
    """Whether a file is text of numbers, as ``numpy.savetxt`` writes."""
    return NUMBERS.fullmatch(data) is not None


def read_numbers(data: bytes) -> NumpyArray:
    """The numbers in a row, float64.

    Raises:
        ValueError: for a word that is no number.
    """
    return NumpyArray(np.array([float(word) for word in data.split()]))
