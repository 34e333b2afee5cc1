"""Suites out of several checkpoints: all parts or nothing, and what --check says of them."""

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoints as tiny
import tiny_encoders
import trunk_checkpoints
from pickle_writer import dumps, torch_zip
from safetensors.numpy import load_file, save_file

import jaxface
from jaxface.convert import Refusal, convert, convert_suite
from jaxface.convert.suites import read_parts
from jaxface.nets import (
    DiscriminatorConfig,
    EncoderConfig,
    GeneratorConfig,
    PSPEncoder,
    RigNetConfig,
)
from jaxface.runtime.files import sha256
from jaxface.weights import network_arrays, read_header, with_arrays
from tools.convert_weights.__main__ import main

SUITE = """
[generator]
file = "whole.pt"
network = "decoder"
[encoder]
file = "whole.pt"
family = "psp"
[discriminator]
file = "rosinality.pt"
network = "D"
[lpips]
file = "vgg16.pth"
network = "LPIPS"
with = { heads = "heads.pth" }
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of tiny files of four publishers."""
    folder = tmp_path_factory.mktemp("sources")
    make = trunk_checkpoints.positive(3)
    widths = trunk_checkpoints.NARROW["vgg"]
    trunk = trunk_checkpoints.torchvision_state("vgg", widths, make)
    files = {
        "whole.pt": torch_zip(tiny_encoders.encoder_checkpoint("GradualStyleEncoder")),
        "rosinality.pt": torch_zip(tiny.rosinality_checkpoint()),
        "vgg16.pth": torch_zip(trunk),
        "heads.pth": torch_zip(trunk_checkpoints.head_state(widths, make)),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def run(sources, text, target, capsys, *options):
    """(exit status, stdout, stderr) of the command, as lines; a refusal leaves no trace."""
    (sources / "SUITE.toml").write_text(text)
    before = sorted(target.parent.rglob("*"))
    status = main(["suite", str(sources / "SUITE.toml"), str(target), *options])
    printed = capsys.readouterr()
    if status:
        assert sorted(target.parent.rglob("*")) == before
    return status, printed.out.splitlines(), printed.err.splitlines()


def test_a_suite_of_four_parts(sources, tmp_path, capsys):
    out = tmp_path / "suite"
    out.mkdir()  # an empty folder is taken over
    status, report, errors = run(sources, SUITE, out, capsys)
    assert (status, errors) == (0, [])
    parts = ["generator", "encoder", "discriminator", "lpips"]
    assert [line for line in report if line.startswith("[")] == [f"[{part}]" for part in parts]
    assert report[-1] == f"written  {out}: {', '.join(parts)}"
    assert sum(line.startswith("source ") for line in report) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]
    suite = jaxface.load_suite(out)
    assert sorted(suite.files) == sorted(parts)
    assert isinstance(suite.encoder, PSPEncoder)
    assert suite.generator.num_ws == suite.encoder.config.num_ws == tiny_encoders.STYLES
    assert suite.discriminator.config.resolution == suite.generator.resolution
    assert suite.metadata("lpips")["source_sha256_heads"]
    # What a part gives is what converting it alone gives.
    alone = tmp_path / "alone.safetensors"
    convert("auto", sources / "whole.pt", alone, network="decoder")
    assert read_header(alone) == suite.metadata("generator")
    expected = network_arrays(jaxface.load_network(alone))
    got = network_arrays(suite.generator)
    assert expected.keys() == got.keys()
    assert all((got[name] == expected[name]).all() for name in got)


COPIED = """
[generator]
file = "made.safetensors"
[encoder]
file = "whole.pt"
[rignet_pose]
file = "rig.safetensors"
"""


@pytest.fixture(scope="module")
def converted(sources, random_network):
    """Two files of jaxface's own beside the others."""
    convert("auto", sources / "whole.pt", sources / "made.safetensors", network="decoder")
    config = RigNetConfig("pose", num_ws=tiny_encoders.STYLES, w_dim=8, hidden=4)
    jaxface.save_network(sources / "rig.safetensors", random_network("RigNet", config))
    return sources


def test_converted_files_are_checked_and_copied(converted, tmp_path, capsys):
    out = tmp_path / "suite"
    status, report, errors = run(converted, COPIED, out, capsys)
    assert (status, errors) == (0, [])
    assert sum("converted already" in line for line in report) == 2
    assert report[-1] == f"written  {out}: generator, encoder, rignet_pose"
    for role, name in (("generator", "made"), ("rignet_pose", "rig")):
        copy, source = out / f"{role}.safetensors", converted / f"{name}.safetensors"
        assert copy.read_bytes() == source.read_bytes()
        assert any(sha256(source) in line for line in report)
    suite = jaxface.load_suite(out)
    suite.check()
    assert suite.rignets["pose"].config.hidden == 4


def test_converted_files_run_with_check(converted, tmp_path, capsys, random_network):
    text = '[rignet_pose]\nfile = "rig.safetensors"'
    status, report, _ = run(converted, text, tmp_path / "suite", capsys, "--check")
    assert status == 0
    assert sum(line.startswith("check    output [2, 6, 8]") for line in report) == 1
    broken = random_network("RigNet", RigNetConfig("pose", num_ws=2, w_dim=8, hidden=4))
    arrays = {name: np.full_like(array, np.nan) for name, array in network_arrays(broken).items()}
    jaxface.save_network(converted / "nan.safetensors", with_arrays(broken, arrays))
    text = '[rignet_pose]\nfile = "nan.safetensors"'
    status, _, errors = run(converted, text, tmp_path / "other", capsys, "--check")
    assert (status, len(errors)) == (2, 1)
    assert "[rignet_pose]" in errors[0]
    assert "NaN" in errors[0]


COPIES_REFUSED = {
    "role": ('[encoder]\nfile = "made.safetensors"', "as encoder, got a Generator"),
    "group": ('[rignet_light]\nfile = "rig.safetensors"', "a RigNet of light, got one of pose"),
    "key": (
        '[generator]\nfile = "made.safetensors"\nnetwork = "G"\nfamily = "auto"',
        "made.safetensors is converted already; remove family, network",
    ),
    "truncated": ('[generator]\nfile = "cut.safetensors"', "not a readable safetensors file"),
    "another's": ('[generator]\nfile = "other.safetensors"', "its header lacks network, config"),
    "arrays": ('[generator]\nfile = "less.safetensors"', "missing mapping.layers.0.bias"),
    "fit": (
        '[generator]\nfile = "made.safetensors"\n[rignet_pose]\nfile = "wide.safetensors"',
        "SUITE.toml: rignet_pose.safetensors: rignet_pose edits W+ of 2 x 8, the generator takes",
    ),
}


@pytest.mark.parametrize("case", COPIES_REFUSED)
def test_converted_files_that_are_refused(case, converted, tmp_path, capsys, random_network):
    whole = (converted / "made.safetensors").read_bytes()
    (converted / "cut.safetensors").write_bytes(whole[:-8])
    arrays = load_file(converted / "made.safetensors")
    save_file(arrays, converted / "other.safetensors")
    del arrays["mapping.layers.0.bias"]
    header = read_header(converted / "made.safetensors")
    save_file(arrays, converted / "less.safetensors", metadata=header)
    wide = random_network("RigNet", RigNetConfig("pose", num_ws=2, w_dim=8, hidden=4))
    jaxface.save_network(converted / "wide.safetensors", wide)
    text, reason = COPIES_REFUSED[case]
    status, _, errors = run(converted, text, tmp_path / "suite", capsys)
    assert (status, len(errors)) == (2, 1)
    assert reason in errors[0]
    assert str(converted / "SUITE.toml") in errors[0]


REFUSED = {
    "no TOML": ("[generator", "no TOML file"),
    "empty": ("# nothing\n", "names no part"),
    "role": ('[generater]\nfile = "whole.pt"', r"\[generater\]: a suite has no such role"),
    "no table": ('generator = "whole.pt"', r"\[generator\]: expected a table"),
    "no file": ('[generator]\nnetwork = "G"', "names no file"),
    "unknown key": ('[generator]\nfile = "whole.pt"\nnetwrok = "G"', "mean 'network'"),
    "type": ("[generator]\nfile = 3", "file: expected text, got 3"),
    "type of with": ('[lpips]\nfile = "vgg16.pth"\nwith = 3', "with: expected names and files"),
    "type in with": ('[lpips]\nfile = "vgg16.pth"\nwith = {heads = 1}', "with.heads: expected"),
    "family": ('[generator]\nfile = "whole.pt"\nfamily = "pspp"', "family: expected one of auto"),
    "precision": ('[generator]\nfile = "whole.pt"\nreduced_precision = "f8"', "expected one of n"),
    "absent": ('[generator]\nfile = "absent.pt"', r"absent\.pt: no such file"),
    "absent with": ('[lpips]\nfile = "vgg16.pth"\nwith = {heads = "no"}', "no: no such file"),
    "wrong family": (
        SUITE + '[recognition]\nfile = "whole.pt"\nfamily = "e4e"',
        r"SUITE.toml, \[recognition\]: .*whole\.pt: is of the family psp, not e4e",
    ),
    "wrong class": (
        SUITE.replace('network = "decoder"', ""),
        r"expected a Generator or MobileGenerator as generator, got a PSPEncoder; .* encoder, "
        r"decoder: choose",
    ),
    "last part": (
        SUITE + '[perceptual]\nfile = "vgg16.pth"\nnetwork = "LPIPS"',
        r"\[perceptual\]: .*also needs --with heads",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_bad_part_refuses_the_suite(case, sources, tmp_path, capsys):
    text, reason = REFUSED[case]
    status, _, errors = run(sources, text, tmp_path / "suite", capsys)
    assert (status, len(errors)) == (2, 1)
    assert re.search(reason, errors[0]), errors[0]


def test_an_encoder_of_another_generator_is_refused(sources, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tiny, "RESOLUTIONS", (4, 8))
    monkeypatch.setitem(tiny.SIZES, "img_resolution", 8)
    arrays = tiny.nvidia_generator()
    module = tiny.nvidia_module(arrays, tiny.nvidia_attributes(arrays))
    (sources / "8px.pkl").write_bytes(dumps({"G_ema": module}))
    text = '[generator]\nfile = "8px.pkl"\n[encoder]\nfile = "whole.pt"'
    status, _, errors = run(sources, text, tmp_path / "suite", capsys)
    assert (status, len(errors)) == (2, 1)
    assert (
        "SUITE.toml: encoder.safetensors: the encoder gives W+ of 6 x 8, the generator takes 4 x 8"
        in errors[0]
    )


def test_parts_that_do_not_fit_are_refused(tmp_path, random_network):
    sizes = {"channel_base": 32, "channel_max": 4}
    generator = GeneratorConfig(16, z_dim=4, w_dim=8, mapping_layers=1, **sizes)
    jaxface.save_network(tmp_path / "generator.safetensors", random_network("Generator", generator))
    encoder = {"channels": (1, 1, 2, 2), "units": (1, 1, 1, 1), "resolution": 32}
    for rows, width, shown in ((5, 8, "5 x 8"), (6, 7, "6 x 7")):
        config = EncoderConfig(**encoder, num_ws=rows, w_dim=width)
        jaxface.save_network(tmp_path / "encoder.safetensors", random_network("E4EEncoder", config))
        with pytest.raises(jaxface.SuiteError, match=f"W\\+ of {shown}, the generator takes 6 x 8"):
            jaxface.load_suite(tmp_path).check()
    jaxface.save_network(
        tmp_path / "encoder.safetensors",
        random_network("E4EEncoder", EncoderConfig(**encoder, num_ws=6, w_dim=8)),
    )
    jaxface.load_suite(tmp_path).check()
    for changes, reason in (
        ({"resolution": 8}, "resolution is 8, the generator's 16"),
        ({"resolution": 16, "c_dim": 3}, "c_dim is 3, the generator's 0"),
        ({"resolution": 16, "image_channels": 1}, "image_channels is 1, the generator's 3"),
    ):
        network = random_network("Discriminator", DiscriminatorConfig(**changes, **sizes))
        jaxface.save_network(tmp_path / "discriminator.safetensors", network)
        with pytest.raises(jaxface.SuiteError, match=reason):
            jaxface.load_suite(tmp_path).check()
    jaxface.save_network(
        tmp_path / "discriminator.safetensors", random_network("Generator", generator)
    )
    with pytest.raises(jaxface.SuiteError, match="expected a Discriminator"):
        jaxface.load_suite(tmp_path).check()


def test_folders_that_cannot_be_made(sources, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for target, reason in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "absent" / "suite", "its folder does not exist"),
    ):
        status, _, errors = run(sources, SUITE, target, capsys)
        assert (status, len(errors)) == (2, 1)
        assert reason in errors[0]
    status, _, errors = run(sources, SUITE, tmp_path / "suite", capsys, "--network", "D")
    assert (status, len(errors)) == (2, 1)
    assert "they are keys of a part" in errors[0]
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        convert_suite(tmp_path / "SUITE.toml", tmp_path / "suite")


def test_the_documented_example_is_one(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "SUITE.toml").write_text(block)
    for name in re.findall(r'(?:file|heads|landmarks) = "([^"]+)"', block):
        (tmp_path / name).touch()
        assert f"`{name}`" in text or f"/{name}`" in text or f"={name}`" in text
    parts = read_parts(tmp_path / "SUITE.toml")
    assert len(parts) == 13
