"""The command: what it converts, what it refuses, and that a refusal leaves nothing behind."""

import errno
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoints as tiny
from pickle_writer import Call, Global, dumps, torch_zip

import jaxface.weights
from jaxface.convert import CONVERTER_VERSION, Refusal, convert
from jaxface.convert.families.sizes import channel_schedule, filter_taps
from jaxface.weights import load_network, read_header
from tools.convert_weights.__main__ import main

REPOSITORY = Path(__file__).parents[2]

Edit = Callable[[Any], Any]


def nvidia(edit: Edit = lambda state: None, settings: Edit = lambda settings: None) -> bytes:
    """An NVIDIA PyTorch pickle whose generator's arrays and settings were edited in place."""
    arrays = tiny.nvidia_generator()
    attributes = tiny.nvidia_attributes(arrays)
    edit(arrays)
    settings(attributes)
    return dumps({"G_ema": tiny.nvidia_module(arrays, attributes)})


def tensorflow(edit: Edit = lambda state: None, **settings: Any) -> bytes:
    """A TensorFlow pickle whose networks' variables were edited in place."""
    generator, discriminator = tiny.tensorflow_networks()
    edit(generator)
    average = tiny.tensorflow_network(generator, **settings)
    return dumps((average, tiny.tensorflow_network(discriminator), average))


def rosinality(edit: Edit = lambda state: None, **top: Any) -> bytes:
    """A rosinality file whose generator's arrays were edited in place."""
    checkpoint = tiny.rosinality_checkpoint()
    edit(checkpoint["g_ema"])
    return torch_zip({**checkpoint, **top})


def without(key: str) -> Edit:
    return lambda arrays: arrays.pop(key)


def put(key: str, value: Any) -> Edit:
    return lambda arrays: arrays.__setitem__(key, value)


def setting(path: str, name: str, value: Any) -> Edit:
    return lambda settings: settings[path].__setitem__(name, value)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def run(data: bytes, folder: Path, capsys: Any, *options: str, family: str = "auto"):
    """(exit status, lines on stderr) of the command; the folder must stay as it was."""
    source = folder / "source"
    source.write_bytes(data)
    before = sorted(folder.iterdir())
    status = main([family, str(source), str(folder / "out.safetensors"), *options])
    errors = capsys.readouterr().err.splitlines()
    if status:
        assert sorted(folder.iterdir()) == before
    return status, errors


REFUSED = {
    # What is missing, left over or misshapen.
    "missing": (nvidia(without("synthesis.b8.conv0.weight")), "lacks synthesis.b8.conv0.weight"),
    "missing bias": (nvidia(without("synthesis.b8.conv1.bias")), "lacks synthesis.b8.conv1.bias"),
    "surplus": (nvidia(put("synthesis.extra", zeros(3))), "unexpected synthesis.extra"),
    "shape": (
        nvidia(put("synthesis.b8.conv0.weight", zeros(8, 8, 5, 5))),
        r"synthesis.b8.conv0.weight: its shape \[8, 8, 5, 5\] does not fit",
    ),
    "rank": (nvidia(put("mapping.fc0.weight", zeros(8))), r"mapping.fc0.weight: its shape \[8\]"),
    "channels": (nvidia(put("synthesis.b8.conv1.bias", zeros(5))), "5 channels at resolution 8"),
    "no channels": (nvidia(put("synthesis.b8.conv1.bias", zeros(0))), "0 channels at"),
    "no latent": (nvidia(settings=setting("", "w_dim", 0)), "w_dim is 0, expected at least 1"),
    "depth": (nvidia(settings=setting("mapping", "num_layers", 10**9)), "has 2 layers"),
    "depth, TensorFlow": (tensorflow(mapping_layers=3), "mapping_layers is 3, but.*has 2 layers"),
    "nan": (nvidia(put("mapping.w_avg", np.full(8, np.nan, np.float32))), "mapping.w_avg.*NaN"),
    "missing, TensorFlow": (
        tensorflow(without("mapping/Dense1/bias")),
        "lacks mapping/Dense1/bias",
    ),
    "surplus, TensorFlow": (tensorflow(put("synthesis/x", zeros(1))), "unexpected synthesis/x"),
    "shape, TensorFlow": (
        tensorflow(put("synthesis/noise3", zeros(16, 16))),
        r"synthesis/noise3: its shape \[16, 16\] does not fit",
    ),
    "missing, rosinality": (rosinality(without("conv1.noise.weight")), "lacks conv1.noise.weight"),
    "surplus, rosinality": (rosinality(put("style.9.x", zeros(1))), "unexpected style.9.x"),
    "shape, rosinality": (
        rosinality(put("to_rgb1.bias", zeros(1, 3, 1, 2))),
        r"to_rgb1.bias: its shape \[1, 3, 1, 2\] does not fit",
    ),
    "mean, rosinality": (rosinality(latent_avg=zeros(6, 8)), r"latent_avg: its shape is \[6, 8\]"),
    # Other networks and other settings.
    "class": (
        nvidia(settings=setting("", "class_name", "StyleGANXL")),
        "of class StyleGANXL, expected Generator",
    ),
    "inner class": (
        nvidia(settings=setting("synthesis", "class_name", "SynthesisInput")),
        "unknown class SynthesisInput",
    ),
    "activation": (
        nvidia(settings=setting("synthesis.b8.conv1", "activation", "relu")),
        "synthesis.b8.conv1 uses 'relu', expected 'lrelu'",
    ),
    "setting's type": (
        nvidia(settings=setting("synthesis.b4.conv1", "conv_clamp", "high")),
        "conv_clamp is 'high'",
    ),
    "setting's value": (
        nvidia(settings=setting("synthesis.b4", "architecture", "progressive")),
        "got 'progressive'",
    ),
    "filter": (
        nvidia(put("synthesis.b8.resample_filter", tiny.FILTER + 0.1)),
        "synthesis.b8.resample_filter: the FIR filter",
    ),
    "other filter": (
        nvidia(put("synthesis.b8.resample_filter", np.full((2, 2), 0.25, np.float32))),
        "differs from synthesis.b4.resample_filter",
    ),
    "filter, rosinality": (
        rosinality(put("convs.0.conv.blur.kernel", np.ones((2, 2), np.float32))),
        "convs.0.conv.blur.kernel: the FIR filter is not",
    ),
    "version": (tensorflow(version=3), "format version 3"),
    "unknown setting": (tensorflow(attention=True), "setting attention is not"),
    "excluded setting": (tensorflow(fmap_decay=2), "fmap_decay is 2, expected 1"),
    "progressive": (tensorflow(put("synthesis/ToRGB_lod0/bias", zeros(3))), "progressively grown"),
    # Other files.
    "text": (b"not a checkpoint\n", "neither a pickle nor a PyTorch file"),
    "empty": (b"", "empty file"),
    "truncated pickle": (nvidia()[:5000], "truncated"),
    "truncated zip": (rosinality()[:5000], "truncated or damaged zip"),
    "other pickle": (dumps({"state_dict": {}, "opts": {}}), "of no supported family.*state_dict"),
    "a number": (dumps(3), "of no supported family"),
    "code": (dumps({"G_ema": Call(Global("posix", "system"), ("true",))}), r"run os\.system"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line_and_nothing_written(case, tmp_path, capsys):
    data, reason = REFUSED[case]
    status, errors = run(data, tmp_path, capsys)
    assert status == 2
    assert len(errors) == 1
    assert errors[0].startswith("refused: ")
    assert re.search(reason, errors[0]), errors[0]


def test_another_family_or_network_than_the_file_s_is_refused(tmp_path, capsys):
    status, errors = run(nvidia(), tmp_path, capsys, family="rosinality")
    assert (status, len(errors)) == (2, 1)
    assert "of the family nvidia_pytorch, not rosinality" in errors[0]
    status, errors = run(nvidia(), tmp_path, capsys, "--network", "D")
    assert status == 2
    assert "no network D in the file; it holds G_ema" in errors[0]
    status, errors = run(rosinality(), tmp_path, capsys, "--network", "G")
    assert status == 2
    assert "no network g in the file" in errors[0]
    status, errors = run(rosinality(), tmp_path, capsys, "--network", "H")
    assert status == 2
    assert "hold G_ema, G, D, not H" in errors[0]


def test_files_that_the_network_does_not_take_are_refused(tmp_path, capsys):
    other = tmp_path / "other"
    other.write_bytes(rosinality())
    status, errors = run(rosinality(), tmp_path, capsys, "--with", f"heads={other}")
    assert (status, len(errors)) == (2, 1)
    assert "G_ema of the family rosinality takes no --with heads" in errors[0]
    status, errors = run(rosinality(), tmp_path, capsys, "--with", f"heads={other}absent")
    assert (status, len(errors)) == (2, 1)
    assert "No such file" in errors[0]
    twice = ("--with", f"heads={other}", "--with", f"heads={other}")
    status, errors = run(rosinality(), tmp_path, capsys, *twice)
    assert (status, errors) == (2, ["refused: --with gives one name twice"])
    assert main(["auto", str(tmp_path / "source"), str(other), "--with", f"heads={other}"]) == 2
    assert "is the source itself" in capsys.readouterr().err


def test_wrong_arguments_are_one_line_too(capsys):
    for arguments in (
        [],
        ["nonsense", "a", "b"],
        ["auto", "a", "b", "--network"],
        ["auto", "a", "b", "--with", "heads"],
        ["auto", "a", "b", "--with", "=file"],
    ):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_paths_that_cannot_be_used_are_refused(tmp_path, capsys):
    source = tmp_path / "source"
    source.write_bytes(rosinality())
    for arguments, reason in (
        ((tmp_path / "absent", tmp_path / "out"), "No such file"),
        ((tmp_path, tmp_path / "out"), "cannot be read"),
        ((source, tmp_path / "absent" / "out"), "folder does not exist"),
        ((source, tmp_path), "is a folder"),
        ((source, source), "is the source itself"),
    ):
        assert main(["auto", *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path, capsys):
    (tmp_path / "source").write_bytes(rosinality())
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["auto", str(tmp_path / "source"), str(locked / "out")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_file(tmp_path, capsys, monkeypatch):
    target = tmp_path / "out.safetensors"
    target.write_text("old")

    def full(arrays, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jaxface.weights, "save_file", full)
    status, errors = run(rosinality(), tmp_path, capsys)
    assert status == 2
    assert "cannot be written: No space left on device" in errors[0]
    assert target.read_text() == "old"


def test_the_command_reports_every_key_and_writes_the_header(tmp_path):
    source, target = tmp_path / "tiny.pkl", tmp_path / "tiny.safetensors"
    source.write_bytes(dumps(tiny.nvidia_checkpoint()))
    command = [sys.executable, "-m", "tools.convert_weights", "auto", str(source), str(target)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    report = done.stdout.splitlines()
    assert (tmp_path / "tiny.safetensors").stat().st_mode & 0o044
    for key in tiny.nvidia_generator():
        (line,) = [line for line in report if line.split()[1].rstrip(":") == key]
        assert line.startswith("ignored" if key.endswith("resample_filter") else "used")
    for part in ("G", "D", "augment_pipe", "training_set_kwargs"):
        assert any(line.startswith(f"ignored  {part}:") for line in report)
    header = read_header(target)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert header["source_sha256"] == digest
    assert header["source_family"] == "nvidia_pytorch"
    assert header["source_network"] == "G_ema"
    assert header["converter_version"] == CONVERTER_VERSION
    assert load_network(target).config.resolution == 16


def test_the_source_text_inside_is_never_executed(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    text = f"open({str(trace)!r}, 'w')"
    monkeypatch.setattr(tiny, "MODULE_SOURCE", text)
    for name, data in (("pytorch", nvidia()), ("tensorflow", tensorflow())):
        assert text.encode() in data
        (tmp_path / name).write_bytes(data)
        convert("auto", tmp_path / name, tmp_path / f"{name}.out")
    assert not trace.exists()


def test_settings_of_a_stylegan3_repository_file(tmp_path):
    def edit(settings):
        settings["mapping"]["w_avg_beta"] = 0.998
        for name, attributes in settings.items():
            if "conv_clamp" in attributes:
                attributes["conv_clamp"] = 256
            if attributes["class_name"] == "SynthesisBlock":
                attributes |= {"fused_modconv_default": "inference_only", "channels_last": False}
            attributes["in_features"] = len(name)

    source = tmp_path / "source"
    source.write_bytes(nvidia(settings=edit))
    plain = convert("auto", source, tmp_path / "plain").plan.config
    assert (plain.conv_clamp, plain.w_mean_decay) == (256, 0.998)
    assert plain.num_reduced_precision_res == 0
    reduced = convert("auto", source, tmp_path / "half", reduced_precision="float16").plan.config
    assert (reduced.num_reduced_precision_res, reduced.reduced_dtype) == (1, "float16")


def test_the_minibatch_group_follows_the_tensorflow_version(tmp_path):
    _, discriminator = tiny.tensorflow_networks()
    for version, settings, expected in ((4, {}, 4), (5, {}, None), (5, {"mbstd_group_size": 8}, 8)):
        network = tiny.tensorflow_network(discriminator, version=version, **settings)
        (tmp_path / "source").write_bytes(dumps((network, network, network)))
        found = convert("auto", tmp_path / "source", tmp_path / "out", network="D")
        assert found.plan.config.mbstd_group_size == expected


def test_a_training_checkpoint_s_mean_of_w_is_computed(tmp_path):
    checkpoint = tiny.rosinality_checkpoint()
    args = Call(Global("argparse", "Namespace"), (), {"size": 16})
    checkpoint = {"g_ema": checkpoint["g_ema"], "g": checkpoint["g_ema"], "args": args}
    (tmp_path / "source").write_bytes(torch_zip(checkpoint))
    conversion = convert("auto", tmp_path / "source", tmp_path / "out")
    assert any("no latent_avg" in line for line in conversion.report)
    assert "RandomState(0)" in read_header(tmp_path / "out")["conversion_notes"]
    generator = load_network(tmp_path / "out")
    z = np.random.RandomState(1).standard_normal((20_000, tiny.LATENT))
    w = np.asarray(generator.mapping.to_w(z))
    # Two means of 10000 and 20000 samples: 5 standard errors of their difference.
    error = w.std(axis=0) * np.sqrt(1 / 10_000 + 1 / 20_000)
    assert (np.abs(w.mean(axis=0) - generator.w_mean) < 5 * error).all()


def test_channel_schedules_are_inferred():
    for base, most in ((32768, 512), (16384, 512), (1024, 64), (3000, 16)):
        for top in (16, 64, 1024):
            widths = {r: min(base // r, most) for r in (4 << k for k in range(9)) if r <= top}
            found_base, found_most = channel_schedule(widths)
            assert {r: min(found_base // r, found_most) for r in widths} == widths
    with pytest.raises(Refusal, match="do not follow"):
        channel_schedule({4: 8, 8: 16})


def test_filters_are_recognised():
    assert filter_taps(tiny.FILTER, where="f") == (1, 3, 3, 1)
    assert filter_taps(tiny.FILTER * 4, where="f", gain=4) == (1, 3, 3, 1)
    np.testing.assert_allclose(filter_taps(np.ones((2, 2)) / 4, where="f"), (0.5, 0.5))
    np.testing.assert_allclose(filter_taps(np.ones(8) / 8, where="f"), np.ones(8) / 8)
    for bad in (np.eye(2) / 2, np.ones((2, 2)), np.asarray([0.2, 0.8]), zeros(2, 2, 2)):
        with pytest.raises(Refusal, match="f: the FIR filter"):
            filter_taps(bad, where="f")
