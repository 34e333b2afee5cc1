"""FFHQ's official release (Karras et al. 2019): a folder, or the archive of one of its folders.

``images1024x1024/00000/00000.png``, or ``thumbnails128x128`` alike, unpacked or as a zip, and
beside it ``ffhq-dataset-v2.json`` with the 68 landmarks and the category of each image. An image is
a clip of one frame, and a person of its own.
"""

import json
import os
import pathlib
import re
import zipfile

from jaxface.data.clips.archives import members_of
from jaxface.data.clips.listing import LayoutError, ListedClip, Listing, ordered

FOLDERS = ("images1024x1024", "thumbnails128x128")
METADATA = "ffhq-dataset-v2.json"
TRAINING = 60_000
"""The first images are for training, the others for validation (the release's README)."""

_NAME = re.compile(r"\d{5}\.png")


def list_ffhq(root: pathlib.Path) -> Listing | None:
    """The listing, or None. `root` may be the release's folder, an images' folder or an archive."""
    if root.is_file():
        found = _archive(root) if zipfile.is_zipfile(root) else None
        base = root.parent
    else:
        found, base = _folder(root), root
        if found is None and root.name in FOLDERS:
            base = root.parent
            found = _folder(base, (root.name,))
    if found is None:
        return None
    documents = [base / METADATA, base.parent / METADATA]
    metadata = next((path for path in documents if path.is_file()), None)
    numbers = found
    remarks = []
    categories: dict[int, str] = {}
    if metadata is None:
        remarks.append(f"no {METADATA} here: without landmarks, the first {TRAINING} are training")
    else:
        categories = _categories(metadata)
        example = next(iter(found.values()))
        numbers = {n: _like(example, n) for n in categories} | found
    landmarks = None if metadata is None else os.path.relpath(metadata, base).replace(os.sep, "/")
    clips = []
    for number, path in numbers.items():
        training = categories.get(number, "training" if number < TRAINING else "") == "training"
        name = f"{number:05}"
        split = "train" if training else "test"
        clips.append(ListedClip(name, name, path, split, landmarks=landmarks))
    return Listing("ffhq", base, ordered(clips), tuple(remarks))


def _folder(root: pathlib.Path, names: tuple[str, ...] = FOLDERS) -> dict[int, str] | None:
    for name in names:
        files = [file for file in (root / name).rglob("*.png") if _NAME.fullmatch(file.name)]
        if files:
            return {int(file.stem): file.relative_to(root).as_posix() for file in files}
        if (root / f"{name}.zip").is_file():
            return _archive(root / f"{name}.zip")
    return None


def _archive(path: pathlib.Path) -> dict[int, str] | None:
    images = [name for name in members_of(path) if _NAME.fullmatch(name.rpartition("/")[2])]
    return {int(name[-9:-4]): f"{path.name}/{name}" for name in images} or None


def _like(example: str, number: int) -> str:
    """Where the image of another number would be: ``.../00000/00012.png`` or ``.../00012.png``."""
    parts = example.split("/")
    parts[-1] = f"{number:05}.png"
    if len(parts) > 1 and re.fullmatch(r"\d{5}", parts[-2]):
        parts[-2] = f"{number // 1000 * 1000:05}"
    return "/".join(parts)


def _categories(path: pathlib.Path) -> dict[int, str]:
    try:
        document = json.loads(path.read_bytes())
        return {int(number): entry["category"] for number, entry in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(f"{path}: no metadata of FFHQ's: {error}") from error
