"""Checkpoints in the forms that people keep give the same network as in the plain one."""

import json
import struct

import numpy as np
import pytest
import tiny_checkpoints as tiny
import tiny_encoders
from pickle_writer import Call, Global, dumps, pickled_parameter, pickled_tensor, torch_zip

from jaxface.convert import Refusal
from jaxface.convert.convert import prepare


def converted(value, folder, write=torch_zip, family="auto", network=None):
    (folder / "source").write_bytes(write(value))
    return prepare(family, folder / "source", network=network)


def same(one, other) -> None:
    assert one.plan.class_name == other.plan.class_name
    assert one.arrays.keys() == other.arrays.keys()
    for name in one.arrays:
        np.testing.assert_array_equal(one.arrays[name], other.arrays[name], err_msg=name)


def notes(conversion) -> str:
    return "\n".join(line for line in conversion.report if line.startswith(("note", "ignored")))


@pytest.fixture
def plain(tmp_path):
    return converted({"g_ema": tiny.rosinality_checkpoint()["g_ema"]}, tmp_path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "trainer.g."])
def test_prefixes_of_wrappers_are_taken_off_and_reported(prefix, plain, tmp_path):
    state = {f"{prefix}{k}": v for k, v in tiny.rosinality_checkpoint()["g_ema"].items()}
    bare = converted(state, tmp_path)
    same(bare, plain)
    assert "prefix" in notes(bare)
    if prefix != "trainer.g.":
        same(converted({"g_ema": state}, tmp_path), plain)


@pytest.mark.parametrize("holder", ["state_dict", "model", "params_ema"])
def test_bare_state_dictionaries_and_their_usual_holders(holder, plain, tmp_path):
    state = tiny.rosinality_checkpoint()["g_ema"]
    same(converted(state, tmp_path), plain)
    held = converted({holder: state, "epoch": 3}, tmp_path)
    same(held, plain)
    assert f"as {holder}" in notes(held)
    discriminator = tiny.rosinality_checkpoint()["d"]
    assert converted(discriminator, tmp_path, network="D").plan.class_name == "Discriminator"


G = tiny.rosinality_checkpoint()["g_ema"]


def behind(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("held", "place"),
    [
        ({"ema": G}, "ema"),
        ({"generator": G, "epoch": 3}, "generator"),
        ({"model": {"state_dict": G}}, "model.state_dict"),
        ([{"step": 1}, G], "1"),
        ({"state_dict": behind("generator.", G) | behind("loss.", {"w": G["input.input"]})}, "gen"),
        ({"state_dict": behind("g.", G) | behind("g_ema.", G)}, "state_dict.g_ema"),
    ],
)
def test_generators_are_found_where_trainers_keep_them(held, place, plain, tmp_path):
    found = converted(held, tmp_path)
    same(found, plain)
    assert f"read the generator that lies in {place}" in notes(found) or place == "gen"


def test_an_average_is_preferred_and_the_other_is_named(tmp_path):
    other = {name: value * 2 for name, value in G.items() if "kernel" not in name}
    other |= {name: value for name, value in G.items() if "kernel" in name}
    found = converted({"state_dict": behind("g.", other) | behind("ema.", G)}, tmp_path)
    same(found, converted({"g_ema": G}, tmp_path))
    assert "passed over the generators in state_dict.g" in notes(found)


def test_nvidias_networks_behind_names_and_in_rows(tmp_path):
    arrays = tiny.nvidia_generator()
    bare = converted(arrays, tmp_path)
    for held in ({"G_ema": arrays}, {"G": arrays, "G_ema": arrays, "augment_pipe": None}):
        same(converted(held, tmp_path), bare)
    whole = tiny.nvidia_checkpoint()
    inside = converted(whole, tmp_path, write=dumps)
    same(converted((whole["D"], whole["G_ema"]), tmp_path, write=dumps), inside)


def safetensors(state) -> bytes:
    header, body = {}, b""
    for name, array in state.items():
        array = np.ascontiguousarray(array, "<f4")
        ends = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": ends}
        body += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_safetensors_are_a_source(plain, tmp_path):
    same(converted(tiny.rosinality_checkpoint()["g_ema"], tmp_path, write=safetensors), plain)


def test_generators_without_noise_maps_get_seeded_ones(plain, tmp_path):
    state = tiny.rosinality_checkpoint()["g_ema"]
    state = {k: v for k, v in state.items() if not k.startswith("noises.")}
    one, again = (converted({"g_ema": state}, tmp_path) for _ in range(2))
    same(one, again)
    assert "no noise maps" in notes(one)
    for name, array in one.arrays.items():
        assert (array == plain.arrays[name]).all() != name.endswith("noise_const")


def test_a_network_alone_is_as_in_its_dictionary(tmp_path):
    whole = tiny.nvidia_checkpoint()
    inside = converted(whole, tmp_path, write=dumps)
    alone = converted(whole["G_ema"], tmp_path, write=dumps)
    same(alone, inside)
    assert "a network alone" in notes(alone)
    discriminator = converted(whole["D"], tmp_path, write=dumps, network="D")
    assert discriminator.plan.class_name == "Discriminator"


def test_nvidias_state_dictionary_states_its_defaults(tmp_path):
    arrays = tiny.nvidia_generator()
    whole = converted(tiny.nvidia_checkpoint(), tmp_path, write=dumps)
    bare = converted(arrays, tmp_path)
    assert bare.arrays.keys() == whole.arrays.keys()
    assert "conv_clamp 256" in notes(bare)
    assert bare.plan.config.resolution == 16
    del arrays["mapping.w_avg"]
    with pytest.raises(Refusal, match=r"lacks mapping\.w_avg"):
        converted(arrays, tmp_path)


def module(arrays, prefix="") -> Call:
    """A module of somebody's own class, as torch.save writes it."""
    own = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    parts = {k.partition(".")[0] for k in own if "." in k}
    state = {
        "training": False,
        "_parameters": {k: pickled_parameter(v) for k, v in own.items() if "." not in k},
        "_buffers": {},
        "_modules": {part: module(arrays, f"{prefix}{part}.") for part in sorted(parts)},
    }
    return Call(Global("models.somewhere", "Generator"), (), state)


def test_a_pickled_module_of_any_class_is_its_arrays(plain, tmp_path):
    state = tiny.rosinality_checkpoint()["g_ema"]
    alone = converted(module(state), tmp_path, write=dumps)
    same(alone, plain)
    assert "models.somewhere.Generator" in notes(alone)


def test_foreign_parts_stay_unread_and_are_named(plain, tmp_path):
    state = {k: pickled_tensor(v) for k, v in tiny.rosinality_checkpoint()["g_ema"].items()}
    path = Call(Global("pathlib", "PosixPath"), ("/", "data"))
    timm = Call(Global("timm.models.resnet", "ResNet"), (), {"_modules": {}})
    found = converted({"g_ema": state, "args": {"path": path}, "d": timm}, tmp_path, write=dumps)
    same(found, plain)
    for name in ("pathlib.PosixPath", "timm.models.resnet.ResNet"):
        assert name in notes(found)


@pytest.mark.parametrize(
    "shape", [(32,), (1, 32), (18, 32), (1, 18, 32), (18, 1, 32), (1, 1, 18, 32), (1, 1, 32)]
)
def test_directions_of_every_shape_where_the_family_is_named(shape, tmp_path):
    def npy(array):
        with open(tmp_path / "array", "wb") as file:
            np.save(file, array)
        return (tmp_path / "array").read_bytes()

    row = np.random.RandomState(0).standard_normal(32)
    found = converted(np.broadcast_to(row, shape), tmp_path, write=npy, family="interfacegan")
    rows = 18 if 18 in shape else 1
    assert found.arrays["vectors"].shape == (1, rows, 32)
    with pytest.raises(Refusal, match="fits no generator"):
        converted(np.ones((7, 32)), tmp_path, write=npy, family="interfacegan")
    with pytest.raises(Refusal, match="not interfacegan"):
        converted(tiny.rosinality_checkpoint(), tmp_path, family="interfacegan")


A = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({"GAN": {"GE.blocks.0.conv1.weight": A, "SE.net.0.weight": A}}, "lucidrains"),
        ({"generator": {"mapping.dense0.weight": A, "synthesis.layer0.weight": A}}, "GenForce"),
        ({"synthesis.L0_36_512.weight": A, "synthesis.input.freqs": A}, "StyleGAN3"),
        ({"model.diffusion_model.a.weight": A, "model.diffusion_model.b": A}, "Stable Diffusion"),
        ({"G_ema.backbone.synthesis.b4": A, "G_ema.superresolution.b": A}, "EG3D"),
        ({"b8.transformer.to_queries.weight": A, "b8.ltnt_emb.emb": A}, "GANformer"),
    ],
)
def test_files_of_other_trainers_are_refused_by_their_names(state, name, tmp_path):
    with pytest.raises(Refusal, match=f"is a file of {name}"):
        converted(state, tmp_path)


def test_a_refusal_names_the_likeliest_families(tmp_path):
    with pytest.raises(Refusal, match="likeliest are") as refusal:
        converted({"synthesis.torgb.weight": A, "mapping.w_avg": A}, tmp_path)
    named = str(refusal.value).partition("likeliest are ")[2].partition(";")[0].split(", ")
    assert named[0] == "nvidia_pytorch"
    assert len(named) <= 3


def test_encoders_behind_prefixes(tmp_path):
    checkpoint = tiny_encoders.encoder_checkpoint("Encoder4Editing")
    inside = {f"module.{k}": v for k, v in checkpoint["state_dict"].items()}
    wrapped = converted({**checkpoint, "state_dict": inside}, tmp_path)
    same(wrapped, converted(checkpoint, tmp_path))
    assert "module. of every key in state_dict" in notes(wrapped)
