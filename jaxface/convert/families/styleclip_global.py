"""StyleCLIP's global directions: ``fs3.npy``, with ``S_mean_std`` beside it.

``fs3.npy`` is one array [channels of the convolutions' styles, 512]: each channel's effect on the
CLIP embedding, of length 1 (``GetFs`` in ``global_directions/MapTS.py``).  ``S_mean_std`` is a
pickle of two lists with an array for each style, RGB layers included (``GetCode.py``): means and
standard deviations, whose lengths are the styles' widths.  Edits are relative, so the means are not
needed.
The command is ``styleclip_global fs3.npy OUT --with statistics=S_mean_std``::

    fs3             relevance
    std             deviation, the second list's arrays in a row
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.formats.checkpoint import Checkpoint
from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import FITTED
from jaxface.licences import Terms
from jaxface.nets.edits.style_directions import StyleDirectionsConfig

NETWORKS: tuple[str, ...] = ("directions",)
TERMS: Mapping[str, Terms] = {
    "directions": Terms("MIT", "unstated", f"the repository that holds the file; {FITTED}")
}
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "directions": {"statistics": "StyleCLIP's S_mean_std of the same generator"}
}
OPTIONAL: Mapping[str, Mapping[str, str]] = {}

# Rows are means of unit vectors, divided by their length in float32 or float64.
UNIT_TOLERANCE = 1e-3


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    if not isinstance(root, ArrayRecord):
        return False
    shape = root.array().shape
    return len(shape) == 2 and shape[0] > 1


def plan(root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
    """How to convert the measurements.

    Raises:
        Refusal: if the files are not as described or do not belong together.
    """
    relevance = as_array(root, where="fs3")
    statistics = extras[next(iter(EXTRAS[network]))]
    deviations = _deviations(statistics)
    config = make_config(
        StyleDirectionsConfig,
        widths=tuple(len(each) for each in deviations),
        text_dim=relevance.shape[1],
    )
    channels = int(config.edited.sum())
    if len(relevance) != channels:
        raise Refusal(
            f"fs3 measures {len(relevance)} channels, and the convolutions' styles of "
            f"{statistics.path} have {channels}"
        )
    if not (np.abs(np.linalg.norm(relevance, axis=1) - 1) <= UNIT_TOLERANCE).all():
        raise Refusal("fs3: a row has not the length 1, so it is not StyleCLIP's")
    return Plan(
        class_name="StyleDirections",
        config=config,
        arrays={"fs3": relevance, "std": np.concatenate(deviations)},
        entries=(Entry("fs3", "relevance"), Entry("std", "deviation")),
        notes=(f"{len(deviations)} styles of {sum(config.widths)} channels",),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the files hold: the means."""
    del root, network
    return {"mean": "of the styles; edits are relative"}


def _deviations(statistics: Checkpoint) -> list[np.ndarray]:
    """The second list of S_mean_std."""
    root = statistics.root
    lists = [part for part in root if isinstance(part, list | tuple)] if _is_list(root) else []
    if len(lists) != 2 or len(root) != 2 or len(lists[0]) != len(lists[1]):
        raise Refusal(f"{statistics.path} is no S_mean_std: expected two lists of the same length")
    arrays = [as_array(each, where=f"std.{i}") for i, each in enumerate(lists[1])]
    if not arrays or any(array.ndim != 1 or not (array >= 0).all() for array in arrays):
        raise Refusal(f"{statistics.path}: its second list holds no standard deviations")
    return arrays


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
