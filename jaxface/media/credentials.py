"""Content Credentials: signed C2PA manifests in images and clips.

A manifest says what `jaxface.media.marks` says, in the form that platforms verify: that the file
was made by this program, its IPTC digital source type, and the file that it was made from, by its
hash. Nothing is looked up in a network. c2pa-python (the extra `provenance`) writes and reads them.
"""

import dataclasses
import io
import json
import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxface import __version__
from jaxface.errors import JaxfaceError, on_one_line
from jaxface.media.certificates import load_c2pa, load_signer
from jaxface.media.marks import SOURCE_TYPES, Kind
from jaxface.runtime.files import atomic_writer

TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
}
"""What manifests are put into, by the endings of names."""
# No copy of the image in small; certificates and manifests elsewhere are not asked for.
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


class CredentialsError(JaxfaceError):
    """A file that cannot be signed, or whose manifest cannot be read."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """The manifest of a file.

    Attributes:
      state: "Valid": signed by the certificate that it names, and the file is as it was signed;
        "Trusted": and the certificate is on a list that is trusted; "Invalid".
      problems: why it is not trusted or not valid, codes of C2PA's specification.
      maker: the program, such as "jaxface 0.1.0".
      issuer: who signed.
      source_type: IPTC's digital source type, an address; "" where it is not said.
      ingredients: titles of the files that it was made from.
    """

    state: str
    problems: tuple[str, ...]
    maker: str
    issuer: str
    source_type: str
    ingredients: tuple[str, ...]


def sign(path: str | os.PathLike[str], kind: Kind, *, sources: Sequence[str | Path] = ()) -> None:
    """Puts a signed manifest into a file, which takes the old one's place whole or not at all.

    The signer is `jaxface.media.certificates.load_signer`'s.

    Args:
      path: an image or a clip of one of `TYPES`.
      kind: what it is.
      sources: files that it was made from; those that are gone, or of no type that C2PA knows, are
        left out.

    Raises:
      UsageError: c2pa-python is not installed, or the certificate or its key cannot be used.
      CredentialsError: the file cannot be read or is not what its name says.
    """
    c2pa, signer = load_c2pa(), load_signer()
    path = Path(path)
    media = _type_of(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror or error}") from error
    used = [Path(each) for each in sources if _is_ingredient(Path(each))]
    signed = io.BytesIO()
    try:
        with c2pa.Context.from_dict(_SETTINGS) as context:
            builder = c2pa.Builder(_manifest(path, media, kind, used), context=context)
            for number, source in enumerate(used):
                with open(source, "rb") as file:
                    builder.add_ingredient(
                        _ingredient(number, source, kind), _type_of(source), file
                    )
            builder.sign(signer, media, io.BytesIO(data), signed)
    except c2pa.C2paError as error:
        raise CredentialsError(f"{path}: cannot be signed: {on_one_line(str(error))}") from error
    with atomic_writer(path) as file:
        file.write(signed.getvalue())


def read_credentials(path: str | os.PathLike[str]) -> Credentials | None:
    """The newest manifest of a file, verified; None if it has none.

    Raises:
      UsageError: c2pa-python is not installed.
      CredentialsError: the file or the manifest cannot be read.
    """
    c2pa = load_c2pa()
    try:
        with (
            open(path, "rb") as file,
            c2pa.Context.from_dict(_SETTINGS) as context,
        ):
            reader = c2pa.Reader.try_create(_type_of(Path(path)), file, context=context)
            if reader is None:
                return None
            told = json.loads(reader.json())
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except c2pa.C2paError as error:
        reason = on_one_line(str(error))
        raise CredentialsError(f"{path}: its manifest cannot be read: {reason}") from error
    manifest = told["manifests"][told["active_manifest"]]
    maker = next(iter(manifest.get("claim_generator_info", [])), {})
    actions = [
        action
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]
    types = [action["digitalSourceType"] for action in actions if "digitalSourceType" in action]
    signature = manifest.get("signature_info", {})
    return Credentials(
        state=told.get("validation_state", ""),
        problems=tuple(each["code"] for each in told.get("validation_status", [])),
        maker=" ".join(filter(None, (maker.get("name"), maker.get("version")))),
        issuer=", ".join(filter(None, (signature.get("issuer"), signature.get("common_name")))),
        source_type=types[-1] if types else "",
        ingredients=tuple(each.get("title", "") for each in manifest.get("ingredients", [])),
    )


def _manifest(path: Path, media: str, kind: Kind, sources: Sequence[Path]) -> dict[str, Any]:
    """The claim: what is drawn as a whole was created, with its sources as inputs; of a composite
    the first source was opened, and edited."""
    names = [str(number) for number in range(len(sources))]
    source_type = {"digitalSourceType": SOURCE_TYPES[kind]}
    if kind == "composite" and sources:
        actions = [
            {"action": "c2pa.opened", "parameters": {"ingredientIds": names[:1]}},
            {"action": "c2pa.edited", **source_type},
        ]
    else:
        actions = [{"action": "c2pa.created", **source_type}]
    return {
        "claim_generator_info": [{"name": "jaxface", "version": __version__}],
        "title": path.name,
        "format": media,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _ingredient(number: int, source: Path, kind: Kind) -> dict[str, Any]:
    parent = kind == "composite" and number == 0
    return {
        "title": source.name,
        "label": str(number),
        "relationship": "parentOf" if parent else "inputTo",
    }


def _is_ingredient(source: Path) -> bool:
    return source.is_file() and _guess(source) is not None


def _type_of(path: Path) -> str:
    media = _guess(path)
    if media is None:
        raise CredentialsError(
            f"{path}: Content Credentials go into {', '.join(TYPES)}; this is none of them"
        )
    return media


def _guess(path: Path) -> str | None:
    known = TYPES.get(path.suffix.lower())
    return known if known is not None else _also_read(mimetypes.guess_type(path.name)[0])


def _also_read(media: str | None) -> str | None:
    return media if media in ("image/tiff", "image/heic", "image/avif") else None
