"""rosinality/stylegan2-pytorch checkpoints (``.pt``), which e4e, pSp and many others start from.

The file is a dictionary with ``g_ema`` and ``latent_avg`` (converted weights), or with ``g``,
``d``, ``g_ema``, the optimisers and the arguments (training).  Settings are not stored: they are
the repository's constants (filter [1, 3, 3, 1], mapping rate 0.01, groups of 4, no clamp), and
sizes come from the arrays.  The generator is the skip form, the discriminator the residual one.

Generator (block n, resolution r = 4 * 2^n)::

    latent_avg                                       mapping.w_mean
    style.{i + 1}.weight, .bias                      mapping.layers.{i}
    input.input                                      synthesis.blocks.0.const
    conv1                                            synthesis.blocks.0.conv1
    convs.{2 n - 2}, convs.{2 n - 1}                 synthesis.blocks.{n}.conv0, .conv1
        .conv.weight [1, O, I, k, k]                     .weight
        .conv.modulation.weight, .bias                   .affine
        .noise.weight [1], .activate.bias                .noise_strength, .bias
    noises.noise_{0, 2 n - 1, 2 n}                   .noise_const of those layers
    to_rgb1, to_rgbs.{n - 1}                         synthesis.blocks.{n}.to_rgb
        .conv.weight, .conv.modulation, .bias [1, 3, 1, 1]

Discriminator (blocks from the highest resolution down)::

    convs.0.0.weight, convs.0.1.bias                 blocks.0.from_rgb
    convs.{n + 1}.conv1.{0.weight, 1.bias}           blocks.{n}.conv0
    convs.{n + 1}.conv2.{1.weight, 2.bias}           blocks.{n}.conv1
    convs.{n + 1}.skip.1.weight                      blocks.{n}.skip
    final_conv.{0.weight, 1.bias}                    epilogue.conv
    final_linear.0, final_linear.1                   epilogue.dense, epilogue.out

``blur.kernel`` and ``upsample.kernel`` buffers are compared with the filter.  A training
checkpoint has no ``latent_avg``: the mean of W is then computed from 10000 latents of
``numpy.random.RandomState(0)``, and the report and the header say so.
"""

from collections.abc import Mapping
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
from jaxface.convert.formats.tensors import NumpyArray, Tensor, as_array
from jaxface.convert.formats.words import keys_of, one_line
from jaxface.convert.plan import (
    ANOTHER_NETWORK,
    NO_NETWORK,
    STYLEGAN2_NETWORKS,
    Entry,
    Plan,
    make_config,
)
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets.stylegan2 import DiscriminatorConfig, GeneratorConfig

NETWORKS: tuple[str, ...] = STYLEGAN2_NETWORKS
TERMS: Mapping[str, Terms] = dict.fromkeys(
    NETWORKS,
    Terms(note="the code is MIT; weights converted from NVIDIA's are for non-commercial use"),
)
KEYS = {"G_ema": "g_ema", "G": "g", "D": "d"}

# model.py: Generator's lr_mlp, and the factor^2 of its up-sampling filters.
MAPPING_LR_MULTIPLIER = 0.01
UP_GAIN = 4.0
W_MEAN_SAMPLES = 10_000


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and any(isinstance(root.get(key), dict) for key in KEYS.values())


def plan(root: Any, network: str) -> Plan:
    """How to convert one network of the file.

    Raises:
        Refusal: if the network is not there or is not this repository's StyleGAN2.
    """
    state = root.get(KEYS[network])
    if not isinstance(state, dict):
        raise Refusal(f"no network {KEYS[network]} in the file; it holds {keys_of(root)}")
    arrays = {str(key): as_array(value, where=str(key)) for key, value in state.items()}
    if network == "D":
        return _discriminator_plan(arrays)
    return generator_plan(arrays, root.get("latent_avg"))


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    own = {KEYS[network], *(["latent_avg"] if network != "D" else [])}
    return {
        one_line(name): ANOTHER_NETWORK if name in KEYS.values() else NO_NETWORK
        for name in root
        if name not in own
    }


def generator_plan(
    arrays: dict[str, np.ndarray], latent_avg: Any, *, why: str = "the file has no latent_avg"
) -> Plan:
    """How to convert a generator.

    Args:
        arrays: its state dictionary; ``latent_avg`` is added.
        latent_avg: the file's mean of W, or None to compute one.
        why: for the report, where it is computed.

    Raises:
        Refusal: if the arrays are not such a generator's.
    """
    blocks = 1 + count_keys(arrays, r"to_rgbs\.(\d+)\.bias")
    widths = {4: shape_of(arrays, "input.input", 4)[1]}
    for n in range(1, blocks):
        widths[4 << n] = shape_of(arrays, f"convs.{2 * n - 1}.activate.bias", 1)[0]
    base, most = channel_schedule(widths)
    w_dim = shape_of(arrays, "style.1.weight", 2)[0]
    config = make_config(
        GeneratorConfig,
        resolution=4 << (blocks - 1),
        image_channels=shape_of(arrays, "to_rgb1.bias", 4)[1],
        channel_base=base,
        channel_max=most,
        z_dim=shape_of(arrays, "style.1.weight", 2)[1],
        w_dim=w_dim,
        mapping_layers=count_keys(arrays, r"style\.(\d+)\.weight"),
        mapping_lr_multiplier=MAPPING_LR_MULTIPLIER,
        architecture="skip",
    )
    notes = _seeded_noise(arrays, config)
    if isinstance(latent_avg, Tensor | NumpyArray):
        mean = as_array(latent_avg, where="latent_avg")
        if mean.shape not in ((w_dim,), (1, w_dim)):
            raise Refusal(f"latent_avg: its shape is {list(mean.shape)}, expected [{w_dim}]")
        arrays["latent_avg"] = mean.reshape(-1)
    else:
        arrays["latent_avg"] = _mean_of_w(arrays, config)
        notes += (
            f"{why}: the mean of W is that of {W_MEAN_SAMPLES} latents of "
            "numpy.random.RandomState(0)",
        )
    return Plan(
        class_name="Generator",
        config=config,
        arrays=arrays,
        entries=tuple(generator_entries(config)),
        ignored=_filters(arrays, gain=UP_GAIN),
        notes=notes,
    )


def _discriminator_plan(arrays: dict[str, np.ndarray]) -> Plan:
    count = count_keys(arrays, r"convs\.(\d+)\.conv1\.1\.bias")
    widths = {4: shape_of(arrays, "final_conv.1.bias", 1)[0]}
    for n in range(count):
        widths[4 << (count - n)] = shape_of(arrays, f"convs.{n + 1}.conv1.1.bias", 1)[0]
    base, most = channel_schedule(widths)
    config = make_config(
        DiscriminatorConfig,
        resolution=4 << count,
        image_channels=shape_of(arrays, "convs.0.0.weight", 4)[1],
        channel_base=base,
        channel_max=most,
        architecture="resnet",
        mbstd_group_size=4,
        mbstd_num_channels=1,
    )
    return Plan(
        class_name="Discriminator",
        config=config,
        arrays=arrays,
        entries=tuple(discriminator_entries(config)),
        ignored=_filters(arrays, gain=1.0),
    )


def _filters(arrays: Mapping[str, np.ndarray], *, gain: float) -> dict[str, str]:
    """Every filter buffer with the reason to ignore it, once it equals the repository's."""
    ignored = {}
    for key, array in arrays.items():
        if key.endswith(".kernel"):
            if filter_taps(array, where=key, gain=gain) != BINOMIAL:
                raise Refusal(f"{key}: the FIR filter is not the repository's [1, 3, 3, 1]")
            ignored[key] = "FIR filter, equal to the configuration's [1, 3, 3, 1]"
    return ignored


def _seeded_noise(arrays: dict[str, np.ndarray], config: GeneratorConfig) -> tuple[str, ...]:
    """Noise maps where a file has none at all, as forks leave them out; a note on that."""
    if any(key.startswith("noises.") for key in arrays):
        return ()
    random = np.random.RandomState(0)
    for number in range(2 * len(config.block_resolutions) - 1):
        side = 4 << ((number + 1) // 2)
        arrays[f"noises.noise_{number}"] = random.standard_normal((1, 1, side, side))
    return (
        "the file has no noise maps: they are drawn from numpy.random.RandomState(0), so constant "
        "noise is not the original's",
    )


def _mean_of_w(arrays: Mapping[str, np.ndarray], config: GeneratorConfig) -> np.ndarray:
    """The mean of W over seeded latents, in float64."""
    z = np.random.RandomState(0).standard_normal((W_MEAN_SAMPLES, config.z_dim))
    x = z / np.sqrt(np.mean(np.square(z), axis=1, keepdims=True) + 1e-8)
    for i in range(config.mapping_layers):
        weight, bias = arrays.get(f"style.{i + 1}.weight"), arrays.get(f"style.{i + 1}.bias")
        if weight is None or bias is None or weight.ndim != 2 or weight.shape[1] != x.shape[1]:
            raise Refusal(f"the network lacks style.{i + 1}, or its shape does not fit")
        gain = MAPPING_LR_MULTIPLIER / np.sqrt(weight.shape[1])
        x = x @ (weight.astype(np.float64).T * gain) + bias * MAPPING_LR_MULTIPLIER
        x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
    return x.mean(axis=0)


def generator_entries(config: GeneratorConfig) -> list[Entry]:
    """The generator's name map."""
    entries = [Entry("latent_avg", "mapping.w_mean")]
    for i in range(config.mapping_layers):
        entries += _dense(f"style.{i + 1}", f"mapping.layers.{i}")
    first = "synthesis.blocks.0"
    entries.append(Entry("input.input", f"{first}.const", hooks.batched_constant))
    entries += _styled("conv1", f"{first}.conv1", noise=0)
    entries += _to_rgb("to_rgb1", f"{first}.to_rgb")
    for n in range(1, len(config.block_resolutions)):
        target = f"synthesis.blocks.{n}"
        entries += _styled(f"convs.{2 * n - 2}", f"{target}.conv0", noise=2 * n - 1)
        entries += _styled(f"convs.{2 * n - 1}", f"{target}.conv1", noise=2 * n)
        entries += _to_rgb(f"to_rgbs.{n - 1}", f"{target}.to_rgb")
    return entries


def discriminator_entries(config: DiscriminatorConfig) -> list[Entry]:
    """The discriminator's name map."""
    entries = _conv("convs.0", 0, "blocks.0.from_rgb")
    for n in range(len(config.block_resolutions) - 1):
        source, target = f"convs.{n + 1}", f"blocks.{n}"
        entries += _conv(f"{source}.conv1", 0, f"{target}.conv0")
        entries += _conv(f"{source}.conv2", 1, f"{target}.conv1")
        skip = Entry(f"{source}.skip.1.weight", f"{target}.skip.weight", hooks.kernel)
        entries.append(skip)
    entries += _conv("final_conv", 0, "epilogue.conv")
    entries += _dense("final_linear.0", "epilogue.dense", hooks.flattened_dense)
    entries += _dense("final_linear.1", "epilogue.out")
    return entries


def _styled(source: str, target: str, *, noise: int) -> list[Entry]:
    """A StyledConv; ``noise`` is the number of its noise map."""
    return [
        *_modulated(source, target),
        Entry(f"{source}.activate.bias", f"{target}.bias"),
        Entry(f"{source}.noise.weight", f"{target}.noise_strength", hooks.unbatched),
        Entry(f"noises.noise_{noise}", f"{target}.noise_const", hooks.noise_map),
    ]


def _to_rgb(source: str, target: str) -> list[Entry]:
    return [
        *_modulated(source, target),
        Entry(f"{source}.bias", f"{target}.bias", hooks.image_bias),
    ]


def _modulated(source: str, target: str) -> list[Entry]:
    return [
        Entry(f"{source}.conv.weight", f"{target}.weight", hooks.batched_kernel),
        *_dense(f"{source}.conv.modulation", f"{target}.affine"),
    ]


def _conv(source: str, index: int, target: str) -> list[Entry]:
    """A ConvLayer: the convolution at ``index`` of a sequence, then its bias."""
    return [
        Entry(f"{source}.{index}.weight", f"{target}.weight", hooks.kernel),
        Entry(f"{source}.{index + 1}.bias", f"{target}.bias"),
    ]


def _dense(source: str, target: str, weight: hooks.Hook = hooks.dense) -> list[Entry]:
    return [
        Entry(f"{source}.weight", f"{target}.weight", weight),
        Entry(f"{source}.bias", f"{target}.bias"),
    ]
