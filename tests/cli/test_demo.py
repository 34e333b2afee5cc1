"""`jaxface demo` is `jaxface invert` on the samples that ship with the package."""

import argparse
import json
import types

import jax
import numpy as np
import pytest
from PIL import Image

from jaxface.cli import demo, edit, invert, main
from jaxface.cli.demo import SAMPLES
from jaxface.media.images import read_image, to_uint8

NAMES = ["eileen_collins.jpg", "grace_hopper.jpg", *(f"render_{i}.png" for i in range(1, 7))]


def test_demo_inverts_every_sample(tmp_path, tiny_suite, capsys):
    arguments = ["demo", "--out", str(tmp_path), "--suite", str(tiny_suite), "--batch-size", "2"]
    assert main([*arguments, "--set", "w_steps=0", "--set", "w_plus_steps=4"]) == 0
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"samples/{name}" for name in NAMES]
    assert [row["notes"] for row in rows] == [[]] * 8
    assert f"contact sheet: {tmp_path / 'contact_sheet.png'}" in printed.out
    table = printed.out.splitlines()
    assert table[0].split()[:4] == ["input", "status", "PSNR", "dB"]
    assert len({line.index(" ok") for line in table[1:9]}) == 1  # aligned
    shown = NAMES[2:] + NAMES[:2]  # photographs come last
    assert [line.split()[0] for line in table[1:9]] == [f"samples/{name}" for name in shown]
    assert "8 of 8 ok" in printed.out
    assert "has seen renders only" in printed.out
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        # Three rows of two renders and one of two photographs, each of two images at 256 px.
        assert sheet.width > 4 * 256
        assert sheet.height > 4 * 256


def calls_of(status, folder, monkeypatch):
    """The edits that the demo begins, each of which ends with a status; embedding is done."""
    calls = []
    row = json.dumps({"id": "a", "status": "ok", "latents": "latents/a.safetensors"})
    (folder / "results.jsonl").write_text(row)
    monkeypatch.setattr(invert, "run", lambda options: 0)
    monkeypatch.setattr(invert, "embed", lambda options, tell: 0)
    monkeypatch.setattr(edit, "run", lambda options: calls.append(options.out) or status)
    return calls


@pytest.mark.parametrize("of", ["renders", "photographs"])
def test_a_stopped_edit_ends_the_demo(of, tmp_path, monkeypatch):
    calls = calls_of(130, tmp_path, monkeypatch)
    arguments = argparse.Namespace(out=str(tmp_path), suite="embedded")
    if of == "renders":
        suite = types.SimpleNamespace(files={"reconstruction": "", "rignet_pose": ""})
        assert demo._of_renders(suite, tmp_path, arguments) == 130
    else:
        assert demo._of_photographs(tmp_path, arguments, edited=True) == 130
    assert len(calls) == 1


def test_the_animation_that_is_named_was_made(tmp_path, monkeypatch, capsys):
    calls_of(1, tmp_path, monkeypatch)
    edited = [
        {"id": "a", "status": "failed", "sequence": []},
        {"id": "b", "status": "ok", "sequence": ["sequences/b.gif"]},
    ]
    (tmp_path / demo.EDITED).mkdir()
    lines = "\n".join(map(json.dumps, edited))
    (tmp_path / demo.EDITED / "results.jsonl").write_text(lines)
    monkeypatch.setattr(demo, "_draw", lambda out, rows, edited: None)
    suite = types.SimpleNamespace(files={"reconstruction": "", "rignet_pose": ""})
    arguments = argparse.Namespace(out=str(tmp_path), suite="embedded")
    assert demo._of_renders(suite, tmp_path, arguments) == 1
    assert str(tmp_path / demo.EDITED / "sequences" / "b.gif") in capsys.readouterr().out


def test_samples_are_square_and_documented():
    sources = (SAMPLES.parent / "SOURCES.md").read_text()
    assert sorted(path.name for path in SAMPLES.iterdir()) == NAMES
    for name in NAMES[:2]:
        assert f"`samples/{name}`" in sources
        height, width, _ = read_image(SAMPLES / name).pixels.shape
        assert height == width


@pytest.mark.slow
def test_renders_are_the_first_of_their_key():
    from jaxface.morphable import render, sample_scenes

    pictures = to_uint8(np.asarray(render(sample_scenes(jax.random.key(20_000_001), 6), 64)))
    for index, picture in enumerate(pictures.astype(int), start=1):
        stored = to_uint8(read_image(SAMPLES / f"render_{index}.png").pixels).astype(int)
        # Another machine's rounding may move a pixel's level, or which triangle wins an edge.
        assert np.mean(np.abs(picture - stored) > 1) < 0.01
