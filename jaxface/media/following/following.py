"""From frames with faces to one smooth square for each frame, and a report with a row for each.

with open_clip("talk.mp4") as clip:
    seen = Following(size=256)
    for frame, landmarks in detect_ahead(clip, find_faces, workers=2):
        seen.add(frame, landmarks)
faces = seen.finish()
faces.rows          # a dict for each frame
faces.squares[i]    # {track id: CropTransform} of frame i
"""

import dataclasses
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxface.media.alignment import CropTransform, ffhq_transform
from jaxface.media.following.cuts import CutSettings, Differences, find_cuts
from jaxface.media.following.smoothing import Smoothing, between, smooth_squares
from jaxface.media.following.tracks import Face, Matching, Track, Tracker, choose
from jaxface.media.video.frames import Frame

OK, INTERPOLATED, NO_FACE = "ok", "interpolated", "no_face"
OTHERS = "not followed"
"""In the reason of a frame whose faces are all others than those that are meant."""


@dataclasses.dataclass(frozen=True)
class FollowedFaces:
    """The faces of a clip.

    Attributes:
      squares: for each frame, by track, where the face is cut out; empty where the frame passes
        through unchanged.
      rows: for each frame its report: index, pts, status, faces (track, box, quad, status), reason.
      cuts: frames with which a new shot begins.
      tracks: those that were chosen.
    """

    squares: list[dict[int, CropTransform]]
    rows: list[dict[str, Any]]
    cuts: list[int]
    tracks: list[Track]


class Following:
    """Gathers what is seen in a clip; it keeps landmarks, not frames.

    Args:
      size: pixels a side of the crops.
      matching: when faces of two frames are one.
      smoothing: of the squares.
      cut_settings: what a cut is.
      cuts: frames with which a new shot begins, where the user knows; None looks for them.
    """

    def __init__(
        self,
        *,
        size: int,
        matching: Matching | None = None,
        smoothing: Smoothing | None = None,
        cut_settings: CutSettings | None = None,
        cuts: Collection[int] | None = None,
    ):
        self._size, self._matching = size, matching or Matching()
        self._smoothing, self._cut_settings = smoothing or Smoothing(), cut_settings
        self._cuts, self._differences = cuts, Differences()
        self._times: list[Fraction] = []
        self._indices: list[int] = []
        self._faces: list[list[Face]] = []
        self._source: tuple[int, int] | None = None

    def add(self, frame: Frame, landmarks: np.ndarray, *, embeddings: Any = None):
        """The next frame.

        Args:
          frame: of the clip.
          landmarks: [N, 68, 2] of its faces.
          embeddings: [N, D] of unit length, or None.
        """
        place = len(self._times)
        self._source = (frame.pixels.shape[1], frame.pixels.shape[0])
        if self._cuts is None:
            self._differences.add(frame.pixels)
        self._times.append(frame.time)
        self._indices.append(frame.index)
        known = [None] * len(landmarks) if embeddings is None else embeddings
        self._faces.append(
            [
                Face(place, frame.time, points, one)
                for points, one in zip(landmarks, known, strict=True)
            ]
        )

    @property
    def any_face(self) -> bool:
        """Whether a frame so far showed a face."""
        return any(self._faces)

    def finish(self, who: str | int | np.ndarray = "largest") -> FollowedFaces:
        """Follows the faces through the whole clip.

        Args:
          who: see `tracks.choose`.

        Raises:
          NoFaceError: no frame shows a face that is meant.
        """
        if self._cuts is None:
            cuts = find_cuts(self._differences.values, self._cut_settings)
        else:
            cuts = [place for place, index in enumerate(self._indices) if index in self._cuts]
        tracker = Tracker(self._matching)
        for place, faces in enumerate(self._faces):
            tracker.add(self._times[place], faces, cut=place in cuts)
        chosen = choose(tracker.tracks, who, likeness=self._matching.likeness)
        squares: list[dict[int, CropTransform]] = [{} for _ in self._times]
        measured: list[dict[int, Face]] = [{} for _ in self._times]
        for track in chosen:
            for face in track.faces:
                measured[face.frame][track.id] = face
            for run in self._runs(track, cuts):
                for place, square in self._smooth(run):
                    squares[place][track.id] = square
        rows = [self._row(place, squares[place], measured[place]) for place in range(len(squares))]
        return FollowedFaces(squares, rows, [self._indices[cut] for cut in cuts], chosen)

    def _runs(self, track: Track, cuts: Sequence[int]) -> list[list[Face]]:
        """A track's faces, parted where a shot ends or the face is away for too long."""
        limit = Fraction(self._matching.max_gap).limit_denominator(1_000_000)
        runs = [[track.faces[0]]]
        for before, face in zip(track.faces, track.faces[1:], strict=False):
            away = face.frame > before.frame + 1 and face.time - before.time > limit
            if away or any(before.frame < cut <= face.frame for cut in cuts):
                runs.append([])
            runs[-1].append(face)
        return runs

    def _smooth(self, run: Sequence[Face]) -> list[tuple[int, CropTransform]]:
        """Places and squares of every frame from the first to the last of a run."""
        assert self._source is not None
        known = {
            face.frame: ffhq_transform(face.landmarks, size=self._size, source=self._source)
            for face in run
        }
        places = list(range(run[0].frame, run[-1].frame + 1))
        seen = sorted(known)
        filled = []
        for place in places:
            if place in known:
                filled.append(known[place])
                continue
            after = seen[int(np.searchsorted(seen, place))]
            before = seen[int(np.searchsorted(seen, place)) - 1]
            start, end = self._times[before], self._times[after]
            share = float((self._times[place] - start) / (end - start))
            filled.append(between(known[before], known[after], share))
        times = [self._times[place] for place in places]
        return list(zip(places, smooth_squares(times, filled, self._smoothing), strict=True))

    def _row(
        self, place: int, squares: dict[int, CropTransform], measured: dict[int, Face]
    ) -> dict[str, Any]:
        faces = [
            {
                "track": track,
                "status": OK if track in measured else INTERPOLATED,
                "box": measured[track].box.tolist() if track in measured else None,
                "quad": square.corners.tolist(),
            }
            for track, square in squares.items()
        ]
        statuses = {face["status"] for face in faces}
        status = OK if OK in statuses else INTERPOLATED if faces else NO_FACE
        reason = None
        if not faces:
            other = len(self._faces[place])
            reason = f"faces that are {OTHERS}: {other}" if other else "no face was found"
        return {
            "index": self._indices[place],
            "pts": str(self._times[place]),
            "status": status,
            "faces": faces,
            "reason": reason,
        }
