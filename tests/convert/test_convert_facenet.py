"""facenet-pytorch's network: an independent forward from its keys, its package, its refusals."""

import math
import re

import jax
import numpy as np
import pytest
import torch_reference as ref
from pickle_writer import torch_legacy, torch_zip
from refused import check_other_family, check_refused

from jaxface.convert import convert
from jaxface.nets.recognition.facenet import FaceNetConfig
from jaxface.weights import load_network

# Layer: inputs>outputs:kernel at the published width.
STEM = (
    "conv2d_1a 3>32:3 conv2d_2a 32>32:3 conv2d_2b 32>64:3 conv2d_3b 64>80:1 conv2d_4a 80>192:3 "
    "conv2d_4b 192>256:3"
)
BLOCKS = {
    "repeat_1": "branch0 256>32:1 branch1.0 256>32:1 branch1.1 32>32:3 branch2.0 256>32:1 "
    "branch2.1 32>32:3 branch2.2 32>32:3 conv2d 96>256:1",
    "repeat_2": "branch0 896>128:1 branch1.0 896>128:1 branch1.1 128>128:1x7 "
    "branch1.2 128>128:7x1 conv2d 256>896:1",
    "repeat_3": "branch0 1792>192:1 branch1.0 1792>192:1 branch1.1 192>192:1x3 "
    "branch1.2 192>192:3x1 conv2d 384>1792:1",
}
REDUCTIONS = {
    "mixed_6a": "branch0 256>384:3 branch1.0 256>192:1 branch1.1 192>192:3 branch1.2 192>256:3",
    "mixed_7a": "branch0.0 896>256:1 branch0.1 256>384:3 branch1.0 896>256:1 branch1.1 256>256:3 "
    "branch2.0 896>256:1 branch2.1 256>256:3 branch2.2 256>256:3",
}


def layers(blocks):
    """(name, inputs, outputs, kernel) of every convolution."""
    table = {"": STEM, **{f"{name}.": text for name, text in REDUCTIONS.items()}}
    for (name, text), count in zip(BLOCKS.items(), blocks, strict=True):
        table |= {f"{name}.{i}.": text for i in range(count)}
    table["block8."] = BLOCKS["repeat_3"]
    for prefix, text in table.items():
        words = text.split()
        for name, spec in zip(words[::2], words[1::2], strict=True):
            inputs, outputs, *kernel = map(int, re.split("[>:x]", spec))
            yield prefix + name, inputs, outputs, (kernel * 2)[:2]


def state(unit=1, blocks=(2, 1, 2), embedding=24, people=7, *, zeros=False):
    """A state dictionary with 1/16 of `unit` times the published widths."""
    random = np.random.RandomState(0)
    draw = np.zeros if zeros else lambda shape: random.standard_normal(shape)
    arrays = {}

    def norm(name, width):
        arrays[f"{name}.weight"] = 1 + 0.1 * draw((width,))
        arrays[f"{name}.bias"] = 0.1 * draw((width,))
        arrays[f"{name}.running_mean"] = 0.1 * draw((width,))
        arrays[f"{name}.running_var"] = np.exp(0.2 * draw((width,)))
        arrays[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)

    for name, inputs, outputs, kernel in layers(blocks):
        inputs = 3 if inputs == 3 else inputs * unit // 16
        outputs = outputs * unit // 16
        weight = math.sqrt(2 / (inputs * math.prod(kernel))) * draw((outputs, inputs, *kernel))
        if name.endswith(".conv2d"):
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight, 0.1 * draw((outputs,))
        else:
            arrays[f"{name}.conv.weight"] = weight
            norm(f"{name}.bn", outputs)
    arrays["last_linear.weight"] = draw((embedding, 112 * unit)) / math.sqrt(112 * unit)
    norm("last_bn", embedding)
    arrays["logits.weight"], arrays["logits.bias"] = draw((people, embedding)), draw((people,))
    return {
        key: array.astype(np.float32) if array.dtype == np.float64 else array
        for key, array in arrays.items()
    }


def forward(arrays, x, blocks):
    """The embedding of 160 x 160 images in [0, 255], by the keys, in float64."""

    def norm(x, name):
        keys = ("weight", "bias", "running_mean", "running_var")
        numbers = [arrays[f"{name}.{key}"].astype(np.float64) for key in keys]
        return ref.batch_norm(x, *numbers, epsilon=1e-3)

    def layer(x, name, **options):
        x = ref.conv(x, arrays[f"{name}.conv.weight"], **options)
        return ref.relu(norm(x, f"{name}.bn"))

    def same(x, name, *indices):
        for index in indices or ("",):
            one = f"{name}{index}"
            kernel = arrays[f"{one}.conv.weight"].shape[2:]
            x = layer(x, one, padding=(kernel[0] // 2, kernel[1] // 2))
        return x

    def block(x, name, lengths, scale):
        rows = [same(x, f"{name}.branch0")]
        rows += [same(x, f"{name}.branch{b}.", *range(n)) for b, n in enumerate(lengths, 1)]
        y = np.concatenate(rows, axis=-1)
        return x + scale * ref.conv(
            y, arrays[f"{name}.conv2d.weight"], arrays[f"{name}.conv2d.bias"]
        )

    x = (x - 127.5) / 128
    x = layer(layer(x, "conv2d_1a", stride=2), "conv2d_2a")
    x = ref.max_pool(same(x, "conv2d_2b"), 3, stride=2)
    x = layer(layer(layer(x, "conv2d_3b"), "conv2d_4a"), "conv2d_4b", stride=2)
    for i in range(blocks[0]):
        x = ref.relu(block(x, f"repeat_1.{i}", (2, 3), 0.17))
    one = layer(x, "mixed_6a.branch0", stride=2)
    two = layer(same(x, "mixed_6a.branch1.", 0, 1), "mixed_6a.branch1.2", stride=2)
    x = np.concatenate([one, two, ref.max_pool(x, 3, stride=2)], axis=-1)
    for i in range(blocks[1]):
        x = ref.relu(block(x, f"repeat_2.{i}", (3,), 0.10))
    parts = [
        layer(same(x, f"mixed_7a.branch{b}.", *range(n)), f"mixed_7a.branch{b}.{n}", stride=2)
        for b, n in ((0, 1), (1, 1), (2, 2))
    ]
    x = np.concatenate([*parts, ref.max_pool(x, 3, stride=2)], axis=-1)
    for i in range(blocks[2]):
        x = ref.relu(block(x, f"repeat_3.{i}", (3,), 0.20))
    x = block(x, "block8", (3,), 1.0).mean(axis=(1, 2))
    x = norm(x @ arrays["last_linear.weight"].astype(np.float64).T, "last_bn")
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def converted(arrays, folder, write=torch_zip):
    (folder / "source.pt").write_bytes(write(arrays))
    convert("auto", folder / "source.pt", folder / "out.safetensors")
    return load_network(folder / "out.safetensors")


def test_embeddings_against_an_independent_forward(tmp_path):
    arrays = state()
    network = converted(arrays, tmp_path, torch_legacy)
    assert network.config == FaceNetConfig(1, (2, 1, 2), 24)
    # Smaller than the network's input, so that antialiasing plays no part.
    images = np.random.default_rng(0).uniform(-1, 1, (2, 150, 90, 3)).astype(np.float32)
    expected = forward(arrays, ref.resize((images + 1) * 127.5, 160, 160), (2, 1, 2))
    found = jax.jit(lambda n, x: n(x))(network, images)
    # Float32 against float64, some 30 layers deep, of embeddings of length 1: measured 1.5e-7.
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.slow
def test_a_file_of_full_size_uses_every_key(tmp_path):
    arrays = state(16, (5, 10, 5), 512, 8631, zeros=True)
    (tmp_path / "source").write_bytes(torch_zip(arrays))
    conversion = convert("facenet", tmp_path / "source", tmp_path / "out")
    assert conversion.plan.config == FaceNetConfig()
    counters = [key for key in arrays if key.endswith("num_batches_tracked")]
    used = [line for line in conversion.report if line.startswith("used")]
    assert len(used) == len(arrays) - len(counters) - 2
    assert any(line.startswith("ignored  logits.weight: the class") for line in conversion.report)


@pytest.mark.slow
def test_against_facenet_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("facenet_pytorch.models.inception_resnet_v1")
    image = pytest.importorskip("PIL.Image")
    arrays = state(16, (5, 10, 5), 512, 11)
    network = theirs.InceptionResnetV1(num_classes=11, classify=True).eval()
    network.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    network.classify = False
    ours = converted(arrays, tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 160, 160, 3)).astype(np.uint8)
    with torch.no_grad():
        x = torch.from_numpy(pixels.astype(np.float32).transpose(0, 3, 1, 2))
        expected = network((x - 127.5) / 128).numpy()
    found = ours(pixels.astype(np.float32) / 127.5 - 1)
    # Float32 on both sides, over a hundred layers deep: measured 1.2e-7.
    np.testing.assert_allclose(found, expected, atol=2e-6)

    # A larger crop as its detector resizes it: rounded to whole 1/255 there, measured 1.6e-4.
    large = np.random.default_rng(2).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    large = np.asarray(image.fromarray(large).resize((301, 387), image.BICUBIC))
    small = np.asarray(image.fromarray(large).resize((160, 160), image.BILINEAR), np.float32)
    with torch.no_grad():
        expected = network((torch.from_numpy(small.transpose(2, 0, 1))[None] - 127.5) / 128)
    found = ours(large[None].astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


REFUSED = {
    "missing": (lambda s: s.pop("repeat_3.1.conv2d.bias"), "lacks repeat_3.1.conv2d.bias"),
    "surplus": (lambda s: s.update({"last_linear.bias": np.zeros(24, "f")}), "last_linear.bias"),
    "shape": (
        lambda s: s.update({"repeat_2.0.branch1.1.conv.weight": np.zeros((8, 8, 7, 1), "f")}),
        r"branch1.1.conv.weight: its shape \[8, 8, 7, 1\] does not fit",
    ),
    "odd width": (
        lambda s: s.update({"conv2d_1a.conv.weight": np.zeros((3, 3, 3, 3), "f")}),
        "has 3 channels, expected an even number",
    ),
    "no blocks": (
        lambda s: s.pop("repeat_2.0.conv2d.weight"),
        r"blocks: expected at least 1, got 1, 24, \(2, 0, 2\)",
    ),
    "nan": (lambda s: s.update({"last_bn.bias": np.full(24, np.nan, "f")}), "last_bn.bias holds"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_written(case, tmp_path):
    edit, reason = REFUSED[case]
    check_refused(state(), edit, reason, tmp_path)


def test_another_family_is_refused(tmp_path):
    check_other_family(state(), "facenet", "fan", tmp_path)
