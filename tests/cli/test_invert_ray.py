"""`jaxface invert --engine ray`: actors that are killed are replaced, and nothing is lost."""

import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from jaxface.cli import main
from jaxface.jobs import fleet
from tests.shard_jobs import COUNT, PATIENCE, REAL, Job, assert_equal, wait_until

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


class FakeRay:
    """A cluster whose tasks run where they are called; tells what they took."""

    def __init__(self, **resources):
        self.resources, self.asked, self.ended = resources, None, False
        self.data = types.SimpleNamespace(
            DataContext=types.SimpleNamespace(get_current=types.SimpleNamespace)
        )

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
