"""State dictionaries of narrow IR-SE networks and encoders, keys spelled out, and their torch form.

The trunk has one unit in each of the first three stages and two in the last.
"""

from typing import Any

import numpy as np
import tiny_checkpoints
from fixture_formula import Shapes, formula_state

TINY = (2, 3, 4, 6)
UNITS = (1, 1, 1, 2)
STYLES = 6  # what the 16 px generator of tiny_checkpoints takes
PYRAMIDS = ("GradualStyleEncoder", "Encoder4Editing")
INTO_W = ("BackboneEncoderUsingLastLayerIntoW", "SingleStyleCodeEncoder")
RESTYLE = ("BackboneEncoder", "ProgressiveBackboneEncoder")
FAMILIES = {"psp": (PYRAMIDS[0], INTO_W[0]), "e4e": (PYRAMIDS[1], INTO_W[1]), "restyle": RESTYLE}


def _norm(name: str, channels: int, *, affine: bool = True) -> Shapes:
    keys = ("running_mean", "running_var", *(("weight", "bias") if affine else ()))
    return {f"{name}.num_batches_tracked": (), **{f"{name}.{key}": (channels,) for key in keys}}


def body_shapes(*, inputs: int = 3, squeeze: bool = True) -> Shapes:
    """Stem and stages."""
    width = TINY[0]
    shapes: Shapes = {
        "input_layer.0.weight": (width, inputs, 3, 3),
        "input_layer.2.weight": (width,),
        **_norm("input_layer.1", width),
    }
    for u, channels in enumerate((*TINY, TINY[-1])):
        unit = f"body.{u}"
        shapes |= {
            f"{unit}.res_layer.1.weight": (channels, width, 3, 3),
            f"{unit}.res_layer.2.weight": (channels,),
            f"{unit}.res_layer.3.weight": (channels, channels, 3, 3),
            **_norm(f"{unit}.res_layer.0", width),
            **_norm(f"{unit}.res_layer.4", channels),
        }
        if width != channels:
            shapes[f"{unit}.shortcut_layer.0.weight"] = (channels, width, 1, 1)
            shapes |= _norm(f"{unit}.shortcut_layer.1", channels)
        if squeeze:
            narrow = max(1, channels // 3)
            shapes |= {
                f"{unit}.res_layer.5.fc1.weight": (narrow, channels, 1, 1),
                f"{unit}.res_layer.5.fc2.weight": (channels, narrow, 1, 1),
            }
        width = channels
    return shapes


def recognition_state(
    *, side: int = 7, squeeze: bool = True, affine: bool = True
) -> dict[str, np.ndarray]:
    """``model_ir_se50.pth``, narrow; the crops are 16 times ``side``."""
    shapes = body_shapes(squeeze=squeeze) | {
        "output_layer.3.weight": (5, TINY[-1] * side * side),
        "output_layer.3.bias": (5,),
        **_norm("output_layer.0", TINY[-1]),
        **_norm("output_layer.4", 5, affine=affine),
    }
    return formula_state(3, shapes)


def encoder_state(encoder_type: str, *, depth: int = 1) -> dict[str, np.ndarray]:
    """An encoder of images of 16 * 2 ** depth px, ``encoder.`` before its keys."""
    inputs, width, w_dim = 6 if encoder_type in RESTYLE else 3, TINY[-1], tiny_checkpoints.LATENT
    shapes = body_shapes(inputs=inputs)
    if encoder_type in INTO_W:
        shapes |= {"linear.weight": (w_dim, width), "linear.bias": (w_dim,)}
    else:
        for style in range(STYLES):
            finer = 1 if encoder_type in PYRAMIDS and style >= 3 else 0
            for i in range(depth + finer):
                conv = f"styles.{style}.convs.{2 * i}"
                shapes[f"{conv}.weight"] = (w_dim, w_dim if i else width, 3, 3)
                shapes[f"{conv}.bias"] = (w_dim,)
            shapes[f"styles.{style}.linear.weight"] = (w_dim, w_dim)
            shapes[f"styles.{style}.linear.bias"] = (w_dim,)
    if encoder_type in PYRAMIDS:
        for number, channels in ((1, TINY[2]), (2, TINY[1])):
            shapes[f"latlayer{number}.weight"] = (width, channels, 1, 1)
            shapes[f"latlayer{number}.bias"] = (width,)
    return formula_state(4, {f"encoder.{key}": shape for key, shape in shapes.items()})


def encoder_checkpoint(encoder_type: str) -> dict[str, Any]:
    """A whole file: encoder, 16 px generator, latent_avg and the options that matter."""
    decoder = tiny_checkpoints.rosinality_generator()
    options: dict[str, Any] = {
        "encoder_type": encoder_type,
        "dataset_type": "ffhq_encode",
        "input_nc": 6 if encoder_type in RESTYLE else 3,
        "output_size": 16,
        "start_from_latent_avg": True,
        "learn_in_w": encoder_type == INTO_W[0],
        "checkpoint_path": None,
        "device": "cuda:0",
    }
    mean = np.linspace(-1, 1, tiny_checkpoints.LATENT, dtype=np.float32)
    return {
        "state_dict": {
            **encoder_state(encoder_type),
            **{f"decoder.{key}": array for key, array in decoder.items()},
        },
        "latent_avg": np.tile(mean, (STYLES, 1)),
        "opts": options,
    }


class TorchNetwork:
    """The published architecture out of PyTorch's functions, on a state dictionary."""

    def __init__(self, torch: Any, state: dict[str, np.ndarray], prefix: str = ""):
        self.functional, self.torch = torch.nn.functional, torch
        self.tensors = {
            key.removeprefix(prefix): torch.from_numpy(np.asarray(array))
            for key, array in state.items()
            if key.startswith(prefix)
        }

    def norm(self, x: Any, name: str) -> Any:
        names = ("running_mean", "running_var", "weight", "bias")
        return self.functional.batch_norm(x, *(self.tensors.get(f"{name}.{key}") for key in names))

    def conv(self, x: Any, name: str, **options: int) -> Any:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias")
        return self.functional.conv2d(x, weight, bias, **options)

    def prelu(self, x: Any, name: str) -> Any:
        return self.functional.prelu(x, self.tensors[f"{name}.weight"])

    def equal_linear(self, x: Any, name: str) -> Any:
        weight = self.tensors[f"{name}.weight"]
        bias = self.tensors[f"{name}.bias"]
        return self.functional.linear(x, weight / weight.shape[1] ** 0.5, bias)

    def body(self, x: Any) -> list[Any]:
        """The stages' outputs, [N, C, H, W]."""
        x = self.norm(self.conv(x, "input_layer.0", padding=1), "input_layer.1")
        x, outputs = self.prelu(x, "input_layer.2"), []
        for u in range(sum(UNITS)):
            unit, stride = f"body.{u}", 2 if u < 4 else 1
            layer = f"{unit}.res_layer"
            y = self.conv(self.norm(x, f"{layer}.0"), f"{layer}.1", padding=1)
            y = self.conv(self.prelu(y, f"{layer}.2"), f"{layer}.3", stride=stride, padding=1)
            y = self.norm(y, f"{layer}.4")
            if f"{layer}.5.fc1.weight" in self.tensors:
                gate = self.conv(self.functional.adaptive_avg_pool2d(y, 1), f"{layer}.5.fc1")
                y = y * self.torch.sigmoid(self.conv(gate.relu(), f"{layer}.5.fc2"))
            if f"{unit}.shortcut_layer.0.weight" in self.tensors:
                x = self.conv(x, f"{unit}.shortcut_layer.0", stride=stride)
                x = self.norm(x, f"{unit}.shortcut_layer.1")
            else:
                x = self.functional.max_pool2d(x, 1, stride)
            x = x + y
            outputs.append(x)
        return [*outputs[:3], outputs[4]]

    def style(self, x: Any, name: str) -> Any:
        i = 0
        while f"{name}.convs.{i}.weight" in self.tensors:
            x = self.conv(x, f"{name}.convs.{i}", stride=2, padding=1)
            x, i = self.functional.leaky_relu(x), i + 2
        return self.equal_linear(x.flatten(1), f"{name}.linear")

    def codes(self, x: Any, encoder_type: str) -> Any:
        """Before latent_avg is added."""
        _, _, middle, coarse = self.body(x)
        if encoder_type in INTO_W:
            return self.equal_linear(coarse.mean(dim=(2, 3)), "linear")
        finer = coarse
        if encoder_type in PYRAMIDS:
            lateral = self.conv(middle, "latlayer1")
            finer = lateral + self.functional.interpolate(
                coarse, size=lateral.shape[2:], mode="bilinear", align_corners=True
            )
        codes = [self.style(coarse if i < 3 else finer, f"styles.{i}") for i in range(STYLES)]
        if encoder_type in (PYRAMIDS[1], RESTYLE[1]):
            codes = [codes[0], *(codes[0] + delta for delta in codes[1:])]
        return self.torch.stack(codes, dim=1)
