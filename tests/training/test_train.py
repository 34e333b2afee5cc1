import json
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_toy as toy
from PIL import Image

from jaxface.runtime.devices import data_mesh
from jaxface.training.checkpoints import CheckpointError
from jaxface.training.loop import (
    DataEndedError,
    Hook,
    parameter_table,
    restore_state,
    sample_grid,
)
from jaxface.training.reporting import NonFiniteMetricError, read_metrics

TIMING = {"images_per_second", "data_wait", "compile_seconds"}


def rows_without_timing(directory):
    return [
        {name: value for name, value in row.items() if name not in TIMING}
        for row in read_metrics(directory)
    ]


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run of 24 steps: its folder and its last state."""
    directory = tmp_path_factory.mktemp("straight")
    return directory, jax.device_get(toy.run(directory, 24))


def test_training_lowers_the_loss_and_logs_every_row(straight):
    directory, _ = straight
    rows = read_metrics(directory)
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 20, 24]
    assert rows[-1]["main/loss"] < 0.9 * rows[0]["main/loss"]
    assert all(row["lazy/norm"] > 0 and row["images_per_second"] > 0 for row in rows)
    assert list((directory / "tensorboard").iterdir())


def test_phases_are_traced_once(tmp_path):
    toy.TRACES.update(main=0, lazy=0)
    toy.run(tmp_path, 24)
    assert toy.TRACES == {"main": 1, "lazy": 1}
    assert len({row["compile_seconds"] for row in read_metrics(tmp_path)}) == 1


@pytest.mark.parametrize("steps", [pytest.param(8, marks=pytest.mark.slow), 11])
def test_a_resumed_run_has_the_same_numbers(straight, tmp_path, steps):
    """Stopped on a checkpoint's step and between two of them."""
    toy.run(tmp_path, steps)
    state = toy.run(tmp_path, 24)
    assert_identical(jax.device_get(state), straight[1])
    same = [row for row in rows_without_timing(straight[0]) if row["step"] >= 16]
    assert [row for row in rows_without_timing(tmp_path) if row["step"] >= 16] == same


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGTERM, 143, id="term"),
        pytest.param(signal.SIGINT, 130, id="int", marks=pytest.mark.slow),
    ],
)
def test_a_signal_checkpoints_and_exits(straight, tmp_path, number, status):
    command = [sys.executable, toy.__file__, str(tmp_path), "1000000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        metrics = tmp_path / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
    assert process.returncode == status, said
    stopped = int(said.split("at step ")[1].split(";")[0])
    assert max(row["step"] for row in read_metrics(tmp_path)) <= stopped
    # It goes on to the state of a run that was never stopped, rows included.
    state = toy.run(tmp_path, stopped + 4)
    whole = tmp_path / "whole"
    assert_identical(jax.device_get(state), jax.device_get(toy.run(whole, stopped + 4)))
    assert rows_without_timing(tmp_path) == rows_without_timing(whole)


def test_strategies_agree(straight, tmp_path):
    state = toy.run(tmp_path, 24, strategy="scan")
    # Different programs, so sums may be ordered differently; Adam divides tiny gradients by their
    # size, which enlarges a last-bit difference to about 1e-5 of a weight in 24 steps of 1e-2.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        jax.device_get(state),
        straight[1],
    )


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_number_of_devices_does_not_matter(straight, tmp_path, count):
    state = toy.run(tmp_path, 24, mesh=data_mesh(jax.devices()[:count]))
    # As above: few devices sum a batch in another order than eight.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        jax.device_get(state),
        straight[1],
    )


@pytest.mark.slow
def test_a_run_of_four_devices_goes_on_with_two(straight, tmp_path):
    toy.run(tmp_path, 16, mesh=data_mesh(jax.devices()[:4]))
    stored = jax.device_get(restore_state(tmp_path, jax.tree.map(jnp.copy, toy.initial_state())))
    state = toy.run(tmp_path, 24, mesh=data_mesh(jax.devices()[4:6]))
    assert state["network"].kernel[...].sharding.device_set == set(jax.devices()[4:6])
    assert stored["optimiser"][0].count == 16
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        jax.device_get(state),
        straight[1],
    )


@pytest.mark.slow
def test_two_processes_of_four_devices_do_the_same(straight, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    for steps in (8, 24):  # the second time from the first's checkpoint
        programs = [
            subprocess.Popen(
                [sys.executable, toy.__file__, str(tmp_path), str(steps), address, "2", str(i)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]
        said = [program.communicate(timeout=300)[1] for program in programs]
        assert [program.returncode for program in programs] == [0, 0], said
    state = restore_state(tmp_path, toy.initial_state())
    # The same program over the same eight shards; only the all-reduce may sum in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        jax.device_get(state),
        straight[1],
    )
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8, 12, 16, 20, 24]


def test_the_initial_state_is_left_alone(tmp_path):
    state = toy.initial_state()
    before = jax.device_get(state)
    toy.run(tmp_path, 4, state=state)
    assert_identical(jax.device_get(state), before)


def test_another_seed_or_other_settings_are_refused(tmp_path):
    toy.run(tmp_path, 4, settings={"width": 4, "rate": 0.1})
    with pytest.raises(CheckpointError, match=r"width: 4 there, 8 here"):
        toy.run(tmp_path, 8, settings={"width": 8, "rate": 0.1})
    with pytest.raises(CheckpointError, match="seed"):
        toy.run(tmp_path, 8, settings={"width": 4, "rate": 0.1}, seed=1)


@pytest.mark.parametrize("strategy", ["host", "scan"])
def test_a_bad_value_is_named_and_not_checkpointed(tmp_path, strategy):
    class Poisoned(toy.Stream):
        def __next__(self):
            batch = super().__next__()
            if self.position == 11:  # the batch of step 10
                batch["image"][3] = np.nan
            return batch

    with pytest.raises(NonFiniteMetricError, match=r"Step 10: metric 'main/loss' is nan"):
        toy.run(tmp_path, 16, data=Poisoned(), strategy=strategy)
    steps = [int(path.name) for path in (tmp_path / "checkpoints").iterdir()]
    assert steps == [8]


def test_data_that_ends_is_an_error(tmp_path):
    with pytest.raises(DataEndedError, match="step 6"):
        toy.run(tmp_path, 16, data=toy.Stream(length=6))


def test_hooks_see_the_state_and_join_the_row(tmp_path):
    seen = []

    def evaluate(step, state):
        seen.append((step, int(state["optimiser"][0].count)))
        return {"score": float(step)}

    toy.run(tmp_path, 10, hooks=[Hook("eval", 4, evaluate)])
    assert seen == [(4, 4), (8, 8), (10, 10)]
    assert [row["eval/score"] for row in read_metrics(tmp_path)] == [4.0, 8.0, 10.0]


def test_sample_grids_are_pictures(tmp_path):
    def draw(state):
        return jnp.full((6, 8, 8, 3), jnp.tanh(state["network"].bias[...][0] * 0))

    toy.run(tmp_path, 4, hooks=[sample_grid(tmp_path, draw, every=4, columns=3)])
    with Image.open(tmp_path / "samples" / "00000004.png") as picture:
        assert picture.size == (3 * 8 + 2 * 2, 2 * 8 + 2)
        assert picture.getpixel((0, 0)) in {(127, 127, 127), (128, 128, 128)}


def test_rows_after_the_checkpoint_are_written_anew(tmp_path):
    """A killed process leaves rows its checkpoint does not know, the last one cut."""
    toy.run(tmp_path, 8)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 12, "main/loss": 1.0}) + "\n" + '{"step": 16, "main')
    toy.run(tmp_path, 16)
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8, 12, 16]


def test_the_parameter_table_names_every_array():
    table = parameter_table(toy.initial_state()["network"])
    assert "kernel" in table
    assert "bias" in table
    assert "112" in table  # 3 * 3 * 3 * 4 + 4
