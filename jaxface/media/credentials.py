"""Content Credentials: signed C2PA manifests in images and clips.

A manifest says what `jaxface.media.marks` says, in the form that platforms verify: that the file
was made by this program, its IPTC digital source type, and the file that it was made from, by its
hash. Nothing is looked up in a network. c2pa-python (the extra `provenance`) writes and reads them.
Where it is installed every image, GIF, MP4 and MOV that the library writes has one. A manifest
holds a random salt, so two files of the same pixels differ by it.
"""

import dataclasses
import functools
import importlib.util
import io
import json
import mimetypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from jaxface import __version__
from jaxface.errors import JaxfaceError, UsageError, on_one_line
from jaxface.media.certificates import CERTIFICATE, KEY, load_c2pa, load_signer
from jaxface.media.marks import SOURCE_TYPES, Kind
from jaxface.runtime.files import atomic_writer
from jaxface.runtime.progress import note

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
SWITCH = "JAXFACE_C2PA"
"""The environment variable that turns it off: "off"."""
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


def credentials_wanted() -> bool:
    """Whether what is written is signed: the extra `provenance` is installed, and the environment
    variable `SWITCH` is not "off"."""
    if os.environ.get(SWITCH, "on").lower() in ("off", "0", "no", "false"):
        return False
    return _installed()


def check_certificate() -> None:
    """Insists that a certificate which the environment names can sign, before there is anything to.

    Raises:
      UsageError: it, or its key, cannot be used.
    """
    if any(os.environ.get(name) for name in (CERTIFICATE, KEY)) and credentials_wanted():
        load_signer()


@functools.cache
def _installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("c2pa", "cryptography"))


def with_credentials(
    data: bytes, suffix: str, kind: Kind, *, sources: Sequence[str | Path] = ()
) -> bytes:
    """An image or a clip, signed where `credentials_wanted`; else, or where the user's own
    certificate cannot be kept, as it is.

    Args:
      data: of the file.
      suffix: the ending of its name, one of `TYPES`.
      kind: what it is.
      sources: see `sign`.

    Raises:
      UsageError: the certificate that the environment names, or its key, cannot be used.
    """
    signer = _signer_at_hand()
    if signer is None:
        return data
    signed = io.BytesIO()
    _sign(signer, io.BytesIO(data), signed, TYPES[suffix], kind, sources)
    return signed.getvalue()


def sign_new(path: Path, suffix: str, kind: Kind, *, sources: Sequence[str | Path] = ()) -> None:
    """As `with_credentials`, a file that is being made, whose name ends otherwise; a clip is not
    held in memory. Clips of other types stay as they are."""
    signer = _signer_at_hand() if suffix in TYPES else None
    if signer is None:
        return
    with atomic_writer(path) as signed, open(path, "rb") as file:
        _sign(signer, file, signed, TYPES[suffix], kind, sources)


def sign(path: str | os.PathLike[str], kind: Kind, *, sources: Sequence[str | Path] = ()) -> None:
    """Puts a signed manifest into a file, which takes the old one's place whole or not at all.

    The signer is `jaxface.media.certificates.load_signer`'s.

    Args:
      path: an image or a clip of one of `TYPES`.
      kind: what it is.
      sources: files that it was made from; those that are gone, or that C2PA cannot read, are left
        out.

    Raises:
      UsageError: c2pa-python is not installed, or the certificate or its key cannot be used.
      CredentialsError: the file cannot be read or is not what its name says.
    """
    c2pa, signer = load_c2pa(), load_signer()
    path = Path(path)
    media = _type_of(path)
    try:
        with open(path, "rb") as file, atomic_writer(path) as signed:
            _sign(signer, file, signed, media, kind, sources)
    except OSError as error:
        raise CredentialsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except c2pa.C2paError as error:
        raise CredentialsError(f"{path}: cannot be signed: {on_one_line(str(error))}") from error


def _sign(
    signer: Any,
    file: BinaryIO,
    signed: BinaryIO,
    media: str,
    kind: Kind,
    sources: Sequence[str | Path],
) -> None:
    c2pa = load_c2pa()
    used = [Path(each) for each in sources if _is_ingredient(Path(each))]
    with c2pa.Context.from_dict(_SETTINGS) as context:
        while True:
            builder = c2pa.Builder(_manifest(media, kind, used), context=context)
            damaged = _add_ingredients(builder, used, kind)
            if damaged is None:
                break
            used.remove(damaged)
        builder.sign(signer, media, file, signed)


def _add_ingredients(builder: Any, sources: Sequence[Path], kind: Kind) -> Path | None:
    """The first source that C2PA cannot read, if there is one."""
    for number, source in enumerate(sources):
        try:
            with open(source, "rb") as file:
                builder.add_ingredient(_ingredient(number, source, kind), _type_of(source), file)
        except (OSError, load_c2pa().C2paError):
            return source
    return None


_THREAD = threading.local()


def _signer_at_hand() -> Any:
    """The thread's signer, None for none; it is made anew where another certificate is named."""
    if not credentials_wanted():
        return None
    named = tuple(os.environ.get(name) for name in (CERTIFICATE, KEY, "XDG_CONFIG_HOME", "HOME"))
    if getattr(_THREAD, "named", None) != named:
        try:
            signer = load_signer()
        except UsageError as error:
            if named[0] or named[1]:
                raise
            note(f"note: without Content Credentials: {error}")
            signer = None
        _THREAD.named, _THREAD.signer = named, signer
    return _THREAD.signer


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


def _manifest(media: str, kind: Kind, sources: Sequence[Path]) -> dict[str, Any]:
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
