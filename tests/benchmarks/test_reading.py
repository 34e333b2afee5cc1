"""`jaxface benchmark input`: the two ways of reading do the same work, and are told apart."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxface.benchmark import reading
from jaxface.cli import main
from tests import quick_slots


@pytest.fixture
def pictures(tmp_path):
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    return tmp_path


def test_slow_reading_shows(pictures, tiny_suite, monkeypatch, capsys):
    quick_slots.install(monkeypatch, lambda size: quick_slots.QuickSlots(size, seconds=0.05))
    read = reading.Inversion.prefetch
    delays = iter([0, 0, 0, 0.3, 0.3])  # a quick job of three readings, a slow one of two

    def delayed(*args, **options):
        import contextlib
        import time

        @contextlib.contextmanager
        def slow():
            with read(*args, **options) as found:
                delay = next(delays)
                yield ((time.sleep(delay), pair)[1] for pair in found)

        return slow()

    monkeypatch.setattr(reading.Inversion, "prefetch", delayed)
    out = pictures / "result.json"
    call = ["benchmark", "input", str(pictures), "--suite", str(tiny_suite), "--batch-size", "1"]
    call += ["--portraits", "4"]
    assert main([*call, "--repeats", "2", "--out", str(out)]) == 0
    quick = json.loads(out.read_text())
    assert quick["portraits"] == 4
    assert quick["batch_size"] == 1
    assert len(quick["from_files"]) == len(quick["from_memory"]) == 2
    assert min(quick["from_memory"]) > 4 * 0.05
    assert main([*call, "--repeats", "1", "--out", str(out)]) == 0
    slow = json.loads(out.read_text())
    assert slow["ratio"] > 2
    assert not slow["hidden"]
    assert "reading is not hidden (limit 1.05)" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--portraits", "0"], ["--repeats", "0"], ["--workers", "2"]])
def test_wrong_calls_end_with_one_line(pictures, flags, capsys):
    assert main(["benchmark", "input", str(pictures), *flags]) == 2
    printed = capsys.readouterr().err
    assert flags[0] in printed
    assert printed.count("\n") == 1
