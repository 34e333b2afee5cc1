"""bfloat16 beside float32: where each is used, and that it costs no quality."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import pytest

from jaxface import load_suite
from jaxface.cli import main
from jaxface.evaluation.precision import Parity
from jaxface.methods import pie
from jaxface.methods.pie.inversion import read_targets
from jaxface.runtime.devices import compute_dtype
from jaxface.solving.solver import Solver


def equations(jaxpr):
    """All equations of a program, those of inner ones too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def test_convolutions_are_bfloat16_and_the_islands_float32(tiny_suite):
    """Of the whole step: energy, gradient, Adam. Traced only."""
    settings = dataclasses.replace(pie.EMBEDDED, dtype="bfloat16")
    suite = load_suite(tiny_suite)
    networks = pie.networks_of(suite, settings, models=None, bank=None)
    assert suite.generator.config.num_reduced_precision_res == 0  # the suite's own is as it was
    num_ws = networks.generator.num_ws
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    targets = jax.eval_shape(functools.partial(read_targets, settings), networks, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(targets)} == {jnp.dtype("float32")}
    solver = Solver(pie.stages(settings, num_ws), strategy="host")
    w = jax.ShapeDtypeStruct((2, num_ws, 32), jnp.float32)
    integers = jax.ShapeDtypeStruct((2,), jnp.int32)
    scale = jax.ShapeDtypeStruct((2,), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    state = jax.eval_shape(
        solver.init_programs["w_plus"].fn, networks, w, integers, integers, scale
    )
    (phase,) = solver.iterations["w_plus"].phases
    traced = jax.make_jaxpr(phase.fn)(state, (networks, targets, keys), None, jnp.int32(0))
    after, outputs = traced.out_avals[: len(jax.tree.leaves(state))], traced.out_avals
    for old, new in zip(jax.tree.leaves(state), after, strict=True):
        assert old.dtype == new.dtype  # latents, moments and losses are float32 before and after
    assert not [aval for aval in outputs if aval.dtype == jnp.bfloat16]
    found = list(equations(traced.jaxpr))

    def dtypes(name, rank):
        return {
            str(equation.invars[0].aval.dtype)
            for equation in found
            if equation.primitive.name == name and equation.invars[0].aval.ndim == rank
        }

    # The generator's and the VGG's convolutions, forward and backward. (The image is resampled by
    # shifted adds.)
    assert dtypes("conv_general_dilated", 4) == {"bfloat16"}
    assert dtypes("rsqrt", 2) == {"float32"}  # demodulation
    assert dtypes("dot_general", 2) == {"float32"}  # styles and demodulation


def test_the_default_is_what_the_device_multiplies_in(monkeypatch):
    class Device:
        platform: str = "gpu"
        compute_capability: str | None = None

    assert compute_dtype() == "float32"
    monkeypatch.setattr(jax, "local_devices", lambda: [Device])
    found = {}
    for platform, capability in (("gpu", "9.0"), ("gpu", "7.5"), ("gpu", "gfx90a"), ("tpu", None)):
        Device.platform, Device.compute_capability = platform, capability
        found[platform, capability] = compute_dtype()
    assert list(found.values()) == ["bfloat16", "float32", "float32", "bfloat16"]


def parity(loss, ratio):
    return Parity(
        loss={"float32": [1.0, 1.1, 0.9], "bfloat16": [loss] * 3},
        psnr={"float32": [30.0, 31.0, 29.0], "bfloat16": [ratio] * 3},
        portraits=2,
    )


@pytest.mark.parametrize(
    ("loss", "ratio", "passed"),
    [
        (1.19, 28.1, True),
        (1.21, 30.0, False),
        (1.0, 27.9, False),
        (0.5, 40.0, True),  # better is not worse
    ],
)
def test_within_is_two_deviations_of_float32(loss, ratio, passed):
    found = parity(loss, ratio)
    assert found.noise("loss") == pytest.approx(0.1)
    assert found.noise("psnr") == pytest.approx(1.0)
    assert found.passed == passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["precision", "--runs", "1"], "--runs: expected at least 2, got 1"),
        (["precision", "--portraits", "0"], "--portraits: expected at least 1, got 0"),
        (["precision", "--edits", "2"], "--edits is of use only with pie"),
        (
            ["generator", "--iterations", "2"],
            "--iterations is of use only with pie and reenactment and pvp and precision",
        ),
        (["precision", "--preset", "pie_papr"], "did you mean 'pie_paper'"),
    ],
)
def test_a_wrong_call_is_one_line(options, message, tmp_path, capsys):
    assert main(["evaluate", *options, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.slow
def test_bfloat16_embeds_as_well_as_float32(tmp_path, capsys):
    """The gate itself, on the shipped suite. The schedule is an eighth of the embedded preset's."""
    options = ["--portraits", "8", "--runs", "3", "--iterations", "0.125", "--out", str(tmp_path)]
    assert main(["evaluate", "precision", *options]) == 0
    found = json.loads((tmp_path / "precision.json").read_text())
    assert found["passed"]
    # The runs do differ, and embed: eight renders' mean latent is at 10 to 15 dB.
    assert found["loss_noise"] > 0
    assert min(found["psnr"]["float32"]) > 20
    assert (tmp_path / "precision.md").read_text() in capsys.readouterr().out
