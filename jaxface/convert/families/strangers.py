"""Files of trainers whose networks are not converted, known by what only they hold; and hints."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from jaxface.convert.formats.checkpoint import PersistentObject
from jaxface.convert.formats.tensors import ArrayRecord

_LOOKED_AT = 20_000

# Keys, dots and digits included, that only files of these trainers hold.
_TRAINERS: dict[str, tuple[str, ...]] = {
    "lucidrains' stylegan2-pytorch": (r"(GAN\.)?(GE|G|S|SE)\.(blocks|net|initial_block)\b.*",),
    "GenForce": (r"(generator(_smooth)?\.)?(mapping\.dense\d+|synthesis\.layer\d+)\..*",),
    "GANformer": (r".*\b(transformer|to_queries|att_weight|ltnt_emb)\b.*",),
    "StyleGAN3": (r".*synthesis\.(L\d+_\d+_\d+|input\.(freqs|phases|affine)).*",),
    "Stable Diffusion": (r"(model\.diffusion_model|first_stage_model|cond_stage_model)\..*",),
    "EG3D": (r".*(backbone\.synthesis|superresolution)\..*",),
    "GFPGAN": (r"(params(_ema)?\.)?stylegan_decoder\..*",),
    "StyleGAN (the first)": (r"(.*\.)?progression\.\d+\..*",),
    "Diffusion models (diffusers)": (r".*\b(time_embedding|down_blocks|mid_block)\b.*",),
}

# Words in the keys of a family's files.
_WORDS: dict[str, tuple[str, ...]] = {
    "rosinality": ("g_ema", "to_rgbs", "convs", "noises", "to_rgb1", "style"),
    "nvidia_pytorch": ("synthesis", "mapping", "torgb", "G_ema", "w_avg", "noise_const"),
    "e4e": ("encoder", "decoder", "latlayer1", "latent_avg", "styles"),
    "psp": ("encoder", "decoder", "latlayer1", "latent_avg", "opts"),
    "arcface": ("input_layer", "output_layer", "body", "res_layer"),
    "torchvision": ("features", "classifier", "layer1", "downsample"),
    "facenet": ("conv2d_1a", "mixed_6a", "repeat_1", "last_linear"),
    "fan": ("top_m_0", "m0", "bn_end0", "conv_last0"),
    "inception": ("Mixed_5b", "Conv2d_1a_3x3", "AuxLogits"),
    "vgg_face": ("conv1_1", "fc6", "conv_1_1"),
    "lpips": ("lin0", "lin1", "lin4"),
    "deca": ("E_flame", "E_detail"),
    "deep3d": ("net_recon",),
    "flame": ("v_template", "shapedirs", "kintree_table", "J_regressor"),
    "basel": ("shapePC", "idBase", "exBase", "tri", "meanshape"),
    "ganspace": ("act_comp", "lat_comp", "act_stdev"),
    "hopenet": ("fc_yaw", "fc_pitch"),
}


def trainer_of(root: Any) -> str | None:
    """The trainer that a file is known to be of, where its networks are not converted."""
    keys = list(islice(_keys(root), _LOOKED_AT))
    for name, patterns in _TRAINERS.items():
        if any(sum(bool(re.fullmatch(p, key)) for key in keys) >= 2 for p in patterns):
            return name
    return None


def likeliest(root: Any) -> list[str]:
    """Two or three families whose files look most like this one."""
    if isinstance(root, ArrayRecord):
        return ["interfacegan", "styleclip_global", "ganspace"]
    words = {word for key in islice(_keys(root), _LOOKED_AT) for word in key.split(".")}
    scores = {name: sum(each in words for each in known) for name, known in _WORDS.items()}
    best = sorted(scores, key=lambda name: -scores[name])
    return [name for name in best if scores[name]][:3] or ["rosinality", "nvidia_pytorch"]


def _keys(root: Any) -> Iterator[str]:
    """Keys of a file's dictionaries and modules, three levels down, with dots between."""
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    while waiting:
        prefix, value, depth = waiting.pop()
        if isinstance(value, PersistentObject):
            parts = ("_modules", "_parameters", "_buffers")
            waiting += [(prefix, value.state.get(part), depth) for part in parts]
            continue
        if not isinstance(value, dict) or depth > 3:
            continue
        for key, child in islice(value.items(), _LOOKED_AT):
            name = f"{prefix}{key}" if isinstance(key, str) else prefix
            yield name
            waiting.append((f"{name}.", child, depth + 1))
