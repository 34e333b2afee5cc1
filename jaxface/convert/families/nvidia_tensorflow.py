"""NVIDIA's TensorFlow-era pickles: StyleGAN2 (configurations E and F) and StyleGAN2-ADA.

The file is a tuple (G, D, Gs) of ``dnnlib.tflib.network.Network`` objects; Gs is the average that
images are made with.  Each is read as data: ``version`` 4 (StyleGAN2) or 5 (ADA), ``static_kwargs``
and ``variables``, a list of (name, array), with the generator's ``mapping`` and ``synthesis`` in
``components``.  The TensorFlow source text inside is skipped.

Generator (``{r}`` is a resolution, block n = log2(r) - 2)::

    dlatent_avg                                      mapping.w_mean
    mapping/LabelEmbed, mapping/Dense{i}             mapping.embed, mapping.layers.{i}
    synthesis/4x4/Const/const                        synthesis.blocks.0.const
    synthesis/4x4/Conv                               synthesis.blocks.0.conv1
    synthesis/{r}x{r}/Conv0_up, Conv1                synthesis.blocks.{n}.conv0, .conv1
        /weight /bias /noise_strength                    .weight .bias .noise_strength
        /mod_weight /mod_bias                            .affine.weight .affine.bias
    synthesis/noise{2 n - 1}, noise{2 n}             .conv0.noise_const, .conv1.noise_const
    synthesis/{r}x{r}/ToRGB, Skip                    synthesis.blocks.{n}.to_rgb, .skip

Discriminator (blocks from the highest resolution down)::

    {r}x{r}/FromRGB, Conv0, Conv1_down, Skip         blocks.{n}.from_rgb, .conv0, .conv1, .skip
    4x4/FromRGB, Conv, Dense0, Output                epilogue.from_rgb, .conv, .dense, .out
    LabelEmbed, Mapping{i}                           mapping.embed, mapping.layers.{i}

Kernels are HWIO and dense weights [in, out] already.  Kernels of up-sampling layers (Conv0_up and
the generator's Skip) are turned by 180 degrees, and a style's bias lacks the 1 that TensorFlow
adds (legacy.py of stylegan2-ada-pytorch).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import BINOMIAL, channel_schedule, count_keys, shape_of
from jaxface.convert.formats.checkpoint import TENSORFLOW_NETWORK
from jaxface.convert.formats.pickle_machine import Record
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.plan import (
    ANOTHER_NETWORK,
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

NETWORKS: tuple[str, ...] = STYLEGAN2_NETWORKS
TERMS: Mapping[str, Terms] = dict.fromkeys(NETWORKS, OF_NVIDIA)
POSITIONS = {"G": 0, "D": 1, "G_ema": 2}

VERSIONS = (4, 5)

# Settings that do not change what the network computes once trained, whatever their value; sizes
# are here too, because they are taken from the arrays.
IRRELEVANT = frozenset(
    {
        "num_channels",
        "label_size",
        "latent_size",
        "dlatent_size",
        "label_fmaps",
        "mapping_fmaps",
        "fmap_base",
        "fmap_max",
        "truncation_psi",
        "truncation_cutoff",
        "truncation_psi_val",
        "truncation_cutoff_val",
        "style_mixing_prob",
        "structure",
        "randomize_noise",
        "fused_modconv",
        "freeze_layers",
        "mapping_func",
        "synthesis_func",
        "conditioning",
        "dtype",
    }
)
# Settings that must have this value, which is also their default.
REQUIRED = {
    "fmap_decay": 1,
    "fmap_min": 1,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
    "use_noise": True,
    "use_pagan": False,
    "use_spectral_norm": False,
    "adaptive_dropout": 0,
    "score_max": 1,
}
USED = {
    "G": frozenset(
        {
            "resolution",
            "architecture",
            "conv_clamp",
            "num_fp16_res",
            "resample_kernel",
            "mapping_layers",
            "mapping_lrmul",
            "dlatent_avg_beta",
        }
    ),
    "D": frozenset(
        {
            "resolution",
            "architecture",
            "conv_clamp",
            "num_fp16_res",
            "resample_kernel",
            "mapping_layers",
            "mapping_lrmul",
            "mbstd_group_size",
            "mbstd_num_features",
        }
    ),
}


@dataclass(frozen=True)
class Settings:
    """A network's static keyword arguments."""

    values: Mapping[str, Any]

    def get(self, name: str, default: Any, *kinds: type | None) -> Any:
        """A setting of one of the types ``kinds``, or the reference's default for it.

        Raises:
            Refusal: if it is of another type.
        """
        return checked(self.values.get(name, default), *kinds, where=f"the setting {name}")


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return (
        isinstance(root, tuple)
        and len(root) == 3
        and all(isinstance(net, Record) and net.path == TENSORFLOW_NETWORK for net in root)
    )


def plan(root: Any, network: str) -> Plan:
    """How to convert one network of the file.

    Raises:
        Refusal: for another version or a setting that this StyleGAN2 does not have.
    """
    record = root[POSITIONS[network]]
    version = record.state.get("version")
    if version not in VERSIONS:
        raise Refusal(
            f"{network} is of format version {shown(version)}; StyleGAN2 has 4, its ADA variant "
            "5, and "
            "older ones are other networks"
        )
    arrays = variables(record, "")
    old = [key for key in arrays if re.search(r"_lod\d+/", key)]
    if old:
        raise Refusal(f"{old[0]}: a progressively grown network (configurations A to D)")
    kind = "D" if network == "D" else "G"
    settings = _settings(record, kind)
    ignored = {key: "the level of progressive growing" for key in ("lod",) if key in arrays}
    if "synthesis/lod" in arrays:
        ignored["synthesis/lod"] = "the level of progressive growing"
    make = _discriminator_plan if kind == "D" else _generator_plan
    return make(arrays, settings, version, ignored)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    del root
    return {name: ANOTHER_NETWORK for name in NETWORKS if name != network}


def variables(record: Record, prefix: str) -> dict[str, np.ndarray]:
    """A network's variables by name, those of its components with their name before.

    Raises:
        Refusal: the network is not of this form.
    """
    arrays = {}
    for item in _state(record, "variables", list):
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], str):
            raise Refusal("the variables of a network are not (name, array) pairs")
        key = prefix + item[0]
        if key in arrays:
            raise Refusal(f"the variable {key} is there twice")
        arrays[key] = as_array(item[1], where=key)
    if prefix and record.state.get("components"):
        raise Refusal(f"the component {prefix} has components of its own")
    for name, component in record.state.get("components", {}).items():
        if not isinstance(component, Record):
            raise Refusal(f"the component {one_line(name)} is not a network")
        arrays |= variables(component, f"{name}/")
    return arrays


def _state(record: Record, name: str, kind: type) -> Any:
    return checked(record.state.get(name), kind, where=f"a network's {name}")


def _settings(record: Record, kind: str) -> Settings:
    settings = _state(record, "static_kwargs", dict)
    for name, value in settings.items():
        if name in REQUIRED and value != REQUIRED[name]:
            raise Refusal(f"the setting {name} is {shown(value)}, expected {REQUIRED[name]!r}")
        if name not in IRRELEVANT and name not in REQUIRED and name not in USED[kind]:
            raise Refusal(f"the setting {one_line(name)} is not one of StyleGAN2's")
    return Settings(settings)


def _common(
    arrays: Mapping[str, np.ndarray], settings: Settings, first: str, block: str
) -> dict[str, Any]:
    """Configuration fields that both networks have.

    Args:
        arrays: the network's variables.
        settings: its keyword arguments.
        first: the bias whose length is the width at 4 px.
        block: the same of every other resolution, with ``{r}`` in place of it.
    """
    resolution = settings.get("resolution", 1024, int)
    widths = {4: shape_of(arrays, first, 1)[0]}
    for r in (2**k for k in range(3, resolution.bit_length())):
        widths[r] = shape_of(arrays, block.format(r=r), 1)[0]
    base, most = channel_schedule(widths)
    taps = settings.get("resample_kernel", BINOMIAL, list, tuple)
    return {
        "resolution": resolution,
        "channel_base": base,
        "channel_max": most,
        "conv_clamp": settings.get("conv_clamp", None, int, float, None),
        "resample_taps": tuple(checked(t, int, float, where="a FIR tap") for t in taps),
    }


def _generator_plan(
    arrays: dict[str, np.ndarray],
    settings: Settings,
    version: int,
    ignored: dict[str, str],
) -> Plan:
    common = _common(arrays, settings, "synthesis/4x4/Conv/bias", "synthesis/{r}x{r}/Conv1/bias")
    (w_dim,) = shape_of(arrays, "dlatent_avg", 1)
    c_dim, embedding = 0, 0
    if "mapping/LabelEmbed/weight" in arrays:
        c_dim, embedding = shape_of(arrays, "mapping/LabelEmbed/weight", 2)
    top = common["resolution"]
    # The average's decay is None where it was not tracked; the reference then says 1.
    decay = settings.get("dlatent_avg_beta", 0.995, int, float, None)
    config = make_config(
        GeneratorConfig,
        **common,
        c_dim=c_dim,
        image_channels=shape_of(arrays, f"synthesis/{top}x{top}/ToRGB/bias", 1)[0],
        z_dim=shape_of(arrays, "mapping/Dense0/weight", 2)[0] - embedding,
        w_dim=w_dim,
        mapping_layers=_layers(arrays, settings, r"mapping/Dense\d+/weight", default=8),
        mapping_lr_multiplier=settings.get("mapping_lrmul", 0.01, int, float),
        w_mean_decay=1.0 if decay is None else decay,
        architecture=settings.get("architecture", "skip", str),
    )
    return Plan(
        class_name="Generator",
        config=config,
        arrays=arrays,
        entries=tuple(generator_entries(config)),
        ignored=ignored,
        reduced_precision_res=settings.get("num_fp16_res", 0, int),
    )


def _discriminator_plan(
    arrays: dict[str, np.ndarray],
    settings: Settings,
    version: int,
    ignored: dict[str, str],
) -> Plan:
    common = _common(arrays, settings, "4x4/Conv/bias", "{r}x{r}/Conv0/bias")
    top = common["resolution"]
    labels = {}
    if "LabelEmbed/weight" in arrays:
        c_dim, cmap_dim = shape_of(arrays, "LabelEmbed/weight", 2)
        labels = {
            "c_dim": c_dim,
            "cmap_dim": cmap_dim,
            "mapping_layers": _layers(arrays, settings, r"Mapping\d+/weight", default=0),
            "mapping_lr_multiplier": settings.get("mapping_lrmul", 0.1, int, float),
        }
    # The default of D_stylegan2 (version 4) is groups of 4, of D_main (version 5) the whole batch.
    groups = 4 if version == 4 else None
    config = make_config(
        DiscriminatorConfig,
        **common,
        image_channels=shape_of(arrays, f"{top}x{top}/FromRGB/weight", 4)[2],
        architecture=settings.get("architecture", "resnet", str),
        mbstd_group_size=settings.get("mbstd_group_size", groups, int, None),
        mbstd_num_channels=settings.get("mbstd_num_features", 1, int),
        **labels,
    )
    return Plan(
        class_name="Discriminator",
        config=config,
        arrays=arrays,
        entries=tuple(discriminator_entries(config)),
        ignored=ignored,
        reduced_precision_res=settings.get("num_fp16_res", 0, int),
    )


def _layers(
    arrays: Mapping[str, np.ndarray], settings: Settings, pattern: str, *, default: int
) -> int:
    """The depth of a mapping network, by its setting and by its arrays."""
    layers = settings.get("mapping_layers", default, int)
    found = count_keys(arrays, pattern)
    if layers != found:
        raise Refusal(f"mapping_layers is {layers}, but the network has {found} layers")
    return layers


def generator_entries(config: GeneratorConfig) -> list[Entry]:
    """The generator's name map."""
    entries = [Entry("dlatent_avg", "mapping.w_mean")]
    if config.c_dim:
        entries += _layer("mapping/LabelEmbed", "mapping.embed")
    for i in range(config.mapping_layers):
        entries += _layer(f"mapping/Dense{i}", f"mapping.layers.{i}")
    for n, r in enumerate(config.block_resolutions):
        source, target = f"synthesis/{r}x{r}", f"synthesis.blocks.{n}"
        if r == 4:
            entries.append(
                Entry(f"{source}/Const/const", f"{target}.const", hooks.batched_constant)
            )
            entries += _styled(f"{source}/Conv", f"{target}.conv1", noise=0)
        else:
            up = hooks.flipped_kernel
            entries += _styled(f"{source}/Conv0_up", f"{target}.conv0", noise=2 * n - 1, weight=up)
            entries += _styled(f"{source}/Conv1", f"{target}.conv1", noise=2 * n)
            if config.architecture == "resnet":
                entries.append(Entry(f"{source}/Skip/weight", f"{target}.skip.weight", up))
        if config.architecture == "skip" or r == config.resolution:
            entries += _styled(f"{source}/ToRGB", f"{target}.to_rgb", noise=None)
    return entries


def discriminator_entries(config: DiscriminatorConfig) -> list[Entry]:
    """The discriminator's name map."""
    entries = []
    if config.c_dim:
        entries += _layer("LabelEmbed", "mapping.embed")
        for i in range(config.mapping_layers):
            entries += _layer(f"Mapping{i}", f"mapping.layers.{i}")
    for n, r in enumerate(config.block_resolutions[:0:-1]):
        source, target = f"{r}x{r}", f"blocks.{n}"
        if n == 0 or config.architecture == "skip":
            entries += _layer(f"{source}/FromRGB", f"{target}.from_rgb")
        entries += _layer(f"{source}/Conv0", f"{target}.conv0")
        entries += _layer(f"{source}/Conv1_down", f"{target}.conv1")
        if config.architecture == "resnet":
            entries.append(Entry(f"{source}/Skip/weight", f"{target}.skip.weight"))
    if config.architecture == "skip":
        entries += _layer("4x4/FromRGB", "epilogue.from_rgb")
    entries += _layer("4x4/Conv", "epilogue.conv")
    entries += _layer("4x4/Dense0", "epilogue.dense", hooks.tf_flattened_dense)
    entries += _layer("Output", "epilogue.out")
    return entries


def _styled(
    source: str, target: str, *, noise: int | None, weight: hooks.Hook = hooks.same
) -> list[Entry]:
    """A modulated convolution; ``noise`` is the number of its noise map."""
    entries = _layer(source, target, weight)
    entries.append(Entry(f"{source}/mod_weight", f"{target}.affine.weight"))
    entries.append(Entry(f"{source}/mod_bias", f"{target}.affine.bias", hooks.one_plus))
    if noise is not None:
        entries.append(Entry(f"{source}/noise_strength", f"{target}.noise_strength"))
        entries.append(Entry(f"synthesis/noise{noise}", f"{target}.noise_const", hooks.noise_map))
    return entries


def _layer(source: str, target: str, weight: hooks.Hook = hooks.same) -> list[Entry]:
    """A weight and its bias."""
    return [
        Entry(f"{source}/weight", f"{target}.weight", weight),
        Entry(f"{source}/bias", f"{target}.bias"),
    ]
