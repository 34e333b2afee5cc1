"""Folders that version 0.1.0 began, before settings had their present names, are gone on with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxface.cli import main
from jaxface.jobs.inputs.latents import find_latents, read_latent
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.outputs.shard_formats import read_shard
from jaxface.suite import load_suite

OLDER = Path(__file__).parents[1] / "golden" / "older"
STEPS = ["--set", "w_steps=2", "--set", "w_plus_steps=1"]


@pytest.fixture(name="older")
def older_folders(tmp_path, monkeypatch):
    """`photos`, and what was made of them, as by the suite that ships now."""
    from jaxface.cli.demo import SAMPLES

    shutil.copytree(OLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "photos").mkdir()
    for name, sample in (("a.png", "render_1.png"), ("b.png", "render_2.png")):
        shutil.copy(SAMPLES / sample, tmp_path / "photos" / name)
    suite = load_suite("embedded")
    for job in tmp_path.glob("*/job.json"):
        settings = json.loads(job.read_text())
        assert "edits" in settings["settings"]
        settings["suite"] = {role: suite.digest(role) for role in settings["suite"]}
        job.write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_finished_job_is_done(older, capsys):
    rows = (older / "whole" / "results.jsonl").read_bytes()
    assert main(["invert", "photos", "--out", "whole", *STEPS]) == 0
    assert (older / "whole" / "results.jsonl").read_bytes() == rows
    assert "2 of 2 ok" in capsys.readouterr().out
    call = ["invert", "photos", "--out", "whole", *STEPS[:2], "--set", "groups_per_step=all"]
    assert main(call) == 2
    assert "settings.groups_per_step was 'one' and is now 'all'" in capsys.readouterr().err


def test_shards_are_done_and_merged(older, capsys):
    (shard,) = (older / "shards" / "shards").glob("*.parquet")
    before = shard.read_bytes()
    assert main(["invert", "photos", "--out", "shards", "--shard-size", "2", *STEPS]) == 0
    assert main(["merge", "shards"]) == 0
    assert "2 ok" in capsys.readouterr().out
    assert shard.read_bytes() == before
    stored = {result.row["id"]: result for result in read_shard(str(shard))}
    whole = map(json.loads, Path("whole", "results.jsonl").read_text().splitlines())
    for row in whole:
        result = stored[row["id"]]
        assert result.row["psnr"] == row["psnr"]
        assert result.files == {}


def test_latents_are_read(older):
    main(["merge", "shards"])
    shape = (10, 512)
    whole, shards = (find_latents([out]).items for out in ("whole", "shards"))
    for one, other in zip(whole, shards, strict=True):
        assert one.id == other.id
        latents = [read_latent(item, shape) for item in (one, other)]
        np.testing.assert_array_equal(latents[0].w_plus, latents[1].w_plus)
        assert latents[0].noise == latents[1].noise == "const"
        assert latents[0].header["settings.suite"] == latents[1].header["settings.suite"]


def test_rows_of_missing_files_are_done_again(older):
    (older / "whole" / "reconstructions" / "photos" / "a.png.png").unlink()
    settings = json.loads((older / "whole" / "job.json").read_text())
    settings["settings"]["groups_per_step"] = settings["settings"].pop("edits")
    with ResultsFolder(older / "whole", settings) as results:
        assert list(results.rows) == ["photos/b.png"]
