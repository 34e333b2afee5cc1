"""VGG-Face's three forms give one network, which gives what PyTorch's layers give."""

import io
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import trunk_checkpoints as trunks
from pickle_writer import torch_legacy, torch_zip
from scipy.io import savemat

from jaxface.convert import convert
from jaxface.convert.families import vgg_face
from jaxface.convert.formats.tensors import NumpyArray
from jaxface.convert.plan import fill
from jaxface.nets import VGGFaceConfig
from jaxface.weights import load_network
from tools.convert_weights.__main__ import main

MAKE = trunks.formula(0)
WIDTHS, WIDTH, SIDE = trunks.NARROW["vgg"], 7, 2
MEAN = (120.0, 100.0, 90.0)
MEAN_IMAGE = np.reshape(MEAN, (1, 1, 3))
CONVOLUTIONS = [f"conv{s}_{i}" for s, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]


def zeros(key: str, shape: trunks.Shape) -> NumpyArray:
    """What the reader of a file gives, in no memory."""
    return NumpyArray(np.broadcast_to(np.float32(0), shape))


def dag(make: Any = MAKE, widths: Any = WIDTHS, width: int = WIDTH, side: int = SIDE) -> dict:
    """The state dictionary of ``vgg_face_dag``, for RGB."""
    shapes = [shape for _, shape in trunks.convolutions("vgg", widths)]
    layers = dict(zip(CONVOLUTIONS, shapes, strict=True))
    layers |= {"fc6": (width, widths[-1] * side**2), "fc7": (width, width), "fc8": (2622, width)}
    state = {}
    for name, shape in layers.items():
        state[f"{name}.weight"] = make(f"{name}.weight", shape)
        state[f"{name}.bias"] = make(f"{name}.bias", shape[:1])
    return state


def torch7(state: dict[str, Any]) -> dict[str, Any]:
    """The same network as a port of ``VGG_FACE.t7`` saves it: other names, for BGR."""
    named = {re.sub(r"conv(\d)", r"conv_\1", key): value for key, value in state.items()}
    if isinstance(kernel := named["conv_1_1.weight"], np.ndarray):
        named["conv_1_1.weight"] = kernel[:, ::-1].copy()
    return named


def cell(*items: Any) -> np.ndarray:
    array = np.empty((1, len(items)), object)
    array[0, :] = items
    return array


def matlab_layers(state: dict[str, Any], side: int = SIDE) -> list[dict[str, Any]]:
    """MatConvNet's layers of the same network."""
    layers = []
    for name in (*CONVOLUTIONS, "fc6", "fc7", "fc8"):
        kernel, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if name == "fc6":
            kernel = kernel.reshape(len(kernel), -1, side, side)
        elif name.startswith("fc"):
            kernel = kernel[:, :, None, None]
        weights = cell(kernel.transpose(2, 3, 1, 0), bias[:, None])
        layers.append({"name": name, "type": "conv", "weights": weights, "stride": [1.0, 1.0]})
        layers.append({"name": name.replace("conv", "relu").replace("fc", "relu"), "type": "relu"})
    return [*layers, {"name": "prob", "type": "softmax"}]


def matlab(layers: list[dict[str, Any]], mean: Any = MEAN_IMAGE) -> bytes:
    """``vgg-face.mat``."""
    meta = {"normalization": {"averageImage": mean}, "classes": {"name": cell("a", "b")}}
    out = io.BytesIO()
    savemat(out, {"layers": cell(*layers), "meta": meta}, do_compression=True)
    return out.getvalue()


def older_matlab(layers: list[dict[str, Any]]) -> bytes:
    """``vgg_face.mat`` of the authors' page: all in one struct, and a whole mean image."""
    mean = np.broadcast_to(np.float32(MEAN), (64, 64, 3))
    out = io.BytesIO()
    savemat(out, {"net": {"layers": cell(*layers), "normalization": {"averageImage": mean}}})
    return out.getvalue()


def converted(data: bytes, folder: Path) -> Any:
    (folder / "source").write_bytes(data)
    convert("auto", folder / "source", folder / "out")
    return load_network(folder / "out")


def test_three_forms_give_one_network(tmp_path):
    state = dag()
    network = converted(torch_zip(state), tmp_path)
    size = {"channels": WIDTHS, "width": WIDTH, "resolution": 32 * SIDE}
    assert network.config == VGGFaceConfig(**size)
    kernel = state["conv1_1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(network.trunk.layers[0].weight[...], kernel)
    leaves = jax.tree.leaves(network)
    for data, mean in (
        (torch_zip(torch7(state)), None),
        (torch_legacy(torch7(state)), None),
        (matlab(matlab_layers(state)), MEAN),
        (older_matlab(matlab_layers(state)), MEAN),
    ):
        other = converted(data, tmp_path)
        expected = VGGFaceConfig(**size) if mean is None else VGGFaceConfig(**size, mean=mean)
        assert other.config == expected
        for found, leaf in zip(jax.tree.leaves(other), leaves, strict=True):
            np.testing.assert_array_equal(found, leaf)


@pytest.mark.parametrize("is_bgr", [False, True])
def test_descriptors_are_those_of_pytorch_s_layers(is_bgr, tmp_path):
    """The published layers in torch.nn, fed as their publishers do: 0 to 255, minus the mean."""
    torch = pytest.importorskip("torch")
    nn, functional = torch.nn, torch.nn.functional
    torch.manual_seed(0)
    layers, inputs = {}, 3
    for name, shape in zip(
        CONVOLUTIONS, trunks.convolutions("vgg", (8, 12, 16, 16, 16)), strict=True
    ):
        layers[name] = nn.Conv2d(inputs, shape[1][0], 3, padding=1)
        inputs = shape[1][0]
    layers |= {"fc6": nn.Linear(inputs * SIDE**2, 24), "fc7": nn.Linear(24, 24)}
    for layer in layers.values():  # torch's own would shrink the signal by a factor a layer
        nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(layer.bias)
    layers["fc8"] = nn.Linear(24, 10)
    names = {re.sub(r"conv(\d)", r"conv_\1", name) if is_bgr else name: name for name in layers}
    state = nn.ModuleDict({key: layers[name] for key, name in names.items()}).state_dict()
    torch.save(state, tmp_path / "in")
    convert("vgg_face", tmp_path / "in", tmp_path / "out")
    network = load_network(tmp_path / "out")

    images = np.random.default_rng(0).uniform(-1, 1, (2, 90, 90, 3)).astype(np.float32)
    x = torch.from_numpy(np.moveaxis((images + 1) * 127.5, -1, 1).copy())
    x = functional.interpolate(x, (64, 64), mode="bilinear", antialias=True)
    x = x - torch.tensor(VGGFaceConfig().mean)[:, None, None]
    x = x.flip(1) if is_bgr else x
    expected = {}
    with torch.no_grad():
        for name in CONVOLUTIONS:
            x = functional.relu(layers[name](x))
            if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
                x = functional.max_pool2d(x, 2)
        x = x.flatten(1)
        for number in ("6", "7"):
            expected[f"fc{number}"] = layers[f"fc{number}"](x)
            x = expected[f"relu{number}"] = functional.relu(expected[f"fc{number}"])
    found = jax.jit(lambda net, x: net.features(x, ("fc6", "relu6", "fc7", "relu7")))(
        network, images
    )
    for layer, values in expected.items():
        scale = np.abs(values.numpy()).max()
        assert scale > 1
        # Fifteen layers of float32 sums in another order.
        assert np.abs(found[layer] - values.numpy()).max() < 1e-5 * scale, layer


@pytest.mark.slow  # 150 million weights, several times
@pytest.mark.parametrize("form", ["dag", "torch7", "matlab"])
def test_every_key_of_a_full_size_file_is_used_or_ignored(form):
    state = dag(zeros, trunks.PUBLISHED["vgg"], 4096, 7)
    if form == "torch7":
        state = torch7(state)
    keys = {key for key in state if not key.startswith("fc8")}
    root: dict[str, Any] = state
    if form == "matlab":
        raw = {key: value.array() for key, value in state.items()}
        layers = [
            layer | {"weights": [NumpyArray(part) for part in layer.get("weights", cell()).flat]}
            for layer in matlab_layers(raw, 7)
        ]
        mean = NumpyArray(np.reshape(VGGFaceConfig().mean, (1, 1, 3)))
        root = {"layers": layers, "meta": {"normalization": {"averageImage": mean}}}
        assert vgg_face.other_parts(root, "VGGFace") == {"meta": "all but its averageImage"}
    assert vgg_face.matches(root)
    plan = vgg_face.plan(root, "VGGFace")
    assert plan.config == VGGFaceConfig()
    assert {entry.source for entry in plan.entries} == keys
    arrays, _ = fill(plan)
    assert arrays["fc6.weight"].shape == (25088, 4096)
    assert {"fc8.weight", "fc8.bias"} <= plan.ignored.keys()


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


def edited(name: str, **fields: Any) -> bytes:
    """MatConvNet's file with one layer changed."""
    layers = matlab_layers(dag())
    return matlab([layer | fields if layer["name"] == name else layer for layer in layers])


ONE = np.zeros(1, np.float32)
REFUSED = {
    "missing": (torch_zip(without(dag(), "conv4_2.weight")), "lacks conv4_2.weight"),
    "missing width": (torch_zip(without(dag(), "conv4_1.bias")), "lacks conv4_1.bias"),
    "surplus": (torch_zip(dag() | {"bn.weight": ONE}), "unexpected bn.weight"),
    "mixed names": (
        torch_zip(dag() | {"conv_1_1.weight": MAKE("", (2, 3, 3, 3))}),
        "lacks conv_1_1.bias",
    ),
    "positions": (
        torch_zip(dag() | {"fc6.weight": MAKE("", (7, 18))}),
        "fc6.weight takes 18 inputs, which is no square of positions with 6 channels",
    ),
    "shape": (
        torch_zip(dag() | {"fc7.weight": MAKE("", (7, 6))}),
        r"fc7.weight: its shape \[7, 6\] does not fit fc7.weight \[7, 7\]",
    ),
    "matlab, missing": (
        matlab([layer for layer in matlab_layers(dag()) if layer["name"] != "conv3_2"]),
        "lacks conv3_2.weight",
    ),
    "matlab, one array": (edited("conv2_1", weights=cell(np.eye(3))), "conv2_1 has 1 arrays"),
    "matlab, surplus": (
        edited("relu2_1", weights=cell(np.eye(3), np.eye(3))),
        "unexpected relu2_1.weight",
    ),
    "matlab, shape": (
        edited("fc7", weights=cell(np.eye(7), np.ones((7, 1)))),
        r"fc7.weight: its shape \[7, 7\] does not fit",
    ),
    "matlab, text for a kernel": (
        edited("fc7", weights=cell("x", np.ones((7, 1)))),
        "fc7.weight: expected a tensor, got a str",
    ),
    "matlab, mean image": (
        matlab(matlab_layers(dag()), np.arange(12.0).reshape(2, 2, 3)),
        r"averageImage of shape \[2, 2, 3\] is not one RGB colour",
    ),
    "matlab, truncated": (matlab(matlab_layers(dag()))[:-100], "truncated or damaged MATLAB file"),
    "matlab, another": (
        matlab([{"name": "conv1", "type": "conv"}]),
        "of no supported family.*the keys layers, meta",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    data, reason = REFUSED[case]
    (tmp_path / "source").write_bytes(data)
    assert main(["auto", str(tmp_path / "source"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    assert re.search(reason, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_report_says_what_became_of_the_colours(tmp_path):
    (tmp_path / "in").write_bytes(torch_zip(torch7(dag())))
    report = convert("auto", tmp_path / "in", tmp_path / "out").report
    assert "note     the first kernel was for BGR and is turned to RGB" in report
    (tmp_path / "in").write_bytes(matlab(matlab_layers(dag())))
    report = convert("auto", tmp_path / "in", tmp_path / "out").report
    assert "ignored  meta: all but its averageImage" in report
    assert "ignored  relu5_3: a layer without weights" in report
