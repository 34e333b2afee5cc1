"""Files with a torchvision trunk: every key of a full-size one is used, and others are refused."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trunk_checkpoints as trunks
from pickle_writer import Call, Global, dumps, torch_legacy, torch_zip

from jaxface.convert import Refusal, convert
from jaxface.convert.families import lpips, torchvision
from jaxface.convert.formats.tensors import NumpyArray
from jaxface.convert.plan import Plan, fill
from jaxface.weights import load_network
from tools.convert_weights.__main__ import main

MAKE = trunks.formula(0)
HEADS = trunks.positive(1)


def zeros(key: str, shape: trunks.Shape) -> NumpyArray:
    """What the reader of a file gives, in no memory."""
    return NumpyArray(np.broadcast_to(np.float32(0), shape))


def narrow(trunk: str) -> dict[str, Any]:
    return trunks.torchvision_state(trunk, trunks.NARROW[trunk], MAKE)


def heads(trunk: str) -> dict[str, Any]:
    return trunks.head_state(trunks.NARROW[trunk], HEADS)


def whole(trunk: str, **options: Any) -> dict[str, Any]:
    return trunks.lpips_state(trunk, narrow(trunk), heads(trunk), **options)


def write(path: Path, state: Any, form: Any = torch_zip) -> Path:
    path.write_bytes(form(state))
    return path


def used_and_ignored(plan: Plan) -> tuple[set[str], set[str]]:
    """Source keys by what the report says of them; the strict filling has passed."""
    _, report = fill(plan)
    words = [line.split() for line in report]
    used = {key for verb, key, *_ in words if verb == "used"}
    return used, {key.rstrip(":") for verb, key, *_ in words if verb == "ignored"}


@pytest.mark.parametrize(("trunk", "name"), [("vgg", "VGG16"), ("alex", "AlexNet")])
def test_every_key_of_a_full_size_file_is_used_or_ignored(trunk, name):
    state = trunks.torchvision_state(trunk, trunks.PUBLISHED[trunk], zeros)
    features = set(state)
    trunks.with_classifier(trunk, state, zeros)
    assert torchvision.matches(state)
    plan = torchvision.plan(state, "features", {})
    assert plan.class_name == name
    assert plan.config == type(plan.config)()
    assert used_and_ignored(plan) == (features, state.keys() - features)
    assert len(features) == 2 * len(trunks.LAYERS[trunk])


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_every_key_of_a_full_size_lpips_is_used_or_ignored(trunk):
    widths = trunks.PUBLISHED[trunk]
    state = trunks.torchvision_state(trunk, widths, zeros)
    heads = trunks.head_state(widths, zeros)
    state = trunks.lpips_state(trunk, state, heads)
    for key in ("scaling_layer.shift", "scaling_layer.scale"):
        state[key] = NumpyArray(state[key])
    assert lpips.matches(state)
    plan = lpips.plan(state, "LPIPS")
    assert (plan.class_name, plan.config.trunk, plan.config.widths) == ("LPIPS", trunk, widths)
    used, ignored = used_and_ignored(plan)
    assert used == {key for key in state if key.startswith("net.")} | heads.keys()
    assert ignored == state.keys() - used


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
@pytest.mark.parametrize("form", [torch_zip, torch_legacy])
def test_one_file_and_trunk_with_heads_give_the_same_network(trunk, form, tmp_path, capsys):
    source = write(tmp_path / "lpips.pth", whole(trunk), form)
    convert("auto", source, tmp_path / "one")
    older = write(tmp_path / "older.pth", whole(trunk, copies=False), form)
    convert("auto", older, tmp_path / "two")
    state = narrow(trunk) | {"classifier.6.bias": np.zeros(1000, np.float32)}
    source = write(tmp_path / "trunk.pth", state, form)
    more = write(tmp_path / "heads.pth", heads(trunk), form)
    command = ["auto", source, tmp_path / "three", "--network", "LPIPS", "--with", f"heads={more}"]
    assert main([str(part) for part in command]) == 0
    report = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"with     heads={more}, SHA-256 ") for line in report)
    networks = [load_network(tmp_path / name) for name in ("one", "two", "three")]
    for network in networks[1:]:
        jax.tree.map(np.testing.assert_array_equal, network, networks[0])
    for k, head in enumerate(networks[0].heads):
        np.testing.assert_array_equal(head[...], heads(trunk)[f"lin{k}.model.1.weight"].ravel())
    kernel = networks[0].trunk.layers[1].weight[...]
    number = list(trunks.LAYERS[trunk])[1]
    theirs = state[f"features.{number}.weight"]
    np.testing.assert_array_equal(kernel, theirs.transpose(2, 3, 1, 0))


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


SCALE = np.full((1, 3, 1, 1), 0.5, np.float32)
NAN = np.full((2,), np.nan, np.float32)
REFUSED = {
    "missing": (without(narrow("vgg"), "features.28.bias"), "lacks features.28.bias"),
    "missing width": (without(narrow("vgg"), "features.5.bias"), "lacks features.5.bias"),
    "surplus": (narrow("alex") | {"features.0.x": SCALE}, "unexpected features.0.x"),
    "head of an image classifier": (narrow("alex") | {"fc.weight": SCALE}, "unexpected fc.weight"),
    "shape": (
        narrow("vgg") | {"features.2.weight": np.zeros((2, 2, 5, 5), np.float32)},
        r"features.2.weight: its shape \[2, 2, 5, 5\] does not fit layers.1.weight",
    ),
    "nan": (narrow("vgg") | {"features.0.bias": NAN}, "features.0.bias holds NaN"),
    "vgg19": (
        narrow("vgg") | {"features.30.weight": SCALE, "features.30.bias": SCALE},
        "features has weights in the layers 0, 2, .*, 28, 30; expected vgg16's",
    ),
    "batch normalisation": (
        narrow("vgg") | {"features.1.weight": NAN, "features.1.running_mean": NAN},
        "features has weights in the layers 0, 1, 2",
    ),
    "no tensor": (narrow("vgg") | {"features.2.bias": "x"}, "features.2.bias: expected a tensor"),
    "lpips, heads alone": (heads("vgg"), "linear heads without a trunk.*--with heads=FILE"),
    "lpips, missing head": (without(whole("vgg"), "lin3.model.1.weight"), "lins.3.*differs from"),
    "lpips, missing head of an older file": (
        without(whole("vgg", copies=False), "lin3.model.1.weight"),
        "lacks lin3.model.1.weight",
    ),
    "lpips, another copy": (
        whole("vgg") | {"lins.1.model.1.weight": np.ones((1, 3, 1, 1), np.float32)},
        "lins.1.model.1.weight differs from lin1.model.1.weight",
    ),
    "lpips, no scaling": (
        without(whole("alex"), "scaling_layer.shift"),
        "lacks scaling_layer.shift",
    ),
    "lpips, other scaling": (
        whole("alex") | {"scaling_layer.scale": SCALE},
        "scaling_layer.scale differs from the package's",
    ),
    "lpips, more heads": (
        whole("alex") | {"lin5.model.1.weight": SCALE},
        "unexpected lin5.model.1.weight",
    ),
    "lpips, other trunk": (
        without(whole("alex"), "net.slice2.3.weight"),
        "net has weights in the layers 0, 6, 8, 10; expected vgg16's",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    state, reason = REFUSED[case]
    source = write(tmp_path / "source", state)
    assert main(["auto", str(source), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    assert re.search(reason, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


HEADS_REFUSED = {
    "none": (None, "LPIPS of the family torchvision also needs --with heads=FILE"),
    "of the other trunk": (heads("alex"), r"lin0.model.1.weight: its shape \[1, 3, 1, 1\]"),
    "the trunk again": (narrow("vgg"), "holds no lin0.model.1.weight"),
    "with a trunk": (heads("vgg") | narrow("vgg"), "holds features.0.bias too"),
    "of squeezenet": (
        heads("vgg") | {"lin5.model.1.weight": SCALE},
        "unexpected lin5.model.1.weight",
    ),
}


@pytest.mark.parametrize("case", HEADS_REFUSED)
def test_heads_that_do_not_fit_the_trunk_are_refused(case, tmp_path, capsys):
    state, reason = HEADS_REFUSED[case]
    command = ["auto", str(write(tmp_path / "in", narrow("vgg"))), str(tmp_path / "out")]
    command += ["--network", "LPIPS"]
    if state is not None:
        command += ["--with", f"heads={write(tmp_path / 'heads', state)}"]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert not (tmp_path / "out").exists()


def test_families_know_their_own_files(tmp_path):
    judge, trunk = write(tmp_path / "lpips", whole("vgg")), write(tmp_path / "trunk", narrow("vgg"))
    for source, family, other in ((judge, "lpips", "torchvision"), (trunk, "torchvision", "lpips")):
        assert convert("auto", source, tmp_path / "out").family == family
        with pytest.raises(Refusal, match=f"is of the family {family}, not {other}"):
            convert(other, source, tmp_path / "never")
    attack = {"features.0.weight": Call(Global("os", "system"), ("true",))}
    with pytest.raises(Refusal, match=r"asks to run os\.system"):
        convert("auto", write(tmp_path / "attack", attack, dumps), tmp_path / "never")


@pytest.mark.slow  # initialises a trunk and its 120 to 140 million weights of a classifier
@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_the_packages_own_networks(trunk, tmp_path):
    """torchvision's network with random weights and the lpips package's around it."""
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    package = pytest.importorskip("lpips")
    network = (models.vgg16 if trunk == "vgg" else models.alexnet)(weights=None).eval()
    judge = package.LPIPS(net=trunk, pretrained=True, pnet_rand=True, verbose=False)
    heads = Path(package.__file__).parent / "weights" / "v0.1" / f"{trunk}.pth"
    numbers = [int(key.split(".")[-2]) for key in judge.net.state_dict() if key.endswith("bias")]
    for number in numbers:  # the network's weights into the package's trunk
        (layer,) = [m for name, m in judge.net.named_modules() if name.endswith(f".{number}")]
        layer.load_state_dict(network.features[number].state_dict())
    torch.save(network.state_dict(), tmp_path / "trunk.pth")
    torch.save(judge.state_dict(), tmp_path / "lpips.pth")
    convert("auto", tmp_path / "trunk.pth", tmp_path / "trunk")
    convert("auto", tmp_path / "lpips.pth", tmp_path / "one")
    source = tmp_path / "trunk.pth"
    convert("auto", source, tmp_path / "two", network="LPIPS", extras={"heads": heads})

    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 40, 37, 3)).astype(np.float32)
    x, y = (torch.from_numpy(np.moveaxis(part, -1, 1).copy()) for part in images)
    ours = load_network(tmp_path / "trunk")
    last = "relu5_3" if trunk == "vgg" else "relu5"
    mean, std = (torch.tensor(v)[:, None, None] for v in (ours.config.mean, ours.config.std))
    with torch.no_grad():
        expected = network.features[:-1](((x + 1) / 2 - mean) / std).numpy()
        distance = judge(x, y).numpy().reshape(-1)
    found = jax.jit(lambda net, x: net.features(x, (last,))[last])(ours, jnp.asarray(images[0]))
    # Up to thirteen layers of float32 sums in another order.
    assert np.abs(found - np.moveaxis(expected, 1, -1)).max() < 1e-5 * np.abs(expected).max()
    call = jax.jit(lambda net, x, y: net(x, y))
    for name in ("one", "two"):
        np.testing.assert_allclose(
            call(load_network(tmp_path / name), *images), distance, rtol=1e-5
        )
