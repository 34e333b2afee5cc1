"""What a collection of clips holds: a row for each, which a manifest stores and gives back.

A manifest is a file of JSON lines, one object a clip, with the fields of `ListedClip`; those that
are not said may be left out. A relative path counts from the manifest's own folder.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from jaxface.errors import JaxfaceError
from jaxface.media.video.folders import natural_order
from jaxface.runtime.files import atomic_writer

SPLITS = ("train", "test")


class LayoutError(JaxfaceError):
    """Clips cannot be listed: no such layout, a damaged manifest, too many absent files."""


@dataclasses.dataclass(frozen=True, slots=True)
class ListedClip:
    """One clip.

    Attributes:
      clip: its name, of no other clip.
      identity: the person's name.
      path: a video; an image; a folder of images; images by a path with one ``*``; or an image in
        an archive, ``NAME.zip/member``. What ``*`` stands for orders the images; where it is a
        number, it is the frame's.
      split: "train" or "test"; None leaves it to `with_splits`.
      start, end: the part to read, in seconds after the first frame; None for all.
      first, last: the same in frames; the frame `last` is left out.
      box: the face's place (left, top, right, bottom) as shares of width and height; with `lines`
        in pixels of a version of the video with so many lines.
      lines: see `box`.
      fps: of images; a video has its own times.
      landmarks: where the frames' 68 points are, see `jaxface.data.clips.landmarks`.
    """

    clip: str
    identity: str
    path: str
    split: str | None = None
    start: float | None = None
    end: float | None = None
    first: int = 0
    last: int | None = None
    box: tuple[float, float, float, float] | None = None
    lines: int | None = None
    fps: float | None = None
    landmarks: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that say something."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if value != defaults[name]
        }


@dataclasses.dataclass(frozen=True)
class Listing:
    """A collection.

    Attributes:
      layout: what it was recognised as.
      root: relative paths count from here.
      clips: in the order of persons and clips, those whose files are absent included.
      remarks: on what was passed over, one line each.
    """

    layout: str
    root: pathlib.Path
    clips: tuple[ListedClip, ...]
    remarks: tuple[str, ...] = ()

    def where(self, path: str) -> pathlib.Path:
        """A clip's path, or that of its landmarks, on this machine."""
        return self.root / path

    @property
    def identities(self) -> tuple[str, ...]:
        """The persons: those of the training split first, then those of the test split alone."""
        seen: dict[str, None] = {}
        for split in (*SPLITS, None):
            names = {clip.identity for clip in self.clips if clip.split == split}
            seen |= dict.fromkeys(sorted(names, key=natural_order))
        return tuple(seen)


def ordered(clips: Iterable[ListedClip]) -> tuple[ListedClip, ...]:
    """By split, person and clip.

    Raises:
      LayoutError: two clips of one name.
    """
    found = list(clips)
    counts = Counter(clip.clip for clip in found)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise LayoutError(f"{twice[0]}: the name of {counts[twice[0]]} clips; expected one of each")

    def key(clip: ListedClip) -> Any:
        split = SPLITS.index(clip.split) if clip.split else len(SPLITS)
        return split, natural_order(clip.identity), clip.identity, natural_order(clip.clip)

    return tuple(sorted(found, key=key))


def with_splits(listing: Listing, *, test_share: float) -> Listing:
    """Gives every clip a split: where the layout says none, by the person.

    Of the persons without a split, those whose names have the lowest SHA-256 are the test's: the
    share of their number, rounded, but at least one of two or more. Neither the order nor the
    number of a person's clips matters.

    Args:
      listing: a layout's or a manifest's.
      test_share: of the persons, in [0, 1); 0 puts all into the training split.

    Raises:
      LayoutError: a share that is none.
    """
    if not 0 <= test_share < 1:
        raise LayoutError(f"--test-share: expected at least 0 and below 1, got {test_share}")
    said = {clip.identity: clip.split for clip in listing.clips if clip.split}
    free = {clip.identity for clip in listing.clips if not clip.split} - set(said)
    count = round(test_share * len(free))
    if test_share > 0 and len(free) > 1 and not said:
        count = max(count, 1)
    by_hash = sorted(free, key=lambda name: hashlib.sha256(name.encode()).digest())
    split_of = dict.fromkeys(free, "train") | dict.fromkeys(by_hash[:count], "test") | said
    clips = ordered(
        dataclasses.replace(clip, split=clip.split or split_of[clip.identity])
        for clip in listing.clips
    )
    groups = [{clip.identity for clip in clips if clip.split == split} for split in SPLITS]
    both = sorted(groups[0] & groups[1], key=natural_order)
    remarks = listing.remarks
    if both:
        remarks += (f"in both splits, as the collection has it: {shown(both)}",)
    return dataclasses.replace(listing, clips=clips, remarks=remarks)


def shown(names: Sequence[str], count: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")


def write_manifest(path: str | os.PathLike[str], listing: Listing) -> None:
    """Writes the rows, with paths that hold wherever the manifest lies."""
    root = listing.root.absolute()
    with atomic_writer(path) as file:
        for clip in listing.clips:
            row = clip.to_json()
            for name in ("path", "landmarks"):
                if name in row:
                    row[name] = os.fspath(root / row[name])
            file.write(json.dumps(row).encode() + b"\n")


def read_manifest(path: str | os.PathLike[str]) -> Listing:
    """A supplied manifest, see the module's words.

    Raises:
      LayoutError: it cannot be read, or has a line that is none.
    """
    clips = []
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LayoutError(f"{path}: no manifest that can be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise LayoutError(f"{where}: no JSON: {error}") from error
        clips.append(_clip_of(row, where))
    if not clips:
        raise LayoutError(f"{path}: lists no clips")
    return Listing("manifest", pathlib.Path(path).absolute().parent, ordered(clips))


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("clip", "identity", "path"), (str,)),
    **dict.fromkeys(("split", "landmarks"), (str, type(None))),
    **dict.fromkeys(("start", "end", "fps"), (int, float, type(None))),
    **dict.fromkeys(("first", "last", "lines"), (int, type(None))),
    "box": (list, type(None)),
}


def _clip_of(row: Any, where: str) -> ListedClip:
    """A manifest's row."""
    if not isinstance(row, dict) or not {"clip", "identity", "path"} <= set(row):
        raise LayoutError(f"{where}: expected an object with clip, identity and path")
    if unknown := sorted(set(row) - set(_KINDS)):
        raise LayoutError(f"{where}: unknown {shown(unknown)}; expected of {', '.join(_KINDS)}")
    for name, value in row.items():
        if not isinstance(value, _KINDS[name]) or isinstance(value, bool):
            raise LayoutError(f"{where}: {name} cannot be {value!r}")
    if row.get("split") not in (None, *SPLITS):
        raise LayoutError(f"{where}: split must be train or test, got {row['split']!r}")
    box = row.get("box")
    if box is not None:
        numbers = [isinstance(value, int | float) for value in box]
        if len(box) != 4 or not all(numbers) or box[0] >= box[2] or box[1] >= box[3]:
            raise LayoutError(f"{where}: box must be left, top, right, bottom, got {box}")
    values: dict[str, Any] = {**row, "first": row.get("first") or 0}
    values["box"] = None if box is None else tuple(map(float, box))
    return ListedClip(**values)
