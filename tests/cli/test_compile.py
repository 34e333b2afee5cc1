"""`jaxface compile`: the cache it fills serves `jaxface invert`, and shards compile nothing new."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxface.cli import main
from jaxface.media.images import write_png

METHOD = ["--set", "w_steps=2", "--set", "w_plus_steps=2", "--batch-size", "2"]

REENACT = ("--topology", "v5e", "--method", "pie_rignet")
TRAIN = ("--topology", "v5e", "--config", "x.py")


@pytest.fixture(scope="module", name="photos")
def photos_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(5):
        write_png(folder / f"{number}.png", np.full((16, 16, 3), number / 5, np.float32))
    return folder


def jaxface(cache, *arguments):
    """Runs the command as a process of its own, with two devices; returns (status, output)."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        # Everything is cached, so that a small program that was forgotten shows too.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "jaxface", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=1200,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_invert_in_a_fresh_process_finds_all_its_programs(tmp_path, tiny_suite, photos):
    cache = tmp_path / "cache"
    method = ["--suite", tiny_suite, *METHOD]
    status, printed = jaxface(cache, "compile", *method, "--shard-size", 2)
    assert status == 0, printed
    assert "programs for batches of 2 on 2 x cpu" in printed
    compiled = {path.name for path in cache.glob("*-cache")}
    assert compiled
    call = ["invert", photos, *method, "--shard-size", 2, "--out", tmp_path / "out"]
    status, printed = jaxface(cache, *call)
    assert status == 0, printed
    assert {path.name for path in cache.glob("*-cache")} == compiled


def test_shards_compile_nothing_after_the_first(tmp_path, tiny_suite, photos):
    """Five portraits in three shards, two at a time: every shard has a tail."""
    shards = tmp_path / "out" / "shards"
    compiled = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(len(list(shards.glob("*.parquet"))))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call = ["invert", str(photos), "--suite", str(tiny_suite), *METHOD]
        assert main([*call, "--shard-size", "2", "--out", str(tmp_path / "out")]) == 0
        assert len(list(shards.glob("*.parquet"))) == 3
        assert set(compiled) == {0}
        compiled.clear()
        assert main([*call, "--shard-size", "3", "--out", str(tmp_path / "again")]) == 0
        assert not compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--inputs", "0"], "--inputs: expected at least 1, got 0"),
        (["--reconstructions"], "--reconstructions requires --shard-size"),
        (["--devices", "9"], "--devices 9: this process has 8; compile where there are 9"),
        ([*REENACT, "--dtype", "bfloat16"], "--dtype has no use with --method"),
        ([*REENACT, "--set", "steps=1"], "--set has no use with --method"),
        ([*REENACT, "--shard-size", "9"], "--shard-size has no use with --method"),
        ([*TRAIN, "--suite", "x"], "--suite has no use with --config"),
        ([*TRAIN, "--preset", "pti"], "--preset has no use with --config"),
        ([*TRAIN, "--commercial"], "--commercial has no use with --config"),
        (["--batch-size", "0"], "--batch-size: expected at least 1, got 0"),
        ([], "there is no compilation cache"),
    ],
)
def test_a_wrong_call_is_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path) if options else "")
    monkeypatch.setenv("JAXFACE_COMPILATION_CACHE", "off")
    assert main(["compile", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
