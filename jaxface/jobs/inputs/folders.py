"""What a folder holds: its images, with those of all its subfolders, and what is passed over."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxface.media.image_formats import IMAGE_SUFFIXES, format_of
from jaxface.runtime.files import open_regular

_LOOKED_AT = 1000  # files that are no images by their names


@dataclass
class Listing:
    """A folder's contents in their order.

    Attributes:
      images: paths of what is an image by its suffix, read or not, and of folders that cannot be
        searched: each is to have a row.
      others: names of other files.
      remarks: on what was passed over, one line each.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def list_images(folder: Path, outside: str | os.PathLike[str] | None = None) -> Listing:
    """Searches a folder with all its subfolders, hidden files and folders left out.

    Links to folders are followed, but no folder is searched twice, and none that holds the one
    being searched.

    Args:
      folder: to be searched.
      outside: a folder that is left out: the job's own output.
    """
    found, unnamed = Listing(), []
    left_out = None if outside is None else os.path.realpath(outside)
    for parent, folders, files in _walk(folder, left_out, found):
        if not folders and not files and Path(parent) != folder:
            found.remarks.append(f"{parent}: an empty folder")
        for name in sorted(files):
            if name.startswith("."):
                continue
            if is_image(name):
                found.images.append(os.path.join(parent, name))
            else:
                found.others.append(name)
                if len(found.others) <= _LOOKED_AT and _is_unnamed(os.path.join(parent, name)):
                    unnamed.append(name)
    if found.others:
        found.remarks.append(passed_over(folder, found.others))
    if unnamed:
        found.remarks.append(
            f"{folder}: {len(unnamed)} of them begin like images, such as {unnamed[0]}; they are "
            "read where they are named, or listed in a manifest"
        )
    return found


def is_image(name: str) -> bool:
    """Whether a file counts as an image by its suffix."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_unnamed(path: str) -> bool:
    """Whether a file is an image by its beginning alone."""
    with contextlib.suppress(OSError), open_regular(path) as file:
        return format_of(file.read(32)) is not None
    return False


def passed_over(folder: str | Path, others: Sequence[str]) -> str:
    """The remark on files that are no images."""
    shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    return f"{folder}: passed over {len(others)} files that are no images: {shown}"


def _walk(
    folder: Path, left_out: str | None, found: Listing
) -> Iterator[tuple[str, list[str], list[str]]]:
    root = os.path.realpath(folder)
    searched = {root}

    def unsearchable(error: OSError) -> None:
        found.images.append(os.fspath(error.filename))

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=unsearchable):
        wanted = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            real = os.path.realpath(path)
            if name.startswith(".") or real == left_out:
                continue
            link = os.path.islink(path)
            if real in searched or (link and (_holds(root, real) or _holds(real, root))):
                found.remarks.append(
                    f"{path}: a link to {real}, which is searched anyway or a loop"
                )
                continue
            searched.add(real)
            wanted.append(name)
        folders[:] = wanted
        yield parent, folders, files


def _holds(folder: str, other: str) -> bool:
    """Whether one folder is the other, or has it somewhere below."""
    return other == folder or other.startswith(folder.rstrip(os.sep) + os.sep)
