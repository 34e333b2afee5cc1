"""`jaxface invert --distributed`: one death ends all, and the restart resumes."""

import signal
import socket

import pytest

from tests.shard_jobs import PATIENCE, QUICK, REAL, Job, assert_equal, undisturbed, wait_until

pytestmark = pytest.mark.slow  # processes that import, join and notice a death


def start_both(job, program):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = ["--distributed", "--coordinator", address, "--processes", "2", "--process"]
    return [job.start(program, *flags, str(index)) for index in range(2)]


def kill_one_and_restart_all(job, program, victim):
    processes = start_both(job, program)
    try:
        wait_until(lambda: len(job.shards()) >= 1, *processes)
        processes[victim].kill()
        # JAX aborts the other one: at once, or when the first has been silent for 100 s.
        other = processes[1 - victim]
        _, stderr = other.communicate(timeout=PATIENCE)
        assert other.returncode == -signal.SIGABRT, stderr
    finally:
        for process in processes:
            process.kill()
            process.wait()
    before = {path: path.read_bytes() for path in job.shards()}
    processes = start_both(job, program)
    try:
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert {process.returncode for process in processes} <= {0, 1}, outputs
    assert len(job.shards()) == 4
    assert all(path.read_bytes() == data for path, data in before.items())
    for index, (printed, _) in enumerate(outputs):
        assert f"process {index} of 2: 2 shards done" in printed


@pytest.mark.parametrize("victim", [0, 1], ids=["coordinator", "other"])
def test_one_death_aborts_all_and_the_restart_resumes(photos, tiny_suite, monkeypatch, victim):
    expected = undisturbed(tiny_suite, monkeypatch)
    job = Job(tiny_suite)
    kill_one_and_restart_all(job, QUICK, victim)
    assert_equal(job.index(), expected, rtol=0, atol=0)


def test_one_death_aborts_all_with_real_solver(photos, tiny_suite):
    """Each process solves on its own devices, and finds what one process alone finds."""
    whole = Job(tiny_suite, "whole")
    process = whole.start(REAL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    job = Job(tiny_suite)
    kill_one_and_restart_all(job, REAL, victim=0)
    # The same programs on the same batch size: bit for bit.
    assert_equal(job.index(), whole.index(), rtol=0, atol=0)


def test_sigterm_does_not_wait_for_the_others(photos, tiny_suite):
    job = Job(tiny_suite)
    processes = start_both(job, QUICK)
    try:
        wait_until(lambda: len(job.shards()) >= 1, *processes)
        processes[1].send_signal(signal.SIGTERM)
        _, stderr = processes[1].communicate(timeout=30)
        assert processes[1].returncode == 143, stderr
        assert "stopped as asked" in stderr
    finally:
        for process in processes:
            process.kill()
            process.wait()
