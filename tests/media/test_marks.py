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
from jaxface.media.metadata import own_metadata
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


FOREIGN = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:CreatorTool="Camera 1" xmp:Rating="5"><dc:rights>A. Photographer</dc:rights>
 </rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_what_a_photograph_says_stays(tmp_path):
    """Who made it, when and where; not how it is turned, which has been applied."""
    path, pasted = tmp_path / "photograph.jpg", tmp_path / "pasted.png"
    exif = Image.Exif()
    exif[0x8298], exif[0x0112] = "A. Photographer", 6  # copyright, orientation
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0xA001: 2})  # taken; Adobe RGB
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (8, 6), (200, 100, 50)).save(path, exif=exif, xmp=FOREIGN.encode())
    own, xmp = own_metadata(path)
    pasted.write_bytes(encode_png(IMAGE, kind="composite", exif=own, xmp=xmp))
    assert read_marks(pasted) == Marks(MAKER, SOURCE_TYPES["composite"])
    with Image.open(pasted) as image:
        said = image.getexif()
        assert said[0x8298] == "A. Photographer"
        assert 0x0112 not in said
        assert dict(said.get_ifd(0x8769)) == {0x9003: "2026:01:02 03:04:05"}
        assert said.get_ifd(0x8825)[1] == "N"
        packet = image.info["XML:com.adobe.xmp"]
    theirs, ours = ElementTree.fromstring(packet)[0]
    adobe = "{http://ns.adobe.com/xap/1.0/}"
    assert (theirs.get(f"{adobe}Rating"), theirs[0].text) == ("5", "A. Photographer")
    assert theirs.get(f"{adobe}CreatorTool") is None
    assert ours.get(f"{adobe}CreatorTool") == MAKER
    np.testing.assert_allclose(read_image(pasted).pixels, IMAGE, atol=1 / 255)


def test_a_photograph_that_says_nothing_or_nonsense(tmp_path):
    path = tmp_path / "photograph.png"
    Image.new("RGB", (8, 6)).save(path)
    assert own_metadata(path) == (None, "")
    path.write_text("text")
    assert own_metadata(path) == (None, "")
    marks = read_marks_of(encode_png(IMAGE, xmp="<x:xmpmeta>no end"), tmp_path)
    assert marks == Marks(MAKER, SOURCE_TYPES["synthetic"])


def read_marks_of(data, folder):
    (folder / "image.png").write_bytes(data)
    return read_marks(folder / "image.png")


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
