"""`jaxface benchmark pvp` at a tiny size."""

import json

import pytest

from jaxface.cli import main

SIZES = ["--resolution", "32", "--channel-base", "64", "--channel-max", "4", "--batch", "2"]


@pytest.mark.slow  # AlexNet of full width
def test_times_tuning_mapping_and_rendering(tmp_path, capsys):
    out = tmp_path / "pvp.json"
    options = ["--networks", "small", "--anchors", "5", "--repeats", "1", "--out", str(out)]
    assert main(["benchmark", "pvp", *SIZES, *options]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["settings"]["anchors"] == 5
    assert [row["method"] for row in run["measurements"]] == ["tune", "map", "render"]
    told = capsys.readouterr().out
    assert "minutes of 60 rounds" in told
    assert "54 frames/s" in told
