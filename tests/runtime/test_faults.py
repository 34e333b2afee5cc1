"""Locks, leftovers, damaged parts of a job, and what Python programs get as the command does."""

import errno
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxface.errors import UsageError
from jaxface.jobs.heartbeat import FOLDER, read_heartbeats
from jaxface.jobs.outputs import locks
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.shards import SHARDS, finished_shards, shard_name
from jaxface.jobs.outputs.snapshots import read_checkpoint
from jaxface.runtime.files import remove_leftovers
from jaxface.training.checkpoints import CheckpointError, Checkpoints


def _without_locks(monkeypatch, number=errno.ENOLCK):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_warning(number, tmp_path, monkeypatch, capsys):
    _without_locks(monkeypatch, number)
    path = tmp_path / "out" / ".lock"
    held = locks.take_lock(path)
    assert "has no locks" in capsys.readouterr().err
    with pytest.raises(UsageError, match="another process is writing"):
        locks.take_lock(path)
    with pytest.raises(UsageError, match="another process is writing"):
        locks.take_lock(path, shared=True)
    held.close()
    # A file of a process of this host that is gone is taken over.
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (path.parent / f".lock.only.{locks.socket.gethostname()}.{gone.pid}").touch()
    locks.take_lock(path, shared=True).close()
    assert [p.name for p in path.parent.iterdir()] == [".lock"]


def test_a_holder_on_another_host_is_gone_when_it_does_not_touch_its_file(tmp_path, monkeypatch):
    _without_locks(monkeypatch)
    monkeypatch.setattr(locks, "TOUCH", 0.01)
    path, other = tmp_path / ".lock", tmp_path / ".lock.only.elsewhere.1"
    with monkeypatch.context() as there:
        there.setattr(locks.socket, "gethostname", lambda: "elsewhere")
        there.setattr(locks.os, "getpid", lambda: 1)
        held = locks.take_lock(path)

    def age():
        long_ago = time.time() - locks.STALE - 60
        os.utime(other, (long_ago, long_ago))

    age()
    deadline = time.monotonic() + 10
    while other.stat().st_mtime < time.time() - locks.STALE and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(UsageError, match="another process is writing"):
        locks.take_lock(path)
    held.close()
    assert not other.exists()
    other.touch()
    age()
    locks.take_lock(path).close()
    assert not other.exists()


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    names = [f".{'a' * 32}.part", f"sub/.{'0' * 32}.part", "mine.part", ".x.part"]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, older=1000)
    assert all((tmp_path / name).exists() for name in names)
    with ResultsFolder(tmp_path, {"preset": "pie"}):
        pass
    assert [(tmp_path / name).exists() for name in names] == [False, False, True, True]


def test_a_full_disk_is_one_line_the_second_time_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jaxface.jobs.outputs.results.write_new", full)
    for _ in range(2):
        with pytest.raises(UsageError, match="No space left"), ResultsFolder(tmp_path, {}):
            pass


def test_damaged_parts_of_a_job_are_told_from_good_ones(tmp_path, capsys):
    shards = tmp_path / SHARDS
    shards.mkdir()
    summary = '{"inputs": 1, "statuses": {"ok": 1}}'
    cases = [
        (b"PAR1 whole PAR1", summary),
        (b"PAR1 cut", summary),
        (b"", summary),
        (b"PAR1 whole PAR1", "{"),
        (b"PAR1 whole PAR1", '{"inputs": "x", "statuses": {}}'),
        (b"PAR1 whole PAR1", "[]"),
    ]
    for number, (data, told) in enumerate(cases):
        name = shard_name(number, len(cases), "parquet")
        (shards / name).write_bytes(data)
        (shards / name).with_suffix(".json").write_text(told)
    assert list(finished_shards(str(tmp_path), len(cases), "parquet")) == [0]

    (tmp_path / FOLDER).mkdir()
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"process": "x"}'), ("d", "")):
        (tmp_path / FOLDER / f"{name}.json").write_text(text)
    assert read_heartbeats(str(tmp_path)) == []

    for data in (b"", b"\x08" + bytes(20), b"\x10\0\0\0\0\0\0\0{}              "):
        (tmp_path / "checkpoint").write_bytes(data)
        assert read_checkpoint(str(tmp_path / "checkpoint")) == {}
        assert "damaged" in capsys.readouterr().err


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2):
        checkpoints.save(step, {"x": np.full(3, step, np.float32)}, data=step, meta={})
    checkpoints.close()
    wanted = {"x": np.zeros(3, np.float32)}
    for file in (tmp_path / "2").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    checkpoints = Checkpoints(tmp_path, keep=3)
    state, data, _ = checkpoints.restore(wanted)
    assert (state["x"] == 1).all()
    assert data == 1
    assert "step 2 is damaged" in capsys.readouterr().err
    assert checkpoints.latest() == 1
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoints.restore({"y": np.zeros(3, np.float32)})
    checkpoints.close()


@pytest.mark.parametrize("first", ["", pytest.param("import jax; ", marks=pytest.mark.slow)])
def test_python_programs_keep_compiled_programs_too(first, tmp_path):
    program = f"{first}import jaxface; jaxface.load_network; import jax; "
    program += "print(jax.config.jax_compilation_cache_dir)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path)}
    call = [sys.executable, "-c", program]
    found = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / "jaxface" / "xla")
