"""Latent codes as other tools store them: arrays in ``.npy``, ``.npz`` and ``.pt`` files.

Read by the converter's readers, which execute nothing. An array is a code of W [D] or [1, D], of W+
[L, D] or [1, L, D], or several of either [N, L, D]; a dictionary holds it under one of `NAMES`, or
dictionaries that do, or arrays, by the image's name.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.formats.tensors import ArrayRecord
from jaxface.convert.refusal import Refusal
from jaxface.jobs.inputs.folders import is_image

SUFFIXES = frozenset({".npy", ".npz", ".pt", ".pth"})
NAMES = (
    "w",
    "w_plus",
    "wp",
    "latent",
    "latents",
    "latent_code",
    "latent_in",
    "projected_w",
    "codes",
)
MOST = 100_000
"""Codes of one file."""


def read_codes(path: Path) -> list[tuple[str, np.ndarray]]:
    """The codes of a file, each with its name there ("" for one alone), as [rows, D].

    Raises:
      Refusal: the file cannot be read, or holds no codes.
    """
    root = read_checkpoint(path).root
    try:
        arrays = _arrays(root)
    except Refusal as refusal:
        raise Refusal(f"{path}: {refusal}") from refusal
    if not arrays:
        raise Refusal(f"{path}: no latent code; expected an array, or one of {', '.join(NAMES)}")
    codes = []
    for name, array in arrays:
        whole = _as_codes(path, array)
        several = len(whole) > 1
        for number, code in enumerate(whole, start=1):
            codes.append((name + f"#{number}" * several, code))
    if len(codes) > MOST:
        raise Refusal(f"{path}: holds {len(codes)} codes, at most {MOST} are read")
    return codes


def _arrays(root: Any) -> list[tuple[str, np.ndarray]]:
    if isinstance(root, ArrayRecord):
        return [("", root.array())]
    if isinstance(root, list) and len(root) == 1:
        return _arrays(root[0])
    if not isinstance(root, dict):
        return []
    for name in NAMES:
        if isinstance(root.get(name), ArrayRecord):
            return [("", root[name].array())]
    named = {name: each for name, each in root.items() if is_image(str(name))}
    if named and all(isinstance(each, ArrayRecord) for each in named.values()):
        return [(f"#{Path(str(name)).stem}", each.array()) for name, each in named.items()]
    held = [(name, value) for name, value in root.items() if isinstance(value, dict)]
    return [
        (f"#{Path(str(name)).stem}", array)
        for name, value in held
        for _, array in _arrays({k: v for k, v in value.items() if isinstance(v, ArrayRecord)})
    ]


def _as_codes(path: Path, array: np.ndarray) -> np.ndarray:
    """[N, rows, D] of whatever is stored."""
    if array.ndim == 4 and 1 in array.shape[:3]:
        array = np.squeeze(array, axis=array.shape[:3].index(1))
    if array.ndim not in (1, 2, 3) or not array.size or array.dtype.kind not in "fiu":
        raise Refusal(
            f"{path}: an array of shape {list(array.shape)} and type {array.dtype} is no latent "
            "code; expected [D], [L, D], [1, L, D] or [N, L, D]"
        )
    array = array.astype(np.float32)
    return array.reshape(1, -1, array.shape[-1]) if array.ndim < 3 else array
