"""`jaxface benchmark suite`: the generator that a suite has, and the original of a photo suite."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxface.benchmark import openvino_peer
from jaxface.benchmark.suite_generator import (
    SuiteGenerator,
    SuiteProblem,
    suite_problem,
    workload,
)
from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.nets import MobileGenerator, MobileGeneratorConfig
from jaxface.suite import load_suite
from jaxface.weights import abstract_network


def test_a_suites_generator_is_timed_with_its_own_weights(tiny_suite, tmp_path, capsys):
    out = tmp_path / "suite.json"
    call = ["benchmark", "suite", "--suite", str(tiny_suite), "--gradient", "--repeats", "2"]
    assert main([*call, "--batch", "2", "--out", str(out)]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["settings"]["suite"] == tiny_suite.name
    assert run["settings"]["resolution"] == 16
    assert [row["method"] for row in run["measurements"]] == ["forward", "forward_backward"]
    assert f"{tiny_suite.name} 16 px" in capsys.readouterr().out
    problem = suite_problem(str(tiny_suite), dtype="float32")
    (call,) = workload(problem, batch=2, rng=np.random.default_rng(0)).calls
    generator = load_suite(tiny_suite).generator
    rows = np.broadcast_to(call.inputs[0][:, None], (2, generator.num_ws, 32))
    ours = SuiteGenerator(problem).forward
    ours.compile(*call.inputs)
    expected = jax.jit(lambda generator, rows: generator.synthesis(rows))(generator, rows)
    np.testing.assert_allclose(ours(*call.inputs), expected, atol=1e-5)


def test_the_original_takes_part_where_it_can(tiny_suite, tmp_path):
    problem = suite_problem(str(tiny_suite), dtype="float32")
    assert openvino_peer.mobile_stylegan(problem) is None
    network = abstract_network("MobileGenerator", MobileGeneratorConfig())
    assert isinstance(network, MobileGenerator)
    photo = SuiteProblem("photo", "float32", network)
    with pytest.raises(UsageError, match="--wheels"):
        openvino_peer.mobile_stylegan(photo)
    pytest.importorskip("openvino", reason="openvino is not installed")
    with pytest.raises(UsageError, match="random_face=="):
        openvino_peer.mobile_stylegan(dataclasses.replace(photo, wheels=str(tmp_path)))
