"""Name maps of PyTorch's layers, for the networks that are published as flat state dictionaries.

Our layers are those of ``jaxface.nets.torch_layers``: ``weight`` and ``bias`` of convolutions and
dense layers, and ``weight``, ``bias``, ``mean`` and ``variance`` of a batch normalisation.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.formats.tensors import NumpyArray, Tensor, as_array
from jaxface.convert.plan import Entry


def has_tensors(root: Any, *keys: str) -> bool:
    """Whether a checkpoint is a dictionary with tensors under all of these keys."""
    return isinstance(root, dict) and all(
        isinstance(root.get(key), Tensor | NumpyArray) for key in keys
    )


def state_arrays(root: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """The arrays of a flat state dictionary.

    Raises:
        Refusal: if one of its values is no tensor.
    """
    return {str(key): as_array(value, where=str(key)) for key, value in root.items()}


def counters(arrays: Iterable[str]) -> dict[str, str]:
    """The keys that count batches, with the reason to ignore them."""
    reason = "a counter that only training reads"
    return {key: reason for key in arrays if key.endswith(".num_batches_tracked")}


def conv(source: str, target: str, *, bias: bool) -> list[Entry]:
    """``torch.nn.Conv2d`` to ``Conv2d``."""
    entries = [Entry(f"{source}.weight", f"{target}.weight", hooks.kernel)]
    return entries + ([Entry(f"{source}.bias", f"{target}.bias")] if bias else [])


def linear(
    source: str, target: str, *, bias: bool = True, hook: hooks.Hook = hooks.dense
) -> list[Entry]:
    """``torch.nn.Linear``, or what ``hook`` makes one of, to ``Linear``."""
    entries = [Entry(f"{source}.weight", f"{target}.weight", hook)]
    return entries + ([Entry(f"{source}.bias", f"{target}.bias")] if bias else [])


def batch_norm(source: str, target: str, *, affine: bool = True) -> list[Entry]:
    """``torch.nn.BatchNorm2d`` and ``1d`` to ``BatchNorm``; `counters` has their counters."""
    names = {"running_mean": "mean", "running_var": "variance"}
    if affine:
        names |= {"weight": "weight", "bias": "bias"}
    return [Entry(f"{source}.{theirs}", f"{target}.{ours}") for theirs, ours in names.items()]


def prelu(source: str, target: str) -> list[Entry]:
    """``torch.nn.PReLU`` to ``PReLU``."""
    return [Entry(f"{source}.weight", f"{target}.slope")]
