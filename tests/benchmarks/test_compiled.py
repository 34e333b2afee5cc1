"""What is told of compiled programs: counts in a compiler's text, jobs on described devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxface.benchmark import random_problem
from jaxface.benchmark.compiled import program_cost
from jaxface.benchmark.job_cost import JobCost, table
from jaxface.benchmark.report import compiled_entry, compiled_rows, document
from jaxface.benchmark.report import table as report_table
from jaxface.benchmark.runner import compile_benchmark
from jaxface.benchmark.training_cost import batch_shapes, training_costs
from jaxface.cli import main
from jaxface.data.scene_items import item_keys as scene_keys
from jaxface.data.scene_items import scene_items
from jaxface.data.sources import ImageFolder, Latents, RenderedPortraits
from jaxface.errors import UsageError
from jaxface.methods.direction_fitting import GANSpaceSettings
from jaxface.methods.perceptual_features import FeatureSettings
from jaxface.nets import VGGConfig
from jaxface.runtime.devices import data_mesh
from jaxface.runtime.topologies import Chip, Topology, described, is_described
from jaxface.training.experiment import Experiment


class Program:
    """A compiled program of a text, without XLA's word on its cost, as GPUs have it."""

    def __init__(self, text, cost=None):
        self._text, self._cost = text, cost

    def as_text(self):
        return self._text

    def cost_analysis(self):
        return self._cost

    def memory_analysis(self):
        return type("Memory", (), {"peak_memory_in_bytes": 1024})()


TEXT = """\
HloModule step, is_scheduled=true

%body (arg: (f32[8,128])) -> (f32[8,128]) {
  %arg = (f32[8,128]{1,0:T(8,128)}) parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%arg), index=0
  %y = f32[8,128]{1,0:T(8,128)} add(%x, %x), backend_config={"estimated_cycles":"100"}
  %sum = f32[8,128]{1,0} all-reduce(%y), to_apply=%add
  ROOT %out = (f32[8,128]{1,0:T(8,128)}) tuple(%sum)
}

ENTRY %main (p: bf16[4,128]) -> bf16[4,128] {
  %p = bf16[4,128]{1,0} parameter(0)
  %q = bf16[4,128]{1,0} negate(%p), backend_config={"estimated_cycles":"50"}
  %w = (f32[8,128]{1,0:T(8,128)}) while(%t), condition=%cond, body=%body
  ROOT %r = bf16[4,128]{1,0} copy(%q), backend_config={"estimated_cycles":"25"}
}
"""


def test_cycles_traffic_and_collectives_of_a_text():
    cost = program_cost(Program(TEXT), clock=1e6)
    assert cost.seconds == pytest.approx(175e-6)
    assert cost.collectives == {"all-reduce": (1, 4096)}
    # Negation and copy move 1 KiB in and out; in the loop the addition three times 4, the sum two.
    assert cost.traffic == 4 * 1024 + 3 * 4096 + 2 * 4096
    assert cost.operations is None
    assert cost.peak == 1024
    known = program_cost(Program(TEXT, {"flops": 7.0, "bytes accessed": 9.0}))
    assert (known.operations, known.traffic, known.seconds) == (7.0, 9.0, None)
    assert known.roofline(1.0, 3.0) == 7.0


def test_a_program_of_this_machine():
    mesh = data_mesh(jax.devices()[:4])
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    rows = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=sharding)
    cost = program_cost(jax.jit(lambda x: jnp.sum(x @ x.T)).lower(rows).compile())
    assert cost.operations is not None
    assert cost.operations >= 2 * 2 * 8 * 16  # two rows' products on each device
    assert "all-reduce" in cost.collectives
    assert not is_described(jax.devices()[0])


def test_loops_count_as_often_as_they_are_said_to_run():
    cost = program_cost(Program(TEXT, {"flops": 7.0}), clock=1e6, rounds=3)
    assert cost.seconds == pytest.approx(375e-6)
    assert cost.collectives == {"all-reduce": (3, 3 * 4096)}
    assert cost.traffic == 4 * 1024 + 3 * 5 * 4096
    assert cost.operations is None  # XLA's count takes the loop once


HERE = Chip("cpu", 1e12, 0, None)
FEATURES = FeatureSettings(VGGConfig(channels=(4, 4, 4, 4, 4)), num_factors=4, steps=2)


class Described:
    """Data whose items nobody ever made."""

    def item_shapes(self):
        image = jax.ShapeDtypeStruct((16, 16, 3), np.uint8)
        return {"image": image, "factors": jax.ShapeDtypeStruct((6,), np.float32)}


def test_a_step_of_a_training_on_described_items():
    """Devices of this process stand for described ones."""
    topology, data = Topology("here", HERE, tuple(jax.devices()[:2])), Described()
    (cost,) = training_costs(Experiment(FEATURES, data), topology)
    assert (cost.unit, cost.batch, cost.runs) == ("item", FEATURES.batch_size, {"features": 1.0})
    program = cost.programs["features"]
    assert "all-reduce" in program.collectives
    assert program.convolutions["float32"] > 10
    assert "of an item" in table(cost)
    told = cost.to_json()
    assert (told["kind"], told["unit"]) == ("compiled, not measured", "item")
    odd = Experiment(FEATURES, data)
    with pytest.raises(UsageError, match="does not divide over 7 devices"):
        training_costs(odd, Topology("here", HERE, tuple(jax.devices()[:7])))
    with pytest.raises(UsageError, match="has no training steps"):
        training_costs(Experiment(GANSpaceSettings(), Latents(), suite="embedded"), topology)


@pytest.mark.slow
def test_portraits_are_described_as_they_are_rendered():
    shapes = RenderedPortraits(resolution=16).item_shapes()
    items = jax.device_get(scene_items(scene_keys(0, "train", jnp.arange(1)), 16))
    assert {name: (shape.shape, shape.dtype) for name, shape in shapes.items()} == {
        name: (item.shape[1:], item.dtype) for name, item in items.items()
    }


def test_items_are_described_or_read():
    class Read:
        def batches(self, size, fields, *, seed):
            return iter([{"w": np.zeros((size, 3), np.float32)}])

    shapes = batch_shapes(Read(), 4, ("w",))
    assert (shapes["w"].shape, shapes["w"].dtype) == ((4, 3), np.float32)
    image = batch_shapes(ImageFolder("nowhere", 32), 2, ("image",))["image"]
    assert (image.shape, image.dtype) == ((2, 32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match="ImageFolder has no field 'factors'"):
        batch_shapes(ImageFolder("nowhere", 32), 2, ("factors",))


def test_seconds_are_never_below_what_the_chip_can():
    cost = program_cost(Program(TEXT, {"flops": 197e12, "bytes accessed": 1.0}), clock=1e6)
    tpu = Topology("v5e", Chip("TPU v5 lite", 1e12, 2, 1e6), (None,))
    job = JobCost(tpu, "item", 1, 1, {"a": cost}, {"a": 2.0}, "bfloat16")
    assert job.seconds == pytest.approx(2.0)  # the estimate says 175 us


def test_what_is_exchanged_takes_the_links():
    cost = program_cost(Program(TEXT, {"flops": 1.0, "bytes accessed": 1.0}), clock=1e6)
    tpu = Topology("v5e:2x2", Chip("TPU v5 lite", 1e12, 2, 1e6, 4096.0), (None,) * 4)
    job = JobCost(tpu, "item", 4, 1, {"a": cost, "b": cost}, {"a": 1.0, "b": 0.5}, "bfloat16")
    # 4 KiB of a sum: three quarters of it twice, in one step and in half of another.
    assert job.exchanged == pytest.approx(1.5 * 2 * 0.75 * 4096)
    assert job.exchange_seconds == pytest.approx(2.25)
    assert "at worst" in table(job)
    assert job.to_json()["exchange_seconds_each_batch"] == job.exchange_seconds


def test_estimates_are_never_among_measurements():
    problem = random_problem(
        resolution=8, channel_base=32, channel_max=4, dtype="float32", perceptual=False, seed=0
    )
    here = Topology("here", HERE, tuple(jax.devices()[:1]))
    rows = compile_benchmark("synthesis", problem, batches=[2], seed=0, topology=here)
    assert [row.method for row in rows] == ["forward", "forward_backward"]
    assert rows[1].cost.operations > 1.5 * rows[0].cost.operations
    run = compiled_entry("synthesis", problem, rows, topology=here, seed=0)
    assert run["measurements"] == []
    assert [row["kind"] for row in run["compiled"]] == ["compiled, not measured"] * 2
    report = document([run], peers=[], peak=None)
    assert len(list(compiled_rows(report))) == 2
    told = report_table(report)
    assert told.startswith("Compiled for devices that are described: XLA's estimates")
    small = Topology("here", Chip("cpu", 1.0, 0, None), here.devices)
    too_large = compile_benchmark("synthesis", problem, batches=[2], seed=0, topology=small)
    run = compiled_entry("synthesis", problem, too_large, topology=small, seed=0)
    assert not run["compiled"][0]["fits"]
    assert "here (too large)" in report_table(document([run], peers=[], peak=None))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("v9:2x2", "known are v4, v5e"),
        ("v5ex4", "expected such as v5e:2x4"),
        ("h100:2x2", "expected such as"),
        ("v5e:2x2x1", "a v5e has a grid of 2 sides"),
        ("", "expected such as"),
    ],
)
def test_there_is_no_such_topology(name, told):
    with pytest.raises(UsageError, match=told):
        described(name)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--topology", "v9"], "topology 'v9': expected such as"),
        (["--topology", "v5e", "--devices", "2"], "--devices is of devices that are here"),
        (["--json"], "--json requires --topology"),
        (["--config", "c.py"], "--config requires --topology"),
        (["--topology", "v5e", "--config", "c.py", "--method", "transfer"], "give one"),
    ],
)
def test_mistakes_are_one_line(options, told, capsys):
    assert main(["compile", *options]) == 2
    assert told in capsys.readouterr().err
