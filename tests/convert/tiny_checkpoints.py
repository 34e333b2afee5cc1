"""Checkpoints of 16 px networks in the three source formats, keys spelled out, weights seeded.

A weight depends on its key alone, so a wrong name map changes what the converted network gives.
"""

import zlib
from typing import Any

import numpy as np
from pickle_writer import Call, Global, pickled_parameter, pickled_tensor

RESOLUTIONS = (4, 8, 16)
WIDTHS = {4: 8, 8: 8, 16: 4}
LATENT = 8
LAYERS = 2
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
MODULE_SOURCE = "raise SystemExit('the source text inside a checkpoint was executed')"

Shapes = dict[str, tuple[int, ...]]
Arrays = dict[str, np.ndarray]


def seeded(shapes: Shapes) -> Arrays:
    """Standard normal numbers from each key's checksum; mapping weights as large as trained."""
    arrays = {}
    for key, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(key.encode()))
        array = random.standard_normal(shape).astype(np.float32)
        if key.startswith(("mapping", "style.")):
            array *= 100 if "weight" in key else 10  # stored divided by the learning rate 0.01
        arrays[key] = np.asarray(array, np.float32)
    return arrays


def nvidia_generator() -> Arrays:
    """State of a stylegan2-ada-pytorch generator, skip architecture."""
    shapes: Shapes = {"mapping.w_avg": (LATENT,), "synthesis.b4.const": (WIDTHS[4], 4, 4)}
    for i in range(LAYERS):
        shapes |= {f"mapping.fc{i}.weight": (LATENT, LATENT), f"mapping.fc{i}.bias": (LATENT,)}
    for r in RESOLUTIONS:
        convs = [("conv0", WIDTHS[max(r // 2, 4)])] if r > 4 else []
        for conv, inputs in [*convs, ("conv1", WIDTHS[r])]:
            layer = f"synthesis.b{r}.{conv}"
            shapes |= {
                f"{layer}.weight": (WIDTHS[r], inputs, 3, 3),
                f"{layer}.bias": (WIDTHS[r],),
                f"{layer}.affine.weight": (inputs, LATENT),
                f"{layer}.affine.bias": (inputs,),
                f"{layer}.noise_const": (r, r),
                f"{layer}.noise_strength": (),
            }
        shapes |= {
            f"synthesis.b{r}.torgb.weight": (3, WIDTHS[r], 1, 1),
            f"synthesis.b{r}.torgb.bias": (3,),
            f"synthesis.b{r}.torgb.affine.weight": (WIDTHS[r], LATENT),
            f"synthesis.b{r}.torgb.affine.bias": (WIDTHS[r],),
        }
    arrays = seeded(shapes)
    for r in RESOLUTIONS:
        for layer in (f"b{r}", f"b{r}.conv1", *([f"b{r}.conv0"] if r > 4 else [])):
            arrays[f"synthesis.{layer}.resample_filter"] = FILTER
    return arrays


def nvidia_discriminator() -> Arrays:
    """State of a stylegan2-ada-pytorch discriminator, residual architecture."""
    shapes: Shapes = {"b16.fromrgb.weight": (4, 3, 1, 1), "b16.fromrgb.bias": (4,)}
    for r in (16, 8):
        wide, out = WIDTHS[r], WIDTHS[r // 2]
        shapes |= {
            f"b{r}.conv0.weight": (wide, wide, 3, 3),
            f"b{r}.conv0.bias": (wide,),
            f"b{r}.conv1.weight": (out, wide, 3, 3),
            f"b{r}.conv1.bias": (out,),
            f"b{r}.skip.weight": (out, wide, 1, 1),
        }
    shapes |= {
        "b4.conv.weight": (8, 9, 3, 3),
        "b4.conv.bias": (8,),
        "b4.fc.weight": (8, 128),
        "b4.fc.bias": (8,),
        "b4.out.weight": (1, 8),
        "b4.out.bias": (1,),
    }
    arrays = seeded(shapes)
    for layer in ("b16", "b16.fromrgb", "b4.conv"):
        arrays[f"{layer}.resample_filter"] = FILTER
    for r in (16, 8):
        for layer in ("conv0", "conv1", "skip"):
            arrays[f"b{r}.{layer}.resample_filter"] = FILTER
    arrays["b8.resample_filter"] = FILTER
    return arrays


def nvidia_attributes(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Class name and settings of every module that the state's keys imply."""
    paths = {""}
    for key in arrays:
        parts = key.split(".")[:-1]
        paths |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)}
    describe = _generator_module if "mapping" in paths else _discriminator_module
    settings = {path: describe(path, path.split(".")[-1]) for path in sorted(paths)}
    if "mapping" not in paths:
        settings["b4.mbstd"] = {
            "class_name": "MinibatchStdLayer",
            "group_size": 4,
            "num_channels": 1,
        }
    return settings


SIZES = {"img_resolution": 16, "img_channels": 3, "c_dim": 0}


def _generator_module(path: str, name: str) -> dict[str, Any]:
    if path == "":
        return {"class_name": "Generator", **SIZES, "z_dim": LATENT, "w_dim": LATENT}
    if path == "mapping":
        return {"class_name": "MappingNetwork", "num_layers": LAYERS, "w_avg_beta": 0.995}
    if path == "synthesis":
        return {"class_name": "SynthesisNetwork"}
    if name == "torgb":
        return {"class_name": "ToRGBLayer", "conv_clamp": None}
    if name == "affine":
        return {"class_name": "FullyConnectedLayer", "activation": "linear", "bias_gain": 1}
    if name.startswith("fc"):
        return {"class_name": "FullyConnectedLayer", "activation": "lrelu", "bias_gain": 0.01}
    if name.startswith("conv"):
        up = 2 if name == "conv0" else 1
        layer = {"class_name": "SynthesisLayer", "activation": "lrelu", "up": up}
        return {**layer, "conv_clamp": None}
    return {"class_name": "SynthesisBlock", "architecture": "skip", "use_fp16": name == "b16"}


def _discriminator_module(path: str, name: str) -> dict[str, Any]:
    if path == "":
        return {"class_name": "Discriminator", **SIZES}
    if name in ("fc", "out"):
        activation = "lrelu" if name == "fc" else "linear"
        return {"class_name": "FullyConnectedLayer", "activation": activation, "bias_gain": 1}
    if name == "b4":
        return {"class_name": "DiscriminatorEpilogue", "architecture": "resnet", "cmap_dim": 0}
    if name.startswith("b"):
        block = {"class_name": "DiscriminatorBlock", "architecture": "resnet"}
        return {**block, "use_fp16": False}
    activation = "linear" if name == "skip" else "lrelu"
    layer = {"class_name": "Conv2dLayer", "activation": activation, "conv_clamp": None, "up": 1}
    return {**layer, "down": 2 if name in ("conv1", "skip") else 1}


def nvidia_module(arrays: Arrays, settings: dict[str, dict[str, Any]], path: str = "") -> Call:
    """A module and its children as torch_utils/persistence.py pickles them."""
    prefix = f"{path}." if path else ""
    own = {key[len(prefix) :]: key for key in arrays if key.startswith(prefix)}
    own = {name: arrays[key] for name, key in own.items() if "." not in name}
    buffers = ("resample_filter", "noise_const", "w_avg")
    children = [
        other
        for other in settings
        if other.startswith(prefix) and other != path and "." not in other[len(prefix) :]
    ]
    state = {
        **{name: value for name, value in settings[path].items() if name != "class_name"},
        "_parameters": {n: pickled_parameter(a) for n, a in own.items() if n not in buffers},
        "_buffers": {n: pickled_tensor(a) for n, a in own.items() if n in buffers},
        "_modules": {
            child[len(prefix) :]: nvidia_module(arrays, settings, child) for child in children
        },
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": MODULE_SOURCE,
        "class_name": settings[path]["class_name"],
        "state": state,
    }
    return Call(Global("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def nvidia_checkpoint() -> dict[str, Any]:
    """The dictionary of an ``.pkl`` file, G being G_ema."""
    generator, discriminator = nvidia_generator(), nvidia_discriminator()
    networks = {
        name: nvidia_module(arrays, nvidia_attributes(arrays))
        for name, arrays in (("G", generator), ("D", discriminator), ("G_ema", generator))
    }
    return {**networks, "augment_pipe": None, "training_set_kwargs": {"use_labels": False}}


def tensorflow_networks() -> tuple[Arrays, Arrays]:
    """Variables of a TensorFlow generator and discriminator, by full name."""
    shapes: Shapes = {"lod": (), "dlatent_avg": (LATENT,)}
    shapes["synthesis/4x4/Const/const"] = (1, WIDTHS[4], 4, 4)
    for i in range(LAYERS):
        shapes |= {
            f"mapping/Dense{i}/weight": (LATENT, LATENT),
            f"mapping/Dense{i}/bias": (LATENT,),
        }
    for number, r in enumerate((4, 8, 8, 16, 16)):
        shapes[f"synthesis/noise{number}"] = (1, 1, r, r)
    for r in RESOLUTIONS:
        block, wide = f"synthesis/{r}x{r}", WIDTHS[r]
        layers = {f"{block}/ToRGB": (1, wide, 3)}
        if r == 4:
            layers[f"{block}/Conv"] = (3, wide, wide)
        else:
            layers[f"{block}/Conv0_up"] = (3, WIDTHS[r // 2], wide)
            layers[f"{block}/Conv1"] = (3, wide, wide)
        for layer, (size, inputs, outputs) in layers.items():
            shapes |= {
                f"{layer}/weight": (size, size, inputs, outputs),
                f"{layer}/bias": (outputs,),
                f"{layer}/mod_weight": (LATENT, inputs),
                f"{layer}/mod_bias": (inputs,),
            }
            if "Conv" in layer:
                shapes[f"{layer}/noise_strength"] = ()
    discriminator: Shapes = {"lod": ()}
    for r in (16, 8):
        wide, out = WIDTHS[r], WIDTHS[r // 2]
        discriminator |= {
            f"{r}x{r}/Conv0/weight": (3, 3, wide, wide),
            f"{r}x{r}/Conv0/bias": (wide,),
            f"{r}x{r}/Conv1_down/weight": (3, 3, wide, out),
            f"{r}x{r}/Conv1_down/bias": (out,),
            f"{r}x{r}/Skip/weight": (1, 1, wide, out),
        }
    discriminator |= {
        "16x16/FromRGB/weight": (1, 1, 3, 4),
        "16x16/FromRGB/bias": (4,),
        "4x4/Conv/weight": (3, 3, 9, 8),
        "4x4/Conv/bias": (8,),
        "4x4/Dense0/weight": (128, 8),
        "4x4/Dense0/bias": (8,),
        "Output/weight": (8, 1),
        "Output/bias": (1,),
    }
    return seeded(shapes), seeded(discriminator)


def tensorflow_network(arrays: Arrays, *, version: int = 5, **settings: Any) -> Call:
    """A ``dnnlib.tflib.network.Network`` with its components."""

    def network(name: str, prefix: str, components: dict[str, Call]) -> Call:
        own = [
            (key[len(prefix) :], array)
            for key, array in arrays.items()
            if key.startswith(prefix) and (prefix or not key.startswith(("mapping/", "synthesis/")))
        ]
        state = {
            "version": version,
            "name": name,
            "static_kwargs": settings,
            "components": components,
            "build_module_src": MODULE_SOURCE,
            "build_func_name": name,
            "variables": own,
        }
        return Call(Global("dnnlib.tflib.network", "Network"), (), state)

    parts = ("mapping", "synthesis") if "dlatent_avg" in arrays else ()
    depth = {"mapping_layers": LAYERS} if parts else {}
    settings = {"resolution": 16, "num_channels": 3, "label_size": 0, **depth, **settings}
    return network("main", "", {part: network(part, f"{part}/", {}) for part in parts})


def tensorflow_checkpoint() -> tuple[Call, Call, Call]:
    """(G, D, Gs), as StyleGAN2 (version 4) writes it."""
    generator, discriminator = tensorflow_networks()
    average = tensorflow_network(generator, version=4)
    return average, tensorflow_network(discriminator, version=4), average


def rosinality_generator() -> Arrays:
    """State of rosinality's generator."""
    shapes: Shapes = {"input.input": (1, WIDTHS[4], 4, 4)}
    for i in range(1, LAYERS + 1):
        shapes |= {f"style.{i}.weight": (LATENT, LATENT), f"style.{i}.bias": (LATENT,)}
    convs = {"conv1": (8, 8), "convs.0": (8, 8), "convs.1": (8, 8), "convs.2": (8, 4)}
    convs["convs.3"] = (4, 4)
    for layer, (inputs, outputs) in convs.items():
        shapes |= {
            f"{layer}.conv.weight": (1, outputs, inputs, 3, 3),
            f"{layer}.conv.modulation.weight": (inputs, LATENT),
            f"{layer}.conv.modulation.bias": (inputs,),
            f"{layer}.noise.weight": (1,),
            f"{layer}.activate.bias": (outputs,),
        }
    for layer, inputs in {"to_rgb1": 8, "to_rgbs.0": 8, "to_rgbs.1": 4}.items():
        shapes |= {
            f"{layer}.conv.weight": (1, 3, inputs, 1, 1),
            f"{layer}.conv.modulation.weight": (inputs, LATENT),
            f"{layer}.conv.modulation.bias": (inputs,),
            f"{layer}.bias": (1, 3, 1, 1),
        }
    for number, r in enumerate((4, 8, 8, 16, 16)):
        shapes[f"noises.noise_{number}"] = (1, 1, r, r)
    arrays = seeded(shapes)
    for layer in (
        "convs.0.conv.blur",
        "convs.2.conv.blur",
        "to_rgbs.0.upsample",
        "to_rgbs.1.upsample",
    ):
        arrays[f"{layer}.kernel"] = FILTER * 4
    return arrays


def rosinality_discriminator() -> Arrays:
    """State of rosinality's discriminator."""
    shapes: Shapes = {"convs.0.0.weight": (4, 3, 1, 1), "convs.0.1.bias": (4,)}
    for n, (wide, out) in {1: (4, 8), 2: (8, 8)}.items():
        shapes |= {
            f"convs.{n}.conv1.0.weight": (wide, wide, 3, 3),
            f"convs.{n}.conv1.1.bias": (wide,),
            f"convs.{n}.conv2.1.weight": (out, wide, 3, 3),
            f"convs.{n}.conv2.2.bias": (out,),
            f"convs.{n}.skip.1.weight": (out, wide, 1, 1),
        }
    shapes |= {
        "final_conv.0.weight": (8, 9, 3, 3),
        "final_conv.1.bias": (8,),
        "final_linear.0.weight": (8, 128),
        "final_linear.0.bias": (8,),
        "final_linear.1.weight": (1, 8),
        "final_linear.1.bias": (1,),
    }
    arrays = seeded(shapes)
    for n in (1, 2):
        arrays[f"convs.{n}.conv2.0.kernel"] = arrays[f"convs.{n}.skip.0.kernel"] = FILTER
    return arrays


def rosinality_checkpoint() -> dict[str, Any]:
    """Averaged generator, discriminator and the mean of W."""
    mean = seeded({"latent_avg": (LATENT,)})["latent_avg"]
    return {
        "g_ema": rosinality_generator(),
        "d": rosinality_discriminator(),
        "latent_avg": mean,
    }
