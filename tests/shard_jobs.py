"""Sharded `jaxface invert` jobs over a few images, for tests that kill and replace processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxface.cli import main
from jaxface.jobs.outputs.shard_formats import read_shard
from tests import quick_slots

ROOT = Path(__file__).parents[1]
COUNT = 24
STEPS = ["--set", "w_steps=0", "--set", "w_plus_steps=4"]

QUICK = """
import sys
from jaxface.cli import main
from tests import quick_slots

quick_slots.install()
sys.exit(main(sys.argv[1:]))
"""
REAL = "import sys; from jaxface.cli import main; sys.exit(main(sys.argv[1:]))"
PATIENCE = 600  # seconds; a busy machine may take minutes to compile


def write_pictures(folder):
    """Pictures in `in`, one of them damaged, and a manifest of them, `list.txt`."""
    (folder / "in").mkdir()
    for index in range(COUNT):
        coarse = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC)
        picture.save(folder / "in" / f"{index:02d}.png")
    (folder / "in" / "05.png").write_bytes(b"damaged")
    names = sorted(path.name for path in (folder / "in").iterdir())
    (folder / "list.txt").write_text("".join(f"in/{name}\n" for name in names))


class Job:
    """A sharded `jaxface invert`, in this process or in ones of their own."""

    def __init__(self, suite, out="out", *options):
        self.suite, self.out, self.options = suite, out, options

    def call(self, *more):
        call = ["invert", "--manifest", "list.txt", "--out", self.out, "--suite", str(self.suite)]
        return [*call, "--shard-size", "6", "--batch-size", "2", *STEPS, *self.options, *more]

    def here(self, *more):
        return main(self.call(*more))

    def start(self, program, *more):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-c", program, *self.call(*more)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shards(self):
        return sorted(Path(self.out, "shards").glob("*-of-*.parquet"))

    def index(self):
        """The rows of the merged index, by id, with their latents."""
        assert main(["merge", self.out]) == 1  # one input is damaged
        lines = Path(self.out, "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        shards = {
            name: list(read_shard(str(Path(self.out, name))))
            for name in {row["latents"] for row in rows if row["latents"]}
        }
        assert len({row["id"] for row in rows}) == len(rows)
        return {
            row["id"]: (row, row["latents"] and shards[row["latents"]][row["shard_row"]].w_plus)
            for row in rows
        }


def wait_until(condition, *processes):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def stop_politely(process):
    """Sends SIGTERM; the process has to be gone within half a minute, with 143."""
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - asked < 30
    assert process.returncode == 143, stderr
    assert "stopped as asked" in stderr.splitlines()[-1]


def assert_equal(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    assert len(found) == COUNT
    for name, (row, w_plus) in found.items():
        other, expected_w_plus = expected[name]
        assert (row["status"], row["key"]) == (other["status"], other["key"])
        if row["status"] == "ok":
            np.testing.assert_allclose(w_plus, expected_w_plus, **tolerance)


def undisturbed(suite, monkeypatch):
    """The index of a job that nothing happens to."""
    with monkeypatch.context() as patch:
        quick_slots.install(patch, lambda size: quick_slots.QuickSlots(size, seconds=0))
        whole = Job(suite, "whole")
        whole.here()
    return whole.index()
