"""Whole checkpoints of Transfer (Jahoda and Cech 2023): motion encoder, mapper and generator.

A dictionary of ``state_dict`` and ``opts``, as the training of
JahodaPetr/Pose-and-Expression-Transfer writes it. The identity encoder is a ReStyle file of its
own, and the mean of W, which M's output does not need, is not in the file.

Network ``transfer`` (trunk as in ``arcface.py``)::

    encoder.{input_layer, body}                  encoder.body
    encoder.output_layer_2.0                     encoder.norm
    encoder.output_layer_2.3  [H, C * s * s]     encoder.dense      (H: hidden, s: pool)
    encoder.linear            [L * D, H]         encoder.styles
    mapping_net.linear_relu.0 [L * D, 2 L D]     mapper             (one layer, no activation)

M's input is the identity's code before the motion code. Network ``decoder``: ``decoder.*`` is
rosinality's generator, see ``rosinality.py``; the rows of W+ are as many as it takes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.arcface import body_entries, body_sizes
from jaxface.convert.families.encoders import RESOLUTION, decoder_plan
from jaxface.convert.families.sizes import count_keys, shape_of
from jaxface.convert.families.torch_layers import batch_norm, counters, linear
from jaxface.convert.formats.tensors import NumpyArray, Tensor, as_array
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import ANOTHER_NETWORK, NO_NETWORK, Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import OF_DECODERS
from jaxface.latents import num_ws as rows_at
from jaxface.licences import Terms
from jaxface.nets.edits.transfer import TransferConfig

NETWORKS: tuple[str, ...] = ("transfer", "decoder")
TERMS: Mapping[str, Terms] = {
    "transfer": Terms(note="the code is GPL-2.0; of files that others trained, ask them"),
    "decoder": OF_DECODERS,
}

ENCODER, MAPPER, DECODER = "encoder.", "mapping_net.", "decoder."
DENSE, STYLES, MATRIX = (
    f"{ENCODER}output_layer_2.3.weight",
    f"{ENCODER}linear.weight",
    f"{MAPPER}linear_relu.0.weight",
)


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    state = root.get("state_dict") if isinstance(root, dict) else None
    return isinstance(state, dict) and MATRIX in state and STYLES in state


def plan(root: Any, network: str) -> Plan:
    """How to convert one network of the file.

    Raises:
        Refusal: if the arrays are not such a network's, or those of the three do not fit.
    """
    state = root["state_dict"]
    prefixes = (ENCODER, MAPPER, DECODER)
    strangers = [key for key in state if not str(key).startswith(prefixes)]
    if strangers:
        raise Refusal(f"the file has the unexpected {one_line(strangers[0])} in its state_dict")
    wanted = (DECODER,) if network == "decoder" else (ENCODER, MAPPER)
    arrays = {
        str(key): as_array(value, where=str(key))
        for key, value in state.items()
        if str(key).startswith(wanted)
    }
    if network == "decoder":
        mean = root.get("latent_avg")
        held = isinstance(mean, Tensor | NumpyArray)
        return decoder_plan(arrays, as_array(mean, where="latent_avg") if held else None)
    blocks = 1 + count_keys(state, r"decoder\.to_rgbs\.(\d+)\.bias")
    return network_plan(arrays, num_ws=rows_at(2 << blocks))


def network_plan(arrays: Mapping[str, np.ndarray], *, num_ws: int) -> Plan:
    """How to convert motion encoder and mapper.

    Args:
        arrays: the ``encoder.*`` and ``mapping_net.*`` parts of the state dictionary.
        num_ws: rows of W+ of the generator of the same file.

    Raises:
        Refusal: if the arrays are not those networks'.
    """
    sizes = body_sizes(arrays, ENCODER)
    code, hidden = shape_of(arrays, STYLES, 2)
    features = shape_of(arrays, DENSE, 2)[1]
    channels = sizes["channels"][3]
    pool = math.isqrt(features // channels)
    if pool**2 * channels != features:
        raise Refusal(f"{DENSE}: {features} inputs are no square of {channels} channels")
    if code % num_ws or shape_of(arrays, MATRIX, 2) != (code, 2 * code):
        raise Refusal(
            f"codes of {code} numbers and {MATRIX} of {list(arrays[MATRIX].shape)} do not fit a "
            f"generator of {num_ws} styles"
        )
    w_dim = code // num_ws
    config = make_config(
        TransferConfig,
        **sizes,
        num_ws=num_ws,
        w_dim=w_dim,
        resolution=RESOLUTION,
        pool=pool,
        hidden=hidden,
    )
    entries = [
        *(_inside("encoder", entry) for entry in body_entries(config, ENCODER)),
        *batch_norm(f"{ENCODER}output_layer_2.0", "encoder.norm"),
        *linear(f"{ENCODER}output_layer_2.3", "encoder.dense", hook=hooks.flattened(pool)),
        *linear(f"{ENCODER}linear", "encoder.styles"),
        *linear(f"{MAPPER}linear_relu.0", "mapper"),
    ]
    return Plan("TransferNetwork", config, arrays, tuple(entries), ignored=counters(arrays))


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds, by name, with the reason why it is left out."""
    others: tuple[str, ...] = (
        (f"{ENCODER}*", f"{MAPPER}*") if network == "decoder" else (f"{DECODER}*",)
    )
    parts: dict[str, str] = dict.fromkeys(others, ANOTHER_NETWORK)
    for name in root:
        if name == "opts":
            parts["opts"] = "options of the training"
        elif name not in ("state_dict", "latent_avg"):
            parts[one_line(name)] = NO_NETWORK
    return parts


def _inside(prefix: str, entry: Entry) -> Entry:
    return Entry(entry.source, f"{prefix}.{entry.target}", entry.hook)
