"""A user's own clips: videos, or folders of frames.

The first folder below the collection's is the person: ``anna/2024/talk.mp4`` is Anna's. A video
that lies in the collection's folder itself is of a person of its own.
"""

import os
import pathlib
from collections.abc import Iterator

from jaxface.data.clips.listing import ListedClip, Listing, ordered
from jaxface.data.clips.voxceleb import VIDEO_SUFFIXES
from jaxface.media.image_formats import DECODED_SUFFIXES

FOLDER_FPS = 25
"""Frames a second that folders of images are taken to have where the call does not say."""


def list_videos(root: pathlib.Path) -> Listing | None:
    """Every video below a folder, or one file; None if there are none."""
    if root.is_file():
        if root.suffix.lower() not in VIDEO_SUFFIXES:
            return None
        return Listing("video", root.parent, (ListedClip(root.stem, root.stem, root.name),))
    clips, images = [], 0
    for parent, files in _walk(root):
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            images += suffix in DECODED_SUFFIXES and suffix not in VIDEO_SUFFIXES
            if suffix in VIDEO_SUFFIXES:
                path = parent / name
                person = path.parts[0] if len(path.parts) > 1 else path.stem
                clips.append(ListedClip(path.as_posix(), person, path.as_posix()))
    if not clips:
        return None
    remarks = (f"{images} images beside the videos were passed over",) if images else ()
    return Listing("video", root, ordered(clips), remarks)


def list_folders(root: pathlib.Path) -> Listing | None:
    """Every folder that holds images is a clip, its frames in natural order; None without any."""
    clips = []
    if not root.is_dir():
        return None
    for parent, files in _walk(root):
        if any(os.path.splitext(name)[1].lower() in DECODED_SUFFIXES for name in files):
            path = parent.as_posix()
            person = parent.parts[0] if parent.parts else root.name
            name = path if parent.parts else root.name
            clips.append(ListedClip(name, person, path, fps=FOLDER_FPS))
    return Listing("folder", root, ordered(clips)) if clips else None


def _walk(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Folders, relative to the first, with their files; hidden ones are passed over."""
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in files if not name.startswith("."))
        yield pathlib.Path(parent).relative_to(root), shown
