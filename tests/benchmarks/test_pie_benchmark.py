"""`jaxface benchmark pie` at a tiny size."""

import json

import pytest

from jaxface.benchmark import pie
from jaxface.cli import main

SIZES = ["--resolution", "8", "--channel-base", "32", "--channel-max", "8", "--batch", "2"]
SMALL = ["--recognition", "small", "--reconstruction", "small"]


@pytest.mark.slow  # VGG-16 of full width
def test_times_the_whole_energy(tmp_path, capsys):
    out = tmp_path / "pie.json"
    options = [*SIZES, *SMALL, "--bank", "3", "--repeats", "2", "--out", str(out)]
    assert main(["benchmark", "pie", *options]) == 0
    report = json.loads(out.read_text())
    (run,) = report["runs"]
    (row,) = run["measurements"]
    assert (row["method"], row["batch"], row["contender"]) == ("energy_gradient", 2, "jaxface")
    assert row["flop"] > 0
    names = {"recognition": "small", "reconstruction": "small", "edits": "one", "bank": 3}
    assert names.items() <= run["settings"].items()
    text = capsys.readouterr().out
    assert "images/hour" in text
    assert "paper, 1024 px, V100, with the optimiser's update: 0.2 s per portrait" in text


def test_summary():
    """Eight portraits in 1.5 s an iteration: 8 / (3000 * 1.5 s) in portraits an hour."""
    per_hour = 3600 * 8 / (3000 * 1.5)
    rows = [
        {
            "contender": "jaxface",
            "batch": 8,
            "seconds": {"median": 1.5},
            "images_per_hour": per_hour,
        }
    ]
    settings = {"resolution": 1024, "dtype": "bfloat16"}
    text = pie.summary({"runs": [{"settings": settings, "measurements": rows}]})
    assert "0.667 iterations/s of the batch, 0.188 s per portrait and iteration" in text
    assert "6.4 images/hour" in text
    assert text.endswith("0.2 s per portrait and iteration, 6 images/hour")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pie", "--recognition", "large"], "invalid choice: 'large'"),
        (["pie", "--perceptual"], "--perceptual: belongs to projection, not to pie"),
        (["synthesis", "--bank", "3"], "unrecognized arguments: --bank 3"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, message, capsys):
    assert main(["benchmark", *arguments, *SIZES]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
