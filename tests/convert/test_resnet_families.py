"""DECA's encoder, HopeNet, Deep3DFaceRecon's and ResNet-50 itself: files, and what they refuse.

DECA's outputs come from yfeng95/DECA, run by PyTorch in float32. The other two have no reference
file: their architecture is built of torchvision's ResNet-50 with random weights where that is
installed; the forward passes are also tested against NumPy (tests/nets/test_resnet_networks.py).
"""

import re

import jax
import numpy as np
import pytest
from fixture_formula import formula_state, manifest
from pickle_writer import Call, Global, torch_legacy, torch_zip
from test_parity import assert_close, channels_last

from jaxface.convert import convert
from jaxface.convert.families.resnet import trunk_entries
from jaxface.nets.reconstruction.deep3d import HEADS
from jaxface.weights import load_network
from tools.convert_weights.__main__ import main

BLOCKS, WIDTH = (1, 2, 1, 1), 2
run = jax.jit(lambda network, images: network(images))

# Twenty times what DECA's encoder varies by between runs, 9.5e-7 of 2.91; a fifth of the promise.
TOLERANCE = 2e-5


def trunk(prefix, blocks=BLOCKS, width=WIDTH, *, counters=True):
    """Shapes of torchvision's ResNet, keys spelled out."""
    shapes = {f"{prefix}conv1.weight": (width, 3, 7, 7)}
    norms = {f"{prefix}bn1": width}
    channels = width
    for stage, count in enumerate(blocks):
        middle = width << stage
        for block in range(count):
            name = f"{prefix}layer{stage + 1}.{block}"
            shapes[f"{name}.conv1.weight"] = (middle, channels, 1, 1)
            shapes[f"{name}.conv2.weight"] = (middle, middle, 3, 3)
            shapes[f"{name}.conv3.weight"] = (4 * middle, middle, 1, 1)
            norms |= {f"{name}.bn1": middle, f"{name}.bn2": middle, f"{name}.bn3": 4 * middle}
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * middle, channels, 1, 1)
                norms[f"{name}.downsample.1"] = 4 * middle
            channels = 4 * middle
    for name, size in norms.items():
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{key}"] = (size,)
        if counters:
            shapes[f"{name}.num_batches_tracked"] = ()
    return shapes, channels


def deca_shapes(**sizes):
    shapes, channels = trunk("encoder.", **sizes)
    shapes |= {"layers.0.weight": (6, channels), "layers.0.bias": (6,)}
    return {**shapes, "layers.2.weight": (236, 6), "layers.2.bias": (236,)}


def hopenet_shapes(**sizes):
    # Written before PyTorch counted batches.
    shapes, channels = trunk("", counters=False, **sizes)
    for head, out, extra in (("yaw", 66, 0), ("pitch", 66, 0), ("roll", 66, 0), ("finetune", 3, 3)):
        shapes |= {f"fc_{head}.weight": (out, channels + extra), f"fc_{head}.bias": (out,)}
    return shapes


def deep3d_shapes(**sizes):
    shapes, channels = trunk("backbone.", **sizes)
    for n, out in enumerate((80, 64, 80, 3, 27, 2, 1)):
        shapes |= {f"final_layers.{n}.weight": (out, channels, 1, 1)}
        shapes[f"final_layers.{n}.bias"] = (out,)
    return shapes


def torchvision_shapes(**sizes):
    shapes, channels = trunk("", **sizes)
    return {**shapes, "fc.weight": (5, channels), "fc.bias": (5,)}


def checkpoint(family, state):
    """The published file's object around a network's state."""
    if family == "deca":
        other = {"encoder.conv1.weight": np.zeros((2, 3, 7, 7), np.float32)}
        return {"E_flame": state, "E_detail": other, "D_detail": {}}
    if family == "deep3d":
        return {"net_recon": state, "opt_00": {"state": {}}, "sched_00": {"step_size": 10}}
    return state


SHAPES = {
    "deca": deca_shapes,
    "hopenet": hopenet_shapes,
    "deep3d": deep3d_shapes,
    "torchvision": torchvision_shapes,
}
CLASSES = {
    "deca": "DECAEncoder",
    "hopenet": "HopeNet",
    "deep3d": "Deep3D",
    "torchvision": "ResNetFeatures",
}
SEED = 7


def write(folder, family, state=None, save=torch_zip):
    state = formula_state(SEED, SHAPES[family]()) if state is None else state
    source = folder / f"{family}.checkpoint"
    source.write_bytes(save(checkpoint(family, state)))
    return source


@pytest.mark.slow
def test_deca_gives_what_its_own_code_gives(fixtures, tmp_path):
    """ResNet-50 at full size: 25 million weights by the fixtures' formula."""
    reference = np.load(fixtures / "deca_encoder_formula.npz")
    shapes = manifest(fixtures / "manifest_deca_E_flame.json")
    state = formula_state(int(reference["formula_seed"]), shapes)
    conversion = convert("auto", write(tmp_path, "deca", state), tmp_path / "out")
    assert set(shapes) <= {line.split()[1].rstrip(":") for line in conversion.report}
    network = load_network(tmp_path / "out")
    assert network.config.blocks == (3, 4, 6, 3)
    images = channels_last(reference["x"]) * 2 - 1
    features = jax.jit(lambda network, images: network.features(images))(network, images)
    assert_close(features, reference["features"], "features", tolerance=TOLERANCE)
    assert_close(run(network, images), reference["params"], "parameters", tolerance=TOLERANCE)


@pytest.mark.parametrize("family", SHAPES)
def test_full_size_files_are_used_whole(family, tmp_path):
    """Key by key as published, ResNet-50 in four stages; one channel wide to be quick."""
    shapes = SHAPES[family](blocks=(3, 4, 6, 3), width=1)
    conversion = convert(
        "auto", write(tmp_path, family, formula_state(SEED, shapes)), tmp_path / "o"
    )
    lines = {line.split()[1].rstrip(":"): line.split()[0] for line in conversion.report}
    for key in shapes:
        ignored = key.endswith("num_batches_tracked") or key.startswith(("fc_finetune", "fc."))
        assert lines[key] == ("ignored" if ignored else "used")
    assert conversion.family == family
    assert conversion.plan.config.blocks == (3, 4, 6, 3)


def test_the_manifest_s_keys_are_the_tests(fixtures):
    shapes = manifest(fixtures / "manifest_deca_E_flame.json")
    sizes = {"blocks": (3, 4, 6, 3), "width": 64}
    ours = deca_shapes(**sizes) | {
        "layers.0.weight": (1024, 2048),
        "layers.0.bias": (1024,),
        "layers.2.weight": (236, 1024),
    }
    assert shapes == ours


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("save", [torch_zip, torch_legacy], ids=["zip", "stream"])
def test_files_of_both_formats_give_one_network(family, save, tmp_path):
    target = tmp_path / "out.safetensors"
    conversion = convert(family, write(tmp_path, family, save=save), target)
    network = load_network(target)
    assert type(network).__name__ == CLASSES[family]
    assert (network.config.blocks, network.config.width) == (BLOCKS, WIDTH)
    state = formula_state(SEED, SHAPES[family]())
    arrays = conversion.arrays
    prefix = {"deca": "encoder.", "deep3d": "backbone."}.get(family, "")
    for entry in trunk_entries(BLOCKS, "trunk", prefix=prefix):
        np.testing.assert_array_equal(arrays[entry.target], entry.hook(state[entry.source]))
    if family == "deep3d":
        for n, width in enumerate(HEADS):
            kernel = state[f"final_layers.{n}.weight"]
            assert arrays[f"heads.{n}.weight"].shape == (kernel.shape[1], width)
            np.testing.assert_array_equal(arrays[f"heads.{n}.weight"], kernel[:, :, 0, 0].T)


def without(key):
    return lambda state: state.pop(key)


def put(key, *shape):
    return lambda state: state.__setitem__(key, np.zeros(shape, np.float32))


def everything(text, new):
    def edit(state):
        for key in [key for key in state if text in key]:
            state[new + key] = state.pop(key)

    return edit


REFUSED = {
    "deca, missing": ("deca", without("layers.0.bias"), "lacks layers.0.bias"),
    "deca, hidden": ("deca", without("layers.2.weight"), "lacks layers.2.weight"),
    "deca, surplus": ("deca", put("layers.4.bias", 2), "unexpected layers.4.bias"),
    "deca, shape": (
        "deca",
        put("encoder.bn1.weight", 3),
        r"encoder.bn1.weight: its shape \[3\] does not fit trunk.stem_norm.weight \[2\]",
    ),
    "deca, no trunk": ("deca", without("encoder.conv1.weight"), "lacks encoder.conv1.weight"),
    "deca, other trunk": ("deca", everything(".conv3.", "x."), "no ResNet with bottlenecks"),
    "hopenet, missing": ("hopenet", without("fc_roll.bias"), "lacks fc_roll.bias"),
    "hopenet, surplus": ("hopenet", put("fc.weight", 2, 2), "unexpected fc.weight"),
    "hopenet, bins": (
        "hopenet",
        put("fc_roll.weight", 60, 64),
        r"fc_roll.weight: its shape \[60, 64\] does not fit",
    ),
    "hopenet, block": (
        "hopenet",
        without("layer2.1.conv3.weight"),
        r"unexpected layer2\.1\.",
    ),
    "hopenet, nan": (
        "hopenet",
        lambda state: state["bn1.bias"].fill(np.nan),
        "bn1.bias holds NaN",
    ),
    "deep3d, missing": ("deep3d", without("final_layers.6.weight"), "lacks final_layers.6.weight"),
    "deep3d, surplus": ("deep3d", put("final_layers.7.bias", 3), "unexpected final_layers.7.bias"),
    "deep3d, kernel": (
        "deep3d",
        put("final_layers.0.weight", 80, 64, 3, 3),
        r"final_layers.0.weight: its shape \[80, 64, 3, 3\] does not fit",
    ),
    "deep3d, one head": ("deep3d", put("backbone.fc.weight", 257, 64), "use_last_fc"),
    "torchvision, other": ("torchvision", without("layer3.0.conv3.weight"), "ResNet with bottl"),
    "torchvision, missing": ("torchvision", without("bn1.bias"), "lacks bn1.bias"),
    "torchvision, surplus": ("torchvision", put("fc2.bias", 5), "unexpected fc2.bias"),
    "deep3d, no array": (
        "deep3d",
        lambda state: state.__setitem__("final_layers.0.bias", "text"),
        "final_layers.0.bias: expected a tensor, got a str",
    ),
}


def refusal(arguments, capsys):
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    return line


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    family, edit, reason = REFUSED[case]
    state = formula_state(SEED, SHAPES[family]())
    edit(state)
    source, target = write(tmp_path, family, state), tmp_path / "out"
    line = refusal([family, source, target], capsys)
    assert re.search(reason, line), line
    assert not target.exists()


@pytest.mark.parametrize("family", SHAPES)
def test_other_families_truncation_and_code_are_refused(family, tmp_path, capsys):
    source, target = write(tmp_path, family), tmp_path / "out"
    for other in SHAPES.keys() - {family}:
        assert f"is of the family {family}, not {other}" in refusal([other, source, target], capsys)
    assert "hold" in refusal(["auto", source, target, "--network", "G_ema"], capsys)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(["auto", source, target], capsys)
    attack = {**formula_state(SEED, SHAPES[family]()), "x": Call(Global("os", "system"), ("true",))}
    write(tmp_path, family, attack)
    assert "asks to run os.system" in refusal(["auto", source, target], capsys)
    assert not target.exists()


def test_lpips_is_not_made_of_a_resnet(tmp_path, capsys):
    source, target = write(tmp_path, "torchvision"), tmp_path / "out"
    heads = ["--network", "LPIPS", "--with", f"heads={source}"]
    line = refusal(["torchvision", source, target, *heads], capsys)
    assert "LPIPS is made of vgg16 or alexnet, not of a ResNet" in line


def random_resnet50(torch):
    """torchvision's ResNet-50 with statistics that are not trivial."""
    resnet = pytest.importorskip("torchvision.models.resnet")
    torch.manual_seed(0)
    network = resnet.resnet50(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    network.fc = torch.nn.Identity()
    return network


def nchw(torch, images):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@pytest.mark.slow
def test_hopenet_against_its_architecture_in_torch(tmp_path):
    """Keys, transforms and angles of test_hopenet.py around torchvision's ResNet-50."""
    torch = pytest.importorskip("torch")
    transforms = pytest.importorskip("torchvision.transforms.functional")
    theirs = random_resnet50(torch)
    heads = {name: torch.nn.Linear(2048, 66) for name in ("yaw", "pitch", "roll")}
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    for name, head in heads.items():
        state[f"fc_{name}.weight"] = head.weight.detach().numpy() * 3  # angles of several bins
        state[f"fc_{name}.bias"] = head.bias.detach().numpy()
    state |= {
        "fc_finetune.weight": np.zeros((3, 2051), "f4"),
        "fc_finetune.bias": np.zeros(3, "f4"),
    }
    images = np.random.default_rng(0).uniform(-1, 1, (2, 300, 250, 3)).astype(np.float32)
    with torch.no_grad():
        x = transforms.resize(nchw(torch, (images + 1) / 2), [224], antialias=True)
        x = transforms.center_crop(x, [224, 224])
        x = transforms.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        features = theirs(x)
        degrees = []
        for head in heads.values():
            logits = features @ (3 * head.weight).T + head.bias
            share = torch.softmax(logits, dim=1)
            degrees.append((share * torch.arange(66)).sum(dim=1) * 3 - 99)
        expected = torch.stack(degrees, dim=1).numpy() * np.pi / 180
    convert("auto", write(tmp_path, "hopenet", state), tmp_path / "out")
    found = run(load_network(tmp_path / "out"), images)
    # Radians: float32 rounding of fifty layers and of a resize; a hundredth of a degree is 2e-4.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_deep3d_against_its_architecture_in_torch(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = random_resnet50(torch)
    layers = [torch.nn.Conv2d(2048, width, 1) for width in (80, 64, 80, 3, 27, 2, 1)]
    state = {f"backbone.{k}": v.numpy() for k, v in theirs.state_dict().items()}
    for n, layer in enumerate(layers):
        state[f"final_layers.{n}.weight"] = layer.weight.detach().numpy()
        state[f"final_layers.{n}.bias"] = layer.bias.detach().numpy()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    with torch.no_grad():
        features = theirs(nchw(torch, (images + 1) / 2))[:, :, None, None]
        expected = torch.flatten(torch.cat([layer(features) for layer in layers], dim=1), 1)
    convert("auto", write(tmp_path, "deep3d", state), tmp_path / "out")
    network = load_network(tmp_path / "out")
    found = jax.jit(lambda network, images: network.coefficients(images))(network, images)
    assert_close(found, expected.numpy(), "coefficients", tolerance=TOLERANCE)
