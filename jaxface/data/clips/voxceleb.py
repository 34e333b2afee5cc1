"""VoxCeleb1 and 2 as published: face-cropped utterances, or annotations beside original videos.

Utterances are ``mp4/<id>/<video>/<utterance>.mp4`` below the collection's folder or below ``dev``,
``train`` or ``test`` (Chung et al. 2018). Annotations are ``txt/<id>/<video>/<utterance>.txt``: a
head, an empty line and a table FRAME X Y W H, whose frames count from the original video's first at
25 a second. Boxes of VoxCeleb1 are in pixels of a version of 360 lines, those of VoxCeleb2 shares
of width and height. The original videos, ``<video>.mp4`` or another container's suffix anywhere
below, are the user's to fetch. Utterances become tubes as first-order-model's preprocessing
(AliaksandrSiarohin/video-preprocessing, ``crop_vox.py``) cuts them: a new one where the overlap
with the tube's first box falls below 0.25, or after 1,024 frames; shorter ones than 64 frames are
left out; the box of a tube holds all of its boxes and a tenth more.
"""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from jaxface.data.clips.listing import LayoutError, ListedClip, Listing, ordered, shown

PERSON = "id"
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".gif"})
FPS = 25
LINES = 360  # of the videos that VoxCeleb1's boxes are measured in

# crop_vox.py: --iou_with_initial, --max_frames, --min_frames, --increase.
SAME_TUBE, MAX_FRAMES, MIN_FRAMES, GROWN = 0.25, 1024, 64, 0.1

_SPLITS = {"dev": "train", "train": "train", "test": "test"}


def list_voxceleb(root: pathlib.Path) -> Listing | None:
    """The listing, or None where the folder is no VoxCeleb."""
    clips = [*_utterances(root)]
    remarks: list[str] = []
    if not clips:
        clips = [*_annotated(root, remarks)]
    return Listing("vox", root, ordered(clips), tuple(remarks)) if clips else None


def _parts(root: pathlib.Path, name: str) -> Iterator[tuple[pathlib.Path, str | None]]:
    """Folders ``mp4`` or ``txt``, and the split that each is of."""
    for part in (root, *(root / split for split in _SPLITS)):
        folder = part if part.name == name else part / name
        if folder.is_dir():
            yield folder, _SPLITS.get((folder.parent).name)


def _persons(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for person in sorted(folder.iterdir()):
        if person.name.startswith(PERSON) and person.name[2:].isdigit() and person.is_dir():
            yield person


def _utterances(root: pathlib.Path) -> Iterator[ListedClip]:
    for folder, split in _parts(root, "mp4"):
        for person in _persons(folder):
            for file in sorted(person.glob("*/*.mp4")):
                path = file.relative_to(root).as_posix()
                name = f"{person.name}/{file.parent.name}/{file.stem}"
                yield ListedClip(name, person.name, path, split)


def _annotated(root: pathlib.Path, remarks: list[str]) -> Iterator[ListedClip]:
    videos: dict[str, str] | None = None
    short: list[str] = []
    for folder, split in _parts(root, "txt"):
        for person in _persons(folder):
            for file in sorted(person.glob("*/*.txt")):
                if videos is None:
                    videos = _videos(root)
                video = file.parent.name
                path = videos.get(video, f"videos/{video}.mp4")
                name = f"{person.name}/{video}/{file.stem}"
                frames, boxes = read_annotation(file)
                tubes = list(_tubes(frames, boxes))
                if not tubes:
                    short.append(name)
                lines = LINES if boxes[:, 2:].max(initial=0) > 1.5 else None
                for number, rows in enumerate(tubes):
                    yield ListedClip(
                        name if len(tubes) == 1 else f"{name}#{number:03}",
                        person.name,
                        path,
                        split,
                        start=int(frames[rows][0]) / FPS,
                        end=(int(frames[rows][-1]) + 1) / FPS,
                        box=_grown(boxes[rows]),
                        lines=lines,
                    )
    if short:
        remarks.append(
            f"{len(short)} utterances without {MIN_FRAMES} frames in one place were left out: "
            f"{shown(short)}"
        )


def _videos(root: pathlib.Path) -> dict[str, str]:
    """Original videos below a folder, by their names."""
    found = {}
    for parent, _, files in os.walk(root):
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in VIDEO_SUFFIXES:
                path = pathlib.Path(parent, name).relative_to(root)
                found[stem] = path.as_posix()
    return found


def read_annotation(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """An utterance's frames, int64 [T], and boxes, float64 [T, 4]: left, top, width, height.

    Raises:
      LayoutError: the file has no such table.
    """
    frames, boxes = [], []
    table = False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        cells = line.split()
        if cells[:1] == ["FRAME"]:
            table = True
        elif table and cells:
            try:
                frames.append(int(cells[0]))
                boxes.append([float(cell) for cell in cells[1:5]])
            except ValueError as error:
                raise LayoutError(f"{path}: no line of FRAME X Y W H: {line!r}") from error
    array = np.array(boxes, np.float64).reshape(-1, 4) if _whole(boxes) else None
    if not table or array is None:
        raise LayoutError(f"{path}: no annotation of VoxCeleb's: no table FRAME X Y W H")
    return np.array(frames, np.int64), array


def _whole(boxes: list[list[float]]) -> bool:
    return all(len(box) == 4 for box in boxes)


def _tubes(frames: np.ndarray, boxes: np.ndarray) -> Iterator[slice]:
    """Rows of an annotation in which the face stays in one place."""
    first = 0
    for row in range(1, len(frames) + 1):
        room = row < len(frames) and row - first < MAX_FRAMES
        if room and _overlap(boxes[first], boxes[row]) >= SAME_TUBE:
            continue
        if row - first >= MIN_FRAMES:
            yield slice(first, row)
        first = row


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / max(float(np.prod(one[2:]) + np.prod(other[2:])) - both, 1e-12)


def _grown(boxes: np.ndarray) -> tuple[float, float, float, float]:
    """The box that holds all, grown on each side by a tenth: left, top, right, bottom."""
    low, high = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    more = GROWN * (high - low)
    left, top, right, bottom = np.concatenate([low - more, high + more]).round(6).tolist()
    return left, top, right, bottom
