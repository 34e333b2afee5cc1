"""`jaxface benchmark transfer` at a tiny size."""

import json

import pytest

from jaxface.cli import main

SIZES = ["--channel-base", "64", "--channel-max", "4", "--batch", "2"]


@pytest.mark.slow  # AlexNet of full width
def test_times_a_step_and_frames(tmp_path, capsys):
    out = tmp_path / "transfer.json"
    options = ["--resolution", "64", "--encoders", "small", "--repeats", "1", "--out", str(out)]
    assert main(["benchmark", "transfer", *SIZES, *options]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["settings"]["encoders"] == "small"
    assert [row["method"] for row in run["measurements"]] == ["step", "frames"]
    told = capsys.readouterr().out
    assert "training steps/s" in told
    assert "20 frames/s; baseline 50 frames/s" in told


def test_crops_that_lpips_cannot_read_are_refused(capsys):
    assert main(["benchmark", "transfer", "--resolution", "32", *SIZES]) == 2
    assert "needs images of at least 64 px" in capsys.readouterr().err
