"""Content Credentials, written and read back by c2pa-python; who signs them."""

import json
import os
import stat
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.media.certificates import CERTIFICATE, KEY, load_signer, own_certificate
from jaxface.media.credentials import (
    SWITCH,
    CredentialsError,
    check_certificate,
    read_credentials,
    sign,
)
from jaxface.media.images import encode_png, read_image, to_uint8, write_png
from jaxface.media.marks import SOURCE_TYPES, marked, read_marks

pytest.importorskip("c2pa", reason="the extra `provenance`")

PIXELS = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def configuration(tmp_path, monkeypatch):
    """The user's folder of configuration, an empty one."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    for name in (CERTIFICATE, KEY):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "configuration"


@pytest.fixture(name="source")
def a_photograph(tmp_path):
    path = tmp_path / "photograph.jpg"
    Image.new("RGB", (8, 8), (200, 100, 50)).save(path)
    return path


def image(path):
    Image.new("RGB", (16, 16), (10, 200, 30)).save(path)
    return path


@pytest.mark.parametrize("kind", ["synthetic", "composite"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".webp"])
def test_what_is_signed_is_read_back(tmp_path, source, suffix, kind):
    path = image(tmp_path / f"a{suffix}")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert read_credentials(path) is None
    sign(path, kind, sources=[source, tmp_path / "gone.png"])
    found = read_credentials(path)
    assert found is not None
    assert found.state == "Valid"
    assert found.problems == ("signingCredential.untrusted",)  # of one's own making
    assert found.maker.startswith("jaxface ")
    assert found.source_type == SOURCE_TYPES[kind]
    assert found.ingredients == ("photograph.jpg",)
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), pixels)


def test_the_marks_and_the_pixels_stay(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, PIXELS)
    before, marks = read_image(path).pixels, read_marks(path)
    assert marks is not None
    sign(path, "synthetic")
    assert read_marks(path) == marks
    np.testing.assert_array_equal(read_image(path).pixels, before)


def test_a_changed_file_is_invalid(tmp_path):
    path = image(tmp_path / "a.png")
    sign(path, "synthetic")
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    found = read_credentials(path)
    assert found is not None
    assert found.state == "Invalid"
    assert "assertion.dataHash.mismatch" in found.problems


def test_what_cannot_be_signed_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("text")
    with pytest.raises(CredentialsError, match="cannot be signed"):
        sign(path, "synthetic")
    assert path.read_text() == "text"
    with pytest.raises(CredentialsError, match="go into"):
        sign(tmp_path / "a.bmp", "synthetic")
    with pytest.raises(CredentialsError, match="cannot be read"):
        sign(tmp_path / "none.png", "synthetic")


def test_a_certificate_of_ones_own_is_made_once_and_kept_for_oneself(configuration):
    files = own_certificate()
    made = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in own_certificate()] == made
    assert all(file.is_relative_to(configuration) for file in files)
    assert stat.S_IMODE(os.stat(files[1]).st_mode) == 0o600


def test_the_users_certificate_signs(tmp_path, monkeypatch, configuration):
    chain, key = own_certificate()
    monkeypatch.setenv(CERTIFICATE, str(chain.rename(tmp_path / "chain.pem")))
    with pytest.raises(UsageError, match="go together"):
        load_signer()
    monkeypatch.setenv(KEY, str(key.rename(tmp_path / "key.pem")))
    sign(image(tmp_path / "a.png"), "synthetic")
    assert not (configuration / "jaxface" / "c2pa" / "key.pem").exists()
    (tmp_path / "key.pem").write_text("no key")
    monkeypatch.delenv(SWITCH)
    with pytest.raises(UsageError, match="expected the PEM files"):
        check_certificate()
    with pytest.raises(UsageError, match="expected the PEM files"):
        load_signer()


def test_the_verb_signs_the_files_of_a_job(tmp_path, source, capsys):
    job = tmp_path / "job"
    for folder in ("edits", "pasted"):
        (job / folder).mkdir(parents=True)
    write_png(job / "edits" / "a.png", PIXELS)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
        job / "pasted" / "a.png", pnginfo=marked("composite")
    )
    image(job / "foreign.png")
    row = {"id": "a", "path": str(source), "status": "ok", "reason": None, "latents": None}
    row |= {"edited": "edits/a.png", "pasted": "pasted/a.png"}
    (job / "results.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["provenance", "--sign", str(job)]) == 1  # one file is not jaxface's
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert sum("made from photograph.jpg" in line for line in told) == 2
    assert "foreign.png: not signed: it does not say that jaxface made it" in "".join(told)
    assert read_credentials(job / "foreign.png") is None
    assert main(["provenance", "--json", str(job / "edits" / "a.png")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["kind"] == "synthetic"
    assert said["credentials"]["state"] == "Valid"
    assert said["credentials"]["ingredients"] == ["photograph.jpg"]


def test_what_is_written_is_signed(tmp_path, source, monkeypatch, capsys):
    pytest.importorskip("av")
    from jaxface.media.video import encode_gif, encode_mp4
    from jaxface.media.video.folder_writing import FolderWriter

    def write():
        frames = np.stack([PIXELS] * 2)
        write_png(tmp_path / "a.png", PIXELS)
        (tmp_path / "b.png").write_bytes(encode_png(PIXELS, kind="composite", sources=[source]))
        (tmp_path / "a.gif").write_bytes(encode_gif(frames, seconds=1))
        (tmp_path / "a.mp4").write_bytes(encode_mp4(frames, seconds=1))
        with FolderWriter(tmp_path / "frames", width=16, height=16) as writer:
            writer.write(Fraction(0), to_uint8(PIXELS))
        names = ("a.png", "b.png", "a.gif", "a.mp4", "frames/000000.png")
        return [read_credentials(tmp_path / name) for name in names]

    assert write() == [None] * 5
    monkeypatch.delenv(SWITCH)
    found = write()
    assert all(each is not None and each.state == "Valid" for each in found)
    kinds = ("synthetic", "composite", "synthetic", "synthetic", "synthetic")
    assert [each.source_type for each in found] == [SOURCE_TYPES[kind] for kind in kinds]
    assert [each.ingredients for each in found] == [(), ("photograph.jpg",), (), (), ()]

    # Where the user's own certificate cannot be kept, that is said, and the images are written.
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert write() == [None] * 5
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "without Content Credentials" in told[0]
    assert "cannot be kept" in told[0]
    monkeypatch.setenv(CERTIFICATE, str(source))
    with pytest.raises(UsageError, match="go together"):
        write_png(tmp_path / "a.png", PIXELS)


def test_sources_that_cannot_be_read_are_left_out(tmp_path, source):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    path = image(tmp_path / "a.png")
    sign(path, "composite", sources=[damaged, source])
    found = read_credentials(path)
    assert found is not None
    assert (found.state, found.ingredients) == ("Valid", ("photograph.jpg",))


def test_a_clip_is_signed(tmp_path):
    pytest.importorskip("av")
    from jaxface.media.video import encode_mp4

    path = tmp_path / "a.mp4"
    path.write_bytes(encode_mp4(np.stack([PIXELS] * 4), seconds=1))
    assert main(["provenance", "--sign", str(path)]) == 0
    found = read_credentials(path)
    assert found is not None
    assert found.state == "Valid"
    assert read_marks(path) is not None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--source", "a.jpg"], "--source requires --sign"),
        (["--sign", "--source", "none.jpg"], "--source none.jpg: no such file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, told):
    assert main(["provenance", str(image(tmp_path / "a.png")), *options]) == 2
    assert told in capsys.readouterr().err
