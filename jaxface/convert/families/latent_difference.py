"""Checkpoints of the Latent Difference Encoder (Herrmann and Zengerle 2020, TensorFlow 1).

``network-snapshot-*.pkl`` of pascalherrmann/ADL4CV-Project: a tuple (E, G, D, Gs) of
``dnnlib.tflib.network.Network``, read as data like `jaxface.convert.families.nvidia_tensorflow`'s.
Which encoder E is (latent difference, keypoints, naive, in-domain inversion) is told by its
variables' names. Network ``E``::

    {s}_image_stage                        trunk.stem            (s: landmark or input)
        /weight, /bn_input_stage               .conv, .norm
    {b}_res_block_{i}                      trunk.blocks.{i}      (b: landmark_encoder or encoder)
        /shortcut, /shortcut_bn                .shortcut
        /conv1, /bn_1; /conv2, /bn_2           .first, .second
    landmark_encoder_fc                    features
    latent_code_encoder, decoder           decoder.latent, decoder.difference   [1, in, out]
    encoder_fc, fc_1                       head.dense, head.norm

each under ``encoder/``; a norm has ``BatchNorm/{beta, moving_mean, moving_variance}``. Network
``D``, StyleGAN's discriminator at a fixed size: ``{r}x{r}/{Conv0, Conv1_down}``, ``4x4/{Conv,
Dense0, Dense1}`` and ``FromRGB_lod0``; biases are divided by the root of two, see
`jaxface.nets.stylegan2.stylegan1_discriminator`.

The generator is StyleGAN's first, which jaxface does not have, and is refused: codes of these
encoders mean something to it alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.nvidia_tensorflow import variables
from jaxface.convert.families.sizes import channel_schedule, shape_of
from jaxface.convert.formats.checkpoint import TENSORFLOW_NETWORK
from jaxface.convert.formats.pickle_machine import Record
from jaxface.convert.plan import ANOTHER_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.nets import (
    InDomainConfig,
    KeypointConfig,
    LatentDifferenceConfig,
    NaiveConfig,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.nets.edits.latent_difference import CODE

NETWORKS: tuple[str, ...] = ("E", "D", "G", "Gs")
TERMS: Mapping[str, Terms] = dict.fromkeys(
    NETWORKS, Terms(note="the repository states no licence; ask its authors")
)
POSITIONS = {"E": 0, "G": 1, "D": 2, "Gs": 3}

SCOPE = "encoder/"
CODE_WIDTH = 512
KEYPOINT_RESOLUTION = 128
"""Coordinates are pixels of images of this side, which no array tells."""


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return (
        isinstance(root, tuple)
        and len(root) == 4
        and all(isinstance(net, Record) and net.path == TENSORFLOW_NETWORK for net in root)
    )


def plan(root: Any, network: str) -> Plan:
    """How to convert one network of the file.

    Raises:
        Refusal: for the generator, or an encoder or discriminator of another form.
    """
    if network in ("G", "Gs"):
        raise Refusal(
            f"{network} is StyleGAN's first generator, whose form jaxface does not have (StyleGAN2 "
            "and its students are read); ask for E or D"
        )
    arrays = variables(root[POSITIONS[network]], "")
    return discriminator_plan(arrays) if network == "D" else encoder_plan(arrays)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    del root
    return {name: ANOTHER_NETWORK for name in NETWORKS if name != network}


def encoder_plan(arrays: Mapping[str, np.ndarray]) -> Plan:
    """How to convert an encoder, of the kind that its variables' names tell.

    Raises:
        Refusal: the arrays are none of the four encoders'.
    """
    if f"{SCOPE}landmark_encoder_fc/bn_keypoint_encoder/BatchNorm/beta" in arrays:
        config = make_config(
            KeypointConfig,
            resolution=KEYPOINT_RESOLUTION,
            pixels=True,
            **_difference_sizes(arrays),
            **CODE,
        )
        entries = [*_features("keypoint"), *_rows()]
        return Plan("KeypointEncoder", config, arrays, tuple(entries))
    if f"{SCOPE}landmark_image_stage/weight" in arrays:
        trunk, blocks = _trunk(arrays, "landmark", "landmark_encoder")
        config = make_config(LatentDifferenceConfig, **trunk, **_difference_sizes(arrays), **CODE)
        entries = [*blocks, *_features("landmark", flat=True), *_rows()]
        return Plan("LatentDifferenceEncoder", config, arrays, tuple(entries))
    if f"{SCOPE}input_image_stage/weight" not in arrays:
        raise Refusal(
            "E is no encoder of the Latent Difference Encoder's authors: it has neither "
            f"{SCOPE}landmark_image_stage nor {SCOPE}input_image_stage"
        )
    trunk, blocks = _trunk(arrays, "input", "encoder")
    channels = shape_of(arrays, f"{SCOPE}input_image_stage/weight", 4)[2]
    if channels not in (3, 6):
        raise Refusal(f"E reads {channels} channels; the in-domain encoder has 3, the naive one 6")
    size = shape_of(arrays, f"{SCOPE}encoder_fc/weight", 2)[1]
    if size % CODE_WIDTH:
        raise Refusal(f"E gives {size} numbers, which are no rows of {CODE_WIDTH}")
    kinds = {3: ("InDomainEncoder", InDomainConfig), 6: ("NaiveEncoder", NaiveConfig)}
    name, config_class = kinds[channels]
    config = make_config(config_class, **trunk, num_ws=size // CODE_WIDTH, normalised=True)
    entries = [
        *blocks,
        Entry(f"{SCOPE}encoder_fc/weight", "head.dense.weight", hooks.tf_flattened_dense),
        *_norm(f"{SCOPE}encoder_fc/fc_1", "head.norm"),
    ]
    return Plan(name, config, arrays, tuple(entries))


def discriminator_plan(arrays: Mapping[str, np.ndarray]) -> Plan:
    """How to convert the conditional discriminator.

    Raises:
        Refusal: the arrays are not its.
    """
    channels, width = shape_of(arrays, "FromRGB_lod0/weight", 4)[2:]
    sides = [int(key.partition("x")[0]) for key in arrays if key.endswith("/Conv0/bias")]
    if not sides:
        raise Refusal("D has no {r}x{r}/Conv0: no discriminator of StyleGAN")
    widths = {r: shape_of(arrays, f"{r}x{r}/Conv0/bias", 1)[0] for r in sides}
    widths[4] = shape_of(arrays, "4x4/Conv/bias", 1)[0]
    base, most = channel_schedule(widths)
    config = make_config(
        StyleGAN1DiscriminatorConfig,
        resolution=max(sides),
        image_channels=channels,
        channel_base=base // 2,
        channel_max=max(most, width),
    )
    entries = _biased("FromRGB_lod0", "from_rgb")
    for number, side in enumerate(sorted(sides, reverse=True)):
        entries += _biased(f"{side}x{side}/Conv0", f"blocks.{number}.conv0")
        source = f"{side}x{side}/Conv1_down"
        entries += [
            Entry(f"{source}/weight", f"blocks.{number}.conv1.weight"),
            Entry(f"{source}/bias", f"blocks.{number}.bias", _over_root_two),
        ]
    entries += [
        *_biased("4x4/Conv", "conv"),
        *_biased("4x4/Dense0", "dense", hooks.tf_flattened_dense),
        Entry("4x4/Dense1/weight", "out.weight"),
        Entry("4x4/Dense1/bias", "out.bias"),
    ]
    ignored = {"lod": "the level of progressive growing"} if "lod" in arrays else {}
    return Plan("StyleGAN1Discriminator", config, arrays, tuple(entries), ignored=ignored)


def _difference_sizes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    latent = shape_of(arrays, f"{SCOPE}latent_code_encoder/weight", 2)
    return {
        "num_ws": shape_of(arrays, f"{SCOPE}decoder/bn_decoder/BatchNorm/beta", 1)[0],
        "w_dim": latent[0],
        "latent_features": latent[1],
        "landmark_features": shape_of(arrays, f"{SCOPE}landmark_encoder_fc/weight", 2)[1],
    }


def _trunk(
    arrays: Mapping[str, np.ndarray], stage: str, blocks: str
) -> tuple[dict[str, int], list[Entry]]:
    """Sizes of a trunk, and its entries."""
    source = f"{SCOPE}{stage}_image_stage"
    widths = [shape_of(arrays, f"{source}/weight", 4)[3]]
    entries = _conv(source, "bn_input_stage", "trunk.stem")
    while f"{SCOPE}{blocks}_res_block_{len(widths) - 1}/conv2/weight" in arrays:
        source, target = (
            f"{SCOPE}{blocks}_res_block_{len(widths) - 1}",
            f"trunk.blocks.{len(widths) - 1}",
        )
        if f"{source}/shortcut/weight" in arrays:
            entries += _conv(f"{source}/shortcut", "shortcut_bn", f"{target}.shortcut")
        entries += _conv(f"{source}/conv1", "bn_1", f"{target}.first")
        entries += _conv(f"{source}/conv2", "bn_2", f"{target}.second")
        widths.append(shape_of(arrays, f"{source}/conv2/weight", 4)[3])
    sizes = {
        "resolution": 4 << (len(widths) - 1),
        "width": widths[0],
        "max_width": max(widths),
    }
    return sizes, entries


def _features(what: str, *, flat: bool = False) -> list[Entry]:
    source = f"{SCOPE}landmark_encoder_fc"
    weight = hooks.tf_flattened_dense if flat else hooks.same
    return [
        Entry(f"{source}/weight", "features.dense.weight", weight),
        *_norm(f"{source}/bn_{what}_encoder", "features.norm"),
    ]


def _rows() -> list[Entry]:
    """The two matrices that serve all rows."""
    entries = []
    for source, target in (("latent_code_encoder", "latent"), ("decoder", "difference")):
        entries.append(
            Entry(f"{SCOPE}{source}/weight", f"decoder.{target}.weight", lambda x: x[None])
        )
        entries += _norm(f"{SCOPE}{source}/bn_{source}", f"decoder.{target}_norm.norm")
    return entries


def _conv(source: str, norm: str, target: str) -> list[Entry]:
    weight = Entry(f"{source}/weight", f"{target}.conv.weight")
    return [weight, *_norm(f"{source}/{norm}", f"{target}.norm")]


def _norm(source: str, target: str) -> list[Entry]:
    names = {"beta": "bias", "moving_mean": "mean", "moving_variance": "variance"}
    return [
        Entry(f"{source}/BatchNorm/{theirs}", f"{target}.{ours}") for theirs, ours in names.items()
    ]


def _biased(source: str, target: str, weight: hooks.Hook = hooks.same) -> list[Entry]:
    return [
        Entry(f"{source}/weight", f"{target}.weight", weight),
        Entry(f"{source}/bias", f"{target}.bias", _over_root_two),
    ]


def _over_root_two(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(2.0)
