"""A state dictionary of NVIDIA's PyTorch generator, which holds no settings: those are stated here.

Sizes come from the arrays. The rest are the defaults of stylegan2-ada-pytorch's ``train.py``: the
skip architecture, convolutions clamped at 256, the mapping's learning rate 0.01, W's average 0.995.
"""

import re
from collections.abc import Mapping
from typing import Any

from jaxface.convert.formats.checkpoint import PersistentObject
from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.refusal import Refusal

CLAMP, MAPPING_RATE, DECAY = 256, 0.01, 0.995
NOTE = (
    "a state dictionary has no settings: taken as skip architecture, conv_clamp 256, mapping rate "
    "0.01, w_avg_beta 0.995, float32"
)
MARKS = ("synthesis.b4.const", "synthesis.b4.conv1.weight")
"""Keys that only such a generator has."""
_BUFFERS = ("resample_filter", "noise_const", "w_avg")


def is_generator(state: Mapping[Any, Any]) -> bool:
    """Whether the keys are such a generator's."""
    return all(mark in state for mark in MARKS)


def generator(state: Mapping[Any, Any]) -> PersistentObject:
    """The generator as a pickle would hold it.

    Raises:
        Refusal: naming what is missing to tell its sizes.
    """
    needed = ("mapping.w_avg", "mapping.fc0.weight", "synthesis.b4.torgb.weight")
    for key in needed:
        if not isinstance(state.get(key), ArrayRecord):
            raise Refusal(f"the state dictionary lacks {key}, which its sizes are told by")
    shapes = {key: as_array(state[key], where=key).shape for key in needed}
    resolutions = [int(m[1]) for k in state if (m := re.match(r"synthesis\.b(\d{1,5})\.", str(k)))]
    embed = state.get("mapping.embed.weight")
    c_dim = as_array(embed, where="mapping.embed.weight").shape[-1] if embed is not None else 0
    w_dim = shapes["mapping.w_avg"][-1]
    layers = sum(re.fullmatch(r"mapping\.fc\d+\.weight", str(key)) is not None for key in state)
    settings = {
        "": {
            "class_name": "Generator",
            "img_resolution": max(resolutions),
            "img_channels": shapes["synthesis.b4.torgb.weight"][0],
            "c_dim": c_dim,
            "z_dim": shapes["mapping.fc0.weight"][-1] - (w_dim if c_dim else 0),
            "w_dim": w_dim,
        },
        "mapping": {"class_name": "MappingNetwork", "num_layers": layers, "w_avg_beta": DECAY},
    }
    tree: dict[str, PersistentObject] = {}

    def module(path: str) -> PersistentObject:
        if path not in tree:
            told = settings.get(path) or _settings(path)
            name = told.pop("class_name")
            parts = {"_parameters": {}, "_buffers": {}, "_modules": {}}
            tree[path] = PersistentObject(name, {**told, **parts})
            if path:
                parent, _, last = path.rpartition(".")
                module(parent).state["_modules"][last] = tree[path]
        return tree[path]

    for key, value in state.items():
        path, _, name = str(key).rpartition(".")
        if path.count(".") > 4:
            raise Refusal(f"{str(key)[:80]}: not a key of a StyleGAN2 generator")
        kind = "_buffers" if name in _BUFFERS else "_parameters"
        module(path).state[kind][name] = value
    return module("")


def _settings(path: str) -> dict[str, Any]:
    name = path.rpartition(".")[2]
    if name == "synthesis":
        return {"class_name": "SynthesisNetwork"}
    if name == "torgb":
        return {"class_name": "ToRGBLayer", "conv_clamp": CLAMP}
    if name in ("affine", "embed"):
        return {"class_name": "FullyConnectedLayer", "activation": "linear", "bias_gain": 1}
    if name.startswith("fc"):
        layer = {"class_name": "FullyConnectedLayer", "activation": "lrelu"}
        return {**layer, "bias_gain": MAPPING_RATE}
    if name.startswith("conv"):
        up = 2 if name == "conv0" else 1
        layer = {"class_name": "SynthesisLayer", "activation": "lrelu", "up": up}
        return {**layer, "conv_clamp": CLAMP}
    return {"class_name": "SynthesisBlock", "architecture": "skip", "use_fp16": False}
