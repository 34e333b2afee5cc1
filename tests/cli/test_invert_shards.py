"""`jaxface invert` in shards: processes that are stopped, killed and replaced; status and merge."""

import itertools
import json
import time
from pathlib import Path

import jax
import pytest

from jaxface.cli import main
from jaxface.jobs import runner
from jaxface.jobs.outputs.shard_formats import read_shard
from tests import quick_slots
from tests.shard_jobs import (
    COUNT,
    PATIENCE,
    QUICK,
    REAL,
    Job,
    assert_equal,
    stop_politely,
    undisturbed,
    wait_until,
)


def test_shards_status_and_merge(photos, tiny_suite, monkeypatch, capsys):
    quick_slots.install(monkeypatch, lambda size: quick_slots.QuickSlots(size, seconds=0))
    job = Job(tiny_suite, "out", "--reconstructions")
    assert job.here("--process", "1", "--processes", "2") in (0, 1)
    assert main(["status", "out"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 4 shards" in printed
    assert "process 1 of 2" in printed
    assert main(["merge", "out"]) == 2
    assert "2 of 4 shards are missing" in capsys.readouterr().err
    before = {path: path.read_bytes() for path in job.shards()}
    job.here()
    assert all(path.read_bytes() == data for path, data in before.items())
    found = job.index()
    assert len(found) == COUNT
    row, w_plus = found["in/05.png"]
    assert (row["status"], w_plus) == ("not_an_image", None)
    row, w_plus = found["in/06.png"]
    assert row["reconstruction"] == row["latents"]
    assert w_plus.shape == (6, 32)
    printed = capsys.readouterr().out
    assert f"results.jsonl: {COUNT} portraits: 1 not_an_image; {COUNT - 1} ok" in printed
    assert main(["status", "out"]) == 0
    assert f"{COUNT} of {COUNT} inputs (100.0%), 4 of 4 shards" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-size", "0"], "--shard-size"),
        (["--shard-size", "6", "--retry-failed"], "never written again"),
        (["--shard-size", "6", "--process", "1"], "belong together"),
        (["--format", "parquet"], "requires --shard-size"),
        (["--reconstructions"], "requires --shard-size"),
        (["--process", "1", "--processes", "2"], "requires --shard-size"),
        (["--distributed"], "requires --shard-size"),
        (["--engine", "ray"], "requires --shard-size"),
        (["--shard-size", "6", "--coordinator", "here:1"], "requires --distributed"),
        (["--shard-size", "6", "--actors", "2"], "requires --engine ray"),
        (["--shard-size", "6", "--engine", "ray", "--process", "0", "--processes", "2"], "leave"),
        (["--shard-size", "6", "--engine", "ray", "--profile", "trace"], "runs nothing"),
        (["--column", "file", "--manifest", "absent.jsonl"], "absent.jsonl"),
    ],
)
def test_wrong_calls_end_with_one_line(photos, tiny_suite, options, message, capsys):
    status = main(["invert", "in", "--out", "out", "--suite", str(tiny_suite), *options])
    printed = capsys.readouterr().err
    assert status == 2
    assert message in printed
    assert printed.count("\n") == 1
    assert not (photos / "out").exists()


def test_status_of_a_job_in_one_piece(photos, tiny_suite, monkeypatch, capsys):
    quick_slots.install(monkeypatch, lambda size: quick_slots.QuickSlots(size, seconds=0))
    assert main(["invert", "in", "--out", "out", "--suite", str(tiny_suite)]) == 1
    assert main(["status", "out"]) == 0
    printed = capsys.readouterr().out
    assert f"{COUNT} of {COUNT} inputs (100.0%)" in printed
    assert "1 not_an_image" in printed
    assert main(["status", "out", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["done"], seen["total"], seen["shards"]) == (COUNT, COUNT, None)
    assert seen["statuses"] == {"ok": COUNT - 1, "not_an_image": 1}
    assert main(["merge", "out"]) == 2
    assert main(["status", "in"]) == 2


@pytest.mark.slow
def test_killed_process_is_replaced_and_others_never_notice(photos, tiny_suite, monkeypatch):
    expected = undisturbed(tiny_suite, monkeypatch)
    kill_and_replace(Job(tiny_suite), QUICK, expected)


@pytest.mark.slow
def test_killed_process_is_replaced_with_real_solver(photos, tiny_suite):
    """As above, with everything real: latents equal those of one undisturbed process."""
    whole = Job(tiny_suite, "whole")
    process = whole.start(REAL)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    kill_and_replace(Job(tiny_suite), REAL, whole.index())


def kill_and_replace(job, program, expected):
    shares = [("--process", str(i), "--processes", "2") for i in range(2)]
    processes = [job.start(program, *share) for share in shares]
    try:
        # The first dies in the middle of its second shard, or of whichever it is in by then.
        wait_until(lambda: len(job.shards()) >= 1)
        processes[0].kill()
        processes[0].wait()
        before = {path: path.read_bytes() for path in job.shards()}
        processes[0] = job.start(program, *shares[0])
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert {process.returncode for process in processes} <= {0, 1}, outputs
    assert len(job.shards()) == 4
    assert all(path.read_bytes() == data for path, data in before.items())
    # The same programs on the same batch size: bit for bit.
    assert_equal(job.index(), expected, rtol=0, atol=0)


def test_sigterm_stores_what_there_is_and_exits_143(photos, tiny_suite, monkeypatch):
    expected = undisturbed(tiny_suite, monkeypatch)
    job = Job(tiny_suite)
    process = job.start(QUICK)
    try:
        wait_until(lambda: len(job.shards()) >= 1, process)
        time.sleep(0.7)  # into the next shard's second batch
        stop_politely(process)
    finally:
        process.kill()
        process.wait()
    (left,) = Path("out", "unfinished").glob("*.parquet")
    stored = {result.row["id"] for result in read_shard(str(left))}
    assert stored
    shards = job.shards()
    process = job.start(QUICK)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, stderr
    assert job.shards()[: len(shards)] == shards
    assert not list(Path("out", "unfinished").iterdir())
    found = job.index()
    assert_equal(found, expected, rtol=0, atol=0)
    # `steps` of the quick slots tells which portraits were gone on with: those in flight, not more.
    assert 1 <= sum(row["steps"] == 1 for row, _ in found.values()) <= 2


@pytest.mark.parametrize("form", ["shards", "one piece"])
def test_out_of_memory_halves_the_batch_once(photos, tiny_suite, monkeypatch, capsys, form):
    class Small(quick_slots.QuickSlots):
        """Runs out of memory after its first batch, with three portraits in flight."""

        def run(self, networks, problems, **options):
            problems = iter(problems)
            for ended in super().run(networks, problems, **options):
                yield ended
                if self.size > 2:
                    self._under_way += itertools.islice(problems, 3)
                    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    quick_slots.install(monkeypatch, lambda size: Small(size, seconds=0))
    call = ["invert", "in", "--out", "out", "--suite", str(tiny_suite), "--batch-size"]
    more = ["--shard-size", "30"] if form == "shards" else []
    assert main([*call, "4", *more]) == 1
    printed = capsys.readouterr().err
    assert "out of memory with a batch of 4; going on with 2" in printed
    assert printed.count("out of memory") == 1
    if form == "shards":
        assert main(["merge", "out"]) == 1
    rows = [json.loads(line) for line in Path("out", "results.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == COUNT
    assert main([*call[:3], "again", *call[4:], "8", *more]) == 2
    assert "out of memory with a batch of 4; what is finished is kept" in capsys.readouterr().err


def test_batch_size_is_fitted_to_the_memory_or_refused(photos, tiny_suite, monkeypatch, capsys):
    class Sized(quick_slots.QuickSlots):
        def device_bytes(self, networks, image):
            assert image.shape == (16, 16, 3)
            return 1_000_000 + 10_000_000 * self.size

    monkeypatch.setattr(runner.Runner, "_batcher_of", lambda self, size: Sized(size, seconds=0))
    monkeypatch.setattr(runner, "memory_bytes", lambda reading: 200_000_000)
    call = ["invert", "in", "--suite", str(tiny_suite), "--out"]
    # 24 inputs on 8 devices are 3 for each and would need 241 MB; 2 would leave devices out.
    assert main([*call, "chosen"]) == 1
    assert "batch size 8: 0.081 GB of 0.2 GB on each of 8 devices" in capsys.readouterr().err
    assert main([*call, "asked", "--batch-size", "24"]) == 2
    printed = capsys.readouterr().err
    assert "a batch of 24 does not fit: it needs 0.241 GB of 0.2 GB" in printed
    monkeypatch.setattr(runner, "memory_bytes", lambda reading: 50_000_000)
    assert main([*call, "none"]) == 2
    assert "a batch of 8 does not fit" in capsys.readouterr().err
