"""Squares of a listed clip's frames: the layout's box, or FFHQ's crop of the face.

Boxes become squares, so that nothing is distorted; a square that reaches beyond the frame is moved
into it, and made smaller only where it is larger than the frame.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from jaxface.data.clips.listing import ListedClip, Listing
from jaxface.data.clips.reading import open_listed
from jaxface.media.alignment import CropTransform, crop_face
from jaxface.media.detection import FindFaces
from jaxface.media.following.detecting import detect_ahead
from jaxface.media.following.following import Following
from jaxface.media.following.tracks import Track
from jaxface.media.images import from_uint8, to_uint8
from jaxface.media.video.frames import Frame
from jaxface.media.video.timing import resampled

SEARCHED = 2.0
"""How much larger than the layout's box the part is in which --align looks for the face (the factor
of StelaBou/voxceleb_preprocessing)."""


@dataclasses.dataclass(frozen=True)
class Cropping:
    """How frames become images.

    Attributes:
      resolution: pixels a side.
      align: FFHQ's crop of the clip's largest face, smoothed over time, instead of the box; by
        landmarks that the layout has, else by those of `find_faces`.
      find_faces: a detector; needed with `align` where the layout has no landmarks.
      workers: processes that look for faces, 0 for none beside this one.
    """

    resolution: int
    align: bool = False
    find_faces: FindFaces | None = None
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class CroppedFrame:
    """One image.

    Attributes:
      index: of the frame in its clip.
      time: of the frame, in seconds on the clip's clock.
      image: uint8 [R, R, 3].
      landmarks: float32 [68, 2] in its pixels, where there are some.
    """

    index: int
    time: Fraction
    image: np.ndarray
    landmarks: np.ndarray | None


def cropped_frames(
    listing: Listing,
    clip: ListedClip,
    cropping: Cropping,
    *,
    every: int = 1,
    most: int | None = None,
    notes: list[str],
) -> Iterator[CroppedFrame]:
    """A clip's images in order.

    Args:
      listing, clip: what is read; twice, with `Cropping.align`.
      cropping: how.
      every: takes each n-th frame.
      most: ends after so many frames.
      notes: what reading and cropping changed is added.

    Raises:
      VideoError, ImageError, LayoutError: it cannot be read.
      NoFaceError: with `Cropping.align`, no frame shows a face.
    """
    if cropping.align:
        yield from _aligned(listing, clip, cropping, every, most, notes)
        return
    size, square = cropping.resolution, None
    with open_listed(listing, clip, every=every) as opened:
        for frame, points in _first(opened.frames, most):
            if square is None:
                height, width = frame.pixels.shape[:2]
                square = square_of(clip, (width, height))
                if square[2] < size:
                    notes.append(f"enlarged from {square[2]} to {size} px")
            left, top, side = square
            part = Image.fromarray(frame.pixels[top : top + side, left : left + side])
            image = np.asarray(part.resize((size, size), Image.Resampling.LANCZOS))
            if points is not None:
                points = (points - [left, top] + 0.5) * (size / side) - 0.5
            yield _cropped(frame, image, points)
        notes += [note for note in opened.notes if note not in notes]


def square_of(
    clip: ListedClip, size: tuple[int, int], *, grown: float = 1.0
) -> tuple[int, int, int]:
    """Left, top and side, in pixels, of a clip's square; without a box, the frame's middle.

    Args:
      clip: whose box it is.
      size: width and height of the frames.
      grown: by how much the square is larger than the box.
    """
    width, height = size
    if clip.box is None:
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side
    scale = np.array([height / clip.lines] * 2 if clip.lines else size)
    low, high = np.array(clip.box[:2]) * scale, np.array(clip.box[2:]) * scale
    side = min(max(1, round(grown * float((high - low).max()))), width, height)
    left, top = np.rint((low + high - side) / 2).astype(int).clip(0, [width - side, height - side])
    return int(left), int(top), side


def _cropped(frame: Frame, image: np.ndarray, points: np.ndarray | None) -> CroppedFrame:
    landmarks = None if points is None else points.astype(np.float32)
    return CroppedFrame(frame.index, frame.time, image, landmarks)


def _first(frames: Iterator[Any], most: int | None) -> Iterator[Any]:
    for count, frame in enumerate(frames):
        if count == most:
            return
        yield frame


def _aligned(
    listing: Listing,
    clip: ListedClip,
    cropping: Cropping,
    every: int,
    most: int | None,
    notes: list[str],
) -> Iterator[CroppedFrame]:
    """The clip twice: followed, then cut."""
    size = cropping.resolution
    following, times = Following(size=size), []
    with open_listed(listing, clip, every=every) as opened:
        seen = _first(_searched(opened.frames, clip), most)
        for frame, points in _with_faces(seen, clip, cropping):
            following.add(frame, points)
            times.append(frame.time)
    faces = following.finish("largest")
    (track,) = faces.tracks
    marks = _landmarks(track, [squares.get(track.id) for squares in faces.squares], times)
    without = 0
    with open_listed(listing, clip, every=every) as opened:
        for place, (frame, _) in enumerate(_first(_searched(opened.frames, clip), most)):
            square = faces.squares[place].get(track.id)
            if square is None:
                without += 1
                continue
            image = np.asarray(to_uint8(crop_face(np.asarray(from_uint8(frame.pixels)), square)))
            yield _cropped(frame, image, marks[place])
        notes += [note for note in opened.notes if note not in notes]
    if without:
        notes.append(f"left out: {without} frames without this face")


def _searched(frames: Iterator[Any], clip: ListedClip) -> Iterator[Any]:
    """Frames cut to the surroundings of the layout's box, so that no other face is taken."""
    for frame, points in frames:
        if clip.box is None:
            yield frame, points
            continue
        height, width = frame.pixels.shape[:2]
        left, top, side = square_of(clip, (width, height), grown=SEARCHED)
        part = np.ascontiguousarray(frame.pixels[top : top + side, left : left + side])
        moved = None if points is None else points - [left, top]
        yield frame._replace(pixels=part), moved


def _with_faces(
    frames: Iterator[Any], clip: ListedClip, cropping: Cropping
) -> Iterator[tuple[Frame, np.ndarray]]:
    if clip.landmarks is not None:
        for frame, points in frames:
            yield frame, points[None]
        return
    if cropping.find_faces is None:
        raise ValueError("Cropping: align needs find_faces where the layout has no landmarks.")
    plain = (frame for frame, _ in frames)
    yield from detect_ahead(plain, cropping.find_faces, workers=cropping.workers)


def _landmarks(
    track: Track, squares: Sequence[CropTransform | None], times: Sequence[Fraction]
) -> dict[int, np.ndarray]:
    """Points of every frame that has a square, [68, 2] in the crop's pixels; of those that were
    not measured, between their neighbours in time."""
    measured = {face.frame: face.landmarks for face in track.faces if squares[face.frame]}
    places = [place for place, square in enumerate(squares) if square is not None]
    values = np.array([np.asarray(measured[place]).ravel() for place in measured])
    at = [times[place] for place in places]
    filled = resampled([times[place] for place in measured], values, at).reshape(-1, 68, 2)
    return {
        place: square.to_crop(points)
        for place, points in zip(places, filled, strict=True)
        if (square := squares[place]) is not None
    }
