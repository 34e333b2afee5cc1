"""Weights files and suites: round trips, strictness, one clear error for each kind of damage."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import jaxface
from jaxface import suite as suites
from jaxface.nets import (
    VGG16,
    Discriminator,
    DiscriminatorConfig,
    EncoderConfig,
    Generator,
    GeneratorConfig,
    IRSEConfig,
)
from jaxface.nets.edits.rignet import RigNetConfig
from jaxface.nets.features.vgg import VGGConfig
from jaxface.weights import (
    LARGE,
    abstract_network,
    build_network,
    network_arrays,
    network_classes,
    network_names,
    read_header,
)

CONFIG = GeneratorConfig(8, z_dim=4, w_dim=4, channel_base=32, channel_max=4, mapping_layers=1)


@pytest.fixture(scope="module")
def generator():
    return Generator(CONFIG, rngs=nnx.Rngs(0))


def arrays_of(module):
    rng = np.random.default_rng(0)
    return {
        n: rng.normal(size=s.shape).astype(np.float32) for n, s in network_names(module).items()
    }


@pytest.mark.parametrize(
    "network",
    [
        Generator(CONFIG, rngs=nnx.Rngs(0)),
        Discriminator(DiscriminatorConfig(8, channel_base=32, channel_max=4), rngs=nnx.Rngs(0)),
        VGG16(VGGConfig(channels=(2, 2, 2, 2, 2)), rngs=nnx.Rngs(0)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_round_trip(tmp_path, network):
    path = tmp_path / "network.safetensors"
    jaxface.save_network(path, network, metadata={"source": "a test"})
    loaded = jaxface.load_network(path)
    assert type(loaded) is type(network)
    assert loaded.config == network.config
    assert read_header(path)["source"] == "a test"
    before, after = nnx.to_flat_state(nnx.state(network)), nnx.to_flat_state(nnx.state(loaded))
    assert len(before) == len(after) > 0
    for (name, a), (other, b) in zip(before, after, strict=True):
        assert name == other
        np.testing.assert_array_equal(a[...], b[...])
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]


def test_float16_files_load_as_float32(tmp_path, generator):
    path = tmp_path / "g.safetensors"
    jaxface.save_network(path, generator, dtype=jnp.float16)
    loaded = jaxface.load_network(path)
    kernel = generator.synthesis.blocks[0].conv1.weight[...]
    got = loaded.synthesis.blocks[0].conv1.weight[...]
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, kernel.astype(jnp.float16).astype(jnp.float32))


def test_large_weights_in_8_bits_are_off_by_half_a_step(tmp_path):
    path = tmp_path / "g.safetensors"
    name = "mapping.layers.0.weight"
    config = dataclasses.replace(CONFIG, z_dim=128, w_dim=64)
    arrays = arrays_of(Generator(config, rngs=nnx.Rngs(0)))
    assert arrays[name].size >= LARGE
    arrays[name] = arrays[name] * (np.arange(64) > 0)  # an output that hears nothing
    jaxface.save_network(path, build_network("Generator", config, arrays), dtype=np.int8)
    stored = load_file(path)
    assert stored[name].dtype == np.int8
    loaded = network_arrays(jaxface.load_network(path))
    step = np.abs(arrays[name]).max(0) / 127
    assert (np.abs(loaded[name] - arrays[name]) <= 0.5001 * step).all()
    np.testing.assert_array_equal(loaded[name][:, 0], 0.0)
    small = "mapping.layers.0.bias"
    np.testing.assert_array_equal(loaded[small], arrays[small].astype(np.float16))
    # A scale without its array, or of another shape, is refused.
    header = read_header(path)
    for change in ({"x:scale": np.ones(3, np.float32)}, {f"{name}:scale": np.ones(3, np.float32)}):
        save_file(stored | change, path, metadata=header)
        with pytest.raises(jaxface.WeightsError, match="is the scale of no array"):
            jaxface.load_network(path)


def test_every_name_must_match(generator):
    arrays = arrays_of(generator)
    name = "synthesis.blocks.1.conv0.weight"
    assert name in arrays
    for change, message in (
        ({name: None}, f"missing {name}"),
        ({"extra": np.zeros(3)}, r"surplus extra \[3\]"),
        ({name: np.zeros((3, 3, 4, 5))}, rf"{name} has shape \[3, 3, 4, 5\], expected \[3, 3, 4"),
    ):
        changed = {k: v for k, v in {**arrays, **change}.items() if v is not None}
        with pytest.raises(jaxface.WeightsError, match=message):
            build_network("Generator", CONFIG, changed)


def test_unknown_classes_and_fields_are_refused():
    with pytest.raises(jaxface.WeightsError, match="expected one of"):
        abstract_network("Generater", CONFIG)
    with pytest.raises(jaxface.WeightsError, match="unknown widht"):
        abstract_network("Generator", {"resolution": 8, "widht": 3})
    with pytest.raises(jaxface.WeightsError, match="power of two"):
        abstract_network("Generator", {"resolution": 9})


def test_damaged_files_are_refused(tmp_path, generator):
    good = tmp_path / "good.safetensors"
    jaxface.save_network(good, generator)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(good.read_bytes()[:-100])
    text = tmp_path / "text.safetensors"
    text.write_text("not a checkpoint")
    for path, message in (
        (tmp_path / "absent.safetensors", "no such file"),
        (truncated, "not a readable safetensors file"),
        (text, "not a readable safetensors file"),
    ):
        with pytest.raises(jaxface.WeightsError, match=message):
            jaxface.load_network(path)
    from safetensors.numpy import save_file

    foreign = tmp_path / "foreign.safetensors"
    save_file({"w": np.zeros(2)}, foreign)
    with pytest.raises(jaxface.WeightsError, match="expected a file written by jaxface"):
        jaxface.load_network(foreign)
    with pytest.raises(jaxface.WeightsError, match="cannot be written"):
        jaxface.save_network(tmp_path / "no_folder" / "g.safetensors", generator)


def test_suites(tmp_path, generator):
    with pytest.raises(jaxface.SuiteError, match="holds no network"):
        jaxface.load_suite(tmp_path)
    with pytest.raises(jaxface.SuiteError, match="expected a folder or one of"):
        jaxface.load_suite("embeded")
    jaxface.save_network(tmp_path / "generator.safetensors", generator)
    jaxface.save_network(tmp_path / "perceptual.safetensors", generator)
    suite = jaxface.load_suite(tmp_path)
    assert suite.generator.resolution == 8
    assert "generator" in suite
    assert "discriminator" not in suite
    assert suite.generator is suite.generator  # read once
    with pytest.raises(jaxface.SuiteError, match="has no discriminator"):
        _ = suite.discriminator
    with pytest.raises(jaxface.SuiteError, match="expected a VGG16 as perceptual"):
        _ = suite.perceptual


def test_several_classes_play_the_encoder(tmp_path, random_network):
    config = EncoderConfig((1, 1, 2, 2), (1, 1, 1, 1), num_ws=4, w_dim=3, resolution=32)
    for name in ("PSPEncoder", "E4EEncoder", "WEncoder", "RestylePSPEncoder", "RestyleE4EEncoder"):
        jaxface.save_network(tmp_path / "encoder.safetensors", random_network(name, config))
        assert type(jaxface.load_suite(tmp_path).encoder).__name__ == name
    recognition = random_network("IRSE", IRSEConfig((1, 1, 2, 2), (1, 1, 1, 1), embedding_dim=3))
    jaxface.save_network(tmp_path / "recognition.safetensors", recognition)
    suite = jaxface.load_suite(tmp_path)
    assert suite.recognition.config.embedding_dim == 3
    jaxface.save_network(tmp_path / "encoder.safetensors", recognition)
    suite = jaxface.load_suite(tmp_path)
    with pytest.raises(jaxface.SuiteError, match=r"expected a PSPEncoder or E4E.* got a"):
        _ = suite.encoder


def test_a_suite_gives_the_rignets_that_it_has(tmp_path, generator, random_network):
    jaxface.save_network(tmp_path / "generator.safetensors", generator)
    with pytest.raises(jaxface.SuiteError, match="has no rignet_<name>"):
        _ = jaxface.load_suite(tmp_path).rignets
    for group in ("expression", "pose"):
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=4, w_dim=3))
        jaxface.save_network(tmp_path / f"rignet_{group}.safetensors", rignet)
    suite = jaxface.load_suite(tmp_path)
    groups = {group: network.config.group for group, network in suite.rignets.items()}
    assert groups == {"pose": "pose", "expression": "expression"}
    assert suite.rignets["pose"] is suite.rignets["pose"]  # read once
    (tmp_path / "rignet_expression.safetensors").rename(tmp_path / "rignet_pose.safetensors")
    with pytest.raises(jaxface.SuiteError, match="expected a RigNet of pose, got one of expr"):
        _ = jaxface.load_suite(tmp_path).rignets


def test_suites_share_networks(tmp_path, generator):
    features = VGG16(VGGConfig(channels=(2, 2, 2, 2, 2)), rngs=nnx.Rngs(0))
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        jaxface.save_network(folder / "generator.safetensors", generator)
    jaxface.save_network(one / "perceptual.safetensors", features)
    shared = two / "shared.json"
    roles = ("generator", "perceptual")
    shared.write_text(json.dumps({role: f"../one/{role}.safetensors" for role in roles}))
    suite = jaxface.load_suite(two)
    assert list(suite.files) == ["generator", "perceptual"]
    assert suite.perceptual.config.channels == (2, 2, 2, 2, 2)
    assert suite.files["generator"] == two / "generator.safetensors"  # its own comes first
    for text, message in (
        ("[", "expected a JSON object of roles and files"),
        ('["perceptual"]', "expected a JSON object of roles and files"),
        ('{"perceptual": 1}', "expected a JSON object of roles and files"),
        ('{"features": "../one/perceptual.safetensors"}', "'features' is no role"),
        ('{"perceptual": "../perceptual.safetensors"}', "perceptual is to be .*, which is not"),
    ):
        shared.write_text(text)
        with pytest.raises(jaxface.SuiteError, match=message):
            jaxface.load_suite(two)


def test_every_network_has_a_role():
    """But for trunks, whose features nothing asks for alone, and an avatar's mappers, which are of
    one person and not of a suite."""
    roles = [*suites.ROLES.values(), *suites.NAMED_ROLES.values()]
    assert {each.__name__ for role in roles for each in role.classes} == {*network_classes()} - {
        "AlexNet",
        "AvatarMappers",
        "ResNetFeatures",
    }


def test_a_role_of_several_networks(tmp_path, generator, monkeypatch):
    role = suites.NamedRole("expert", Generator)
    role.__set_name__(suites.Suite, "experts")
    monkeypatch.setattr(suites.Suite, "experts", role, raising=False)
    monkeypatch.setitem(suites.NAMED_ROLES, "experts", role)
    jaxface.save_network(tmp_path / "generator.safetensors", generator)
    suite = jaxface.load_suite(tmp_path)
    assert "experts" not in suite
    with pytest.raises(jaxface.SuiteError, match="has no expert_<name>; it has generator"):
        suite.networks("experts")
    for name in ("left", "far_right"):
        jaxface.save_network(tmp_path / f"expert_{name}.safetensors", generator)
    jaxface.save_network(tmp_path / "expert_.safetensors", generator)  # has no name
    suite = jaxface.load_suite(tmp_path)
    assert "experts" in suite
    assert list(suite.networks("experts")) == ["far_right", "left"]
    assert suite.networks("experts")["left"] is suite.network("expert_left")
    assert suite.metadata("expert_left")["network"] == "Generator"
    features = VGG16(VGGConfig(channels=(2, 2, 2, 2, 2)), rngs=nnx.Rngs(0))
    jaxface.save_network(tmp_path / "expert_left.safetensors", features)
    with pytest.raises(jaxface.SuiteError, match="expected a Generator as expert_left, got a VGG"):
        jaxface.load_suite(tmp_path).networks("experts")


def test_roles_are_checked_by_name():
    with pytest.raises(jaxface.SuiteError, match="part: 'perceptul' is no role; expected gen"):
        suites.check_role("perceptul", "VGG16", where="part")
    suites.check_role("landmarks", "FAN", where="part")


def test_a_header_that_describes_no_network_is_told_with_its_file(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    jaxface.save_network(path, generator)
    header = jaxface.weights.read_header(path)
    config = json.dumps(json.loads(header["config"]) | {"colour": 3})
    save_file(load_file(path), path, metadata=header | {"config": config})
    with pytest.raises(jaxface.WeightsError, match=f"^{re.escape(str(path))}: .*unknown colour"):
        jaxface.load_suite(tmp_path).check()
