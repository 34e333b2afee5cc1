"""What is told of compiled programs: counts in a compiler's text, jobs on described devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxface.benchmark.compiled import program_cost
from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.runtime.devices import data_mesh
from jaxface.runtime.topologies import described, is_described


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
    ],
)
def test_mistakes_are_one_line(options, told, capsys):
    assert main(["compile", *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_on_described_tpus(tiny_suite, capsys):
    """The steps of an inversion compile for TPUs: no collective, within the memory."""
    pytest.importorskip("libtpu", reason='compiling for TPUs needs libtpu: pip install ".[tpu]"')
    assert all(map(is_described, described("v5e:2x2").devices))
    options = ["--suite", str(tiny_suite), "--preset", "image2stylegan", "--batch-size", "8"]
    assert main(["compile", "--topology", "v5e:2x2", *options]) == 0
    told = capsys.readouterr().out
    assert "4 x TPU v5 lite, described; XLA's estimates, not measurements" in told
    assert "portraits/h by these estimates" in told
    steps = [line for line in told.splitlines() if line.startswith("w_plus ")]
    assert len(steps) == 1
    assert steps[0].endswith("none")
    assert np.isfinite([float(number) for number in steps[0].split()[1:7]]).all()
    assert main(["compile", "--topology", "v5e:2x2", *options[:-1], "6"]) == 2
    assert "4 devices do not divide it" in capsys.readouterr().err
