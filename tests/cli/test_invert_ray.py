"""`jaxface invert --engine ray`: actors that are killed are replaced, and nothing is lost."""

import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import pyarrow as pa
import pytest

from jaxface.cli import main
from jaxface.jobs import ray_backend as fleet
from jaxface.jobs.outputs.shard_formats import read_shard
from tests import quick_slots
from tests.shard_jobs import (
    COUNT,
    PATIENCE,
    REAL,
    Job,
    assert_equal,
    stop_politely,
    undisturbed,
    wait_until,
)

# A busy machine takes longer to start Ray's processes than Ray waits for them.
SLOW_START = {
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_health_check_timeout_ms": "600000",
}


def test_without_the_extra_one_line_says_so(photos, tiny_suite, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(Job(tiny_suite).call("--engine", "ray")) == 2
    printed = capsys.readouterr().err
    assert 'pip install "jaxface[ray]"' in printed
    assert printed.count("\n") == 1
    assert not Path("out").exists()


class FakeData:
    """Ray Data with one actor, which lives in the thread that reads its answers."""

    DataContext = types.SimpleNamespace(get_current=types.SimpleNamespace)
    ActorPoolStrategy = dict

    def from_items(self, items, **_):
        self._items = items
        return self

    def map_batches(self, actor, *, fn_constructor_args, **_):
        self._actor, self._arguments = actor, fn_constructor_args
        return self

    def iter_rows(self):
        actor = self._actor(*self._arguments)
        for item in self._items:
            answers = actor(pa.Table.from_pylist([item]))
            yield {name: value for name, (value,) in answers.items()}


class FakeRay:
    """A cluster whose tasks run where they are called; tells what they took."""

    def __init__(self, **resources):
        self.resources, self.asked, self.ended = resources, None, False
        self.data = FakeData()

    def init(self, **_):
        pass

    def shutdown(self):
        self.ended = True

    def cluster_resources(self):
        return self.resources

    def remote(self, **taken):
        self.asked = taken
        return lambda function: types.SimpleNamespace(remote=function)

    def get(self, value):
        return value


@pytest.mark.parametrize(("resources", "gpus"), [({"CPU": 4.0}, 0), ({"CPU": 4.0, "GPU": 2.0}, 1)])
def test_actors_say_what_they_compute_in(monkeypatch, resources, gpus):
    ray = FakeRay(**resources)
    monkeypatch.setattr(fleet, "require_ray", lambda: ray)
    monkeypatch.setattr(fleet, "compute_dtype", lambda: "bfloat16")
    assert fleet.actors_dtype(fleet.Fleet(cpus=0.5)) == "bfloat16"
    assert ray.asked == {"num_gpus": gpus, "num_cpus": 0.5}
    assert ray.ended


@pytest.mark.slow
def test_actors_of_a_job_that_is_stopped_store_what_they_have(
    photos, tiny_suite, monkeypatch, capsys
):
    expected = undisturbed(tiny_suite, monkeypatch)
    monkeypatch.setattr(fleet, "require_ray", lambda: FakeRay(CPU=4.0))
    monkeypatch.setattr(fleet, "_LOOK_EVERY", 0.1)
    quick_slots.install(monkeypatch, lambda size: quick_slots.QuickSlots(size, seconds=0.7))
    job = Job(tiny_suite, "out", "--engine", "ray")

    def stop():
        wait_until(job.shards)
        time.sleep(0.7)  # heard after a second, in the middle of the next shard's second batch
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert job.here() == 143
    assert "stopped as asked" in capsys.readouterr().err
    shards = job.shards()
    assert len(shards) < 4
    (left,) = Path("out", "unfinished").glob("*.parquet")
    assert list(read_shard(str(left)))
    assert not Path("out", ".stop").exists()
    Path("out", ".stop").touch()  # as a driver leaves it that is killed
    assert job.here() == 1  # one input is damaged
    assert job.shards()[: len(shards)] == shards
    assert not list(Path("out", "unfinished").iterdir())
    found = job.index()
    assert_equal(found, expected, rtol=0, atol=0)
    # `steps` of the quick slots tells which portraits were gone on with: those in flight, not more.
    assert 1 <= sum(row["steps"] == 1 for row, _ in found.values()) <= 2


@pytest.mark.slow
def test_a_stopped_cluster_goes_on_with_what_its_actors_had(photos, tiny_suite, monkeypatch):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    for name, value in SLOW_START.items():
        monkeypatch.setenv(name, value)
    options = ["--set", "w_plus_steps=1200"]
    whole = Job(tiny_suite, "whole", *options)
    process = whole.start(REAL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    expected = whole.index()

    job = Job(
        tiny_suite, "out", *options, "--engine", "ray", "--actors", "2", "--actor-cpus", "0.5"
    )
    process = job.start(REAL)
    try:
        wait_until(job.shards, process)
        time.sleep(1.0)  # its actor is in the middle of the next one
        stop_politely(process)
    finally:
        process.kill()
        process.wait()
    assert list(Path("out", "unfinished").glob("*.parquet"))
    process = job.start(REAL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    assert_equal(job.index(), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_killed_actors_are_replaced(photos, tiny_suite, monkeypatch):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    for name, value in SLOW_START.items():
        monkeypatch.setenv(name, value)
    options = ["--shard-size", "2"]  # twelve: some are left when both first actors are gone
    whole = Job(tiny_suite, "whole", *options)
    process = whole.start(REAL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr

    job = Job(
        tiny_suite, "out", *options, "--engine", "ray", "--actors", "2", "--actor-cpus", "0.5"
    )

    def writers():
        summaries = sorted(Path("out", "shards").glob("*.json"), key=lambda path: path.name)
        return {json.loads(path.read_text())["pid"] for path in summaries}

    process = job.start(REAL)
    killed = set()
    try:
        for _ in range(2):
            wait_until(lambda: writers() - killed, process)
            victim = (writers() - killed).pop()
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        before = {path: path.read_bytes() for path in job.shards()}
        _, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1, stderr  # one input is damaged
    assert len(before) < len(job.shards()) <= COUNT // 2
    assert writers() - killed, "Ray started no other actor"
    assert all(path.read_bytes() == data for path, data in before.items())
    # The same programs on the same batch size: bit for bit.
    assert_equal(job.index(), whole.index(), rtol=0, atol=0)
