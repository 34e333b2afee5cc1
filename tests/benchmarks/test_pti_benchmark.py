"""`jaxface benchmark pti`: its count of operations at full size, and the command at a tiny one."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxface.benchmark import flops
from jaxface.benchmark import pti as workload
from jaxface.cli import main
from jaxface.methods import pti
from jaxface.nets import GeneratorConfig, LPIPSConfig
from jaxface.weights import abstract_network

SIZES = ["--resolution", "32", "--channel-base", "64", "--channel-max", "4", "--batch", "1", "2"]


def traced(settings, batch=1):
    """A step at 1024 px on shapes alone."""
    generator: Any = abstract_network("Generator", GeneratorConfig(resolution=1024))
    lpips: Any = abstract_network("LPIPS", LPIPSConfig("alex"))
    networks = pti.Networks(generator, lpips)
    images = jax.ShapeDtypeStruct((batch, 1024, 1024, 3), jnp.float32)
    features = jax.eval_shape(functools.partial(pti.features, settings), networks, images)
    weights = jax.eval_shape(functools.partial(pti.start, count=batch), networks)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))
    w_plus = jax.ShapeDtypeStruct((batch, 18, 512), jnp.float32)
    step = functools.partial(workload._step, settings)
    return jax.jit(step).trace(networks, weights, images, features, keys, w_plus)


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "gigaflop"), [(pti.REPO, 508), (pti.PAPER, 1195)])
def test_flop_is_that_of_the_published_sizes(settings, gigaflop):
    """Counted layer by layer beforehand: 446.6 for the generator's gradient, the rest LPIPS's."""
    call = traced(settings)
    assert flops.count(call, call.lower()) == pytest.approx(gigaflop * 1e9, rel=0.02)


@pytest.mark.slow  # AlexNet of full width
def test_times_a_step(tmp_path):
    out = tmp_path / "pti.json"
    options = ["--regularized", "--rows", "vmap", "--repeats", "1", "--out", str(out)]
    assert main(["benchmark", "pti", *SIZES, *options]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["iterations_per_image"] == 350
    settings = {"lpips": "alex", "perceptual": False, "regularized": True, "rows": "vmap"}
    assert settings.items() <= run["settings"].items()
    rows = run["measurements"]
    assert [(row["method"], row["batch"]) for row in rows] == [("step", 1), ("step", 2)]
    # What depends on the original generator's weights alone is done once.
    assert 1.8 < rows[1]["flop"] / rows[0]["flop"] <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pti", "--lpips"], "--lpips: belongs to projection, not to pti"),
        (["synthesis", "--regularized"], "unrecognized arguments: --regularized"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, message, capsys):
    assert main(["benchmark", *arguments, *SIZES]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
