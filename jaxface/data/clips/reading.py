"""The frames of a listed clip, upright, with their times and the landmarks that come with them."""

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from jaxface.data.clips.archives import read_member
from jaxface.data.clips.landmarks import read_landmarks
from jaxface.data.clips.listing import LayoutError, ListedClip, Listing
from jaxface.data.clips.own_videos import FOLDER_FPS
from jaxface.data.clips.paths import filled, matches, split_archive
from jaxface.media.image_errors import ImageError
from jaxface.media.image_formats import DECODED_SUFFIXES
from jaxface.media.images import LoadedImage, decode_image, read_image, to_uint8
from jaxface.media.video.frames import Frame, Span
from jaxface.media.video.reading import open_clip


@dataclasses.dataclass
class OpenedClip:
    """A clip that is read once.

    Attributes:
      frames: each with its landmarks, [68, 2], where the listing has some; the listing promises
        them for every frame, so a frame without its own is left out and counted.
      notes: what reading changed or left out, one short sentence each.
    """

    frames: Iterator[tuple[Frame, np.ndarray | None]]
    notes: list[str]


@contextlib.contextmanager
def open_listed(listing: Listing, clip: ListedClip, *, every: int = 1) -> Iterator[OpenedClip]:
    """Opens a clip.

    Args:
      listing: where it is listed.
      clip: the one.
      every: reads each n-th frame.

    Raises:
      VideoError, ImageError, LayoutError: it cannot be read, here or while it is iterated; a
        damaged video gives its good frames and a note.
    """
    span = Span(start=clip.start or 0, end=clip.end, first=clip.first, last=clip.last, every=every)
    archive, member = split_archive(clip.path)
    path = listing.where(archive)
    if member is not None:
        image = decode_image(io.BytesIO(read_member(path, member)), name=member)
        yield _of_image(listing, clip, member, image)
    elif "*" in clip.path:
        notes: list[str] = []
        yield OpenedClip(_of_pattern(listing, clip, span, notes), notes)
    elif path.is_file() and path.suffix.lower() in DECODED_SUFFIXES - {".gif", ".apng"}:
        yield _of_image(listing, clip, path.name, read_image(path))
    else:
        fps = (clip.fps or FOLDER_FPS) if path.is_dir() else None
        with open_clip(path, fps=fps, span=span, allow_truncated=True) as opened:
            yield OpenedClip(((frame, None) for frame in opened), opened.info.notes)


def _of_image(listing: Listing, clip: ListedClip, name: str, image: LoadedImage) -> OpenedClip:
    """A clip of one frame."""
    pixels, notes = np.asarray(to_uint8(image.pixels)), list(image.notes)
    stem = pathlib.PurePosixPath(name).stem
    found = None
    if clip.landmarks is not None:
        number = int(stem) if stem.isdigit() else -1
        size = (pixels.shape[1], pixels.shape[0])
        found = read_landmarks(listing.where(clip.landmarks), number, size)
        if found is None:
            notes.append("left out: no landmarks of it")
            return OpenedClip(iter(()), notes)
    return OpenedClip(iter([(Frame(0, Fraction(0), pixels), found)]), notes)


def _of_pattern(
    listing: Listing, clip: ListedClip, span: Span, notes: list[str]
) -> Iterator[tuple[Frame, np.ndarray | None]]:
    """Images whose numbers are their frames'."""
    fps = Fraction(clip.fps or FOLDER_FPS).limit_denominator(1_000_000)
    size: tuple[int, ...] | None = None
    selected = absent = 0
    for place, (star, path) in enumerate(matches(listing.where(clip.path))):
        index = int(star) if star.isdigit() else place
        time = index / fps
        if span.ended(index, time):
            break
        if not span.begun(index, time):
            continue
        selected += 1
        if (selected - 1) % span.every:
            continue
        try:
            image = read_image(path)
        except ImageError as error:
            raise LayoutError(f"{path}: {error}") from error
        notes += [note for note in image.notes if note not in notes]
        pixels = np.asarray(to_uint8(image.pixels))
        size = size or pixels.shape
        if pixels.shape != size:
            raise LayoutError(
                f"{path}: {pixels.shape[1]}x{pixels.shape[0]} px; expected {size[1]}x{size[0]}, as "
                "the clip's first image"
            )
        points = None
        if clip.landmarks is not None:
            where = listing.where(filled(clip.landmarks, star))
            points = read_landmarks(where, index, (size[1], size[0]))
            if points is None:
                absent += 1
                continue
        yield Frame(index, time, pixels), points
    if absent:
        notes.append(f"left out: {absent} frames without landmarks")
