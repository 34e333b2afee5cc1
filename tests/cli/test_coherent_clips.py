"""`jaxface invert CLIP --coherent DIR` as a user meets it, on portraits of random networks."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import moving, write_clip
from safetensors.numpy import load_file, save_file

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.jobs.inputs.coherence import read_coherence


@pytest.fixture
def invert(tmp_path, monkeypatch, tiny_suite, capsys):
    """Runs `jaxface invert` of aligned frames; returns (status, codes by frame, what was said)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, out, steps=2):
        options = ["--suite", tiny_suite, "--batch-size", 2, "--out", out]
        options += ["--set", "w_steps=1", "--set", f"w_plus_steps={steps}"]
        options += [
            "--set",
            "perceptual_weight=0",
        ]  # random features' distances are beyond all others
        status = main([str(each) for each in ("invert", *arguments, *options)])
        files = sorted((tmp_path / out / "latents").rglob("*.safetensors"))
        codes = np.stack([load_file(path)["w_plus"] for path in files]) if files else None
        return status, codes, capsys.readouterr()

    return run


@pytest.mark.slow
def test_frames_begin_near_each_other_and_are_pulled_together(invert, tmp_path):
    write_clip("talk.mkv", moving(5, 16, 16))
    assert invert("talk.mkv", out="emb")[0] == 0
    near = ["--coherent", "emb"]
    free = invert("talk.mkv", *near, out="free", steps=12)[1]
    status, pulled, said = invert("talk.mkv", *near, "--smoothness", 1e3, out="smooth", steps=12)
    assert status == 0, said.err
    known = read_coherence("emb", pulled.shape[1:], 0.0)
    ((_, wanted),) = known.codes.items()
    away = [np.square(codes - wanted.smooth).mean() for codes in (pulled, free)]
    assert away[0] < 0.9 * away[1]
    job = json.loads((tmp_path / "smooth" / "job.json").read_text())
    assert job["coherence"]["smoothness"] == 1e3
    status, _, said = invert("talk.mkv", *near, "--smoothness", 2, out="smooth", steps=12)
    assert (status, "with other settings" in said.err) == (2, True)


def test_what_does_not_go_together_is_told(invert):
    write_clip("talk.mkv", moving(3, 16, 16))
    write_clip("other.mkv", moving(2, 16, 16))
    assert invert("talk.mkv", out="emb")[0] == 0
    for arguments, message in [
        (["--smoothness", 1], "--smoothness requires --coherent"),
        (["--coherent", "emb", "--smoothness", -1], "expected 0 or more, got -1.0"),
        (["--coherent", "nothing"], "no such file or folder"),
    ]:
        status, _, said = invert("talk.mkv", *arguments, out="x")
        assert (status, message in said.err) == (2, True), said.err
    status, _, said = invert("other.mkv", "--coherent", "emb", out="x")
    assert (status, "has no frame of" in said.err) == (2, True), said.err
    status, _, said = invert("talk.mkv", "--coherent", "emb", out="x", steps=0)
    assert (status, "has no stage in W+" in said.err) == (2, True), said.err


def code(folder: Path, index: int, value: float, *, clip="talk", track=None):
    """An embedding of a frame, every entry of whose code is the value."""
    path = folder / "latents" / f"{clip}{track}" / f"{index:06d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = {"clip": clip, "index": index, "time": str(Fraction(index, 25))}
    header = {"id": f"{clip}{track}/{index:06d}", "frame": json.dumps(frame)}
    if track is not None:
        header["track"] = json.dumps({"id": track, "status": "ok"})
    save_file({"w_plus": np.full((2, 3), value, np.float32)}, path, header)
    with open(folder / "results.jsonl", "a") as file:
        row = {"id": header["id"], "status": "ok", "latents": str(path.relative_to(folder))}
        file.write(json.dumps(row) + "\n")


def test_codes_are_averaged_by_track_and_within_shots(tmp_path):
    for index in (0, 1, 2, 3, 5):
        code(tmp_path, index, 0.0 if index < 2 else 1.0, track=0)
        code(tmp_path, index, 7.0, track=1)
    (tmp_path / "clips" / "talk").mkdir(parents=True)
    (tmp_path / "clips" / "talk" / "clip.json").write_text('{"cuts": [2]}')
    found = read_coherence(str(tmp_path), (2, 3), 0.5)
    start, smooth = found.of(("talk", 0), 1)
    np.testing.assert_allclose(start, 0.6)
    np.testing.assert_array_equal(smooth, 0)  # nothing of the shot behind the cut
    np.testing.assert_allclose(found.of(("talk", 0), 4)[1], 1)  # which was not embedded
    np.testing.assert_allclose(found.of(("talk", 1), 0)[0], 7)
    np.testing.assert_allclose(found.of(("talk", 9), 0)[0], 0.6)
    (tmp_path / "clips" / "talk" / "clip.json").unlink()
    assert 0 < read_coherence(str(tmp_path), (2, 3), 0.5).of(("talk", 0), 1)[1].max() < 1
    with pytest.raises(UsageError, match="takes"):
        read_coherence(str(tmp_path), (3, 3), 0.5)
