"""Images in tar archives, the shards of WebDataset: read where they lie, nothing is unpacked.

A shard is a plain tar, on this machine or on an object store; its index is read once, an image by
its place. Members are images by their suffix, as in a folder; a sample's other parts (``.json``,
``.txt``, ``.cls``) are passed over.
"""

import functools
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxface.errors import UsageError
from jaxface.jobs.inputs.folders import is_image
from jaxface.jobs.storage import filesystem, open_reading
from jaxface.media.image_errors import UnreadableImageError, of_one_image
from jaxface.media.images import LoadedImage, decode_image

TAR_SUFFIX = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Member:
    """One image of an archive.

    Attributes:
      parts: what names it within the archive; empty of a damaged archive, which is an input too.
      load: reads it; it pickles.
    """

    parts: tuple[str, ...]
    load: functools.partial[LoadedImage]


def is_tar(path: str) -> bool:
    """Whether a path is an archive by its suffix.

    Raises:
      UsageError: it is a compressed one, of which no single image can be read.
    """
    name = path.lower()
    if name.endswith(_COMPRESSED):
        raise UsageError(f"{path}: a compressed archive; give plain .tar files, or unpack it")
    return name.endswith(TAR_SUFFIX)


def tars_in(folder: Path) -> list[Path]:
    """The archives that lie in a folder itself."""
    return sorted(file for file in folder.glob("*.tar") if file.name[0] != "." and file.is_file())


def open_tar(path: str, remarks: list[str]) -> Iterator[Member]:
    """The images of an archive, in its order.

    Args:
      path: local or remote.
      remarks: what was passed over is added, one line each.

    Raises:
      UsageError: it cannot be opened, or holds no images.
    """
    others, outside, images, damage = 0, 0, 0, None
    with open_reading(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for entry in archive:
                    parts = tuple(part for part in entry.name.split("/") if part not in ("", "."))
                    if not entry.isreg() or not parts or entry.issparse():
                        continue
                    if entry.name.startswith("/") or ".." in parts:
                        outside += 1
                    elif parts[-1].startswith(".") or not is_image(parts[-1]):
                        others += 1
                    else:
                        images += 1
                        place = (path, entry.offset_data, entry.size)
                        yield Member(parts, functools.partial(_load, *place))
                file.seek(archive.offset)
                if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                    remarks.append(f"{path}: has no end mark; what followed may be cut off")
        except tarfile.TarError as error:
            damage = " ".join(str(error).split()) or type(error).__name__
    if damage is not None:
        yield Member((), functools.partial(_damaged, f"a damaged archive: {damage}"))
    elif not images:
        raise UsageError(f"{path}: no images in this archive, {others} other files")
    if others:
        remarks.append(f"{path}: passed over {others} files that are no images")
    if outside:
        remarks.append(f"{path}: passed over {outside} files whose names lead out of the archive")


def _load(path: str, start: int, size: int) -> LoadedImage:
    with of_one_image():
        files, place = filesystem(path)
        try:
            data = files.cat_file(place, start=start, end=start + size)
        except Exception as error:  # the stores' packages have classes of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableImageError(f"cannot be read: {reason}") from error
        if len(data) != size:
            raise UnreadableImageError(f"the archive ends early: {len(data)} of {size} bytes")
        return decode_image(io.BytesIO(data))


def _damaged(reason: str) -> LoadedImage:
    raise UnreadableImageError(reason)
