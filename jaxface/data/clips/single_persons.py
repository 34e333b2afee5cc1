"""Recordings of one person each: Neural Head Avatars' folders, and NeRFBlendShape's.

Their splits are parts of one recording, so the person is in both.
"""

import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence

from jaxface.data.clips.listing import LayoutError, ListedClip, Listing, ordered, shown

NHA_FPS, NERF_FPS = 25, 30
NERF_TEST = 500
"""The last frames of a recording of NeRFBlendShape's, which are its test."""


def list_nha(root: pathlib.Path) -> Listing | None:
    """``<person>/frame_XXXX/image_0000.png`` with ``keypoints_static_0000.json`` beside it.

    ``split.json``, in the person's folder or above it, has the numbers of the frames of train and
    val. Without one, all frames are one clip. The folder may be a person's own.
    """
    clips: list[ListedClip] = []
    remarks: list[str] = []
    for folder in _people(root):
        numbers = sorted(
            int(frame.name[6:])
            for frame in folder.glob("frame_*")
            if frame.name[6:].isdigit() and (frame / "image_0000.png").is_file()
        )
        if numbers:
            clips += _nha_clips(root, folder, numbers, remarks)
    return Listing("nha", root, ordered(clips), tuple(remarks)) if clips else None


def _nha_clips(
    root: pathlib.Path, folder: pathlib.Path, numbers: list[int], remarks: list[str]
) -> Iterator[ListedClip]:
    person = folder.name
    below = folder.relative_to(root).as_posix()
    path = f"{below}/frame_*/image_0000.png"
    points = f"{below}/frame_*/keypoints_static_0000.json"
    first = folder / f"frame_{numbers[0]:04}" / "keypoints_static_0000.json"
    landmarks = points if first.is_file() else None
    split = _nha_split(folder, root)
    there = set(numbers)
    for ours, theirs in (("train", "train"), ("test", "val")):
        wanted = numbers if split is None else split[theirs]
        if split is None and ours == "test":
            break
        if absent := [str(number) for number in wanted if number not in there]:
            remarks.append(f"{below}: frames of split.json that are not there: {shown(absent)}")
        runs = list(_runs([number for number in wanted if number in there]))
        for place, (start, stop) in enumerate(runs):
            yield ListedClip(
                f"{person}/{ours}" + (f"{place:03}" if len(runs) > 1 else ""),
                person,
                path,
                None if split is None else ours,
                first=start,
                last=stop,
                fps=NHA_FPS,
                landmarks=landmarks,
            )


def _nha_split(folder: pathlib.Path, root: pathlib.Path) -> dict[str, list[int]] | None:
    for path in (folder / "split.json", root / "split.json"):
        if not path.is_file():
            continue
        try:
            split = json.loads(path.read_bytes())
            return {name: sorted({int(number) for number in split[name]}) for name in _NHA_SPLITS}
        except (ValueError, KeyError, TypeError) as error:
            raise LayoutError(f"{path}: expected lists of frames train and val: {error}") from error
    return None


_NHA_SPLITS = ("train", "val")


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive numbers, the end of each left out."""
    for _, group in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        yield run[0], run[-1] + 1


def list_nerfblendshape(root: pathlib.Path) -> Listing | None:
    """``<id>/ori_imgs/<n>.jpg`` with ``<n>.lms``, ``<id>/head_imgs/<n>.jpg``, transforms.json.

    The whole images are read where they are there, else the heads on their background. The
    expression codes of transforms.json are of its authors' own tracker and are not read.
    """
    clips: list[ListedClip] = []
    remarks: list[str] = []
    for folder in _people(root):
        if not (folder / "transforms.json").is_file():
            continue
        for images in ("ori_imgs", "head_imgs"):
            files = [file for file in (folder / images).glob("*.jpg") if file.stem.isdigit()]
            if files:
                clips += _nerf_clips(
                    root, folder, images, sorted(int(f.stem) for f in files), remarks
                )
                break
    return Listing("nerfblendshape", root, ordered(clips), tuple(remarks)) if clips else None


def _nerf_clips(
    root: pathlib.Path, folder: pathlib.Path, images: str, numbers: list[int], remarks: list[str]
) -> Iterator[ListedClip]:
    below = folder.relative_to(root).as_posix()
    known = (folder / images / f"{numbers[0]}.lms").is_file()
    parts = [("train", numbers[:-NERF_TEST]), ("test", numbers[-NERF_TEST:])]
    if len(numbers) <= NERF_TEST:
        parts = [("train", numbers)]
        remarks.append(
            f"{below}: {len(numbers)} frames, no more than the {NERF_TEST} of the published test; "
            "all are training"
        )
    for split, some in parts:
        yield ListedClip(
            f"{folder.name}/{split}",
            folder.name,
            f"{below}/{images}/*.jpg",
            split,
            first=some[0],
            last=some[-1] + 1,
            fps=NERF_FPS,
            landmarks=f"{below}/{images}/*.lms" if known else None,
        )


def _people(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder itself, those in it, and those in its ``dataset``."""
    yield root
    for parent in (root, root / "dataset"):
        yield from sorted(each for each in parent.glob("*") if each.is_dir())
