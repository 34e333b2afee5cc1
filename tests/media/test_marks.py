"""What images say of their making."""

import io
import json
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from jaxface.cli import main
from jaxface.media.image_errors import NotAnImageError, UnreadableImageError
from jaxface.media.images import encode_png, read_image
from jaxface.media.marks import MAKER, SOURCE_TYPES, Marks, read_marks
from jaxface.media.video.previews import encode_gif
from jaxface.media.video.writing import Encoding, VideoWriter

IMAGE = np.linspace(-1, 1, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)


@pytest.mark.parametrize("kind", ["synthetic", "composite"])
def test_a_png_says_what_made_it(kind, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(IMAGE, kind=kind))
    marks = read_marks(path)
    assert marks is not None
    assert marks == Marks(MAKER, SOURCE_TYPES[kind])
    assert marks.kind == kind
    with Image.open(path) as image:  # as any program reads it
        assert image.info["Software"] == MAKER
        (description,) = ElementTree.fromstring(image.info["XML:com.adobe.xmp"])[0]
    assert description.get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == MAKER
    said = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert said == SOURCE_TYPES[kind]


def test_marks_leave_pixels_and_colours_alone(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(IMAGE))
    image = read_image(path)
    np.testing.assert_allclose(image.pixels, IMAGE, atol=1 / 255)
    assert image.notes == ()
    profile = b"any profile's bytes"
    with Image.open(io.BytesIO(encode_png(IMAGE, profile=profile))) as written:
        assert written.info["icc_profile"] == profile
        assert written.info["Software"] == MAKER


def test_a_gif_says_it_in_its_comment(tmp_path):
    path = tmp_path / "clip.gif"
    path.write_bytes(encode_gif(np.stack([IMAGE, -IMAGE]), seconds=0.5))
    assert read_marks(path) == Marks(MAKER, SOURCE_TYPES["synthetic"])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.mov"])
def test_a_clip_says_it_in_its_comment(name, tmp_path):
    pytest.importorskip("av", reason="the extra `video` is not installed")
    encoding = Encoding(kind="composite")
    with VideoWriter(tmp_path / name, width=16, height=16, rate=25, encoding=encoding) as clip:
        clip.write(Fraction(0), np.zeros((16, 16, 3), np.uint8))
    assert read_marks(tmp_path / name) == Marks(MAKER, SOURCE_TYPES["composite"])


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (
            "<rdf:li xmlns:a='b'><xmp:CreatorTool>A Camera 1</xmp:CreatorTool></rdf:li>",
            Marks("A Camera 1", ""),
        ),
        ('<x Iptc4xmpExt:DigitalSourceType="http://other/term"/>', Marks("", "http://other/term")),
        ("<broken", None),
    ],
)
def test_marks_of_other_programs(packet, expected, tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("RGB", (16, 16)).save(path, xmp=packet.encode())
    marks = read_marks(path)
    assert marks == expected
    assert marks is None or marks.kind is None


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableImageError):
        read_marks(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(NotAnImageError):
        read_marks(tmp_path / "text.png")


def test_the_command(tmp_path, capsys):
    ours, other, text = (str(tmp_path / name) for name in ("ours.png", "other.png", "text.png"))
    with open(ours, "wb") as file:
        file.write(encode_png(IMAGE))
    assert main(["provenance", ours]) == 0
    assert capsys.readouterr().out == f"{ours}: synthetic, by {MAKER}\n"
    Image.new("RGB", (16, 16)).save(other)
    with open(text, "w") as file:
        file.write("text")
    assert main(["provenance", ours, other, text, "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("kind") for row in rows] == ["synthetic", None, None]
    assert rows[1]["problem"] is None
    assert rows[2]["problem"].startswith("not_an_image: ")
