"""What a family's file decides, and the strict filling of the target network from it.

A family reads a checkpoint into a :class:`Plan`: the network's class and configuration, the source
arrays by key, a line for every key that becomes one of our arrays, and a reason for every key
that does not.  :func:`fill` then insists that nothing is missing, left over or misshapen.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from jaxface.convert.formats.words import shown
from jaxface.convert.hooks import Hook, same
from jaxface.convert.refusal import Refusal
from jaxface.weights import abstract_network, network_names

# How many keys an error names before it counts the rest.
SHOWN = 3

# The networks of a StyleGAN2 checkpoint: the averaged generator, the generator, the discriminator.
STYLEGAN2_NETWORKS = ("G_ema", "G", "D")

# Reasons to leave out a part of a file.
ANOTHER_NETWORK, NO_NETWORK = "another network of the file", "not part of a network"

Config = TypeVar("Config")


@dataclass(frozen=True)
class Entry:
    """One source key becomes one of our arrays."""

    source: str
    target: str
    hook: Hook = same


@dataclass(frozen=True)
class Plan:
    """How one network of a checkpoint is converted."""

    class_name: str
    config: Any
    arrays: Mapping[str, np.ndarray]
    entries: tuple[Entry, ...]
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Source key to the reason why it is not needed."""
    reduced_precision_res: int = 0
    """How many of the highest resolutions the source computes in float16."""
    notes: tuple[str, ...] = ()
    """Further lines for the report."""


def checked(value: Any, *kinds: type | None, where: str) -> Any:
    """The value, if it is of one of the types (None stands for itself).

    Raises:
        Refusal: if it is not.
    """
    if any(value is None if kind is None else isinstance(value, kind) for kind in kinds):
        return value
    raise Refusal(f"{where} is {shown(value)}, which StyleGAN2 does not have")


# Sizes below these come from damaged or hostile files.
SMALLEST = {
    "c_dim": 0,
    "channel_base": 1,
    "channel_max": 1,
    "cmap_dim": 1,
    "image_channels": 1,
    "mbstd_group_size": 1,
    "mbstd_num_channels": 0,
    "w_dim": 1,
    "z_dim": 1,
}


def make_config(config_class: Callable[..., Config], **fields: Any) -> Config:
    """A configuration from a file's settings.

    Raises:
        Refusal: if a size is too small or the configuration class refuses them.
    """
    for name, least in SMALLEST.items():
        value = fields.get(name)
        if value is not None and value < least:
            raise Refusal(f"{name} is {value}, expected at least {least}")
    try:
        return config_class(**fields)
    except ValueError as error:
        raise Refusal(str(error)) from error


def fill(plan: Plan) -> tuple[dict[str, np.ndarray], list[str]]:
    """Our arrays by name, and the report: one line for every source key.

    Raises:
        Refusal: naming missing, surplus or misshapen source keys, NaN and infinity, and fractions
            where indices are expected.
    """
    expected = network_names(abstract_network(plan.class_name, plan.config))
    wanted = [entry.source for entry in plan.entries]
    _refuse_some("lacks", (key for key in wanted if key not in plan.arrays))
    known = {*wanted, *plan.ignored}
    _refuse_some("has the unexpected", (key for key in plan.arrays if key not in known))
    filled: dict[str, np.ndarray] = {}
    report = []
    for entry in plan.entries:
        source = plan.arrays[entry.source]
        if entry.target not in expected:
            raise Refusal(f"{entry.source}: the network has no {entry.target} to put it in")
        shape = tuple(expected[entry.target].shape)
        array = _hooked(entry, source, shape, np.dtype(expected[entry.target].dtype))
        filled[entry.target] = array
        report.append(
            f"used     {entry.source} {list(source.shape)} {source.dtype} -> "
            f"{entry.target} {list(shape)}"
        )
    _refuse_some("has nothing for", (name for name in expected if name not in filled))
    report += [f"ignored  {key}: {reason}" for key, reason in plan.ignored.items()]
    return filled, report


def _hooked(
    entry: Entry, source: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    try:
        array = np.asarray(entry.hook(source))
    except ValueError:
        array = None
    if array is None or array.shape != shape:
        raise Refusal(
            f"{entry.source}: its shape {list(source.shape)} does not fit {entry.target} "
            f"{list(shape)}"
        )
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not ((array == np.floor(array)) & (array >= limits.min) & (array <= limits.max)).all():
            raise Refusal(f"{entry.source} holds numbers that are no {dtype}")
    elif not np.isfinite(array := np.asarray(array, np.float32)).all():
        raise Refusal(f"{entry.source} holds NaN or infinity")
    return np.asarray(array, dtype, order="C")


def _refuse_some(verb: str, keys: Iterable[str]) -> None:
    keys = list(keys)
    if keys:
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        raise Refusal(f"the network {verb} {', '.join(keys[:SHOWN])}{more}")
