"""Odd and damaged inputs between good ones: a row for each, and the good ones bit for bit."""

import io
import json
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxface.cli import main
from tests import quick_slots

STEPS = ["--set", "w_steps=0", "--set", "w_plus_steps=2", "--batch-size", "2"]


def picture(seed: int, side: int = 40) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


GOOD = {"a good.png": 1, "m" * 200 + ".png": 2, "z.png": 3, "图" * 81 + ".png": 4}


def write_good(folder):
    os.makedirs(folder, exist_ok=True)
    for name, seed in GOOD.items():
        picture(seed).save(folder / name)


def write_odd(folder) -> dict[str, str]:
    """Writes one of every kind; their statuses by name."""
    png = saved(picture(9), "PNG")
    avif = saved(picture(8), "AVIF")
    gamma = png[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + png[33:]
    files = {
        "b.avif": (avif[: 3 * len(avif) // 4], "corrupt"),
        "b.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "unsupported"),
        "c.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "unsupported"),
        "c.jxl": (b"\xff\x0a" + bytes(40), "unsupported"),
        "d.nef": (saved(picture(7), "TIFF"), "unsupported"),
        "d.mpo": (saved(picture(6), "MPO"), "ok"),
        "e.png": (b"", "empty"),
        "f.png": (gamma, "ok"),
        "g.png": (png[:60], "corrupt"),
        "h.jpg": (saved(picture(5, 400), "JPEG"), "ok"),  # more pixels than are read
        "i.png": (saved(picture(5, 400), "PNG"), "too_large"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.png")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink(".", folder / "folder")
    (folder / "gone.png").symlink_to("nowhere")
    with open(os.fsencode(folder) + b"/\xff\xfe.png", "wb") as file:
        file.write(png[:30])
    statuses = {name: status for name, (_, status) in files.items()}
    statuses |= dict.fromkeys(("pipe.png", "loop.png", "gone.png"), "unreadable")
    return statuses | {r"\xff\xfe.png": "corrupt"}


def rows_of(out) -> dict[str, dict]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"].partition("/")[2]: row for row in rows}


@pytest.mark.parametrize(
    "quick",
    [
        pytest.param(True, id="quick"),
        pytest.param(False, id="real", marks=pytest.mark.slow),
    ],
)
def test_odd_inputs_have_rows_and_good_ones_are_bit_for_bit(
    quick, tmp_path, monkeypatch, tiny_suite
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    if quick:
        quick_slots.install(monkeypatch)

    def invert(folder, out):
        options = ["--out", str(out), "--suite", str(tiny_suite), "--max-pixels", "50000", *STEPS]
        return main(["invert", *folder, *options])

    write_good(tmp_path / "alone" / "photos")
    assert invert([str(tmp_path / "alone" / "photos")], tmp_path / "expected") == 0
    expected = rows_of(tmp_path / "expected")

    folder = tmp_path / "photos"
    write_good(folder)
    statuses = write_odd(folder) | dict.fromkeys(GOOD, "ok")
    listed = [
        {"path": "a\0b.png"},
        {"path": "\ud800.png"},
        {"path": str(folder / "z.png" / "x.png")},
    ]
    manifest = tmp_path / "more.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in listed))
    assert invert([str(folder), "--manifest", str(manifest)], tmp_path / "out") == 1
    rows = rows_of(tmp_path / "out")
    found = {name: row["status"] for name, row in rows.items()}
    assert {name: found.get(name) for name in statuses} == statuses
    assert sorted(found[name] for name in found.keys() - statuses.keys()) == ["unreadable"] * 3
    for name in GOOD:
        row, alone = rows[name], expected[name]
        for column in ("psnr", "key", "steps", "notes", "latents", "reconstruction"):
            assert row[column] == alone[column]
        for column in ("reconstruction",):
            one, other = (tmp_path / out / row[column] for out in ("out", "expected"))
            assert one.read_bytes() == other.read_bytes()
    assert any("read at 200x200" in note for note in rows["h.jpg"]["notes"])
    assert not list((tmp_path / "out").rglob("*.part"))
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert invert([str(folder), "--manifest", str(manifest)], tmp_path / "out") == 1
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before
