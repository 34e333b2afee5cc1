"""StyleCLIP's latent mappers: ``afro.pt``, ``surprised.pt`` and the like.

A dictionary of ``state_dict`` (``mapper.*``, and the generator as ``decoder.*``) and ``opts``.  A
``LevelsMapper`` has up to three networks, a ``SingleMapper`` one; the arrays tell, and the options
must agree where they say so (``mapper_type``, ``no_coarse_mapper``, ...)::

    mapper.course_mapping.mapping.{i + 1}     levels.{0}.{i}      (so spelt)
    mapper.medium_mapping.mapping.{i + 1}     levels.{1}.{i}
    mapper.fine_mapping.mapping.{i + 1}       levels.{2}.{i}
    mapper.mapping.mapping.{i + 1}            levels.{0}.{i}      (single)

Weights are stored divided by the learning rate's multiplier 0.01, as ours are.

A mapper of style space (``work_in_stylespace``) has a network for each convolution's style. Their
numbers count the RGB layers' styles too, which have none::

    mapper.mapper_{0, 2, 3, 5, 6, ...}.mapping.{i + 1}    styles.{0, 1, 2, ...}.{i}

An RGB layer's style is as wide as the one before it, so that all widths follow.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.families.encoders import file_options
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import linear
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import ANOTHER_NETWORK, NO_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.edits.latent_mapper import LatentMapperConfig
from jaxface.nets.edits.style_directions import is_convolution
from jaxface.nets.edits.style_mapper import StyleMapperConfig

NETWORKS: tuple[str, ...] = ("mapper",)
TERMS: Mapping[str, Terms] = {
    "mapper": Terms(note="the code is MIT, and states no terms for the files")
}

PREFIX = "mapper."
# Our level to their module, and the option that leaves it out.
MODULES = {
    "coarse": ("course_mapping", "no_coarse_mapper"),
    "medium": ("medium_mapping", "no_medium_mapper"),
    "fine": ("fine_mapping", "no_fine_mapper"),
}
SINGLE = "mapping"


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    state = root.get("state_dict") if isinstance(root, dict) else None
    return isinstance(state, dict) and any(str(key).startswith(PREFIX) for key in state)


def plan(root: Any, network: str) -> Plan:
    """How to convert the mapper.

    Raises:
        Refusal: if the options name another kind of mapper or contradict the arrays, or the arrays
            are not a mapper's.
    """
    del network  # there is one
    state = root["state_dict"]
    strangers = [key for key in state if not str(key).startswith((PREFIX, "decoder."))]
    if strangers:
        raise Refusal(f"the file has the unexpected {one_line(strangers[0])} in its state_dict")
    arrays = {
        str(key): as_array(value, where=str(key))
        for key, value in state.items()
        if str(key).startswith(PREFIX)
    }
    if _is_of_style_space(arrays):
        return _style_plan(arrays, file_options(root))
    modules = _modules(arrays)
    _check_options(file_options(root), list(modules))
    first = next(iter(modules.values()))
    layers = count_keys(arrays, rf"mapper\.{first}\.mapping\.(\d+)\.weight")
    w_dim = shape_of(arrays, f"{PREFIX}{first}.mapping.1.weight", 2)[0]
    entries: list[Entry] = []
    for level, module in enumerate(modules.values()):
        for i in range(layers):
            entries += linear(f"{PREFIX}{module}.mapping.{i + 1}", f"levels.{level}.{i}")
    return Plan(
        class_name="LatentMapper",
        config=make_config(LatentMapperConfig, levels=tuple(modules), w_dim=w_dim, layers=layers),
        arrays=arrays,
        entries=tuple(entries),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    del network
    parts = {}
    if any(str(key).startswith("decoder.") for key in root["state_dict"]):
        parts["decoder.*"] = ANOTHER_NETWORK
    for name in root:
        if name == "opts":
            parts["opts"] = "options; those that matter were read"
        elif name != "state_dict":
            parts[one_line(name)] = NO_NETWORK
    return parts


def _is_of_style_space(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(re.match(r"mapper\.mapper_\d+\.", key) for key in arrays)


def _style_plan(arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> Plan:
    """Of a mapper of style space."""
    if not options.get("work_in_stylespace", True):
        raise Refusal("the options say work_in_stylespace False, and the arrays are of style space")
    found = {int(key.removeprefix(f"{PREFIX}mapper_").partition(".")[0]) for key in arrays}
    wanted = [index for index in range(max(found) + 1) if is_convolution(index)]
    if sorted(found) != wanted or is_convolution(max(found) + 1):
        raise Refusal(
            f"the file has networks for the styles {sorted(found)}, expected those of all "
            "convolutions and of no RGB layer: 0, 2, 3, 5, 6, ..."
        )
    widths: list[int] = []
    for index in range(max(found) + 2):
        key = f"{PREFIX}mapper_{index}.mapping.1.weight"
        widths.append(shape_of(arrays, key, 2)[0] if index in found else widths[-1])
    layers = count_keys(arrays, rf"mapper\.mapper_{wanted[0]}\.mapping\.(\d+)\.weight")
    entries: list[Entry] = []
    for number, index in enumerate(wanted):
        for i in range(layers):
            entries += linear(f"{PREFIX}mapper_{index}.mapping.{i + 1}", f"styles.{number}.{i}")
    return Plan(
        class_name="StyleMapper",
        config=make_config(StyleMapperConfig, widths=tuple(widths), layers=layers),
        arrays=arrays,
        entries=tuple(entries),
    )


def _modules(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Our levels to their modules, as the arrays have them."""
    found = {key.removeprefix(PREFIX).partition(".")[0] for key in arrays}
    if found == {SINGLE}:
        return {"all": SINGLE}
    modules = {level: name for level, (name, _) in MODULES.items() if name in found}
    strangers = sorted(found - set(modules.values()))
    if strangers or not modules:
        names = ", ".join(name for name, _ in MODULES.values())
        raise Refusal(
            f"the file has a {PREFIX}{one_line(strangers[0])}, expected some of {names}, or "
            f"{SINGLE} alone"
        )
    return modules


def _check_options(options: Mapping[str, Any], levels: list[str]) -> None:
    kind = "SingleMapper" if levels == ["all"] else "LevelsMapper"
    if options.get("mapper_type", kind) != kind:
        raise Refusal(
            f"the options say mapper_type {one_line(options['mapper_type'])}, and the arrays are "
            f"those of a {kind}"
        )
    if options.get("work_in_stylespace"):
        raise Refusal(f"the options say work_in_stylespace, and the arrays are those of a {kind}")
    if kind == "SingleMapper":
        return
    for level, (_, option) in MODULES.items():
        if option in options and bool(options[option]) == (level in levels):
            raise Refusal(
                f"the options say {option} {one_line(options[option])}, and the file has "
                f"{'a' if level in levels else 'no'} {level} mapper"
            )
