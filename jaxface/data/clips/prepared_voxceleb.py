"""VoxCeleb as two published scripts prepare it: FOMM's tubes and StelaBou's frames."""

import pathlib
from collections import defaultdict

from jaxface.data.clips.listing import ListedClip, Listing, ordered
from jaxface.data.clips.voxceleb import FPS, VIDEO_SUFFIXES
from jaxface.media.image_formats import DECODED_SUFFIXES


def list_fomm(root: pathlib.Path) -> Listing | None:
    """Tubes of AliaksandrSiarohin/video-preprocessing.

    ``train/`` and ``test/`` hold videos, or folders of images, whose names are
    ``<id>#<video>#<start>#<end>.mp4``; the part before the first ``#`` is the person.
    """
    clips = []
    for split in ("train", "test"):
        folder = root / split
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        for entry in entries:
            person, mark, _ = entry.name.partition("#")
            if not mark:
                continue
            name = entry.name.removesuffix(".mp4")
            path = f"{split}/{entry.name}"
            if entry.is_dir():
                clips.append(ListedClip(name, person, path, split, fps=FPS))
            elif entry.suffix.lower() in VIDEO_SUFFIXES:
                clips.append(ListedClip(name, person, path, split))
    return Listing("fomm", root, ordered(clips)) if clips else None


def list_stelabou(root: pathlib.Path) -> Listing | None:
    """What StelaBou/voxceleb_preprocessing writes.

    ``<id>/<video>/frames_cropped/<chunk>_<frame>.png``, a face of 256 px each, frames numbered at
    25 a second; where there are none, ``<id>/<video>/chunk_videos/*.mp4``, which are not cropped.
    """
    clips, whole = [], 0
    for video in sorted(root.glob("*/*")):
        person = video.parent.name
        chunks: dict[str, str] = defaultdict(str)
        cropped = video / "frames_cropped"
        for file in sorted(cropped.iterdir()) if cropped.is_dir() else []:
            chunk, mark, _ = file.stem.partition("_")
            if mark and file.suffix.lower() in DECODED_SUFFIXES:
                chunks[chunk] = file.suffix
        for chunk, suffix in chunks.items():
            path = f"{person}/{video.name}/frames_cropped/{chunk}_*{suffix}"
            clips.append(ListedClip(f"{person}/{video.name}/{chunk}", person, path, fps=FPS))
        if not chunks:
            for file in sorted(video.glob("chunk_videos/*.mp4")):
                whole += 1
                path = file.relative_to(root).as_posix()
                clips.append(ListedClip(f"{person}/{video.name}/{file.stem}", person, path))
    if not clips:
        return None
    remarks = (f"{whole} videos that are not cropped: --align finds their faces",) if whole else ()
    return Listing("stelabou", root, ordered(clips), remarks)
