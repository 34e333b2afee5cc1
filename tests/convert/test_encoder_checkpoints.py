"""pSp's, e4e's and ReStyle's whole files against the outputs of their own code, and odd files.

The parity files hold what the encoders of omertov/encoder4editing and yuval-alaluf/restyle-encoder
gave with weights of a formula, run by PyTorch in float32 on the CPU. They vary between runs by
1e-6 to 2e-6 of their largest magnitude.
"""

import re

import jax
import numpy as np
import pytest
import tiny_checkpoints
from fixture_formula import formula_state, manifest
from pickle_writer import Call, Global, torch_legacy, torch_zip
from tiny_encoders import (
    FAMILIES,
    INTO_W,
    PYRAMIDS,
    RESTYLE,
    STYLES,
    TINY,
    UNITS,
    TorchNetwork,
    encoder_checkpoint,
)

from jaxface.convert import Refusal, convert
from jaxface.convert.families.encoders import CLASSES, encoder_plan
from jaxface.convert.plan import fill
from jaxface.methods import restyle
from jaxface.nets import EncoderConfig
from jaxface.nets.torch_layers import adaptive_average_pool
from jaxface.weights import abstract_network, build_network, load_network, network_names
from tools.convert_weights.__main__ import main

# Twenty times what the reference varies by, relative to the largest magnitude.
TOLERANCE = 4e-5

# ReStyle feeds images back: after five passes through generator and encoder the codes differ by up
# to 8e-6, and the images of a narrow generator of random weights by up to 5e-5, where the first
# images differ by 3e-6. Four times that.
LAST_IMAGE_TOLERANCE = 2e-4

ENCODER_TYPES = [(family, each) for family, types in FAMILIES.items() for each in types]

# Unoptimised code compiles in half the time, and these networks run in no time at all.

offsets = jax.jit(
    lambda encoder, *inputs, **options: encoder.offsets(*inputs, **options), static_argnames="stage"
)
encode = jax.jit(lambda encoder, *inputs: encoder(*inputs))
synthesise = jax.jit(lambda generator, w_plus: generator.synthesis(w_plus))
invert = jax.jit(restyle.invert)


def channels_last(x):
    """... C H W to ... H W C."""
    return np.moveaxis(x, -3, -1)


def assert_close(found, expected, what, *, tolerance=TOLERANCE):
    assert found.shape == expected.shape, what
    difference = np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()
    assert difference < tolerance, f"{what}: {difference:.1e} of the scale"


def both_networks(source, folder):
    """Encoder and generator after a trip through their files."""
    for network in ("encoder", "decoder"):
        convert("auto", source, folder / network, network=network)
    return load_network(folder / "encoder"), load_network(folder / "decoder")


# The originals' outputs.


@pytest.mark.slow
def test_a_narrow_e4e_file(fixtures, tmp_path):
    reference = np.load(fixtures / "e4e_small_64.npz")
    encoder, generator = both_networks(fixtures / "e4e_small_64.pt", tmp_path)
    np.testing.assert_array_equal(encoder.w_start[...], reference["latent_avg"])
    images = channels_last(reference["x"])
    codes = offsets(encoder, images)
    assert_close(codes, reference["encoder_out"], "codes without the mean")
    w_plus = encoder.w_start[...] + codes
    assert_close(w_plus, reference["latents"], "codes")
    images = synthesise(generator, w_plus)
    assert_close(images, channels_last(reference["img"]), "images")
    found = adaptive_average_pool(images, 256)[:, ::4, ::4]
    expected = channels_last(reference["img_face_pool_256_stride4"])
    assert_close(found, expected, "images at 256 px")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "encoder_type"), [("psp", RESTYLE[0]), ("e4e", RESTYLE[1])])
def test_narrow_restyle_files(kind, encoder_type, fixtures, tmp_path):
    reference = np.load(fixtures / f"restyle_{kind}_small_64.npz")
    shapes = manifest(fixtures / f"manifest_restyle_{kind}_small_64.json")
    state = formula_state(int(reference["formula_seed"]), shapes)
    for key in state:
        if "encoder.styles" in key and ".linear." in key:  # smaller steps, says the README
            state[key] *= np.float32(0.3)
    options = {"encoder_type": encoder_type, "input_nc": 6, "output_size": 64}
    checkpoint = {"state_dict": state, "latent_avg": reference["latent_avg"], "opts": options}
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    encoder, generator = both_networks(tmp_path / "in", tmp_path)
    first = adaptive_average_pool(synthesise(generator, encoder.w_start[...][None]), 256)
    expected = channels_last(reference["avg_image_64x"])
    assert_close(first[0, ::4, ::4], expected, "the mean's image")
    found = invert(encoder, generator, channels_last(reference["x"]))
    assert_close(found.trace, reference["latents"], "codes of every iteration")
    np.testing.assert_array_equal(found.w_plus, found.trace[:, -1])
    expected = channels_last(reference["imgs_iter0_and_4"])
    image = synthesise(generator, found.trace[:, 0])
    assert_close(image, expected[:, 0], "images of the first iteration")
    assert_close(found.images, expected[:, 1], "images of the last", tolerance=LAST_IMAGE_TOLERANCE)


def full_width(family, encoder_type, manifest_path, seed, styles=10):
    """An encoder of the published widths for a 64 px generator, weights by the formula."""
    shapes = {
        key: shape
        for key, shape in manifest(manifest_path).items()
        if not key.startswith("styles.") or int(key.split(".")[1]) < styles
    }
    if encoder_type in INTO_W:
        shapes = {k: s for k, s in shapes.items() if not k.startswith(("styles", "latlayer"))}
        shapes |= {"linear.weight": (512, 512), "linear.bias": (512,)}
    state = formula_state(seed, shapes)
    plan = encoder_plan(
        family,
        {f"encoder.{key}": array for key, array in state.items()},
        {"encoder_type": encoder_type, "learn_in_w": encoder_type == INTO_W[0]},
        np.zeros(512, np.float32),
        generator_resolution=64,
    )
    del state
    return build_network(plan.class_name, plan.config, fill(plan)[0])


@pytest.mark.slow  # 160 million weights
@pytest.mark.parametrize("name", ["e4e", "psp", "w"])
def test_full_width_encoders(name, fixtures):
    reference = np.load(fixtures / f"{name}_encoder_full_64_formula.npz")
    images = channels_last(np.load(fixtures / "e4e_encoder_full_64_formula.npz")["x"])
    seed = int(reference["formula_seed"])
    path = fixtures / "manifest_e4e_Encoder4Editing_1024.json"
    if name == "w":
        encoder = full_width("psp", INTO_W[0], path, seed)
        assert_close(encode(encoder, images), reference["w"], "codes")
        return
    encoder = full_width(*ENCODER_TYPES[{"psp": 0, "e4e": 2}[name]], path, seed)
    assert encoder.config == EncoderConfig(num_ws=10)
    assert_close(offsets(encoder, images), reference["wplus"], "codes")
    if name == "e4e":
        for stage in (0, 3, 7):
            found = offsets(encoder, images, stage=stage)
            assert_close(found, reference[f"wplus_stage{stage}"], f"codes of stage {stage}")


@pytest.mark.slow  # 140 million weights
@pytest.mark.parametrize("kind", [0, 1], ids=RESTYLE)
def test_full_width_restyle_encoders(kind, fixtures):
    reference = np.load(fixtures / "restyle_encoder_full_10styles_formula.npz")
    path = fixtures / "manifest_restyle_psp_BackboneEncoder_1024.json"
    encoder = full_width("restyle", RESTYLE[kind], path, int(reference["formula_seed"]))
    pair = [channels_last(reference[name]) for name in ("x", "y_hat")]
    expected = reference[("psp_backbone_codes", "e4e_progressive_codes")[kind]]
    assert_close(offsets(encoder, *pair), expected, "codes")


# The published files' keys.


@pytest.mark.parametrize(
    ("name", "family", "encoder_type"),
    [
        pytest.param("psp_GradualStyleEncoder", "psp", PYRAMIDS[0], marks=pytest.mark.slow),
        ("e4e_Encoder4Editing", "e4e", PYRAMIDS[1]),
        pytest.param("restyle_psp_BackboneEncoder", "restyle", RESTYLE[0], marks=pytest.mark.slow),
        pytest.param(
            "restyle_e4e_ProgressiveBackboneEncoder", "restyle", RESTYLE[1], marks=pytest.mark.slow
        ),
    ],
)
def test_the_official_files_keys_are_all_used(name, family, encoder_type, fixtures):
    shapes = manifest(fixtures / f"manifest_{name}_1024.json")
    # Views of one zero: a gigabyte of weights takes no memory.
    arrays = {f"encoder.{k}": np.broadcast_to(np.float32(0), s) for k, s in shapes.items()}
    options = {"encoder_type": encoder_type, "start_from_latent_avg": True}
    mean = np.zeros((18, 512), np.float32)
    plan = encoder_plan(family, arrays, options, mean, generator_resolution=1024)
    assert plan.config == EncoderConfig()
    expected = network_names(abstract_network(plan.class_name, plan.config))
    used = {entry.source for entry in plan.entries}
    assert used | set(plan.ignored) == {"latent_avg", *arrays}
    assert {entry.target for entry in plan.entries} == set(expected)
    assert len(plan.entries) == len(used) == len(expected)
    for entry in plan.entries:
        found = entry.hook(plan.arrays[entry.source]).shape
        assert found == expected[entry.target].shape, entry.source
    assert all(key.endswith("num_batches_tracked") for key in plan.ignored)


# Narrow files of every kind, without the parity files.


@pytest.mark.parametrize(("family", "encoder_type"), ENCODER_TYPES)
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(torch_zip, id="zip"),
        pytest.param(torch_legacy, id="legacy", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_file(family, encoder_type, write, tmp_path, capsys):
    checkpoint = encoder_checkpoint(encoder_type)
    (tmp_path / "in").write_bytes(write({**checkpoint, "global_step": 3}))
    encoder, generator = both_networks(tmp_path / "in", tmp_path)
    assert type(encoder).__name__ == CLASSES[family][encoder_type]
    size = 256 if encoder_type in INTO_W else 32
    expected = EncoderConfig(TINY, UNITS, 3, num_ws=STYLES, w_dim=8, resolution=size)
    assert encoder.config == expected
    mean = checkpoint["latent_avg"]
    np.testing.assert_array_equal(encoder.w_start[...], mean[0] if encoder_type in INTO_W else mean)
    np.testing.assert_array_equal(generator.w_mean, mean[0])
    assert generator.num_ws == STYLES
    capsys.readouterr()
    assert main([family, str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    report = capsys.readouterr().out.splitlines()
    for key in checkpoint["state_dict"]:
        count = sum(line.split()[1].rstrip(":") == key for line in report)
        assert count == (1 if key.startswith("encoder.") else 0), key
    for part in ("decoder.*", "opts", "global_step"):
        assert sum(line.startswith(f"ignored  {part}:") for line in report) == 1


@pytest.mark.parametrize(("family", "encoder_type"), ENCODER_TYPES)
def test_narrow_encoders_against_torch(family, encoder_type, tmp_path):
    """The published architecture out of PyTorch's own layers, at tiny width."""
    torch = pytest.importorskip("torch")
    checkpoint = encoder_checkpoint(encoder_type)
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    convert(family, tmp_path / "in", tmp_path / "out")
    encoder = load_network(tmp_path / "out")
    side, count = encoder.config.resolution, 2 if encoder_type in RESTYLE else 1
    pictures = np.random.default_rng(0).uniform(-1, 1, (count, 2, side, side, 3))
    pictures = pictures.astype(np.float32)
    theirs = TorchNetwork(torch, checkpoint["state_dict"], "encoder.")
    stacked = torch.from_numpy(np.concatenate(pictures, axis=-1)).permute(0, 3, 1, 2)
    expected = theirs.codes(stacked, encoder_type).numpy()
    assert_close(encoder.offsets(*pictures), expected, "codes")


def test_options_stored_as_a_namespace(tmp_path):
    checkpoint = encoder_checkpoint("Encoder4Editing")
    options = Call(Global("argparse", "Namespace"), (), checkpoint["opts"])
    (tmp_path / "in").write_bytes(torch_zip({**checkpoint, "opts": options}))
    assert convert("auto", tmp_path / "in", tmp_path / "out").family == "e4e"


def test_codes_that_start_from_nothing(tmp_path):
    checkpoint = encoder_checkpoint("GradualStyleEncoder")
    checkpoint["opts"]["start_from_latent_avg"] = False
    del checkpoint["latent_avg"]
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    conversion = convert("psp", tmp_path / "in", tmp_path / "out")
    assert any("added to zeros" in line for line in conversion.report)
    np.testing.assert_array_equal(load_network(tmp_path / "out").w_start[...], 0)


@pytest.mark.parametrize("shape", [(1, tiny_checkpoints.LATENT), (tiny_checkpoints.LATENT,)])
def test_one_row_of_latent_avg_serves_every_style(shape, tmp_path):
    checkpoint = encoder_checkpoint("BackboneEncoder")
    row = checkpoint["latent_avg"][0]
    checkpoint["latent_avg"] = row.reshape(shape)
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    encoder, generator = both_networks(tmp_path / "in", tmp_path)
    np.testing.assert_array_equal(encoder.w_start[...], np.tile(row, (STYLES, 1)))
    np.testing.assert_array_equal(generator.w_mean, row)


def test_the_mean_of_w_is_computed_where_rows_differ(tmp_path):
    checkpoint = encoder_checkpoint("Encoder4Editing")
    checkpoint["latent_avg"][1] += 1
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    conversion = convert("auto", tmp_path / "in", tmp_path / "out", network="decoder")
    assert any("rows of latent_avg differ" in line for line in conversion.report)
    assert not np.allclose(conversion.arrays["mapping.w_mean"], checkpoint["latent_avg"][0])


# Refusals.


def state(key, value=None):
    """An edit of the state dictionary; None removes the key."""

    def edit(checkpoint):
        if value is None:
            del checkpoint["state_dict"][key]
        else:
            checkpoint["state_dict"][key] = value

    return edit


def option(**changes):
    return lambda checkpoint: checkpoint["opts"].update(changes)


def zeros(*shape):
    return np.zeros(shape, np.float32)


REFUSED = {
    "no options": (lambda c: c.pop("opts"), "name no encoder_type"),
    "unknown encoder": (
        option(encoder_type="ResNetBackboneEncoder"),
        "name the encoder_type ResNetBackboneEncoder, expected one of GradualStyleEncoder",
    ),
    "restyle's keys": (
        option(encoder_type="BackboneEncoder"),
        "the options say BackboneEncoder, which has no key encoder.latlayer1.weight",
    ),
    "into W": (
        option(encoder_type="SingleStyleCodeEncoder"),
        "SingleStyleCodeEncoder, which has no key encoder.latlayer1.weight",
    ),
    "no pyramid": (
        state("encoder.latlayer1.weight"),
        "which has the key encoder.latlayer1.weight, and the file has none",
    ),
    "generator's size": (option(stylegan_size=1024), "say stylegan_size 1024, the arrays have 16"),
    "size": (option(output_size=32), "say output_size 32, the arrays have 16"),
    "styles": (option(n_styles=18), "say n_styles 18, the arrays have 6"),
    "fewer styles": (
        lambda c: [c["state_dict"].pop(k) for k in list(c["state_dict"]) if "styles.5" in k],
        "encoder has 5 styles, its generator of 16 px takes 6",
    ),
    "channels": (option(input_nc=6), "say input_nc 6, the arrays have 3"),
    "labels": (option(label_nc=19), r"label_nc 19\), expected the 3 of RGB portraits"),
    "sketches": (
        lambda c: (
            option(input_nc=1, label_nc=1)(c),
            state("encoder.input_layer.0.weight", zeros(TINY[0], 1, 3, 3))(c),
        ),
        "reads 1 channels",
    ),
    "cars": (option(dataset_type="cars_encode"), "cars of 256 x 192"),
    "learn in W": (option(learn_in_w=True), "contradict each other.*learn_in_w True"),
    "no mean": (lambda c: c.pop("latent_avg"), "lacks latent_avg"),
    "mean's shape": (
        lambda c: c.update(latent_avg=zeros(18, 8)),
        r"latent_avg: its shape is \[18, 8\], expected \[6, 8\]",
    ),
    "missing": (
        state("encoder.styles.4.convs.0.bias"),
        "lacks encoder.styles.4.convs.0.bias",
    ),
    "surplus": (state("encoder.extra", zeros(2)), "unexpected encoder.extra"),
    "stranger": (state("extra", zeros(2)), "unexpected extra in its state_dict"),
    "shape": (
        state("encoder.latlayer2.bias", zeros(3)),
        r"encoder.latlayer2.bias: its shape \[3\] does not fit lateral2.bias \[6\]",
    ),
    "code": (lambda c: c.update(x=Call(Global("os", "system"), ("true",))), r"run os\.system"),
    "code in the options": (
        lambda c: c["opts"].update(x=Call(Global("builtins", "eval"), ("1",))),
        r"run builtins\.eval",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    edit, reason = REFUSED[case]
    checkpoint = encoder_checkpoint("Encoder4Editing")
    edit(checkpoint)
    (tmp_path / "in").write_bytes(torch_zip(checkpoint))
    assert main(["auto", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_refusals_of_one_kind_of_encoder(tmp_path):
    psp_into_w, restyled = encoder_checkpoint(INTO_W[0]), encoder_checkpoint(RESTYLE[0])
    without_flag = {**psp_into_w, "opts": {**psp_into_w["opts"], "learn_in_w": False}}
    rows = psp_into_w["latent_avg"].copy()
    rows[0] += 1
    no_mean = {key: value for key, value in restyled.items() if key != "latent_avg"}
    for checkpoint, reason in (
        (without_flag, "contradict each other.*learn_in_w False"),
        ({**psp_into_w, "latent_avg": rows}, "its rows differ, and an encoder into W has one"),
        (no_mean, "lacks latent_avg"),
    ):
        (tmp_path / "in").write_bytes(torch_zip(checkpoint))
        with pytest.raises(Refusal, match=reason):
            convert("auto", tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("family", "encoder_type"), ENCODER_TYPES)
def test_a_wrong_family_is_refused(family, encoder_type, tmp_path):
    data = torch_zip(encoder_checkpoint(encoder_type))
    (tmp_path / "in").write_bytes(data)
    for other in ("psp", "e4e", "restyle", "rosinality", "arcface"):
        if other != family:
            with pytest.raises(Refusal, match=f"is of the family {family}, not {other}"):
                convert(other, tmp_path / "in", tmp_path / "out")
    with pytest.raises(Refusal, match="hold encoder, decoder, not G_ema"):
        convert(family, tmp_path / "in", tmp_path / "out", network="G_ema")
    (tmp_path / "in").write_bytes(data[:5000])
    with pytest.raises(Refusal, match="truncated"):
        convert(family, tmp_path / "in", tmp_path / "out")
