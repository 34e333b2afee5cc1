"""``--check``: the converted network runs on a seeded input, and NaN or infinity refuses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_checkpoints as tiny
from pickle_writer import torch_zip

import jaxface
from jaxface.convert.check import CHECKS, IMAGES, check_network
from jaxface.nets import DiscriminatorConfig, GeneratorConfig
from jaxface.weights import abstract_network, config_class, network_classes
from tools.convert_weights.__main__ import main

SHALLOW = ((2, 2, 4, 4), (1, 1, 1, 1))
SIZES = {
    "Generator": (1024,),
    "Discriminator": (1024,),
    "DirectionMatrix": (("yaw", "smile"), "embedded"),
    "E4EEncoder": SHALLOW,
    "FAN": (1,),
    "LatentDirections": (("age", "smile"),),
    "PSPEncoder": SHALLOW,
    "RestyleE4EEncoder": SHALLOW,
    "RestylePSPEncoder": SHALLOW,
    "RigNet": ("pose", 18),
    "StyleDirections": ((512, 512, 512, 512, 256),),
    "StyleMapper": ((512, 512, 512, 512, 256),),
    "WEncoder": SHALLOW,
}


# Those with a check of their own; the others are given images, and deep ones trace for seconds.
NAMES = [
    pytest.param(name, marks=[] if name in {*CHECKS, "WEncoder"} - {"FAN"} else pytest.mark.slow)
    for name in network_classes()
]


@pytest.mark.parametrize("name", NAMES)
def test_every_network_can_be_checked(name):
    """At its published size, or with fewer layers, and without computing anything."""
    config = config_class(name)(*SIZES.get(name, ()))
    network = abstract_network(name, config)
    inputs, run = CHECKS.get(name, IMAGES)
    outputs = jax.eval_shape(run, network, *inputs(config, np.random.default_rng(0)))
    leaves = jax.tree.leaves(outputs)
    assert leaves
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)


def test_labels_and_several_outputs(random_network):
    sizes = {"channel_base": 64, "channel_max": 4, "c_dim": 3, "mapping_layers": 1}
    generator = GeneratorConfig(16, z_dim=8, w_dim=8, **sizes)
    lines = check_network(random_network("Generator", generator))
    assert [line.split()[1] for line in lines] == ["images", "w_plus"]
    discriminator = DiscriminatorConfig(16, mbstd_group_size=4, **sizes)
    (line,) = check_network(random_network("Discriminator", discriminator))
    assert line.startswith("check    output [4, 1]: min ")
    assert line.endswith(", non-finite 0 %")


def test_the_command_prints_what_came_out(tmp_path, capsys):
    source, target = tmp_path / "source", tmp_path / "g.safetensors"
    source.write_bytes(torch_zip(tiny.rosinality_checkpoint()))
    reports = []
    for _ in range(2):
        assert main(["auto", str(source), str(target), "--check"]) == 0
        reports.append(capsys.readouterr().out.splitlines())
    assert reports[0] == reports[1]  # the input is seeded
    lines = [line for line in reports[0] if line.startswith("check")]
    assert [line.split(":")[0] for line in lines] == [
        "check    images [2, 16, 16, 3]",
        "check    w_plus [2, 6, 8]",
    ]
    assert reports[0][-1] == f"written  {target}"
    generator = jaxface.load_network(target)
    z = np.random.default_rng(0).standard_normal((2, tiny.LATENT)).astype(np.float32)
    w_plus = np.asarray(generator.mapping(jnp.asarray(z)))
    # Printed with five digits; compiled alone and together a sum's order may differ.
    shown = [float(word.split()[1]) for word in lines[1].split(": ")[1].split(", ")[:3]]
    expected = [w_plus.min(), w_plus.max(), w_plus.mean()]
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_finite_is_refused(tmp_path, capsys):
    checkpoint = tiny.rosinality_checkpoint()
    for name in ("to_rgb1.bias", "to_rgbs.0.bias"):  # each is finite, their sum is not
        checkpoint["g_ema"][name] = np.full((1, 3, 1, 1), 3e38, np.float32)
    source, target = tmp_path / "source", tmp_path / "g.safetensors"
    source.write_bytes(torch_zip(checkpoint))
    target.write_text("old")
    assert main(["auto", str(source), str(target), "--check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"refused: {source}: the check's images [2, 16, 16, 3] holds NaN or inf")
    assert line.endswith("%)")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.safetensors", "source"]
    (tmp_path / "SUITE.toml").write_text('[generator]\nfile = "source"')
    assert main(["suite", str(tmp_path / "SUITE.toml"), str(tmp_path / "s"), "--check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "SUITE.toml, [generator]: " in line
    assert "the check's images" in line
    assert not (tmp_path / "s").exists()
    assert main(["auto", str(source), str(target)]) == 0  # without the check nobody looks
