"""Programs compiled for TPUs that are not there: what would be wrong on a pod is seen here.

A tier of its own, `pytest -m libtpu`. Networks are narrow: what is looked at is which operations
there are, not how long they take.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from jaxface.benchmark import random_network
from jaxface.benchmark.job_cost import inversion_cost, reenactment_cost
from jaxface.benchmark.runner import compile_benchmark
from jaxface.benchmark.training_cost import training_costs
from jaxface.cli import main
from jaxface.data.sources import Latents, LiveRenders
from jaxface.jobs.inversion import Inversion
from jaxface.methods.pie.reenactment import RigNetReenactment
from jaxface.methods.presets import preset
from jaxface.methods.rignet import RigNetSettings
from jaxface.methods.stylegan2 import StyleGAN2Settings
from jaxface.nets import DiscriminatorConfig, GeneratorConfig, ReconstructionConfig, RigNetConfig
from jaxface.runtime.topologies import described, is_described
from jaxface.suite import load_suite
from jaxface.training.experiment import Experiment
from jaxface.weights import save_network

pytestmark = pytest.mark.libtpu

POD = "v5e:16x16"
BESIDE_THE_BATCH = 1.05
"""A device of many has so many times the operations of one alone with as many items."""


@pytest.fixture(scope="module", autouse=True)
def libtpu():
    pytest.importorskip("libtpu", reason='compiling for TPUs needs libtpu: pip install ".[tpu]"')


@pytest.fixture(scope="module")
def suite(tiny_suite, tmp_path_factory, random_network):
    """A suite that reads portraits and moves their pose and expression."""
    folder = tmp_path_factory.mktemp("described") / "suite"
    shutil.copytree(tiny_suite, folder)
    reader = ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    save_network(
        folder / "reconstruction.safetensors", random_network("FaceReconstruction", reader)
    )
    for group in ("pose", "expression"):
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=6, w_dim=32, hidden=2))
        save_network(folder / f"rignet_{group}.safetensors", rignet)
    return load_suite(folder)


def inversion(suite, name, topology):
    task = Inversion(suite, name, preset(name).computing_in("bfloat16"), 0)
    where = described(topology)
    batch = 2 * len(where.devices)
    return inversion_cost(task, where, batch_size=batch, dtype="bfloat16")


@pytest.mark.parametrize(
    ("name", "topology"),
    [
        ("image2stylegan", "v5e:2x2"),
        ("image2stylegan", POD),
        pytest.param("pti_embedded", "v5e:2x2", marks=pytest.mark.slow),
    ],
)
def test_an_inversion_needs_no_word_between_devices(suite, name, topology):
    cost = inversion(suite, name, topology)
    stages = [cost.programs[stage] for stage in cost.runs]
    assert stages
    for step in stages:
        assert step.collectives == {}
        assert step.seconds is not None
        assert step.convolutions["bfloat16"] > 10
        assert "float32" not in step.convolutions
    # Two portraits of 16 px and networks of 4 to 8 channels, padded to a TPU's tiles.
    assert cost.memory < 60e6


def test_frames_need_no_word_between_devices(suite):
    cost = reenactment_cost(suite, RigNetReenactment(), described("v5e:2x2"), batch_size=8)
    (program,) = cost.programs.values()
    assert program.collectives == {}
    assert cost.unit == "frame"
    assert cost.memory < 60e6


STYLEGAN2 = StyleGAN2Settings(
    GeneratorConfig(8, z_dim=8, w_dim=8, mapping_layers=1, channel_base=32, channel_max=4),
    DiscriminatorConfig(8, channel_base=32, channel_max=4),
    num_images=10_000,
    augment=None,  # whose warp takes minutes to compile
)


def step_of(method, data, topology, *, each, suite=None):
    """The cost of a step with `each` items a device."""
    where = described(topology)
    method = dataclasses.replace(method, batch_size=each * len(where.devices))
    folder = None if suite is None else str(suite.files["generator"].parent)
    (cost,) = training_costs(Experiment(method, data, suite=folder), where)
    return cost


@pytest.mark.slow  # second-order gradients are compiled twice
def test_every_phase_of_an_adversarial_training_is_split():
    alone = step_of(STYLEGAN2, LiveRenders(8), "v5e", each=4)
    split = step_of(STYLEGAN2, LiveRenders(8), POD, each=4)
    assert set(split.programs) >= {"generator", "path_length", "discriminator", "r1"}
    for name, program in split.programs.items():
        limit = BESIDE_THE_BATCH * alone.programs[name].operations
        assert program.operations < limit, name
        assert alone.programs[name].collectives == {}
        if name != "average":
            assert "all-reduce" in program.collectives, name
    assert split.memory < 100e6


def test_a_training_on_a_frozen_generator_is_split(suite):
    settings = RigNetSettings("pose", steps=4, hidden=2)
    alone = step_of(settings, Latents(), "v5e", each=4, suite=suite)
    split = step_of(settings, Latents(), POD, each=4, suite=suite)
    (one,), (many,) = alone.programs.values(), split.programs.values()
    assert many.operations < BESIDE_THE_BATCH * one.operations


@pytest.mark.parametrize("name", ["vgg16", "ir-se50", "deca", "e4e"])
def test_published_networks_compile_in_bfloat16(name):
    problem = random_network(name, dtype="bfloat16", tiny=True, seed=0)
    topology = described("v6e")
    for row in compile_benchmark("networks", problem, batches=[2], seed=0, topology=topology):
        assert row.cost.convolutions.get("float32", 0) <= row.cost.convolutions["bfloat16"]
        assert row.cost.peak < 2e9


ONE_EDIT = "--reconstruction small --recognition small --edits one --bank 3"


@pytest.mark.slow  # a minute of a core each, and more
@pytest.mark.parametrize(
    "arguments",
    [
        "pie --resolution 8 " + ONE_EDIT,
        "direction_matrix --resolution 32",
        "latent_difference --resolution 16 --widths small",
        "transfer --resolution 64 --encoders small",
        "pvp --resolution 32 --networks small --anchors 5",
    ],
    ids=lambda arguments: arguments.partition(" ")[0],
)
def test_every_method_compiles_in_bfloat16(arguments, tmp_path, capsys):
    out = tmp_path / "compiled.json"
    narrow = "--channel-base 64 --channel-max 4 --batch 2 --dtype bfloat16 --topology v5e"
    options = [*arguments.split(), *narrow.split(), "--out", str(out)]
    assert main(["benchmark", *options]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["measurements"] == []
    for row in run["compiled"]:
        assert row["convolutions"]["bfloat16"] > row["convolutions"].get("float32", 0)
        assert row["estimated_seconds"] > 0
        # The most is Transfer's: a mapper of 52 million weights, and four arrays as large.
        assert row["memory_bytes"] < 1.2e9
    assert "XLA's estimates, not measurements" in capsys.readouterr().out


def test_the_command_tells_of_a_job(tiny_suite, capsys):
    assert all(map(is_described, described("v5e:2x2").devices))
    options = ["--suite", str(tiny_suite), "--preset", "image2stylegan", "--batch-size", "8"]
    assert main(["compile", "--topology", "v5e:2x2", *options]) == 0
    told = capsys.readouterr().out
    assert "4 x TPU v5 lite, described; XLA's estimates, not measurements" in told
    assert "by these estimates" in told
    steps = [line for line in told.splitlines() if line.startswith("w_plus ")]
    assert len(steps) == 1
    assert steps[0].endswith("none")
    assert np.isfinite([float(number) for number in steps[0].split()[1:7]]).all()
    assert main(["compile", "--topology", "v5e:2x2", *options[:-1], "6"]) == 2
    assert "4 devices do not divide it" in capsys.readouterr().err
