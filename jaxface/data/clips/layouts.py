"""Layouts by name, and which of them a folder has.

A layout is a function from a folder (or file) to its `Listing`, or to None where it is another
one. To add one, write it and name it here.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping

from jaxface.data.clips.archives import members_of
from jaxface.data.clips.ffhq import list_ffhq
from jaxface.data.clips.listing import LayoutError, Listing, read_manifest, with_splits
from jaxface.data.clips.own_videos import list_folders, list_videos
from jaxface.data.clips.paths import matches, split_archive
from jaxface.data.clips.prepared_voxceleb import list_fomm, list_stelabou
from jaxface.data.clips.single_persons import list_nerfblendshape, list_nha
from jaxface.data.clips.voxceleb import list_voxceleb
from jaxface.errors import UsageError, did_you_mean

LAYOUTS: Mapping[str, Callable[[pathlib.Path], Listing | None]] = {
    "vox": list_voxceleb,
    "fomm": list_fomm,
    "stelabou": list_stelabou,
    "nha": list_nha,
    "nerfblendshape": list_nerfblendshape,
    "ffhq": list_ffhq,
    "video": list_videos,
    "folder": list_folders,
}
"""In the order in which they are tried: the first that fits is the one."""


def list_clips(
    source: str | os.PathLike[str],
    *,
    layout: str = "auto",
    fps: float | None = None,
    test_share: float = 0.1,
    max_missing: int | None = None,
) -> tuple[Listing, tuple[str, ...]]:
    """Lists a collection.

    Args:
      source: its folder, FFHQ's archive, a video, or a manifest (``.jsonl``).
      layout: one of `LAYOUTS`, or "auto".
      fps: of images, instead of the layout's own.
      test_share: see `listing.with_splits`.
      max_missing: how many clips may be absent; None for any number.

    Returns:
      The clips that are there, each with its split, and the paths of those that are absent.

    Raises:
      LayoutError: no such collection, none of the clips is there, or too many are absent.
      UsageError: an unknown layout, or no such source.
    """
    root = pathlib.Path(source)
    if layout not in ("auto", *LAYOUTS):
        raise UsageError(f"--layout {layout}: {did_you_mean(layout, ('auto', *LAYOUTS))}")
    if not root.exists():
        raise UsageError(f"{source}: no such file or folder")
    if root.suffix.lower() == ".jsonl" and root.is_file():
        if layout != "auto":
            raise UsageError(f"{source}: a manifest says where its clips are; leave --layout out")
        found = read_manifest(root)
    else:
        tried = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]}
        found = next((one for make in tried.values() if (one := make(root)) is not None), None)
    if found is None:
        kinds = ", ".join(LAYOUTS) if layout == "auto" else layout
        raise LayoutError(
            f"{source}: no clips in this layout (tried {kinds}); a manifest can list them, see "
            "docs/data.md"
        )
    if fps is not None:
        if not fps > 0:
            raise UsageError(f"--fps: expected more than 0, got {fps}")
        clips = tuple(dataclasses.replace(c, fps=fps) if c.fps else c for c in found.clips)
        found = dataclasses.replace(found, clips=clips)
    there = Present(found)
    clips = tuple(clip for clip in found.clips if there(clip.path))
    absent = tuple(clip.path for clip in found.clips if not there(clip.path))
    if not clips:
        raise LayoutError(f"{source}: none of {len(absent)} clips is there, such as {absent[0]}")
    if max_missing is not None and len(absent) > max_missing:
        raise LayoutError(
            f"{source}: {len(absent)} of {len(found.clips)} clips are absent, such as {absent[0]}; "
            f"--max-missing allows {max_missing}"
        )
    return with_splits(dataclasses.replace(found, clips=clips), test_share=test_share), absent


class Present:
    """Whether a clip's path is there; archives and patterns are looked at once."""

    def __init__(self, listing: Listing):
        self._listing, self._known = listing, dict[str, bool]()
        self._members: dict[str, frozenset[str]] = {}

    def __call__(self, path: str) -> bool:
        if path not in self._known:
            self._known[path] = self._look(path)
        return self._known[path]

    def _look(self, path: str) -> bool:
        archive, member = split_archive(path)
        where = self._listing.where(archive)
        if member is None:
            return any(True for _ in matches(where)) if "*" in path else where.exists()
        if archive not in self._members:
            names = members_of(where) if where.is_file() else ()
            self._members[archive] = frozenset(names)
        return member in self._members[archive]
