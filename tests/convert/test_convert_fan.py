"""face-alignment's FAN: an independent forward from its keys, its package, its refusals."""

import math

import jax
import numpy as np
import pytest
import torch_reference as ref
from pickle_writer import torch_legacy, torch_zip
from refused import check_other_family, check_refused

from jaxface.convert import convert
from jaxface.nets.landmarks.fan import FANConfig
from jaxface.weights import build_network


def state(stacks=2, depth=2, channels=(4, 8, 12), points=5, *, zeros=False):
    """A state dictionary, its keys spelled out."""
    random = np.random.RandomState(0)
    draw = np.zeros if zeros else lambda shape: random.standard_normal(shape)
    arrays = {}

    def conv(name, inputs, outputs, kernel, bias=True):
        gain = math.sqrt(2 / (inputs * kernel**2))
        arrays[f"{name}.weight"] = gain * draw((outputs, inputs, kernel, kernel))
        if bias:
            arrays[f"{name}.bias"] = 0.1 * draw((outputs,))

    def norm(name, width):
        arrays[f"{name}.weight"] = 1 + 0.1 * draw((width,))
        arrays[f"{name}.bias"] = 0.1 * draw((width,))
        arrays[f"{name}.running_mean"] = 0.1 * draw((width,))
        arrays[f"{name}.running_var"] = np.exp(0.2 * draw((width,)))
        arrays[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)

    def block(name, inputs, outputs):
        widths = (inputs, outputs // 2, outputs // 4, outputs // 4)
        for i in range(3):
            norm(f"{name}.bn{i + 1}", widths[i])
            conv(f"{name}.conv{i + 1}", widths[i], widths[i + 1], 3, bias=False)
        if inputs != outputs:
            norm(f"{name}.downsample.0", inputs)
            conv(f"{name}.downsample.2", inputs, outputs, 1, bias=False)

    first, middle, width = channels
    conv("conv1", 3, first, 7)
    norm("bn1", first)
    block("conv2", first, middle)
    block("conv3", middle, middle)
    block("conv4", middle, width)
    for k in range(stacks):
        for level in range(depth, 0, -1):
            for branch in ("b1", "b2", "b3"):
                block(f"m{k}.{branch}_{level}", width, width)
        block(f"m{k}.b2_plus_1", width, width)
        block(f"top_m_{k}", width, width)
        conv(f"conv_last{k}", width, width, 1)
        norm(f"bn_end{k}", width)
        conv(f"l{k}", width, points, 1)
        if k < stacks - 1:
            conv(f"bl{k}", width, width, 1)
            conv(f"al{k}", points, width, 1)
    return {
        key: array.astype(np.float32) if array.dtype == np.float64 else array
        for key, array in arrays.items()
    }


def forward(arrays, x, stacks, depth):
    """The heatmaps of each stack from images in [0, 1], by the keys, in float64."""

    def conv(x, name, **options):
        return ref.conv(x, arrays[f"{name}.weight"], arrays.get(f"{name}.bias"), **options)

    def norm(x, name):
        keys = ("weight", "bias", "running_mean", "running_var")
        numbers = [arrays[f"{name}.{key}"].astype(np.float64) for key in keys]
        return ref.relu(ref.batch_norm(x, *numbers, epsilon=1e-5))

    def block(x, name):
        one = conv(norm(x, f"{name}.bn1"), f"{name}.conv1", padding=1)
        two = conv(norm(one, f"{name}.bn2"), f"{name}.conv2", padding=1)
        three = conv(norm(two, f"{name}.bn3"), f"{name}.conv3", padding=1)
        if f"{name}.downsample.0.weight" in arrays:
            x = conv(norm(x, f"{name}.downsample.0"), f"{name}.downsample.2")
        return np.concatenate([one, two, three], axis=-1) + x

    def hourglass(x, name, level):
        low = block(ref.average_pool(x, 2, stride=2), f"{name}.b2_{level}")
        low = hourglass(low, name, level - 1) if level > 1 else block(low, f"{name}.b2_plus_1")
        low = block(low, f"{name}.b3_{level}")
        return block(x, f"{name}.b1_{level}") + low.repeat(2, axis=1).repeat(2, axis=2)

    x = norm(conv(x, "conv1", stride=2, padding=3), "bn1")
    x = ref.average_pool(block(x, "conv2"), 2, stride=2)
    x = block(block(x, "conv3"), "conv4")
    found = []
    for k in range(stacks):
        y = block(hourglass(x, f"m{k}", depth), f"top_m_{k}")
        y = norm(conv(y, f"conv_last{k}"), f"bn_end{k}")
        found.append(conv(y, f"l{k}"))
        if k < stacks - 1:
            x = x + conv(y, f"bl{k}") + conv(found[-1], f"al{k}")
    return found


def planned(arrays, folder, write=torch_zip):
    """Configuration and arrays of a file."""
    (folder / "source.pth.tar").write_bytes(write(arrays))
    conversion = convert("auto", folder / "source.pth.tar", folder / "out.safetensors")
    return conversion.plan.config, conversion.arrays


@pytest.mark.parametrize(("stacks", "depth"), [(2, 2), pytest.param(1, 3, marks=pytest.mark.slow)])
def test_every_stack_against_an_independent_forward(stacks, depth, tmp_path):
    arrays = state(stacks, depth)
    config, ours = planned(arrays, tmp_path, torch_legacy)
    assert config == FANConfig(stacks, depth, (4, 8, 12), 5)
    # The published input, 256 px, is 16 times the work of 64 px and no other network.
    network = build_network("FAN", FANConfig(stacks, depth, (4, 8, 12), 5, 64), ours)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 50, 50, 3)).astype(np.float32)
    expected = forward(arrays, ref.resize(images / 2 + 0.5, 64, 64), stacks, depth)
    found = jax.jit(lambda n, x: n.heatmaps(x))(network, images)
    assert len(found) == stacks
    for one, wanted in zip(found, expected, strict=True):
        assert one.shape == wanted.shape == (2, 16, 16, 5)
        # Float32 against float64, some 40 layers deep: measured 1e-6 of the largest value.
        assert np.abs(one - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.slow
def test_a_file_of_full_size_uses_every_key(tmp_path):
    arrays = state(4, 4, (64, 128, 256), 68, zeros=True)
    (tmp_path / "source").write_bytes(torch_zip(arrays))
    conversion = convert("fan", tmp_path / "source", tmp_path / "out")
    assert conversion.plan.config == FANConfig()
    counters = [key for key in arrays if key.endswith("num_batches_tracked")]
    assert len(arrays) == 1129  # as many as the package's 2DFAN-4 has
    used = [line for line in conversion.report if line.startswith("used")]
    assert len(used) == len(arrays) - len(counters)


@pytest.mark.slow
def test_against_face_alignment(tmp_path):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("face_alignment.models")
    arrays = state(4, 4, (64, 128, 256), 68)
    theirs = models.FAN(4).eval()
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    (tmp_path / "source").write_bytes(torch_zip(arrays))
    conversion = convert("auto", tmp_path / "source", tmp_path / "out")
    network = build_network("FAN", conversion.plan.config, conversion.arrays)
    images = np.random.default_rng(1).uniform(-1, 1, (1, 256, 256, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2)) / 2 + 0.5)
    for one, wanted in zip(network.heatmaps(images), expected, strict=True):
        wanted = wanted.numpy().transpose(0, 2, 3, 1)
        # Float32 on both sides, some 170 layers deep: measured 2.5e-6 of the largest value.
        assert np.abs(one - wanted).max() < 2e-5 * np.abs(wanted).max()


REFUSED = {
    "missing": (lambda s: s.pop("m1.b2_plus_1.bn3.bias"), "lacks m1.b2_plus_1.bn3.bias"),
    "surplus": (lambda s: s.update({"al1.bias": np.zeros(3, "f")}), "unexpected al1.bias"),
    "shape": (
        lambda s: s.update({"conv1.weight": np.zeros((4, 3, 5, 5), "f")}),
        r"conv1.weight: its shape \[4, 3, 5, 5\] does not fit",
    ),
    "widths": (
        lambda s: s.update({"bn_end0.weight": np.zeros(6, "f")}),
        "channels: expected the second and third to be multiples of 4",
    ),
    "depth": (
        lambda s: s.update({"m0.b1_7.conv1.weight": np.zeros((1, 1, 1, 1), "f")}),
        "lacks m0.b1_3",
    ),
    "nan": (lambda s: s.update({"bn1.bias": np.full(4, np.nan, "f")}), "bn1.bias holds NaN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_written(case, tmp_path):
    edit, reason = REFUSED[case]
    check_refused(state(), edit, reason, tmp_path)


def test_another_family_is_refused(tmp_path):
    check_other_family(state(), "fan", "inception", tmp_path)
