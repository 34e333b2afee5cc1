"""`jaxface benchmark latent_difference` at a tiny size."""

import json

import pytest

from jaxface.cli import main

SIZES = ["--resolution", "16", "--channel-base", "64", "--channel-max", "4", "--batch", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["default", "code"])
def test_times_a_step_and_frames(form, tmp_path, capsys):
    out = tmp_path / "latent_difference.json"
    options = ["--widths", "small", "--form", form, "--repeats", "1", "--out", str(out)]
    assert main(["benchmark", "latent_difference", *SIZES, *options]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["settings"]["form"] == form
    assert [row["method"] for row in run["measurements"]] == ["step", "frames"]
    told = capsys.readouterr().out
    assert "s a training step" in told
    assert "750,000 steps; no times" in told
