"""pytorch-fid's Inception-v3: an independent forward from its keys, its package, its refusals."""

import math
import re

import jax
import numpy as np
import pytest
import torch_reference as ref
from pickle_writer import torch_legacy, torch_zip
from refused import check_other_family, check_refused

from jaxface.convert import convert
from jaxface.weights import load_network

# Layer: (inputs, outputs, kernel) at the published width.
A = "1x1 {i}>64:1 5x5_1 {i}>48:1 5x5_2 48>64:5 3x3dbl_1 {i}>64:1 3x3dbl_2 64>96:3 3x3dbl_3 96>96:3"
C = (
    "1x1 768>192:1 7x7_1 768>{c}:1 7x7_2 {c}>{c}:1x7 7x7_3 {c}>192:7x1 7x7dbl_1 768>{c}:1 "
    "7x7dbl_2 {c}>{c}:7x1 7x7dbl_3 {c}>{c}:1x7 7x7dbl_4 {c}>{c}:7x1 7x7dbl_5 {c}>192:1x7 "
    "_pool 768>192:1"
)
E = (
    "1x1 {i}>320:1 3x3_1 {i}>384:1 3x3_2a 384>384:1x3 3x3_2b 384>384:3x1 3x3dbl_1 {i}>448:1 "
    "3x3dbl_2 448>384:3 3x3dbl_3a 384>384:1x3 3x3dbl_3b 384>384:3x1 _pool {i}>192:1"
)
LAYERS = {
    "Conv2d": "_1a_3x3 3>32:3 _2a_3x3 32>32:3 _2b_3x3 32>64:3 _3b_1x1 64>80:1 _4a_3x3 80>192:3",
    "Mixed_5b.branch": A.format(i=192) + " _pool 192>32:1",
    "Mixed_5c.branch": A.format(i=256) + " _pool 256>64:1",
    "Mixed_5d.branch": A.format(i=288) + " _pool 288>64:1",
    "Mixed_6a.branch": "3x3 288>384:3 3x3dbl_1 288>64:1 3x3dbl_2 64>96:3 3x3dbl_3 96>96:3",
    "Mixed_6b.branch": C.format(c=128),
    "Mixed_6c.branch": C.format(c=160),
    "Mixed_6d.branch": C.format(c=160),
    "Mixed_6e.branch": C.format(c=192),
    "Mixed_7a.branch": "3x3_1 768>192:1 3x3_2 192>320:3 7x7x3_1 768>192:1 7x7x3_2 192>192:1x7 "
    "7x7x3_3 192>192:7x1 7x7x3_4 192>192:3",
    "Mixed_7b.branch": E.format(i=1280),
    "Mixed_7c.branch": E.format(i=2048),
}


def layers():
    """(name, inputs, outputs, kernel) of every convolution."""
    for prefix, text in LAYERS.items():
        words = text.split()
        for name, spec in zip(words[::2], words[1::2], strict=True):
            inputs, outputs, *kernel = map(int, re.split("[>:x]", spec))
            yield prefix + name, inputs, outputs, (kernel * 2)[:2]


def state(unit=1, *, zeros=False):
    """A state dictionary with 1/16 of `unit` times the published widths."""
    random = np.random.RandomState(0)
    arrays = {}
    for name, inputs, outputs, kernel in layers():
        inputs = 3 if inputs == 3 else inputs * unit // 16
        shape = (outputs * unit // 16, inputs, *kernel)
        gain = math.sqrt(2 / math.prod(shape[1:]))
        draw = np.zeros if zeros else lambda shape: random.standard_normal(shape)
        arrays[f"{name}.conv.weight"] = gain * draw(shape)
        arrays[f"{name}.bn.weight"] = 1 + 0.1 * draw(shape[:1])
        arrays[f"{name}.bn.bias"] = 0.1 * draw(shape[:1])
        arrays[f"{name}.bn.running_mean"] = 0.1 * draw(shape[:1])
        arrays[f"{name}.bn.running_var"] = np.exp(0.2 * draw(shape[:1]))
    arrays["fc.weight"], arrays["fc.bias"] = np.zeros((1008, 128 * unit)), np.zeros(1008)
    return {key: array.astype(np.float32) for key, array in arrays.items()}


def converted(arrays, folder, write=torch_zip):
    (folder / "source.pth").write_bytes(write(arrays))
    convert("auto", folder / "source.pth", folder / "out.safetensors")
    return load_network(folder / "out.safetensors")


def forward(arrays, images):
    """The network by its keys, in float64."""

    def layer(x, name, **options):
        x = ref.conv(x, arrays[f"{name}.conv.weight"], **options)
        keys = ("weight", "bias", "running_mean", "running_var")
        norm = [arrays[f"{name}.bn.{key}"].astype(np.float64) for key in keys]
        return ref.relu(ref.batch_norm(x, *norm, epsilon=1e-3))

    def same(x, name):
        kernel = arrays[f"{name}.conv.weight"].shape[2:]
        return layer(x, name, padding=(kernel[0] // 2, kernel[1] // 2))

    def row(x, block, names):
        for name in names.split():
            x = same(x, f"Mixed_{block}.branch{name}")
        return x

    def reduced(x, block, name):
        return layer(x, f"Mixed_{block}.branch{name}", stride=2)

    def pooled(x, block):
        if block == "7c":
            x = ref.max_pool(x, 3, stride=1, padding=1)
        else:
            x = ref.average_pool(x, 3, stride=1, padding=1, count_padding=False)
        return row(x, block, "_pool")

    join = lambda *parts: np.concatenate(parts, axis=-1)  # noqa: E731
    found = {}
    x = ref.resize(images, 299, 299)
    x = layer(layer(x, "Conv2d_1a_3x3", stride=2), "Conv2d_2a_3x3")
    found["pool1"] = x = ref.max_pool(same(x, "Conv2d_2b_3x3"), 3, stride=2)
    x = layer(layer(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    found["pool2"] = x = ref.max_pool(x, 3, stride=2)
    for b in ("5b", "5c", "5d"):
        rows = (row(x, b, names) for names in ("1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3"))
        x = join(*rows, pooled(x, b))
    double = reduced(row(x, "6a", "3x3dbl_1 3x3dbl_2"), "6a", "3x3dbl_3")
    x = join(reduced(x, "6a", "3x3"), double, ref.max_pool(x, 3, stride=2))
    for b in ("6b", "6c", "6d", "6e"):
        double = " ".join(f"7x7dbl_{i}" for i in range(1, 6))
        rows = (row(x, b, names) for names in ("1x1", "7x7_1 7x7_2 7x7_3", double))
        x = join(*rows, pooled(x, b))
    found["mixed6"] = x
    seven = reduced(row(x, "7a", "7x7x3_1 7x7x3_2 7x7x3_3"), "7a", "7x7x3_4")
    three = reduced(row(x, "7a", "3x3_1"), "7a", "3x3_2")
    x = join(three, seven, ref.max_pool(x, 3, stride=2))
    for b in ("7b", "7c"):
        three, double = row(x, b, "3x3_1"), row(x, b, "3x3dbl_1 3x3dbl_2")
        parts = [row(three, b, f"3x3_2{end}") for end in "ab"]
        parts += [row(double, b, f"3x3dbl_3{end}") for end in "ab"]
        x = join(row(x, b, "1x1"), *parts, pooled(x, b))
    found["pool3"] = x.mean(axis=(1, 2))
    return found


@pytest.mark.slow
def test_every_layer_against_an_independent_forward(tmp_path):
    arrays = state()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 40, 330, 3)).astype(np.float32)
    expected = forward(arrays, images)
    network = converted(arrays, tmp_path, torch_legacy)
    names = tuple(expected)
    found = jax.jit(lambda n, x: n.features(x, names))(network, images)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        # Float32 through up to 48 layers, against float64: measured 7e-7 of the largest value.
        assert np.abs(found[name] - value).max() < 1e-5 * np.abs(value).max(), name


@pytest.mark.slow
def test_a_file_of_full_size_uses_every_key(tmp_path):
    arrays = state(16, zeros=True)
    counters = {
        key.replace("running_var", "num_batches_tracked"): np.zeros((), np.int64)
        for key in arrays
        if key.endswith("running_var")
    }
    (tmp_path / "source").write_bytes(torch_zip(arrays | counters))
    conversion = convert("inception", tmp_path / "source", tmp_path / "out")
    assert conversion.plan.config.num_features == 2048
    used = [line for line in conversion.report if line.startswith("used")]
    ignored = [line for line in conversion.report if line.startswith("ignored")]
    assert len(used) == len(arrays) - 2 == 470
    assert len(ignored) == len(counters) + 2


@pytest.mark.slow
def test_against_pytorch_fid(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: weights)
    weights = {key: torch.from_numpy(array) for key, array in state(16).items()}
    network = theirs.InceptionV3([0, 1, 2, 3]).eval()
    torch.save(weights, tmp_path / "source.pth")
    convert("auto", tmp_path / "source.pth", tmp_path / "out")
    found_by = load_network(tmp_path / "out").features
    names = ("pool1", "pool2", "mixed6", "pool3")
    # Float32 on both sides. At 299 px nothing is resized: measured 2e-6 of the scale. Elsewhere
    # PyTorch rounds the resize's coordinates to float32, some 1e-5 px, which on noise is 3e-5.
    for size, tolerance in (((299, 299), 1e-5), ((120, 340), 1e-4)):
        images = np.random.default_rng(1).uniform(-1, 1, (1, *size, 3)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2)) / 2 + 0.5)
        found = found_by(images, names)
        for name, value in zip(names, expected, strict=True):
            value = value.numpy().transpose(0, 2, 3, 1).reshape(found[name].shape)
            assert np.abs(found[name] - value).max() < tolerance * np.abs(value).max(), name


REFUSED = {
    "torchvision's": (
        lambda s: s.update({"fc.bias": np.zeros(1000, np.float32)}),
        "an Inception-v3 of 1000 classes; .* has 1008",
    ),
    "no classifier": (lambda s: s.pop("fc.bias"), "lacks fc.bias"),
    "missing": (lambda s: s.pop("Mixed_7c.branch_pool.bn.bias"), "lacks Mixed_7c.branch_pool.bn"),
    "surplus": (
        lambda s: s.update({"AuxLogits.fc.bias": np.zeros(3, np.float32)}),
        "unexpected AuxLogits.fc.bias",
    ),
    "shape": (
        lambda s: s.update({"Mixed_6b.branch7x7_2.conv.weight": np.zeros((8, 8, 7, 1), "f")}),
        r"branch7x7_2.conv.weight: its shape \[8, 8, 7, 1\] does not fit",
    ),
    "odd width": (
        lambda s: s.update({"Conv2d_1a_3x3.conv.weight": np.zeros((3, 3, 3, 3), "f")}),
        "has 3 channels, expected an even number",
    ),
    "no width": (
        lambda s: s.update({"Conv2d_1a_3x3.conv.weight": np.zeros((0, 3, 3, 3), "f")}),
        "unit: expected at least 1, got 0",
    ),
    "nan": (
        lambda s: s.update({"Mixed_5b.branch1x1.bn.bias": np.full(4, np.nan, np.float32)}),
        "branch1x1.bn.bias holds NaN",
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow) if case in ("surplus", "shape", "nan") else case
        for case in REFUSED
    ],
)
def test_refused_with_nothing_written(case, tmp_path):
    edit, reason = REFUSED[case]
    check_refused(state(), edit, reason, tmp_path)


def test_another_family_is_refused(tmp_path):
    check_other_family(state(), "inception", "rosinality", tmp_path)
