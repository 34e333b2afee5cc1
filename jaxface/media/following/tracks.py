"""Which face of a frame is which face of the frame before it.

Within a shot faces are matched by the overlap of their boxes, moved on by their speed, and by the
likeness of their embeddings where there are any; across a cut by the embeddings alone.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from jaxface.errors import UsageError
from jaxface.media.detection import NoFaceError


class Face(NamedTuple):
    """A face that was found in a frame.

    Attributes:
      frame: its index in the clip.
      time: seconds.
      landmarks: float64 [68, 2] in the frame's pixels.
      embedding: [D] of unit length, or None.
    """

    frame: int
    time: Fraction
    landmarks: np.ndarray
    embedding: np.ndarray | None = None

    @property
    def box(self) -> np.ndarray:
        """float64 [4]: left, top, right, bottom of the landmarks."""
        return np.concatenate([self.landmarks.min(0), self.landmarks.max(0)])


@dataclasses.dataclass(frozen=True)
class Matching:
    """When two faces are one.

    Attributes:
      overlap: least intersection over union of their boxes.
      likeness: least cosine of their embeddings across a cut.
      max_gap: seconds that a face may be missing within its track.
    """

    overlap: float = 0.3
    likeness: float = 0.4
    max_gap: float = 0.2


@dataclasses.dataclass
class Track:
    """One face over time; frames in order, some may be missing."""

    id: int
    faces: list[Face]
    first_of_shots: list[int] = dataclasses.field(default_factory=list)

    def predicted(self, time: Fraction) -> np.ndarray:
        """The box where it would be now if it went on as it went last."""
        last = self.faces[-1]
        if len(self.faces) < 2 or last.frame in self.first_of_shots:
            return last.box
        before = self.faces[-2]
        share = float((time - last.time) / (last.time - before.time))
        return last.box + min(share, 3) * (last.box - before.box)

    @property
    def embedding(self) -> np.ndarray | None:
        """The mean of its faces', of unit length."""
        known = [face.embedding for face in self.faces if face.embedding is not None]
        if not known:
            return None
        mean = np.mean(known, axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


class Tracker:
    """Builds tracks from faces, frame by frame."""

    def __init__(self, matching: Matching | None = None):
        self.matching, self.tracks = matching or Matching(), []
        self._before = -1  # the frame before

    def add(self, time: Fraction, faces: Sequence[Face], *, cut: bool = False):
        """The faces of the next frame; `Face.frame` counts the calls, from 0.

        Args:
          time: of the frame.
          faces: maybe none.
          cut: whether the frame begins a new shot.
        """
        limit = Fraction(self.matching.max_gap).limit_denominator(1_000_000)
        if cut:
            pairs = self._by_likeness(self.tracks, faces)
        else:
            alive = [
                track
                for track in self.tracks
                # Frames may be further apart than a face may be missing.
                if track.faces[-1].frame == self._before or time - track.faces[-1].time <= limit
            ]
            pairs = self._by_place(alive, faces, time)
        taken = set()
        for track, place in pairs:
            track.faces.append(faces[place])
            if cut:
                track.first_of_shots.append(faces[place].frame)
            taken.add(place)
        for place, face in enumerate(faces):
            if place not in taken:
                self.tracks.append(Track(len(self.tracks), [face], [face.frame]))
        self._before += 1

    def _by_place(
        self, tracks: Sequence[Track], faces: Sequence[Face], time: Fraction
    ) -> list[tuple[Track, int]]:
        scores = []
        for row, track in enumerate(tracks):
            box, known = track.predicted(time), track.embedding
            for column, face in enumerate(faces):
                overlap = max(intersection_over_union(box, face.box), 0)
                nearby = intersection_over_union(track.faces[-1].box, face.box)
                if max(overlap, nearby) >= self.matching.overlap:
                    like = 0.0
                    if known is not None and face.embedding is not None:
                        like = float(known @ face.embedding)
                    scores.append((overlap + like, row, column))
        return [(tracks[row], column) for row, column in _greedy(scores)]

    def _by_likeness(
        self, tracks: Sequence[Track], faces: Sequence[Face]
    ) -> list[tuple[Track, int]]:
        scores = [
            (float(known @ face.embedding), row, column)
            for row, track in enumerate(tracks)
            if (known := track.embedding) is not None
            for column, face in enumerate(faces)
            if face.embedding is not None
        ]
        good = [score for score in scores if score[0] >= self.matching.likeness]
        return [(tracks[row], column) for row, column in _greedy(good)]


def choose(
    tracks: Sequence[Track], who: str | int | np.ndarray, *, likeness: float = 0.4
) -> list[Track]:
    """The tracks that are meant, at least one.

    Args:
      tracks: of a clip.
      who: "all"; "largest" on the whole, by its area times the frames it is seen in; a number,
        counted from 0 from left to right by the middle of each track; or an embedding [D] of unit
        length, which may mean several tracks of one person.
      likeness: the least cosine to an embedding.

    Raises:
      NoFaceError: there is none.
      UsageError: another word.
    """
    if not tracks:
        raise NoFaceError("no face in any frame")
    if isinstance(who, np.ndarray):
        known = [(track, track.embedding) for track in tracks]
        alike = [t for t, e in known if e is not None and float(e @ who) >= likeness]
        if not alike:
            raise NoFaceError("no face like the reference in any frame")
        return alike
    if who == "all":
        return list(tracks)
    if who == "largest":
        return [max(tracks, key=lambda track: (sum(map(_area, track.faces)), -track.id))]
    if not isinstance(who, int):
        raise UsageError(f'faces: expected "all", "largest", a number or an embedding, got {who!r}')
    ordered = sorted(tracks, key=lambda t: np.mean([f.box[[0, 2]].mean() for f in t.faces]))
    if not 0 <= who < len(ordered):
        raise NoFaceError(f"face {who} of {len(ordered)}, counted from 0")
    return [ordered[who]]


def intersection_over_union(one: np.ndarray, other: np.ndarray) -> float:
    """Of two boxes [4] (left, top, right, bottom), in [0, 1]."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod((high - low).clip(0)))
    whole = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - common
    return common / whole if whole > 0 else 0.0


def _area(face: Face) -> float:
    return float(np.prod(face.box[2:] - face.box[:2]))


def _greedy(scores: list[tuple[float, int, int]]) -> list[tuple[int, int]]:
    """Pairs by falling score, each row and column once."""
    pairs, rows, columns = [], set(), set()
    for _, row, column in sorted(scores, key=lambda s: (-s[0], s[1], s[2])):
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs
