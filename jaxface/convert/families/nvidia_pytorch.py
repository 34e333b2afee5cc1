"""NVIDIA's PyTorch pickles: stylegan2-ada-pytorch, and stylegan3's StyleGAN2 configurations.

The file is a dictionary of persistent objects ``G``, ``D`` and ``G_ema``.  Each is a tree of
modules with ``_parameters``, ``_buffers``, ``_modules`` and the constructor's settings as plain
attributes; the tree is read, the source text inside is not.  The settings that matter (clamp,
activation, filter, minibatch groups) are taken from those attributes, and all sizes from the
arrays, so the two repositories' different defaults make no difference.

Generator (``b8`` is block 1, resolution 8; ``{r}`` runs over the resolutions)::

    mapping.w_avg, mapping.embed, mapping.fc{i}      mapping.w_mean, .embed, .layers.{i}
    synthesis.b4.const                               synthesis.blocks.0.const
    synthesis.b{r}.conv{0,1}                         synthesis.blocks.{n}.conv{0,1}
        .weight .bias .affine .noise_const .noise_strength
    synthesis.b{r}.torgb, .skip                      synthesis.blocks.{n}.to_rgb, .skip

Discriminator (blocks from the highest resolution down)::

    b{r}.fromrgb, .conv0, .conv1, .skip              blocks.{n}.from_rgb, .conv0, .conv1, .skip
    b4.fromrgb, .conv, .fc, .out                     epilogue.from_rgb, .conv, .dense, .out
    mapping.embed, mapping.fc{i}                     mapping.embed, mapping.layers.{i}

Kernels are OIHW and dense weights [out, in].  ``resample_filter`` buffers are compared with the
filter of the configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import (
    BINOMIAL,
    channel_schedule,
    count_keys,
    filter_taps,
    shape_of,
)
from jaxface.convert.formats.checkpoint import PersistentObject
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.formats.words import keys_of, one_line, shown
from jaxface.convert.plan import (
    ANOTHER_NETWORK,
    NO_NETWORK,
    STYLEGAN2_NETWORKS,
    Entry,
    Plan,
    checked,
    make_config,
)
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import OF_NVIDIA
from jaxface.licences import Terms
from jaxface.nets.stylegan2 import DiscriminatorConfig, GeneratorConfig

KNOWN_CLASSES = frozenset(
    {
        "Generator",
        "MappingNetwork",
        "SynthesisNetwork",
        "SynthesisBlock",
        "SynthesisLayer",
        "ToRGBLayer",
        "FullyConnectedLayer",
        "Conv2dLayer",
        "Discriminator",
        "DiscriminatorBlock",
        "DiscriminatorEpilogue",
        "MinibatchStdLayer",
    }
)
# Layers without an activation; every other one is a leaky ReLU.
LINEAR_LAYERS = ("affine", "embed", "skip", "out")

NETWORKS: tuple[str, ...] = STYLEGAN2_NETWORKS
TERMS: Mapping[str, Terms] = dict.fromkeys(NETWORKS, OF_NVIDIA)


@dataclass
class Modules:
    """A tree of persistent objects, flattened to dotted paths."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def attribute(self, path: str, name: str, *kinds: type | None) -> Any:
        """A setting of the module at ``path``, of one of the types ``kinds`` (or None).

        Raises:
            Refusal: if there is no such module or setting, or it is of another type.
        """
        where = path or "the network"
        if name not in self.attributes.get(path, {}):
            raise Refusal(f"{where} has no {name}: not a StyleGAN2 network")
        return checked(self.attributes[path][name], *kinds, where=f"{where}: {name}")


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and any(
        isinstance(root.get(network), PersistentObject) for network in NETWORKS
    )


def plan(root: Any, network: str) -> Plan:
    """How to convert one network of the file.

    Raises:
        Refusal: for an unknown class or a setting that this StyleGAN2 does not have.
    """
    module = root.get(network)
    if not isinstance(module, PersistentObject):
        raise Refusal(f"no network {network} in the file; it holds {keys_of(root)}")
    wanted = "Discriminator" if network == "D" else "Generator"
    if module.class_name != wanted:
        raise Refusal(f"{network} is of class {one_line(module.class_name)}, expected {wanted}")
    modules = Modules()
    _flatten(module, "", modules, set())
    _check_activations(modules)
    return _discriminator_plan(modules) if network == "D" else _generator_plan(modules)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    return {
        one_line(name): ANOTHER_NETWORK if isinstance(part, PersistentObject) else NO_NETWORK
        for name, part in root.items()
        if name != network
    }


def _flatten(module: PersistentObject, prefix: str, into: Modules, seen: set[int]) -> None:
    path = prefix[:-1]
    if module.class_name not in KNOWN_CLASSES:
        raise Refusal(
            f"{path} is of the unknown class {one_line(module.class_name)}: not StyleGAN2"
        )
    if id(module) in seen:
        raise Refusal(f"{path} is the same object as another module")
    seen.add(id(module))
    into.attributes[path] = module.state
    for part in ("_parameters", "_buffers"):
        for name, value in module.state.get(part, {}).items():
            if value is not None:
                into.arrays[prefix + name] = as_array(value, where=prefix + name)
    for name, child in module.state.get("_modules", {}).items():
        if isinstance(child, PersistentObject):
            _flatten(child, f"{prefix}{name}.", into, seen)
        elif child is not None:
            raise Refusal(f"{prefix}{name} is a {type(child).__name__}, expected a module")


def _check_activations(modules: Modules) -> None:
    for path, attributes in modules.attributes.items():
        if "activation" in attributes:
            wanted = "linear" if path.split(".")[-1] in LINEAR_LAYERS else "lrelu"
            if attributes["activation"] != wanted:
                raise Refusal(f"{path} uses {shown(attributes['activation'])}, expected {wanted!r}")


def _generator_plan(modules: Modules) -> Plan:
    resolution = modules.attribute("", "img_resolution", int)
    resolutions = _resolutions(modules, "synthesis.", resolution)
    base, most = channel_schedule(
        {r: shape_of(modules.arrays, f"synthesis.b{r}.conv1.bias", 1)[0] for r in resolutions}
    )
    taps, ignored = _filters(modules, "synthesis.b4")
    config = make_config(
        GeneratorConfig,
        resolution=resolution,
        c_dim=modules.attribute("", "c_dim", int),
        image_channels=modules.attribute("", "img_channels", int),
        channel_base=base,
        channel_max=most,
        resample_taps=taps,
        conv_clamp=modules.attribute("synthesis.b4.conv1", "conv_clamp", int, float, None),
        z_dim=modules.attribute("", "z_dim", int),
        w_dim=modules.attribute("", "w_dim", int),
        **_mapping_fields(modules),
        w_mean_decay=modules.attribute("mapping", "w_avg_beta", int, float),
        architecture=modules.attribute("synthesis.b4", "architecture", str),
    )
    reduced = [r for r in resolutions if modules.attribute(f"synthesis.b{r}", "use_fp16", bool)]
    return Plan(
        class_name="Generator",
        config=config,
        arrays=modules.arrays,
        entries=tuple(generator_entries(config)),
        ignored=ignored,
        reduced_precision_res=len(reduced),
    )


def _discriminator_plan(modules: Modules) -> Plan:
    resolution = modules.attribute("", "img_resolution", int)
    resolutions = _resolutions(modules, "", resolution)
    widths = {r: shape_of(modules.arrays, f"b{r}.conv0.bias", 1)[0] for r in resolutions[1:]}
    base, most = channel_schedule({4: shape_of(modules.arrays, "b4.conv.bias", 1)[0], **widths})
    taps, ignored = _filters(modules, f"b{resolution}")
    c_dim = modules.attribute("", "c_dim", int)
    groups = {"mbstd_num_channels": 0}
    if "b4.mbstd" in modules.attributes:
        groups = {
            "mbstd_group_size": modules.attribute("b4.mbstd", "group_size", int, None),
            "mbstd_num_channels": modules.attribute("b4.mbstd", "num_channels", int),
        }
    labels = (
        {
            "cmap_dim": modules.attribute("b4", "cmap_dim", int),
            **_mapping_fields(modules),
        }
        if c_dim
        else {}
    )
    config = make_config(
        DiscriminatorConfig,
        resolution=resolution,
        c_dim=c_dim,
        image_channels=modules.attribute("", "img_channels", int),
        channel_base=base,
        channel_max=most,
        resample_taps=taps,
        conv_clamp=modules.attribute("b4.conv", "conv_clamp", int, float, None),
        architecture=modules.attribute("b4", "architecture", str),
        **groups,
        **labels,
    )
    reduced = [r for r in resolutions[1:] if modules.attribute(f"b{r}", "use_fp16", bool)]
    return Plan(
        class_name="Discriminator",
        config=config,
        arrays=modules.arrays,
        entries=tuple(discriminator_entries(config)),
        ignored=ignored,
        reduced_precision_res=len(reduced),
    )


def _mapping_fields(modules: Modules) -> dict[str, Any]:
    """Depth and learning rate of the mapping network; a discriminator's may have no layers."""
    layers = modules.attribute("mapping", "num_layers", int)
    found = count_keys(modules.arrays, r"mapping\.fc\d+\.weight")
    if layers != found:
        raise Refusal(f"mapping.num_layers is {layers}, but the network has {found} layers")
    if layers == 0:
        return {"mapping_layers": 0}
    rate = modules.attribute("mapping.fc0", "bias_gain", int, float)
    return {"mapping_layers": layers, "mapping_lr_multiplier": rate}


def _resolutions(modules: Modules, prefix: str, resolution: int) -> list[int]:
    """4, 8, ..., each of which must have its block."""
    resolutions = [4 << k for k in range(max(0, resolution.bit_length() - 2))]
    for r in resolutions:
        modules.attribute(f"{prefix}b{r}", "architecture", str)
    return resolutions


def _filters(modules: Modules, block: str) -> tuple[tuple[float, ...], dict[str, str]]:
    """The FIR taps of the network, and every filter buffer with the reason to ignore it.

    Layers that do not resample carry the default filter whatever the network's is.
    """
    key = f"{block}.resample_filter"
    if key not in modules.arrays:
        raise Refusal(f"the network lacks {key}")
    taps = filter_taps(modules.arrays[key], where=key)
    ignored = {}
    for key, array in modules.arrays.items():
        path, _, name = key.rpartition(".")
        if name != "resample_filter":
            continue
        attributes = modules.attributes[path]
        resamples = attributes.get("up", 2) != 1 or attributes.get("down", 1) != 1
        if not resamples:
            ignored[key] = "a FIR filter that its layer never applies"
        elif filter_taps(array, where=key) != taps:
            raise Refusal(f"{key}: the FIR filter differs from {block}.resample_filter")
        else:
            ignored[key] = f"FIR filter, equal to the configuration's {_taps_text(taps)}"
    return taps, ignored


def _taps_text(taps: tuple[float, ...]) -> str:
    return "[1, 3, 3, 1]" if taps == BINOMIAL else str([round(tap, 4) for tap in taps])


def generator_entries(config: GeneratorConfig) -> list[Entry]:
    """The generator's name map."""
    entries = [Entry("mapping.w_avg", "mapping.w_mean"), *_mapping_entries(config)]
    for index, r in enumerate(config.block_resolutions):
        source, target = f"synthesis.b{r}", f"synthesis.blocks.{index}"
        if r == 4:
            entries.append(Entry(f"{source}.const", f"{target}.const", hooks.constant))
        else:
            entries += _styled(f"{source}.conv0", f"{target}.conv0", noise=True)
            if config.architecture == "resnet":
                entries.append(
                    Entry(f"{source}.skip.weight", f"{target}.skip.weight", hooks.kernel)
                )
        entries += _styled(f"{source}.conv1", f"{target}.conv1", noise=True)
        if config.architecture == "skip" or r == config.resolution:
            entries += _styled(f"{source}.torgb", f"{target}.to_rgb", noise=False)
    return entries


def discriminator_entries(config: DiscriminatorConfig) -> list[Entry]:
    """The discriminator's name map."""
    entries = _mapping_entries(config) if config.c_dim else []
    for index, r in enumerate(config.block_resolutions[:0:-1]):
        if index == 0 or config.architecture == "skip":
            entries += _layer(f"b{r}.fromrgb", f"blocks.{index}.from_rgb", hooks.kernel)
        entries += _layer(f"b{r}.conv0", f"blocks.{index}.conv0", hooks.kernel)
        entries += _layer(f"b{r}.conv1", f"blocks.{index}.conv1", hooks.kernel)
        if config.architecture == "resnet":
            skip = Entry(f"b{r}.skip.weight", f"blocks.{index}.skip.weight", hooks.kernel)
            entries.append(skip)
    if config.architecture == "skip":
        entries += _layer("b4.fromrgb", "epilogue.from_rgb", hooks.kernel)
    entries += _layer("b4.conv", "epilogue.conv", hooks.kernel)
    entries += _layer("b4.fc", "epilogue.dense", hooks.flattened_dense)
    entries += _layer("b4.out", "epilogue.out", hooks.dense)
    return entries


def _mapping_entries(config: GeneratorConfig | DiscriminatorConfig) -> list[Entry]:
    entries = _layer("mapping.embed", "mapping.embed", hooks.dense) if config.c_dim else []
    for i in range(config.mapping_layers):
        entries += _layer(f"mapping.fc{i}", f"mapping.layers.{i}", hooks.dense)
    return entries


def _styled(source: str, target: str, *, noise: bool) -> list[Entry]:
    """A modulated convolution."""
    entries = _layer(source, target, hooks.kernel)
    entries += _layer(f"{source}.affine", f"{target}.affine", hooks.dense)
    if noise:
        names = ("noise_const", "noise_strength")
        entries += [Entry(f"{source}.{name}", f"{target}.{name}") for name in names]
    return entries


def _layer(source: str, target: str, weight: hooks.Hook) -> list[Entry]:
    """A weight and its bias."""
    return [
        Entry(f"{source}.weight", f"{target}.weight", weight),
        Entry(f"{source}.bias", f"{target}.bias"),
    ]
