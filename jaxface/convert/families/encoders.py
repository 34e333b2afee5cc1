"""Whole checkpoints of pSp, e4e and ReStyle: an encoder, its generator and the options.

``psp_ffhq_encode.pt``, ``e4e_ffhq_encode.pt`` and ``restyle_*_ffhq_encode.pt`` are dictionaries of
``state_dict`` (keys ``encoder.*`` and ``decoder.*``), ``latent_avg`` (the mean of W, once for every
style) and ``opts`` (a dictionary or an ``argparse.Namespace``).  pSp's and e4e's encoders have the
same keys, so the family and the class are what the option ``encoder_type`` says:

========  =======================================  =====================
family    ``encoder_type``                         class
========  =======================================  =====================
psp       ``GradualStyleEncoder``                  ``PSPEncoder``
psp       ``BackboneEncoderUsingLastLayerIntoW``   ``WEncoder``
e4e       ``Encoder4Editing``                      ``E4EEncoder``
e4e       ``SingleStyleCodeEncoder``               ``WEncoder``
restyle   ``BackboneEncoder``                      ``RestylePSPEncoder``
restyle   ``ProgressiveBackboneEncoder``           ``RestyleE4EEncoder``
========  =======================================  =====================

Sizes come from the arrays; where the options state one as well (``stylegan_size``, ``output_size``,
``n_styles``, ``input_nc``) it must agree.

Encoder (network ``encoder``; trunk as in ``arcface.py``)::

    latent_avg                                       w_start
    encoder.{input_layer, body}                      body
    encoder.latlayer1, encoder.latlayer2             lateral1, lateral2
    encoder.styles.{s}.convs.{2 i}                   styles.{s}.convs.{i}
    encoder.styles.{s}.linear                        styles.{s}.dense
    encoder.linear                                   dense                (into W)

``w_start`` is what the original adds to the codes: ``latent_avg`` where ``start_from_latent_avg``
is set and always in ReStyle, zeros otherwise, and one row of it into W (``models/psp.py``,
``models/e4e.py``).  Generator (network ``decoder``): ``decoder.*`` is rosinality's, see
``rosinality.py``; its mean of W is ``latent_avg`` where all rows are equal.

Refused: encoders of images that are no RGB portraits (label maps, sketches, cars, whose images
are not square) and those over ResNet-34.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxface.convert.families import rosinality
from jaxface.convert.families.arcface import body_entries, body_sizes
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import conv, counters, linear
from jaxface.convert.formats.tensors import NumpyArray, Tensor, as_array, namespace
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import ANOTHER_NETWORK, NO_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import OF_DECODERS
from jaxface.latents import num_ws as rows_at
from jaxface.licences import Terms
from jaxface.nets.encoders import EncoderConfig
from jaxface.nets.recognition.irse import BODY_STRIDE

# Family, then encoder_type, to our class.
CLASSES: dict[str, dict[str, str]] = {
    "psp": {
        "GradualStyleEncoder": "PSPEncoder",
        "BackboneEncoderUsingLastLayerIntoW": "WEncoder",
    },
    "e4e": {"Encoder4Editing": "E4EEncoder", "SingleStyleCodeEncoder": "WEncoder"},
    "restyle": {
        "BackboneEncoder": "RestylePSPEncoder",
        "ProgressiveBackboneEncoder": "RestyleE4EEncoder",
    },
}

# A key that the class's encoder has, and the keys that it has not.
PYRAMID, STYLES, INTO_W = (
    "encoder.latlayer1.weight",
    "encoder.styles.0.linear.weight",
    "encoder.linear.weight",
)

# data_configs.py and transforms_config.py: every portrait encoder reads 256 px.
RESOLUTION = 256


class EncoderFamily:
    """One of the three families, a name in ``CLASSES``."""

    NETWORKS: tuple[str, ...] = ("encoder", "decoder")
    TERMS: Mapping[str, Terms] = MappingProxyType(
        {
            "encoder": Terms(
                note="the code is MIT, and states no terms for the file; trained on FFHQ "
                "(CC BY-NC-SA 4.0) with a generator of NVIDIA's, which is for non-commercial use"
            ),
            "decoder": OF_DECODERS,
        }
    )

    def __init__(self, name: str):
        self.name = name

    def matches(self, root: Any) -> bool:
        """Whether a checkpoint's root object is of this family.

        Raises:
            Refusal: if it is of one of the three, but its options do not say of which.
        """
        state = root.get("state_dict") if isinstance(root, dict) else None
        if not isinstance(state, dict):
            return False
        heads = {str(key).partition(".")[0] for key in state}
        if not {"encoder", "decoder"} <= heads or "mapping_net" in heads:
            return False  # the last is Transfer's
        return _encoder_type(file_options(root)) in CLASSES[self.name]

    def plan(self, root: Any, network: str) -> Plan:
        """How to convert one network of the file.

        Raises:
            Refusal: if the file's options contradict each other or its arrays, or the arrays are
                not such a network's.
        """
        options, state = file_options(root), root["state_dict"]
        strangers = [key for key in state if not str(key).startswith(("encoder.", "decoder."))]
        if strangers:
            raise Refusal(f"the file has the unexpected {one_line(strangers[0])} in its state_dict")
        arrays = {
            str(key): as_array(value, where=str(key))
            for key, value in state.items()
            if str(key).startswith(f"{network}.")
        }
        mean = root.get("latent_avg")
        mean = as_array(mean, where="latent_avg") if isinstance(mean, Tensor | NumpyArray) else None
        if network == "decoder":
            return decoder_plan(arrays, mean)
        blocks = 1 + count_keys(state, r"decoder\.to_rgbs\.(\d+)\.bias")
        return encoder_plan(self.name, arrays, options, mean, generator_resolution=2 << blocks)

    def other_parts(self, root: Any, network: str) -> dict[str, str]:
        """What else the file holds, by name, with the reason why it is left out."""
        (other,) = (name for name in self.NETWORKS if name != network)
        parts = {f"{other}.*": ANOTHER_NETWORK}
        for name in root:
            if name == "opts":
                parts["opts"] = "options; those that matter were read"
            elif name not in ("state_dict", "latent_avg"):
                parts[one_line(name)] = NO_NETWORK
        return parts


PSP, E4E, RESTYLE = (EncoderFamily(name) for name in CLASSES)


def encoder_plan(
    family: str,
    arrays: Mapping[str, np.ndarray],
    options: Mapping[str, Any],
    latent_avg: np.ndarray | None,
    *,
    generator_resolution: int,
) -> Plan:
    """How to convert an encoder.

    Args:
        family: a name in ``CLASSES``.
        arrays: the ``encoder.*`` part of the state dictionary.
        options: the file's.
        latent_avg: [num_ws, w_dim], [1, w_dim] or [w_dim]; None if the file has none.
        generator_resolution: of the same file's generator.

    Raises:
        Refusal: if the options contradict each other or the arrays, or the arrays are not such an
            encoder's.
    """
    class_name = CLASSES[family][_encoder_type(options)]
    _check_arrays(class_name, _encoder_type(options), arrays)
    _check_images(class_name, arrays, options)
    config = _config(class_name, arrays, generator_resolution)
    _check_sizes(config, options, generator_resolution)
    start, notes = _start(family, class_name, config, options, latent_avg)
    entries = [Entry("latent_avg", "w_start"), *body_entries(config, "encoder.")]
    if class_name == "WEncoder":
        entries += linear("encoder.linear", "dense")
    else:
        entries += _style_entries(arrays, config.num_ws)
    if PYRAMID in arrays:
        for number in (1, 2):
            entries += conv(f"encoder.latlayer{number}", f"lateral{number}", bias=True)
    return Plan(
        class_name,
        config,
        {"latent_avg": start, **arrays},
        tuple(entries),
        ignored=counters(arrays),
        notes=notes,
    )


def decoder_plan(arrays: Mapping[str, np.ndarray], latent_avg: np.ndarray | None) -> Plan:
    """How to convert the generator of such a file.

    Args:
        arrays: the ``decoder.*`` part of the state dictionary.
        latent_avg: the file's, or None.

    Raises:
        Refusal: if the arrays are not rosinality's generator.
    """
    prefix, why = "decoder.", "the file has no latent_avg"
    if latent_avg is not None and latent_avg.ndim == 2:
        same = (latent_avg == latent_avg[:1]).all() and len(latent_avg) > 0
        latent_avg = latent_avg[0] if same else None
        why = "the rows of latent_avg differ, so none is the mean of W"
    bare = {key.removeprefix(prefix): array for key, array in arrays.items()}
    mean = None if latent_avg is None else NumpyArray(latent_avg)
    plan = rosinality.generator_plan(bare, mean, why=why)

    def named(key: str) -> str:
        return key if key == "latent_avg" else prefix + key

    return dataclasses.replace(
        plan,
        arrays={named(key): array for key, array in plan.arrays.items()},
        entries=tuple(dataclasses.replace(e, source=named(e.source)) for e in plan.entries),
        ignored={named(key): reason for key, reason in plan.ignored.items()},
    )


def file_options(root: dict[Any, Any]) -> Mapping[str, Any]:
    """The options as a dictionary, however they are stored."""
    options = root.get("opts")
    return options if isinstance(options, dict) else namespace(options)


def _encoder_type(options: Mapping[str, Any]) -> str:
    name = options.get("encoder_type")
    known = [each for classes in CLASSES.values() for each in classes]
    if name is None:
        raise Refusal(
            "its opts name no encoder_type, and the keys of pSp's and e4e's files are the same: "
            f"expected one of {', '.join(known)}"
        )
    if name not in known:
        raise Refusal(
            f"its opts name the encoder_type {one_line(name)}, expected one of {', '.join(known)}"
        )
    return name


def _check_arrays(class_name: str, encoder_type: str, arrays: Mapping[str, np.ndarray]) -> None:
    """The options and the arrays must mean the same architecture."""
    own = {"WEncoder": (INTO_W,), "PSPEncoder": (STYLES, PYRAMID), "E4EEncoder": (STYLES, PYRAMID)}
    for key in (PYRAMID, STYLES, INTO_W):
        expected = key in own.get(class_name, (STYLES,))
        if expected != (key in arrays):
            raise Refusal(
                f"the options say {encoder_type}, which has {'the' if expected else 'no'} key "
                f"{key}, and the file has {'none' if expected else 'one'}"
            )


def _check_images(
    class_name: str, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]
) -> None:
    """Only RGB portraits; ReStyle reads two."""
    expected = 6 if class_name.startswith("Restyle") else 3
    channels = shape_of(arrays, "encoder.input_layer.0.weight", 4)[1]
    stated = options.get("input_nc", channels)
    if stated != channels:
        raise Refusal(f"the options say input_nc {one_line(stated)}, the arrays have {channels}")
    if channels != expected or options.get("label_nc"):
        raise Refusal(
            f"the encoder reads {channels} channels (label_nc {one_line(options.get('label_nc'))})"
            f", expected the {expected} of RGB portraits and no labels"
        )
    if "cars" in str(options.get("dataset_type")):
        raise Refusal("the encoder reads cars of 256 x 192 px, expected one of square portraits")


def _config(
    class_name: str, arrays: Mapping[str, np.ndarray], generator_resolution: int
) -> EncoderConfig:
    if class_name == "WEncoder":
        w_dim, resolution = shape_of(arrays, INTO_W, 2)[0], RESOLUTION
        num_ws = rows_at(generator_resolution)
    else:
        w_dim = shape_of(arrays, STYLES, 2)[0]
        num_ws = count_keys(arrays, r"encoder\.styles\.(\d+)\.linear\.weight")
        # The first style's convolutions halve the last map down to a point.
        depth = count_keys(arrays, r"encoder\.styles\.0\.convs\.(\d+)\.weight")
        resolution = BODY_STRIDE << min(depth, 16)
    sizes = body_sizes(arrays, "encoder.")
    return make_config(EncoderConfig, **sizes, num_ws=num_ws, w_dim=w_dim, resolution=resolution)


def _check_sizes(
    config: EncoderConfig, options: Mapping[str, Any], generator_resolution: int
) -> None:
    """The encoder's, the generator's and the options' sizes must agree."""
    if config.num_ws != rows_at(generator_resolution):
        raise Refusal(
            f"the encoder has {config.num_ws} styles, its generator of {generator_resolution} px "
            f"takes {rows_at(generator_resolution)}"
        )
    expected = {
        "stylegan_size": generator_resolution,
        "output_size": generator_resolution,
        "n_styles": config.num_ws,
    }
    for name, value in expected.items():
        if options.get(name, value) != value:
            raise Refusal(
                f"the options say {name} {one_line(options[name])}, the arrays have {value}"
            )


def _start(
    family: str,
    class_name: str,
    config: EncoderConfig,
    options: Mapping[str, Any],
    latent_avg: np.ndarray | None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What the codes are added to, and a note where that is nothing."""
    into_w = class_name == "WEncoder"
    shape = (config.w_dim,) if into_w else (config.num_ws, config.w_dim)
    learn_in_w = bool(options.get("learn_in_w"))
    if learn_in_w != into_w and (learn_in_w or family == "psp"):
        raise Refusal(
            f"the options contradict each other: encoder_type {_encoder_type(options)} with "
            f"learn_in_w {learn_in_w}"
        )
    # pSp and e4e store latent_avg only where they start from it.
    starts = options.get("start_from_latent_avg", latent_avg is not None)
    if family != "restyle" and not starts:
        note = "the options do not start from latent_avg: the codes are added to zeros"
        return np.zeros(shape, np.float32), (note,)
    if latent_avg is None:
        raise Refusal("the file lacks latent_avg, which the codes are added to")
    count, dim = config.num_ws, config.w_dim
    if latent_avg.shape not in ((count, dim), (1, dim), (dim,)):
        raise Refusal(f"latent_avg: its shape is {list(latent_avg.shape)}, expected {[count, dim]}")
    rows = latent_avg.reshape(-1, dim)
    if into_w and not (rows == rows[:1]).all():
        raise Refusal("latent_avg: its rows differ, and an encoder into W has one")
    return (rows[0] if into_w else np.broadcast_to(rows, shape)), ()


def _style_entries(arrays: Mapping[str, np.ndarray], num_ws: int) -> list[Entry]:
    entries = []
    for style in range(num_ws):
        source, target = f"encoder.styles.{style}", f"styles.{style}"
        depth = count_keys(arrays, rf"encoder\.styles\.{style}\.convs\.(\d+)\.weight")
        for i in range(depth):
            entries += conv(f"{source}.convs.{2 * i}", f"{target}.convs.{i}", bias=True)
        entries += linear(f"{source}.linear", f"{target}.dense")
    return entries
