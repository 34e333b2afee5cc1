"""What made an image, said in the image: Software and XMP in every PNG that the library writes.
GIFs and videos say the same in their comment.

XMP's ``Iptc4xmpExt:DigitalSourceType`` is the field by which platforms and search engines recognise
synthetic media (IPTC's vocabulary of digital source types; C2PA uses the same terms).
"""

import dataclasses
import os
import re
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from PIL import Image, PngImagePlugin

from jaxface import __version__
from jaxface.media.image_errors import NotAnImageError, of_one_image
from jaxface.runtime.files import open_regular

Kind = Literal["synthetic", "composite"]

SOURCE_TYPES: dict[Kind, str] = {
    "synthetic": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "composite": "http://cv.iptc.org/newscodes/digitalsourcetype/"
    "compositeWithTrainedAlgorithmicMedia",
}
"""Drawn by a network as a whole; or a photograph of which a part was."""

CLIPS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
MAKER = f"jaxface {__version__}"
_XMP = "XML:com.adobe.xmp"
_READ_AT_MOST = 1 << 20  # of XMP
_STATED = re.compile(
    r'\s\w+:(?:CreatorTool|DigitalSourceType)\s*=\s*(?:"[^"]*"|\'[^\']*\')'
    r"|<(\w+:(?:CreatorTool|DigitalSourceType))\b[^>]*?(?:/>|>.*?</\1>)",
    re.DOTALL,
)
"""What the marks say, as others may have said it."""
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmp:CreatorTool="{maker}"
 Iptc4xmpExt:DigitalSourceType="{source_type}"/>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@dataclasses.dataclass(frozen=True)
class Marks:
    """What an image says of its making.

    Attributes:
      maker: the program, such as "jaxface 0.1.0"; "" where it is not said.
      source_type: a term of IPTC's vocabulary, an address; "" where it is not said.
    """

    maker: str
    source_type: str

    @property
    def kind(self) -> Kind | None:
        """None for another source type than those that the library writes."""
        return next((kind for kind, term in SOURCE_TYPES.items() if term == self.source_type), None)


def marked(kind: Kind, xmp: str = "") -> PngImagePlugin.PngInfo:
    """What a PNG says beside its pixels: the marks.

    Args:
      kind: of what it is.
      xmp: what the photograph said that it was made from, a packet of XMP; the marks join it.
    """
    says = PngImagePlugin.PngInfo()
    says.add_text("Software", MAKER)
    says.add_itxt(_XMP, _joined(xmp, kind))
    return says


def _joined(xmp: str, kind: Kind) -> str:
    own = _PACKET.format(maker=escape(MAKER), source_type=SOURCE_TYPES[kind])
    end = xmp.rfind("</rdf:RDF>")
    if end < 0:
        return own
    kept = _STATED.sub("", xmp[:end])
    described = own[own.index("<rdf:Description") : own.index("</rdf:RDF>")]
    return kept + described + xmp[end:]


def comment(kind: Kind) -> str:
    """The marks in words, for formats without fields for them (GIF, containers of video)."""
    return f"{MAKER}, DigitalSourceType={SOURCE_TYPES[kind]}"


def read_marks(path: str | os.PathLike[str]) -> Marks | None:
    """The marks of an image or a clip, whoever wrote them; None if it has none.

    Clips (by their names' endings) need the extra `video`.

    Raises:
      ImageError: the file cannot be read, or is no image.
      VideoError: the same of a clip.
      UsageError: a clip, and the extra is not installed.
    """
    if Path(path).suffix.lower() in CLIPS:
        from jaxface.media.video.reading import read_comment

        return _of_comment(read_comment(path))
    with of_one_image(), open_regular(path) as file:
        try:
            image = Image.open(file)
        except Image.UnidentifiedImageError as error:
            raise NotAnImageError("not an image of a known format") from error
        said = image.info
    return _of_comment(_text(said.get("comment"))) or _of_xmp(
        _text(said.get(_XMP) or said.get("xmp")), _text(said.get("Software"))
    )


def _text(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return text[:_READ_AT_MOST]


def _of_comment(text: str) -> Marks | None:
    match = re.fullmatch(r"([^,]*), DigitalSourceType=(\S+)", text.strip("\0 "))
    return None if match is None else Marks(match[1], match[2])


def _of_xmp(packet: str, maker: str) -> Marks | None:
    marks = Marks(maker or _value(packet, "CreatorTool"), _value(packet, "DigitalSourceType"))
    return marks if marks.maker or marks.source_type else None


def _value(packet: str, name: str) -> str:
    """A simple property of XMP, written as an attribute or as an element of its own."""
    either = rf'\w+:{name}\s*=\s*"([^"<]*)"|<\w+:{name}[^>]*>([^<]*)</'
    match = re.search(either, packet)
    return "" if match is None else (match[1] or match[2] or "").strip()
