"""`--profile`: traces that hold the programs' own events, and none where there is nothing."""

import gzip
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxface.cli import main
from jaxface.media.images import write_png
from tests.training import training_toy

SIZES = ["--resolution", "4", "--channel-base", "16", "--channel-max", "4", "--batch", "1", "2"]


def traced_modules(folder: Path) -> set[str]:
    """The programs whose operations are in the one trace of a folder, read in both its forms."""
    (run,) = (folder / "plugins" / "profile").iterdir()
    assert {path.name.partition(".")[2] for path in run.iterdir()} == {
        "xplane.pb",
        "trace.json.gz",
    }
    (planes,), (events,) = run.glob("*.xplane.pb"), run.glob("*.trace.json.gz")
    found = [
        dict(event.stats)
        for plane in jax.profiler.ProfileData.from_file(str(planes)).planes
        for line in plane.lines
        for event in line.events
    ]
    operations = {stats["hlo_op"] for stats in found if "hlo_op" in stats}
    with gzip.open(events) as file:
        shown = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert operations
    assert operations <= shown
    return {stats["hlo_module"] for stats in found if "hlo_module" in stats}


@pytest.mark.slow
def test_benchmark_traces_every_call(tmp_path):
    options = ["--repeats", "1", "--profile", str(tmp_path / "traces")]
    assert main(["benchmark", "synthesis", *SIZES, *options]) == 0
    (problem,) = (tmp_path / "traces").iterdir()
    assert problem.name == "synthesis-4-px-float32"
    assert {path.name: traced_modules(path) for path in problem.iterdir()} == {
        f"{method}-batch-{batch}": {f"jit__{method}"}
        for method in ("forward", "forward_backward")
        for batch in (1, 2)
    }


@pytest.fixture
def invert(tmp_path, tiny_suite, capsys):
    write_png(tmp_path / "a.png", np.zeros((16, 16, 3), np.float32))

    def run() -> str:
        steps = ["--set", "w_steps=0", "--set", "w_plus_steps=4"]
        options = ["--suite", str(tiny_suite), "--out", str(tmp_path / "out"), "--batch-size", "1"]
        call = ["invert", str(tmp_path / "a.png"), *options, *steps]
        assert main([*call, "--profile", str(tmp_path / "traces")]) == 0
        return capsys.readouterr().err

    return run


@pytest.mark.slow
def test_invert_traces_steps_after_the_first_chunk(tmp_path, invert):
    assert "--profile" not in invert()
    assert "jit__run" in traced_modules(tmp_path / "traces")  # the compiled step
    shutil.rmtree(tmp_path / "traces")
    assert "no iterations, so nothing was traced" in invert()  # all is done already
    assert not list((tmp_path / "traces").iterdir())


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "traces")
    assert main(["benchmark", "synthesis", *SIZES, "--profile", inside]) == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err


def test_training_traces_steps_after_the_first_chunk(tmp_path):
    training_toy.run(tmp_path / "run", 4, profile=tmp_path / "traces")
    assert "jit__run" in traced_modules(tmp_path / "traces")  # the compiled steps
