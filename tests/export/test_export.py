"""`jaxface export`: what it writes runs without jaxface, and computes what jaxface does."""

import importlib
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from safetensors.numpy import load_file, save_file

from jaxface.cli import main
from jaxface.keys import item_keys, samples_key
from jaxface.methods import inversion, pie
from jaxface.methods.presets import preset
from jaxface.settings import apply_overrides
from jaxface.suite import load_suite

CHANGES = ("w_steps=2", "w_plus_steps=3", "decay_steps=3", "perceptual_resolution=16")

# Runs a program of a folder, as one does who has JAX, flatbuffers, safetensors and no jaxface.
ALONE = """
import sys
sys.modules["jaxface"] = None  # any import of it fails
import jax, safetensors.numpy
folder, program = sys.argv[1:3]
weights = safetensors.numpy.load_file(f"{folder}/weights.safetensors")
call = jax.export.deserialize(open(f"{folder}/{program}.jax_export", "rb").read()).call
for given, made in zip(sys.argv[3::2], sys.argv[4::2]):
    results = jax.jit(call)(weights, safetensors.numpy.load_file(given))
    safetensors.numpy.save_file({k: jax.device_get(v) for k, v in results.items()}, made)
"""


@pytest.fixture(params=["stablehlo", "onnx"])
def to(request):
    """A format, and the options that write it for batches of two."""
    if request.param == "stablehlo":
        return request.param, ()
    pytest.importorskip("jax2onnx", reason="the extra `onnx`")
    pytest.importorskip("onnxruntime")
    return request.param, ("--to", "onnx", "--batch-size", "2")


def called(folder, program, inputs, *, to="stablehlo"):
    if to == "onnx":
        return _called_in_onnxruntime(folder, program, inputs)
    weights = load_file(folder / "weights.safetensors")
    data = (folder / f"{program}.jax_export").read_bytes()
    return jax.jit(export.deserialize(bytearray(data)).call)(weights, inputs)


def _called_in_onnxruntime(folder, program, inputs):
    told = json.loads((folder / "export.json").read_text())["programs"][program]
    session = importlib.import_module("onnxruntime").InferenceSession(str(folder / told["file"]))
    names = [each.name for each in session.get_inputs()]
    values = [np.asarray(inputs[name]) for name in told["inputs_in_order"]]
    results = session.run(None, dict(zip(names, values, strict=True)))
    return dict(zip(told["results_in_order"], results, strict=True))


def test_any_number_of_codes_is_drawn_without_jaxface(tiny_suite, tmp_path, capsys):
    folder = tmp_path / "out"
    assert main(["export", str(tiny_suite), "--out", str(folder)]) == 0
    assert "synthesis.jax_export" in capsys.readouterr().out
    suite = load_suite(tiny_suite)
    config, files = suite.generator.config, []
    rng = np.random.default_rng(0)
    codes = [rng.normal(size=(n, config.num_ws, config.w_dim)).astype(np.float32) for n in (1, 3)]
    for number, each in enumerate(codes):
        save_file({"w_plus": each}, tmp_path / f"in{number}")
        files += [str(tmp_path / f"in{number}"), str(tmp_path / f"made{number}")]
    call = [sys.executable, "-c", ALONE, str(folder), "synthesis", *files]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for number, each in enumerate(codes):
        images = load_file(tmp_path / f"made{number}")["images"]
        expected = suite.generator.synthesis(jnp.asarray(each), noise="const")
        np.testing.assert_allclose(images, expected, atol=1e-5 * np.abs(expected).max())
    index = json.loads((folder / "export.json").read_text())
    assert index["networks"]["generator"]["sha256"] == suite.digest("generator")
    program = index["programs"]["synthesis"]
    assert program["inputs"]["w_plus"]["shape"] == ["batch", config.num_ws, config.w_dim]
    assert program["results"]["images"]["shape"] == ["batch", 16, 16, 3]


def test_the_steps_of_an_inversion_are_those_of_the_library(tiny_suite, tmp_path, to):
    to, options = to
    call = ["export", str(tiny_suite), "--what", "invert_step", "--out", str(tmp_path), *options]
    assert main([*call, *(each for change in CHANGES for each in ("--set", change))]) == 0
    suite, settings = load_suite(tiny_suite), apply_overrides(preset("pie_embedded"), CHANGES)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    key = jax.random.key(0)
    keys = item_keys(key, ["a", "b"])
    words = {"keys": jax.random.key_data(keys)}

    known = called(tmp_path, "begin", {"images": images}, to=to)
    targets = {name: x for name, x in known.items() if name.startswith("targets.")}
    variables = {"variables": known["variables"]}
    losses = []
    for stage, steps in (("w", 2), ("w_plus", 3)):
        state = called(tmp_path, f"start_{stage}", variables, to=to)
        for _ in range(steps):
            results = called(tmp_path, f"step_{stage}", state | targets | words, to=to)
            state = {name: x for name, x in results.items() if name.startswith("state.")}
            losses.append(np.asarray(results["measures.loss"]))
        variables = {"variables": state["state.variables"]}
    made = called(tmp_path, "finish", targets | variables | words, to=to)

    expected = inversion.invert(settings, suite, images, keys=keys, networks_key=samples_key(key))
    traces = np.concatenate([expected.traces["w"]["loss"], expected.traces["w_plus"]["loss"]])
    np.testing.assert_allclose(losses, traces, rtol=1e-4)
    np.testing.assert_allclose(made["w_plus"], expected.w_plus, atol=1e-4)
    np.testing.assert_allclose(made["losses.loss"], expected.losses["loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [("pose",), ("pose", "illumination")])
def test_an_edit_is_that_of_the_library(tmp_path, groups, to):
    to, options = to
    chosen = [each for group in groups for each in ("--group", group)]
    assert (
        main(["export", "embedded", "--what", "edit", *chosen, "--out", str(tmp_path), *options])
        == 0
    )
    suite = load_suite("embedded")
    w_plus = jnp.asarray(suite.generator.mapping(jax.random.normal(jax.random.key(3), (2, 512))))
    inputs, targets = {"w_plus": w_plus}, {}
    values = np.zeros((2, 6), np.float32)
    values[:, 1] = (0.2, -0.3)
    given = np.arange(6) == 1
    targets["pose"] = pie.Target(jnp.asarray(values), jnp.asarray(given), jnp.zeros(()))
    if "illumination" in groups:
        light = np.random.default_rng(0).normal(size=(2, 27)).astype(np.float32) * 0.1
        targets["illumination"] = pie.Target.of_values(jnp.asarray(light))
    for group, target in targets.items():
        inputs |= {group: target.values, f"{group}.given": target.given}
    made = called(tmp_path, "edit", inputs, to=to)
    edits = pie.edit_groups(suite, w_plus, targets, feedback=1)
    expected = edits[groups[-1]]
    np.testing.assert_allclose(made["w_plus"], expected.w_plus, atol=1e-3)
    np.testing.assert_allclose(made["images"], expected.images, atol=2e-3)


@pytest.mark.slow
def test_an_encoder_is_that_of_the_suite(tmp_path):
    assert main(["export", "embedded", "--what", "encoder", "--out", str(tmp_path)]) == 0
    suite = load_suite("embedded")
    images = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    made = called(tmp_path, "encoder", {"images": images})
    np.testing.assert_allclose(made["w_plus"], suite.encoder(jnp.asarray(images)), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--what", "encoder"], "has no encoder"),
        (["--what", "edit"], "has no rignet_<group>"),
        (["--what", "invert_step", "--preset", "e4e"], "has no encoder"),
        (["--group", "pose"], "--group requires --what edit"),
        (["--set", "w_steps=3"], "--set requires --what invert_step"),
        (["--batch-size", "0"], "--batch-size: expected at least 1"),
        (["--to", "onnx", "--platforms", "cpu"], "--platforms requires --to stablehlo"),
        (["--what", "edit", "--feedback", "-1"], "--feedback: expected at least 0"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tiny_suite, tmp_path, capsys, options, told):
    assert main(["export", str(tiny_suite), "--out", str(tmp_path / "out"), *options]) == 2
    printed = capsys.readouterr().err
    assert told in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_batch_of_a_fixed_size_takes_no_other(tiny_suite, tmp_path):
    call = ["export", str(tiny_suite), "--batch-size", "2", "--out", str(tmp_path)]
    assert main(call) == 0
    config = load_suite(tiny_suite).generator.config
    codes = np.zeros((2, config.num_ws, config.w_dim), np.float32)
    assert called(tmp_path, "synthesis", {"w_plus": codes})["images"].shape == (2, 16, 16, 3)
    with pytest.raises(ValueError, match="Shape mismatch"):
        called(tmp_path, "synthesis", {"w_plus": codes[:1]})


def test_onnx_draws_the_same(tiny_suite, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra `onnx`")
    pytest.importorskip("onnxruntime")
    call = ["export", str(tiny_suite), "--to", "onnx", "--batch-size", "2", "--out", str(tmp_path)]
    assert main(call) == 0
    generator = load_suite(tiny_suite).generator
    shape = (2, generator.num_ws, generator.config.w_dim)
    codes = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    images = called(tmp_path, "synthesis", {"w_plus": codes}, to="onnx")["images"]
    expected = generator.synthesis(jnp.asarray(codes), noise="const")
    np.testing.assert_allclose(images, expected, atol=1e-5 * np.abs(expected).max())


def test_onnx_has_no_random_numbers(tmp_path, capsys):
    pytest.importorskip("jax2onnx", reason="the extra `onnx`")
    call = ["export", "embedded", "--what", "invert_step", "--preset", "pie_embedded_all"]
    assert main([*call, "--to", "onnx", "--batch-size", "2", "--out", str(tmp_path)]) == 2
    assert "it draws random numbers" in capsys.readouterr().err


def test_what_onnx_needs_is_told(tiny_suite, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert main(["export", str(tiny_suite), "--to", "onnx", "--out", str(tmp_path)]) == 2
    assert 'pip install "jaxface[onnx]"' in capsys.readouterr().err
