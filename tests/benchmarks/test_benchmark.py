"""`jaxface benchmark` at tiny sizes, beside peers whose answers are known."""

import datetime
import json
import subprocess
import sys

import numpy as np
import pytest

from jaxface import benchmark
from jaxface.benchmark import projection
from jaxface.cli import main
from jaxface.nets import LPIPSConfig
from jaxface.runtime import progress

TIMES = {"median", "min", "all"}
MEASUREMENT = {
    "method", "batch", "contender", "compile_seconds", "first_call_seconds", "seconds",
    "images_per_second", "images_per_hour", "flop", "flop_per_second", "share_of_peak_flop",
    "bytes", "bytes_per_second", "share_of_peak_bandwidth", "memory_bytes", "speedup_of_jaxface",
    "differences",
}  # fmt: skip


def run(name, resolution, *options):
    sizes = ["--resolution", str(resolution), "--channel-base", "128", "--batch", "2"]
    return main(["benchmark", name, *sizes, "--repeats", "3", *options])


@pytest.mark.slow
def test_the_cpu_takes_part(tmp_path, capsys):
    out = tmp_path / "beside.json"
    assert run("projection", 16, "--beside-cpu", "--out", str(out)) == 0
    (entry,) = json.loads(out.read_text())["runs"]
    rows = {row["contender"]: row for row in entry["measurements"]}
    assert set(rows) == {"jaxface", "jaxface, CPU"}
    differences = rows["jaxface, CPU"]["differences"]
    assert {each["output"] for each in differences} == {"energy", "gradient"}
    # Both are the same CPU here.
    assert all(each["max_abs"] == 0 < each["largest"] for each in differences)
    assert run("projection", 16, "--beside-cpu", "--topology", "v5e") == 2
    assert "--beside-cpu is of what runs" in capsys.readouterr().err


@pytest.mark.slow
def test_synthesis_beside_peers(tmp_path, capsys):
    out = tmp_path / "deep" / "synthesis.json"
    peers = ["--peer", "toy_peers:Zeros", "--peer", "toy_peers:Equal"]
    assert run("synthesis", 16, *peers, "--out", str(out)) == 0

    report = json.loads(out.read_text())
    assert set(report) == {"format", "date", "device", "versions", "contenders", "runs"}
    assert report["format"] == "jaxface-benchmark/2"
    (entry,) = report["runs"]
    assert set(entry) == {"benchmark", "settings", "iterations_per_image", "measurements"}
    assert (entry["benchmark"], entry["iterations_per_image"]) == ("synthesis", 1)
    assert datetime.datetime.fromisoformat(report["date"]).tzinfo is not None
    assert entry["settings"] == {
        "resolution": 16, "channel_base": 128, "channel_max": 512, "dtype": "float32",
        "perceptual": False, "lpips": None, "repeats": 3, "seed": 0,
    }  # fmt: skip
    assert set(report["device"]) == {"platform", "kind", "count", "load_average", "peak"}
    peak = report["device"]["peak"]
    assert set(peak["flop_per_second"]) == {"float32"}
    assert {"python", "jaxface", "jax", "jaxlib", "flax", "numpy"} == set(report["versions"])
    zeros, equal = "toy_peers:Zeros", "toy_peers:Equal"
    info = {"repository": "none", "commit": "0"}
    assert report["contenders"] == {"jaxface": {}, zeros: info, equal: {}}

    rows = entry["measurements"]
    order = [(row["method"], row["contender"]) for row in rows]
    names = ("jaxface", zeros, equal)
    assert order == [(m, c) for m in ("forward", "forward_backward") for c in names]
    for row in rows:
        assert set(row) == MEASUREMENT
        assert set(row["seconds"]) == TIMES
        times = row["seconds"]["all"]
        assert len(times) == 3
        assert min(times) == row["seconds"]["min"] > 0
        assert sorted(times)[1] == row["seconds"]["median"]
        assert row["images_per_second"] == 2 / row["seconds"]["median"]
        assert row["images_per_hour"] == 3600 * row["images_per_second"]
        ours = row["contender"] == "jaxface"
        for key in ("compile_seconds", "flop", "flop_per_second", "bytes", "memory_bytes"):
            assert (row[key] is not None) == ours
        if ours:
            speeds = (row["flop"] / peak["flop_per_second"]["float32"],
                      row["bytes"] / peak["bytes_per_second"])  # fmt: skip
            shares = (row["share_of_peak_flop"], row["share_of_peak_bandwidth"])
            for seconds, share in zip(speeds, shares, strict=True):
                assert share == pytest.approx(seconds / row["seconds"]["median"])
        assert (row["speedup_of_jaxface"] is None) == ours
        outputs = [difference["output"] for difference in row["differences"]]
        expected = ["images", "gradient"][: 1 if row["method"] == "forward" else 2]
        assert outputs == ([] if ours else expected)
    for row in rows:
        for difference in row["differences"]:
            if row["contender"] == zeros:  # off by all there is
                assert difference["max_abs"] == difference["largest"] > 0
            else:
                # The same arithmetic, compiled with constant weights: float32 rounding, once in a
                # while amplified where it moves a value over the leaky ReLU's kink.
                assert difference["relative"] < 1e-3
    flop = [row["flop"] for row in rows if row["contender"] == "jaxface"]
    assert flop[1] > 1.5 * flop[0]

    text = capsys.readouterr().out
    assert "16 px, channel base 128" in text
    assert all(name in text for name in names)


@pytest.mark.slow
def test_projection_agrees_with_the_chain_rule(tmp_path):
    out = tmp_path / "projection.json"
    assert run("projection", 8, "--peer", "toy_peers:ByCotangent", "--out", str(out)) == 0
    check_energy(out)


@pytest.mark.slow
@pytest.mark.parametrize("term", ["--perceptual", "--lpips"])
def test_full_projection_agrees_with_the_chain_rule(term, tmp_path):
    out = tmp_path / "projection.json"
    options = [term, "--peer", "toy_peers:ByCotangent", "--out", str(out)]
    assert run("projection", 16, *options) == 0
    check_energy(out)


def check_energy(path):
    (entry,) = json.loads(path.read_text())["runs"]
    ours, theirs = entry["measurements"]
    energy, gradient = theirs["differences"]
    assert (energy["output"], gradient["output"]) == ("energy", "gradient")
    assert energy["relative"] < 1e-5  # a float32 mean
    assert gradient["relative"] < 1e-3  # the kink, as above
    assert entry["iterations_per_image"] == 1000
    hourly = 3.6 * ours["images_per_second"]
    assert ours["images_per_hour"] == pytest.approx(hourly, rel=1e-12)  # the last bit


@pytest.mark.slow
def test_lpips_in_bfloat16_is_near_float32():
    """The energy's networks compute in the problem's dtype, what they compare is float32."""
    config = LPIPSConfig("vgg", (4, 4, 8, 8, 8))
    sizes = {"resolution": 16, "channel_base": 128, "channel_max": 8, "perceptual": False}
    energies = {}
    for dtype in ("float32", "bfloat16"):
        problem = benchmark.random_problem(**sizes, dtype=dtype, lpips=config, seed=0)
        ours = projection.Projection(problem)
        work = projection.workload(problem, batch=2, rng=np.random.default_rng(0))
        ours.set_targets(work.targets)
        ours.energy_gradient.compile(*work.calls[0].inputs)
        energies[dtype], gradient = ours.energy_gradient(*work.calls[0].inputs)
        assert gradient.dtype == np.float32
        pixels = np.mean(
            (np.asarray(problem.generator().synthesis(work.calls[0].inputs[0])) - work.targets)
            ** 2,
            axis=(1, 2, 3),
        )
        assert np.all(energies[dtype] > 1.001 * pixels)  # LPIPS has its share
    # bfloat16 has 8 bits: 0.4% a number, less in means over many.
    difference = np.abs(energies["bfloat16"] - energies["float32"])
    assert 0 < difference.max() < 0.01 * np.abs(energies["float32"]).max()


def test_peers_take_turns():
    import toy_peers

    problem = benchmark.random_problem(
        resolution=4, channel_base=16, channel_max=4, dtype="float32", perceptual=False, seed=0
    )
    peers = benchmark.load_peers(["toy_peers:Zeros", "toy_peers:OtherZeros"], problem)
    toy_peers.Zeros.log.clear()
    benchmark.run_benchmark("synthesis", problem, batches=[1], repeats=3, peers=peers, seed=0)
    # First calls; then jaxface-zeros-other, zeros-other-jaxface, other-jaxface-zeros.
    assert toy_peers.Zeros.log == ["zeros", "other"] * 3 + ["other", "zeros"]


def test_wrong_answers_are_one_error(tmp_path, capsys):
    out = tmp_path / "out.json"
    peers = ["--peer", "toy_peers:ChannelsFirst", "--peer", "toy_peers:NotFinite"]
    assert run("synthesis", 4, *peers, "--out", str(out)) == 2
    assert not out.exists()
    told = capsys.readouterr().err.splitlines()  # progress too, on a slow machine
    (line,) = [each for each in told if each.startswith("jaxface: error")]
    assert (
        "toy_peers:ChannelsFirst forward images has shape [2, 3, 4, 4], expected [2, 4, 4, 3]"
        in line
    )
    assert "toy_peers:ChannelsFirst forward_backward returned 1 arrays, expected images" in line
    assert "toy_peers:NotFinite forward images has values that are not finite" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peer", "toy_peers"], "expected MODULE:FACTORY, got 'toy_peers'"),
        (["--peer", "no_such_module:make"], "cannot import no_such_module"),
        (["--peer", "toy_peers:missing"], "has no function 'missing'"),
        (["--peer", "toy_peers:NOT_A_FACTORY"], "has no function 'NOT_A_FACTORY'"),
        (["--peer", "toy_peers:Zeros"] * 2, "toy_peers:Zeros: given more than once"),
        (["--peer", "toy_peers:ByCotangent"], "ByCotangent without a method 'forward'"),
        (["--perceptual"], "--perceptual: belongs to projection, not to synthesis"),
        (["--lpips"], "--lpips: belongs to projection, not to synthesis"),
        (["--peer", "toy_peers:nothing"], "nothing: its factory returned None for synthesis 4 px"),
        (["--resolution", "24"], "expected a power of two in 4..2048, got 24"),
        (["--repeats", "0"], "--repeats: expected at least 1, got 0"),
    ],
)
def test_a_wrong_call_is_one_line(options, message, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL", 600.0)  # no line of progress on a slow machine
    assert run("synthesis", 4, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_every_contender_gets_weights_that_all_matter():
    sizes = {"resolution": 8, "channel_base": 32, "channel_max": 4, "perceptual": False}
    problem = benchmark.random_problem(**sizes, dtype="float32", seed=0)
    assert all(np.all(array) for array in problem.weights.values())
    again = benchmark.random_problem(**sizes, dtype="bfloat16", seed=0)
    assert [str(again.config.dtype(r)) for r in (4, 8)] == ["bfloat16", "bfloat16"]
    for name, array in problem.weights.items():
        np.testing.assert_array_equal(array, again.weights[name])


def test_needs_none_of_the_data_or_training_packages():
    code = (
        "import sys, jaxface.cli.benchmark, jaxface.benchmark.report;"
        "print([m for m in ('grain', 'array_record', 'tensorflow_datasets', 'tensorboardX')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
