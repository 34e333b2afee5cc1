"""Paths of a listing: with a ``*`` for the frames' numbers, and into archives."""

import pathlib
import re
from collections.abc import Iterator

from jaxface.media.video.folders import natural_order


def matches(pattern: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Files that a path with one ``*`` names, each with what the ``*`` stands for, in its order."""
    parts = pattern.parts
    place = next(i for i, part in enumerate(parts) if "*" in part)
    before, _, after = parts[place].partition("*")
    parent, below = pathlib.Path(*parts[:place]), parts[place + 1 :]
    named = re.compile(re.escape(before) + "(.+)" + re.escape(after))
    entries = parent.iterdir() if parent.is_dir() else ()
    found = [(match.group(1), entry) for entry in entries if (match := named.fullmatch(entry.name))]
    for star, entry in sorted(found, key=lambda pair: natural_order(pair[0])):
        path = entry.joinpath(*below)
        if path.is_file():
            yield star, path


def filled(pattern: str, star: str) -> str:
    """The path with something in place of ``*``."""
    return pattern.replace("*", star, 1)


def split_archive(path: str) -> tuple[str, str | None]:
    """``a/b.zip/c/d.png`` as ("a/b.zip", "c/d.png"); a path that is in none has no second part."""
    archive, mark, member = path.partition(".zip/")
    return (f"{archive}.zip", member) if mark else (path, None)
