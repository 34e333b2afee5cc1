"""IR-SE50 against the outputs of its own code, and what the converter makes of odd files.

The parity files hold what TreB1eN's network, as e4e carries it, and e4e's identity loss gave with
weights of a formula, run by PyTorch in float32 on the CPU. They vary between runs by 3e-7, of
embeddings up to 0.13.
"""

import functools
import re

import jax
import numpy as np
import pytest
from fixture_formula import formula_state, manifest
from pickle_writer import Call, Global, torch_legacy, torch_zip
from tiny_encoders import TINY, UNITS, TorchNetwork, recognition_state

from jaxface.convert import Refusal, convert
from jaxface.convert.families.arcface import recognition_plan
from jaxface.convert.plan import fill
from jaxface.losses import identity
from jaxface.nets import IRSEConfig
from jaxface.weights import build_network, load_network
from tools.convert_weights.__main__ import main

# Twenty times what the reference varies by, relative to the largest magnitude.
TOLERANCE = 5e-5


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def assert_close(found, expected, what, *, tolerance=TOLERANCE):
    assert found.shape == expected.shape, what
    difference = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
    assert difference < tolerance, f"{what}: {difference:.1e} of the scale"


@functools.cache
def official(fixtures, seed):
    """The full-width network with the formula's weights."""
    shapes = manifest(fixtures / "manifest_arcface_ir_se50_112.json")
    plan = recognition_plan(formula_state(seed, shapes))
    arrays, _ = fill(plan)
    return build_network(plan.class_name, plan.config, arrays)


embed = jax.jit(lambda network, crops: network.embed(crops))
embed_portraits = jax.jit(lambda network, images: network(images))


@pytest.mark.slow  # 44 million weights
def test_embeddings_and_features(fixtures):
    reference = np.load(fixtures / "arcface_ir_se50_formula.npz")
    network = official(fixtures, int(reference["formula_seed"]))
    assert network.config == IRSEConfig()
    crops = channels_last(reference["x"])
    assert_close(embed(network, crops), reference["embedding"], "embeddings")
    features = jax.jit(lambda network, crops: network.features(crops))(network, crops)
    assert_close(features, reference["pre_norm"], "before the norm")
    stem = network.body.stem(crops[:1])[:, ::8, ::8]
    assert_close(stem, channels_last(reference["stem_stride8"]), "stem")
    body = jax.jit(lambda network, crops: network.body(crops)[-1])(network, crops[:1])
    assert_close(body, channels_last(reference["body"]), "body")


@pytest.mark.slow
def test_identity_loss(fixtures):
    reference = np.load(fixtures / "id_loss.npz")
    network = official(fixtures, int(reference["formula_seed"]))
    images = {name: channels_last(reference[name]) for name in ("y", "y_hat")}
    # Averages of float32 pixels in another order.
    expected = channels_last(reference["crop_pool_y"])
    np.testing.assert_allclose(network.crop(images["y"]), expected, atol=1e-6)
    features = {name: embed_portraits(network, image) for name, image in images.items()}
    for name, found in features.items():
        assert_close(found, reference[f"feats_{name}"], name)
    # Differences of float32 cosines near one: a few times 1e-7.
    loss = identity.distance(features["y_hat"], features["y"])
    np.testing.assert_allclose(loss.mean(), reference["loss"], atol=2e-6)


def test_the_official_file_s_keys_are_all_used(fixtures):
    shapes = manifest(fixtures / "manifest_arcface_ir_se50_112.json")
    arrays = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    plan = recognition_plan(arrays)
    assert plan.config == IRSEConfig()
    _, report = fill(plan)
    assert len(report) == len(shapes)
    ignored = [line for line in report if not line.startswith("used")]
    assert all("num_batches_tracked" in line for line in ignored)


@pytest.mark.parametrize("write", [torch_zip, torch_legacy], ids=["zip", "legacy"])
def test_sizes_come_from_the_arrays(write, tmp_path):
    (tmp_path / "in").write_bytes(write(recognition_state(side=2, squeeze=False, affine=False)))
    conversion = convert("auto", tmp_path / "in", tmp_path / "out")
    assert conversion.family == "arcface"
    config = IRSEConfig(
        channels=TINY,
        units=UNITS,
        reduction=None,
        embedding_dim=5,
        resolution=32,
        output_affine=False,
    )
    network = load_network(tmp_path / "out")
    assert network.config == config
    (tmp_path / "in").write_bytes(write(recognition_state()))
    convert("arcface", tmp_path / "in", tmp_path / "out")
    network = load_network(tmp_path / "out")
    assert (network.config.reduction, network.config.resolution) == (3, 112)


@pytest.mark.parametrize("squeeze", [True, False], ids=["IR-SE", "IR"])
def test_a_narrow_network_against_torch(squeeze, tmp_path):
    """The published architecture out of PyTorch's own layers, at tiny width."""
    torch = pytest.importorskip("torch")
    state = recognition_state(squeeze=squeeze)
    (tmp_path / "in").write_bytes(torch_zip(state))
    convert("auto", tmp_path / "in", tmp_path / "out")
    network = load_network(tmp_path / "out")
    theirs = TorchNetwork(torch, state)
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 112, 112, 3)).astype(np.float32)
    x = theirs.body(torch.from_numpy(crops).permute(0, 3, 1, 2))[-1]
    weight, bias = (theirs.tensors[f"output_layer.3.{key}"] for key in ("weight", "bias"))
    x = torch.nn.functional.linear(theirs.norm(x, "output_layer.0").flatten(1), weight, bias)
    x = theirs.norm(x, "output_layer.4")
    x = x / torch.norm(x, 2, 1, True)
    assert_close(embed(network, crops), x.numpy(), "embeddings")


REFUSED = {
    "missing": (
        lambda state: state.pop("body.2.res_layer.3.weight"),
        "lacks body.2.res_layer.3.weight",
    ),
    "stages": (
        lambda state: [state.pop(key) for key in list(state) if re.match(r"body\.[34]", key)],
        r"body has 3 stages of widths \[2, 3, 4\], expected 4",
    ),
    "missing norm": (
        lambda state: state.pop("body.1.res_layer.4.running_var"),
        "lacks body.1.res_layer.4.running_var",
    ),
    "surplus": (lambda state: state.update(extra=np.zeros(3, np.float32)), "unexpected extra"),
    "shape": (
        lambda state: state.update({"output_layer.0.weight": np.zeros(7, np.float32)}),
        r"output_layer.0.weight: its shape \[7\] does not fit norm.weight \[6\]",
    ),
    "side": (
        lambda state: state.update({"output_layer.3.weight": np.zeros((5, 6 * 50), np.float32)}),
        "output_layer.3.weight: its shape",
    ),
    "nan": (
        lambda state: state.update({"input_layer.2.weight": np.full(2, np.nan, np.float32)}),
        "input_layer.2.weight holds NaN",
    ),
    "no tensor": (lambda state: state.update({"output_layer.3.bias": "x"}), "expected a tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    edit, reason = REFUSED[case]
    state = recognition_state()
    edit(state)
    (tmp_path / "in").write_bytes(torch_zip(state))
    assert main(["auto", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_damage_code_and_other_families_are_refused(tmp_path):
    data = torch_zip(recognition_state())
    attack = torch_zip({**recognition_state(), "extra": Call(Global("os", "system"), ("true",))})
    for content, reason in ((data[:5000], "truncated"), (attack, r"asks to run os\.system")):
        (tmp_path / "in").write_bytes(content)
        with pytest.raises(Refusal, match=reason):
            convert("arcface", tmp_path / "in", tmp_path / "out")
    (tmp_path / "in").write_bytes(data)
    with pytest.raises(Refusal, match="is of the family arcface, not rosinality"):
        convert("rosinality", tmp_path / "in", tmp_path / "out")
    with pytest.raises(Refusal, match="hold recognition, not encoder"):
        convert("arcface", tmp_path / "in", tmp_path / "out", network="encoder")
